package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"weir/internal/base"
	"weir/internal/conf"
)

// fakeServer notes what is asked of it.
type fakeServer struct {
	cfg      *conf.Config
	startErr error
	events   *journal
	ldmEnds  chan struct{}
}

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, text)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, " ")
}

func (s *fakeServer) Start() error {
	s.events.add("start")
	return s.startErr
}
func (s *fakeServer) Ready(context.Context) error { return nil }
func (s *fakeServer) LameDuck(ctx context.Context) {
	s.events.add("ldm")
	select {
	case <-ctx.Done():
	case <-s.ldmEnds:
	}
}
func (s *fakeServer) Shutdown()         { s.events.add("shutdown") }
func (s *fakeServer) ClientURL() string { return "nats://127.0.0.1:4222" }
func (s *fakeServer) Addrs() (client, monitor, cluster net.Addr) {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4222}, nil, nil
}

// harness runs the program with a fake server.
type harness struct {
	env            environment
	signals        chan os.Signal
	stdout, stderr bytes.Buffer
	events         journal
	startErr       error
	ldmEnds        chan struct{}

	mu      sync.Mutex
	configs []*conf.Config
}

func newHarness() *harness {
	h := &harness{signals: make(chan os.Signal, 8), ldmEnds: make(chan struct{})}
	h.env = environment{stdout: &h.stdout, stderr: &h.stderr, signals: h.signals}
	h.env.newServer = func(cfg *conf.Config, _ base.Logger) (instance, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.configs = append(h.configs, cfg)
		return &fakeServer{cfg, h.startErr, &h.events, h.ldmEnds}, nil
	}
	return h
}

func writeConf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsWinOverFile(t *testing.T) {
	path := writeConf(t, "port: 1111\nhost: h\nserver_name: file\ncluster { name: c, port: 7 }")
	h := newHarness()
	h.signals <- syscall.SIGTERM
	args := []string{"-c", path, "-p", "-1", "-n", "flag", "-DV", "-js", "-sd", "/d", "-m=0", "--logtime=false",
		"--cluster", "nats://u:p@x:-1", "--routes", "nats://a:1,nats://b:2"}
	if rc := h.env.run(args); rc != 0 {
		t.Fatalf("status %d: %s", rc, h.stderr.String())
	}
	c := h.configs[0]
	if c.Port != -1 || c.Host != "h" || c.ServerName != "flag" || !c.Log.Debug || !c.Log.Trace || c.Log.Time {
		t.Errorf("got %+v", c)
	}
	if !c.JetStream.Enabled || c.JetStream.StoreDir != "/d" || c.Cluster.Name != "c" {
		t.Errorf("got %+v", c)
	}
	if c.Cluster.Port != -1 || c.Cluster.Host != "x" || c.Cluster.Authorization.Password != "p" || len(c.Cluster.Routes) != 2 {
		t.Errorf("cluster: %+v", c.Cluster)
	}
	if got := h.events.String(); got != "start shutdown" {
		t.Errorf("events: %s", got)
	}
}

func TestFaultsEndWithStatusOne(t *testing.T) {
	bad := writeConf(t, "port: x\nzork: 1")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-c", bad}, bad + ":2: unknown key \"zork\""},
		{[]string{"serve", "-t", "-c", bad}, bad + ":1: key \"port\""},
		{[]string{"-c", bad + "x"}, "no such file"},
		{[]string{"-t"}, "-t needs a configuration file"},
		{[]string{"--tls"}, "flag -tls is not supported yet"},
		{[]string{"-ms", "8443"}, "flag -ms is not supported yet"},
		{[]string{"-zzz"}, "-zzz"},
		{[]string{"-p", "x"}, "must be an integer from -1 to 65535"},
		{[]string{"--routes", "http://x"}, "scheme"},
		{[]string{"--routes", "nats://x:1"}, "routes need a cluster listener"},
		{[]string{"--cluster", "x"}, "is no URL"},
		{[]string{"frobnicate"}, "unknown command"},
		{[]string{"-c", bad, "stray"}, "unexpected argument"},
		{[]string{"--signal", "dance=1"}, "unknown signal command"},
		{[]string{"--signal", "ldm=/absent"}, "pid file"},
		{[]string{"dev", "--nodes", "0"}, "--nodes"},
		{[]string{"dev", "--zork"}, "zork"},
	} {
		h := newHarness()
		if rc := h.env.run(c.args); rc != 1 {
			t.Errorf("%v: status %d", c.args, rc)
		}
		if !strings.Contains(h.stderr.String(), c.want) {
			t.Errorf("%v: got %q, want %q", c.args, h.stderr.String(), c.want)
		}
	}
}

