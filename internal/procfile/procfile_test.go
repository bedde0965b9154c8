package procfile

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestWritePID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	if err := WritePID(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != strconv.Itoa(os.Getpid()) {
		t.Errorf("got %q, %v", text, err)
	}
	if err := WritePID(filepath.Join(path, "x")); err == nil {
		t.Error("no error for a bad path")
	}
}

func TestWritePorts(t *testing.T) {
	path, err := WritePorts(t.TempDir(), Ports{Nats: []string{"nats://127.0.0.1:4222"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != `{"nats":["nats://127.0.0.1:4222"]}` {
		t.Errorf("got %q, %v", text, err)
	}
	if !strings.HasSuffix(path, "_"+strconv.Itoa(os.Getpid())+".ports") {
		t.Errorf("path %q", path)
	}
	if err := RemovePorts(path); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestURLs(t *testing.T) {
	got := URLs("nats", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5})
	if len(got) != 1 || got[0] != "nats://127.0.0.1:5" {
		t.Errorf("got %v", got)
	}
	for _, u := range URLs("nats", &net.TCPAddr{IP: net.IPv6unspecified, Port: 5}) {
		if strings.Contains(u, "[::]") || !strings.HasSuffix(u, ":5") {
			t.Errorf("got %v", u)
		}
	}
}
