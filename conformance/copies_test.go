package conformance

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// copies are streams of three replicas that copy from WORK, in one way or another: each has its messages once, in its order.
var copies = []jetstream.StreamConfig{
	{Name: "MIRROR", Mirror: &jetstream.StreamSource{Name: "WORK"}},
	{Name: "SOURCE", Sources: []*jetstream.StreamSource{{Name: "WORK"}}},
	{Name: "QUEUE", Sources: []*jetstream.StreamSource{{Name: "WORK"}}, Retention: jetstream.WorkQueuePolicy},
	{Name: "DRAIN", Sources: []*jetstream.StreamSource{{Name: "QUEUE"}}},
}

// TestCopiesAreEqual kills the leader of an origin, or of a copy, again and again while publishers work. At the end
// the copies have what the origin has, and the queue that was drained on the way is empty.
func TestCopiesAreEqual(t *testing.T) {
	ctx := trialContext(t)
	c := startCluster(ctx, t, 3, "")
	nc, js := connect(t, c.URLs())
	makeWork(ctx, t, js)
	for _, cfg := range copies {
		cfg.Replicas, cfg.AllowDirect = 3, true
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	p := startPublishers(ctx, t, c.URLs(), "work", publisherCount)
	p.progress(ctx, t, phaseAcks)
	for _, victim := range []string{"WORK", "QUEUE", "WORK", "MIRROR", "WORK", "DRAIN", "WORK"} {
		killAndGoOn(ctx, t, c, js, p, victim)
	}
	acked := p.finish(t)
	want := readStream(ctx, t, nc, "WORK")
	if len(want) < len(acked) {
		t.Fatalf("WORK has %d messages, %d were acknowledged", len(want), len(acked))
	}
	for _, name := range []string{"MIRROR", "SOURCE", "DRAIN"} {
		eventually(ctx, t, name+" has all", func(ctx context.Context) error { return holds(ctx, js, name, len(want)) })
		sameMessages(ctx, t, nc, name, want, name == "MIRROR")
	}
	eventually(ctx, t, "QUEUE is empty", func(ctx context.Context) error { return holds(ctx, js, "QUEUE", 0) })
	t.Logf("%d messages", len(want))
}

func killAndGoOn(ctx context.Context, t *testing.T, c *procs.Cluster, js jetstream.JetStream, p *publishers, stream string) {
	t.Helper()
	leader := leaderOf(ctx, t, c, js, stream)
	p.nextPhase()
	leader.Kill()
	p.progress(ctx, t, phaseAcks)
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	if err := leader.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// holds says what is wrong if a stream does not have n messages.
func holds(ctx context.Context, js jetstream.JetStream, stream string, n int) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	if got := s.CachedInfo().State.Msgs; got != uint64(n) {
		return fmt.Errorf("%s has %d of %d messages", stream, got, n)
	}
	return nil
}

// sameMessages wants the messages of a stream in their order; whole: with the same headers.
func sameMessages(ctx context.Context, t *testing.T, nc *nats.Conn, stream string, want []stored, whole bool) {
	t.Helper()
	got := readStream(ctx, t, nc, stream)
	if len(got) != len(want) {
		t.Fatalf("%s has %d messages, want %d", stream, len(got), len(want))
	}
	for i := range want {
		if got[i].Seq != want[i].Seq || got[i].ID != want[i].ID || whole && got[i].Hash != want[i].Hash {
			t.Fatalf("message %d of %s is %s, want %s of %d", got[i].Seq, stream, got[i].ID, want[i].ID, want[i].Seq)
		}
	}
}
