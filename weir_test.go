package weir_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir"
)

const patience = 90 * time.Second

// A program embeds a server by a text or a file, and reaches it in process as well as
// by its URL.
func TestEmbedded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	config := `listen: "127.0.0.1:-1", jetstream { store_dir: "` + t.TempDir() + `" }`
	file := filepath.Join(t.TempDir(), "weir.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, opts := range []weir.Options{{Config: config}, {ConfigFile: file, Config: "not: read"}} {
		srv, err := weir.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		if err := srv.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		inProcess, err := nats.Connect("", nats.InProcessServer(srv), nats.Timeout(patience))
		if err != nil {
			t.Fatal(err)
		}
		byURL, err := nats.Connect(srv.ClientURL(), nats.Timeout(patience))
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(inProcess)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := byURL.RequestWithContext(ctx, "s", []byte("hello")); err != nil {
			t.Errorf("publish by URL: %v", err)
		}
		inProcess.Close()
		byURL.Close()
		srv.Shutdown()
		if _, err := srv.InProcessConn(); err == nil {
			t.Error("a server that was shut down takes a connection")
		}
	}
}

// lines is a Logger that keeps what it is told.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) add(format string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, format)
}

func (l *lines) Noticef(format string, _ ...any)  { l.add(format) }
func (l *lines) Warnf(format string, args ...any) { l.add(fmt.Sprintf(format, args...)) }
func (l *lines) Errorf(format string, _ ...any)   { l.add(format) }
func (l *lines) Debugf(string, ...any)            {}
func (l *lines) Tracef(string, ...any)            {}

func TestEmbeddedLogger(t *testing.T) {
	log := new(lines)
	srv, err := weir.New(weir.Options{Config: `listen: "127.0.0.1:-1", feature_flags { js_ack_fc_v2: true, later: true }`, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	for _, want := range []string{"Server is ready", `Options.Config:1: key "later" is no feature flag that is known`} {
		if !slices.Contains(log.text, want) {
			t.Errorf("%q is not in the log:\n%s", want, strings.Join(log.text, "\n"))
		}
	}
}

func TestEmbeddedFaults(t *testing.T) {
	for _, c := range []struct {
		opts weir.Options
		want string
	}{
		{weir.Options{Config: "port: 4222\nno_such_key: 1"}, `Options.Config:2: unknown key "no_such_key"`},
		{weir.Options{Config: "accounts { A: {}, A: {} }\nport: x"}, `Options.Config:2: key "port" must be an integer, not a string (x)`},
		{weir.Options{ConfigFile: filepath.Join(t.TempDir(), "none.conf")}, "reading the configuration: "},
	} {
		_, err := weir.New(c.opts)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.opts, err, c.want)
		}
	}
}
