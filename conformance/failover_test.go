package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

const (
	publisherCount = 8
	// longestAckWait is what a publisher may wait when the stream's leader is killed.
	longestAckWait = 2 * time.Second
	phaseAcks      = 100 // of each publisher, before the next fault
)

// TestKilledLeaders kills the leader of a stream again and again, then all nodes
// at once, while publishers and a consumer work.
func TestKilledLeaders(t *testing.T) {
	kills := 4
	if testing.Short() {
		kills = 2
	}
	ctx := trialContext(t)
	c := startCluster(ctx, t, 3, "")
	nc, js := connect(t, c.URLs())
	consumer := makeWork(ctx, t, js)
	p := startPublishers(ctx, t, c.URLs(), "work", publisherCount)
	w := startWorker(ctx, consumer)
	p.progress(ctx, t, phaseAcks)
	for range kills {
		killLeader(ctx, t, c, js, p)
	}
	p.nextPhase()
	c.Kill()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	p.progress(ctx, t, phaseAcks)
	t.Logf("all nodes killed at once: longest ack wait %v, restart included", p.longest[p.phase])
	acked := p.finish(t)
	w.finish(ctx, t)
	checkStream(ctx, t, nc, acked, w)
}

func makeWork(ctx context.Context, t *testing.T, js jetstream.JetStream) jetstream.Consumer {
	t.Helper()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "WORK", Subjects: []string{"work.>"}, Replicas: 3, AllowDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
	})
	if err != nil {
		t.Fatal(err)
	}
	return consumer
}

func killLeader(ctx context.Context, t *testing.T, c *procs.Cluster, js jetstream.JetStream, p *publishers) {
	t.Helper()
	leader := leaderOf(ctx, t, c, js, "WORK")
	p.nextPhase()
	killed := p.phase
	leader.Kill()
	p.progress(ctx, t, phaseAcks)
	p.nextPhase()
	restarted := p.phase
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	if err := leader.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	p.progress(ctx, t, phaseAcks)
	p.nextPhase()
	p.mu.Lock()
	defer p.mu.Unlock()
	t.Logf("leader %s killed: longest ack wait %v; while it came back: %v", leader.Name, p.longest[killed], p.longest[restarted])
	if got := p.longest[killed]; got >= longestAckWait {
		t.Errorf("an ack took %v when %s was killed, want less than %v", got, leader.Name, longestAckWait)
	}
}

// checkStream checks that each acknowledged message is stored once, where its ack
// said, nothing else is, and the worker has seen all.
func checkStream(ctx context.Context, t *testing.T, nc *nats.Conn, acked map[string]uint64, w *worker) {
	t.Helper()
	messages := readStream(ctx, t, nc, "WORK")
	seen := make(map[string]bool)
	for i, m := range messages {
		if m.Seq != uint64(i+1) {
			t.Fatalf("message %d of the stream has sequence %d", i+1, m.Seq)
		}
		if seen[m.ID] {
			t.Errorf("%s is stored twice", m.ID)
		}
		seen[m.ID] = true
		if seq, ok := acked[m.ID]; !ok {
			t.Errorf("%s is stored and was never acknowledged or retried", m.ID)
		} else if seq != m.Seq {
			t.Errorf("%s is stored at %d and was acknowledged at %d", m.ID, m.Seq, seq)
		}
		if w.delivered[m.Seq] == 0 {
			t.Errorf("message %d was not delivered", m.Seq)
		}
	}
	for id, seq := range acked {
		if !seen[id] {
			t.Errorf("%s was acknowledged at %d and is lost", id, seq)
		}
	}
	t.Logf("%d messages acknowledged and stored, %d double acks confirmed", len(acked), len(w.confirmed))
}
