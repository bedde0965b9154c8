package conformance

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

const (
	// faultTime is how long faults go on when WEIR_FAULT_TIME does not say.
	faultTime = time.Minute
	// settleTime is what the cluster has to deliver what is left, once all nodes
	// are back.
	settleTime = 2 * time.Minute

	trialConsumers = 200
	trialParts     = 8 // subjects of each stream that consumers filter by
)

// trialStreams are the streams of TestConsumersUnderFaults by retention.
var trialStreams = []jetstream.StreamConfig{
	{Name: "LIMITS", Subjects: []string{"limits.>"}, Retention: jetstream.LimitsPolicy},
	{Name: "WORKS", Subjects: []string{"works.>"}, Retention: jetstream.WorkQueuePolicy},
	{Name: "INTEREST", Subjects: []string{"interest.>"}, Retention: jetstream.InterestPolicy},
}

// TestConsumersUnderFaults has 200 durable consumers of all kinds work while nodes
// are killed, stopped and paused and leaders step down at random. Then all nodes come back, and:
//
//   - every acknowledged message is in the stream that keeps messages;
//   - every consumer has had every message that it is for, unless it delivers
//     without acks or gave up at max_deliver;
//   - no message came back after the confirmation of its ack;
//   - none came more often than max_deliver;
//   - no position that the API showed ever went back;
//   - no consumer is stuck, and what acks release is gone.
//
// WEIR_FAULT_TIME sets how long the faults go on (as 10m), WEIR_FAULT_SEED repeats
// their choice.
func TestConsumersUnderFaults(t *testing.T) {
	during := faultTime
	if testing.Short() {
		during = 15 * time.Second
	}
	if text := os.Getenv("WEIR_FAULT_TIME"); text != "" {
		var err error
		if during, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), during+settleTime+3*time.Minute)
	defer cancel()
	c := startCluster(ctx, t, 3, "")
	nc, js := connect(t, c.URLs())
	for _, cfg := range trialStreams {
		cfg.Replicas, cfg.AllowDirect = 3, true
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	fs := startFollowers(ctx, t, c.URLs(), js, trialConsumers)
	p := startPacedPublishers(ctx, t, c.URLs())
	p.progress(ctx, t, 10)

	faults := newFaults(t, c, nc)
	watched := watch(ctx, t, fs, c.URLs())
	faults.run(ctx, during)
	faults.heal(ctx)
	watched()

	p.nextPhase()
	p.progress(ctx, t, 10)
	acked := p.finish(t)
	t.Logf("%d messages acknowledged; longest wait for an ack %v", len(acked), slices.Max(p.longest))
	checkFollowers(ctx, t, js, fs, acked)
}

// startFollowers creates n consumers and puts each to work.
func startFollowers(ctx context.Context, t *testing.T, urls string, js jetstream.JetStream, n int) []*follower {
	t.Helper()
	var fs []*follower
	var conns []*nats.Conn
	for range 4 {
		nc, _ := connectQuick(t, urls)
		conns = append(conns, nc)
	}
	for i := range n {
		f := newFollower(i, conns[i%len(conns)])
		eventually(ctx, t, "consumer "+f.cfg.Durable+" is made", func(ctx context.Context) error {
			_, err := js.CreateConsumer(ctx, f.stream, f.cfg)
			return err
		})
		fs = append(fs, f)
	}
	for _, f := range fs {
		f.start(ctx, t)
	}
	return fs
}

// connectQuick makes a client that leaves a node that does not answer.
func connectQuick(t *testing.T, urls string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 50*time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.PingInterval(500*time.Millisecond), nats.MaxPingsOutstanding(2), nats.Timeout(time.Second))
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

// checkFollowers judges the end: see TestConsumersUnderFaults.
func checkFollowers(ctx context.Context, t *testing.T, js jetstream.JetStream, fs []*follower, acked map[string]uint64) {
	t.Helper()
	settle, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	begun := time.Now()
	for _, f := range fs {
		err := procs.Until(settle, "consumer "+f.cfg.Durable+" has nothing left", func() error { return f.settled(ctx, js.Conn()) })
		if err != nil {
			t.Error(err)
		}
	}
	t.Logf("all consumers had nothing left after %v", time.Since(begun))
	for _, stream := range []string{"WORKS", "INTEREST"} {
		err := procs.Until(settle, stream+" is empty", func() error { return empty(ctx, js, stream) })
		if err != nil {
			t.Error(err)
		}
	}
	checkStored(ctx, t, js, acked)
	for _, f := range fs {
		f.stop()
		f.check(t, acked)
	}
}

// watch looks at one consumer's positions after another until the returned
// function is called.
func watch(ctx context.Context, t *testing.T, fs []*follower, urls string) (stop func()) {
	t.Helper()
	nc, _ := connectQuick(t, urls)
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			one, done := context.WithTimeout(ctx, time.Second)
			_ = fs[i%len(fs)].look(one, nc) // at the end it has to be there
			done()
			pause(ctx)
		}
	})
	return func() { cancel(); running.Wait() }
}

func empty(ctx context.Context, js jetstream.JetStream, stream string) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	if st := s.CachedInfo().State; st.Msgs > 0 {
		return fmt.Errorf("%d messages from %d to %d", st.Msgs, st.FirstSeq, st.LastSeq)
	}
	return nil
}

// checkStored looks for every acknowledged message of the stream that keeps them.
func checkStored(ctx context.Context, t *testing.T, js jetstream.JetStream, acked map[string]uint64) {
	t.Helper()
	nc := js.Conn()
	stored := make(map[string]uint64)
	for _, m := range readStream(ctx, t, nc, "LIMITS") {
		if at, twice := stored[m.ID]; twice {
			t.Errorf("%s is stored twice, at %d and %d", m.ID, at, m.Seq)
		}
		stored[m.ID] = m.Seq
	}
	for id, seq := range acked {
		if at, ok := stored[id]; partOf(id).stream == "LIMITS" && (!ok || at != seq) {
			t.Errorf("%s was acknowledged at %d and is stored at %d", id, seq, at)
		}
	}
}
