package server

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// tally consumes a consumer and acks, and counts how often each message came.
type tally struct {
	mu   sync.Mutex
	came map[uint64]int
}

func (r *rows) tally(js jetstream.JetStream, stream, consumer string) *tally {
	r.t.Helper()
	cons, err := js.Consumer(r.ctx, stream, consumer)
	if err != nil {
		r.t.Fatal(err)
	}
	t := &tally{came: map[uint64]int{}}
	c, err := cons.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err == nil {
			err = m.Ack()
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if err == nil {
			t.came[meta.Sequence.Stream]++
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Stop)
	return t
}

// all waits until n messages have come, and tells how many came twice.
func (t *tally) all(r *rows, n int) (twice int) {
	r.t.Helper()
	r.until("all messages have come", func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return len(t.came) >= n
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, times := range t.came {
		if times > 1 {
			twice++
		}
	}
	return twice
}

// A consumer that is moved while it works delivers every message once, and what was
// acked stays acked.
func TestConsumerMovesWithoutRepeats(t *testing.T) {
	r := sharedRows(t)
	r.stream("MOVES", 3)
	r.consumer("MOVES", "c", durable("c", `"ack_wait":30000000000`))
	tally := r.tally(r.js, "MOVES", "c")
	n := 0
	for range 10 {
		for range 100 {
			if _, err := r.js.PublishAsync("MOVES.x", nil); err != nil {
				t.Fatal(err)
			}
			n++
		}
		r.must(r.app, "CONSUMER.LEADER.STEPDOWN.MOVES.c", nil)
	}
	tally.all(r, n)
	r.until("all acks count", func() bool { return r.consumerInfo("MOVES", "c").AckFloor.Stream == uint64(n) })
	if twice := tally.all(r, n); twice > 0 {
		t.Errorf("%d of %d messages came twice", twice, n)
	}
}

// So does one whose server is stopped, within a moment.
func TestConsumerOfStoppedServer(t *testing.T) {
	r := ownRows(t, 3)
	r.stream("STOP", 3)
	info := r.consumer("STOP", "c", durable("c", `"ack_wait":30000000000`))
	stops := r.server(info.Cluster.Leader)
	at := (stops + 1) % 3
	js, err := jetstream.New(r.as(t, "app", at), jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	tally := r.tally(js, "STOP", "c")
	n := 0
	publish := func() {
		for r.ctx.Err() == nil {
			if tryPublish(r.ctx, js, "STOP.x", jetstream.WithMsgID(strconv.Itoa(n))) == nil {
				n++
				return
			}
		}
	}
	for range 100 {
		publish()
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stop(stops)
	}()
	longest := time.Duration(0)
	for stopping := true; stopping; {
		select {
		case <-stopped:
			stopping = false
		default:
		}
		begun := time.Now()
		publish()
		tally.all(r, n)
		longest = max(longest, time.Since(begun))
	}
	t.Logf("%d messages; the longest took %v", n, longest)
	if twice := tally.all(r, n); twice > 0 {
		t.Errorf("%d of %d messages came twice", twice, n)
	}
}
