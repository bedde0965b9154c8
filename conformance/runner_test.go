package conformance

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// longestSilence is how long a consumer may take to deliver when its runner's node
// is killed.
const longestSilence = 2 * time.Second

// TestKilledRunner kills a node that runs consumers while clients on other nodes
// wait for messages: each hears of it, pulls again and gets the next message.
func TestKilledRunner(t *testing.T) {
	ctx := trialContext(t)
	c := startCluster(ctx, t, 3, "")
	_, js := connect(t, c.URLs())
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "RUN", Subjects: []string{"run"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	const consumers = 12
	runners := map[string]int{}
	for i := range consumers {
		cons, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: fmt.Sprint("c", i), AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			t.Fatal(err)
		}
		runners[cons.CachedInfo().Cluster.Leader]++
	}
	dies, at := c.Nodes[0], c.Nodes[1]
	if runners[dies.Name] == 0 {
		t.Fatalf("nothing runs on %s: %v", dies.Name, runners)
	}
	_, js = connect(t, at.URL())
	silences := make(chan time.Duration)
	killed := make(chan time.Time)
	for i := range consumers {
		cons, err := js.Consumer(ctx, "RUN", fmt.Sprint("c", i))
		if err != nil {
			t.Fatal(err)
		}
		go waitFor(ctx, cons, killed, silences)
	}
	waiting(ctx, t, js, consumers)
	dies.Kill()
	now := time.Now()
	for range consumers {
		killed <- now
	}
	for {
		once, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		_, err := js.Publish(once, "run", nil, jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			break
		}
	}
	longest := time.Duration(0)
	for range consumers {
		longest = max(longest, <-silences)
	}
	t.Logf("all deliver again %v after %d of %d lost their runner", longest, runners[dies.Name], consumers)
	if longest > longestSilence {
		t.Errorf("a consumer delivered %v after its runner's node was killed", longest)
	}
	if err := dies.Start(); err != nil {
		t.Fatal(err)
	}
	if err := dies.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// waitFor waits for a message, pulling anew when a pull ends without one, and says
// how long after the kill it came.
func waitFor(ctx context.Context, cons jetstream.Consumer, killed <-chan time.Time, silences chan<- time.Duration) {
	got := make(chan time.Time, 1)
	go func() {
		for ctx.Err() == nil {
			if m, err := cons.Next(jetstream.FetchMaxWait(20 * time.Second)); err == nil {
				_ = m.Ack() // that it was delivered is all that counts
				got <- time.Now()
				return
			}
		}
		got <- time.Now()
	}()
	begun := <-killed
	silences <- (<-got).Sub(begun)
}

// waiting waits until all consumers have a pull.
func waiting(ctx context.Context, t *testing.T, js jetstream.JetStream, consumers int) {
	t.Helper()
	for i := range consumers {
		for {
			cons, err := js.Consumer(ctx, "RUN", fmt.Sprint("c", i))
			if err != nil {
				t.Fatal(err)
			}
			if cons.CachedInfo().NumWaiting == 1 {
				break
			}
		}
	}
}
