package conformance

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/conformance/procs"
)

// longestPause is how long a node stays stopped with SIGSTOP at most.
const longestPause = 6 * time.Second

// faults does things to the nodes of a cluster, at random.
type faults struct {
	t       *testing.T
	cluster *procs.Cluster
	nc      *nats.Conn
	rand    *rand.Rand
	counts  map[string]int
}

func newFaults(t *testing.T, c *procs.Cluster, nc *nats.Conn) *faults {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WEIR_FAULT_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("WEIR_FAULT_SEED=%d", seed)
	return &faults{t: t, cluster: c, nc: nc, rand: rand.New(rand.NewPCG(seed, 0)), counts: map[string]int{}}
}

// run does one thing after another for a time. Some come before the nodes have
// recovered from the last.
func (f *faults) run(ctx context.Context, during time.Duration) {
	f.t.Helper()
	end := time.Now().Add(during)
	for time.Now().Before(end) {
		f.one(ctx)
		f.wait(ctx, 2*time.Second)
		if f.rand.IntN(4) > 0 {
			f.heal(ctx)
		}
	}
	f.t.Logf("faults: %v", f.counts)
}

func (f *faults) one(ctx context.Context) {
	n := f.cluster.Nodes[f.rand.IntN(len(f.cluster.Nodes))]
	switch dice := f.rand.IntN(23); {
	case dice < 8:
		f.counts["killed"]++
		f.note("%s is killed", n.Name)
		n.Kill()
		f.wait(ctx, 4*time.Second)
		f.start(n)
	case dice < 15:
		f.counts["paused"]++
		f.note("%s is paused", n.Name)
		n.Pause()
		f.wait(ctx, longestPause)
		n.Resume()
		f.note("%s is resumed", n.Name)
	case dice < 18:
		f.counts["stopped"]++
		f.note("%s is stopped", n.Name)
		stop, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := n.Stop(stop); err != nil {
			f.t.Error(err)
		}
		f.wait(ctx, 2*time.Second)
		f.start(n)
	case dice < 21:
		f.counts["stepped down"]++
		f.stepDown()
	default:
		f.counts["all killed"]++
		f.note("all are killed")
		f.cluster.Kill()
		f.wait(ctx, time.Second)
		for _, n := range f.cluster.Nodes {
			f.start(n)
		}
	}
}

// stepDown has every stream and one consumer led by another node.
func (f *faults) stepDown() {
	f.t.Helper()
	f.note("leaders step down")
	for _, cfg := range trialStreams {
		_ = f.nc.Publish("$JS.API.STREAM.LEADER.STEPDOWN."+cfg.Name, nil) // whether it is heard is chance, too
	}
	who := newFollower(f.rand.IntN(trialConsumers), nil)
	_ = f.nc.Publish("$JS.API.CONSUMER.LEADER.STEPDOWN."+who.stream+"."+who.cfg.Durable, nil)
}

func (f *faults) start(n *procs.Node) {
	f.t.Helper()
	f.note("%s starts", n.Name)
	if err := n.Start(); err != nil {
		f.t.Fatal(err)
	}
}

// heal waits until all nodes are well.
func (f *faults) heal(ctx context.Context) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := f.cluster.Ready(ctx); err != nil {
		f.t.Fatal(err)
	}
}

// wait lets up to longest pass, so that the load meets what was done.
func (f *faults) wait(ctx context.Context, longest time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(f.rand.Int64N(int64(longest)))):
	}
}

func (f *faults) note(format string, args ...any) {
	f.t.Helper()
	f.t.Logf(time.Now().Format("15:04:05.000 ")+format, args...)
}