func TestInformation(t *testing.T) {
	good := writeConf(t, "port: 4222")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-v"}, "weir: v" + version},
		{[]string{"version"}, "weir: v" + version},
		{[]string{"-h"}, "Usage:"},
		{[]string{"--help"}, "Usage:"},
		{[]string{"help"}, "Usage:"},
		{[]string{"dev", "-h"}, "--nodes"},
		{[]string{"-t", "-c", good}, "weir: configuration file " + good + " is valid (sha256:"},
	} {
		h := newHarness()
		if rc := h.env.run(c.args); rc != 0 {
			t.Errorf("%v: status %d", c.args, rc)
		}
		if out := h.stdout.String() + h.stderr.String(); !strings.Contains(out, c.want) {
			t.Errorf("%v: got %q, want %q", c.args, out, c.want)
		}
	}
}

func TestStartFails(t *testing.T) {
	h := newHarness()
	h.startErr = errors.New("address in use")
	if rc := h.env.run(nil); rc != 1 || !strings.Contains(h.stderr.String(), "weir: address in use") {
		t.Errorf("status %d: %s", rc, h.stderr.String())
	}
}

func TestSignals(t *testing.T) {
	h := newHarness()
	h.signals <- syscall.SIGHUP
	h.signals <- syscall.SIGUSR1
	h.signals <- syscall.SIGINT
	if rc := h.env.run(nil); rc != 0 {
		t.Errorf("status %d", rc)
	}
	for _, want := range []string{"Failed to reload:", "File log re-opened"} {
		if !strings.Contains(h.stderr.String(), want) {
			t.Errorf("no %q in %s", want, h.stderr.String())
		}
	}
}

func TestLameDuckEndsByItself(t *testing.T) {
	h := newHarness()
	h.signals <- syscall.SIGUSR2
	h.signals <- syscall.SIGTERM // ignored now
	close(h.ldmEnds)
	if rc := h.env.run(nil); rc != 0 {
		t.Errorf("status %d", rc)
	}
	if got := h.events.String(); got != "start ldm shutdown" {
		t.Errorf("events: %s", got)
	}
}

func TestInterruptEndsLameDuck(t *testing.T) {
	h := newHarness()
	h.signals <- syscall.SIGUSR2
	h.signals <- syscall.SIGINT
	if rc := h.env.run(nil); rc != 0 {
		t.Errorf("status %d", rc)
	}
	if got := h.events.String(); got != "start ldm shutdown" {
		t.Errorf("events: %s", got)
	}
}

func TestPIDAndPortsFiles(t *testing.T) {
	dir := t.TempDir()
	h := newHarness()
	h.signals <- syscall.SIGTERM
	if rc := h.env.run([]string{"-P", dir + "/pid", "--ports_file_dir", dir}); rc != 0 {
		t.Errorf("status %d: %s", rc, h.stderr.String())
	}
	text, err := os.ReadFile(dir + "/pid")
	if err != nil || string(text) != strconv.Itoa(os.Getpid()) {
		t.Errorf("pid file: %q, %v", text, err)
	}
	if left, _ := filepath.Glob(dir + "/*.ports"); len(left) != 0 {
		t.Errorf("ports file stays: %v", left)
	}
}

func TestDev(t *testing.T) {
	dir := t.TempDir()
	h := newHarness()
	h.signals <- syscall.SIGHUP // of no interest
	h.signals <- syscall.SIGINT
	if rc := h.env.run([]string{"dev", "--data", dir}); rc != 0 {
		t.Fatalf("status %d: %s", rc, h.stderr.String())
	}
	if len(h.configs) != 3 {
		t.Fatalf("%d nodes", len(h.configs))
	}
	ports := map[int]bool{}
	for i, c := range h.configs {
		if c.Port != 4222+i || c.HTTPPort != 8222+i || c.JetStream.StoreDir != filepath.Join(dir, c.ServerName) {
			t.Errorf("node %d: %+v", i, c)
		}
		ports[c.Cluster.Port] = true
		if len(c.Cluster.Routes) != 3 {
			t.Errorf("node %d has routes %v", i, c.Cluster.Routes)
		}
	}
	if len(ports) != 3 {
		t.Errorf("cluster ports %v", ports)
	}
	if got := h.events.String(); got != "start start start shutdown shutdown shutdown" {
		t.Errorf("events: %s", got)
	}
}

func TestDevSingleNodeInMemory(t *testing.T) {
	f, err := parseDevFlags([]string{"--nodes", "1", "--memory", "--port", "5000"})
	if err != nil {
		t.Fatal(err)
	}
	configs, err := f.configs()
	if err != nil {
		t.Fatal(err)
	}
	if len(configs) != 1 || configs[0].Cluster.Enabled() || !configs[0].JetStream.InMemory {
		t.Errorf("got %+v", configs[0])
	}
	var banner bytes.Buffer
	f.printBanner(&banner, configs)
	for _, want := range []string{"nats://127.0.0.1:5000", "--replicas 1", "gone when this stops", "nats -s nats://127.0.0.1:5000 pub"} {
		if !strings.Contains(banner.String(), want) {
			t.Errorf("no %q in\n%s", want, banner.String())
		}
	}
}
