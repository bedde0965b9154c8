// Package conformance tries the built program as users do: real processes, real
// disks, the stock Go client. WEIR_BIN names the program; without it the tests
// build it. Any server that takes nats-server's configuration files can be tried.
package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// bin is the program under test.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if bin = os.Getenv("WEIR_BIN"); bin != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "weir-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = filepath.Join(dir, "weir")
	if err := procs.BuildWeir(context.Background(), "..", bin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// trialTime bounds one test, so that what never comes is reported as such.
const trialTime = 4 * time.Minute

func trialContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), trialTime)
	t.Cleanup(cancel)
	return ctx
}

// startCluster starts n nodes that end with the test. The logs of a failed test
// are shown.
func startCluster(ctx context.Context, t *testing.T, n int, extra string) *procs.Cluster {
	t.Helper()
	return startSpec(ctx, t, procs.Spec{Nodes: n, Extra: extra})
}

func startSpec(ctx context.Context, t *testing.T, spec procs.Spec) *procs.Cluster {
	t.Helper()
	spec.Bin, spec.Dir = bin, t.TempDir()
	return startPrepared(ctx, t, spec)
}

// startPrepared starts a cluster in a directory that may have something in it.
func startPrepared(ctx context.Context, t *testing.T, spec procs.Spec) *procs.Cluster {
	t.Helper()
	c, err := procs.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, node := range c.Nodes {
			if !node.Running() && !t.Failed() {
				t.Errorf("%s is not running at the end: %s", node.Name, node.LogTail(4000))
			}
		}
		c.Kill()
		for _, node := range c.Nodes {
			if t.Failed() {
				t.Logf("log of %s:\n%s", node.Name, node.LogTail(4000))
			}
		}
	})
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// connect makes a client that finds its way back to whatever node is up.
func connect(t *testing.T, urls string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(20*time.Millisecond, 20*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// retryWait is how long a client waits before it does again what was refused.
const retryWait = 20 * time.Millisecond

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryWait):
	}
}

// eventually retries an operation for as long as ctx allows.
func eventually(ctx context.Context, t *testing.T, what string, do func(context.Context) error) {
	t.Helper()
	err := procs.Until(ctx, what, func() error {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return do(attempt)
	})
	if err != nil {
		t.Fatal(err)
	}
}
