package runner

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/base"
)

// BenchmarkDeliver pulls 128 byte messages in batches of 500 and acks each; an
// operation is one message, delivered and acked.
func BenchmarkDeliver(b *testing.B) {
	for _, c := range []struct {
		name string
		cfg  api.ConsumerConfig
	}{
		{"explicit", api.ConsumerConfig{AckPolicy: api.AckExplicit, AckWait: 30e9, MaxAckPending: 1000}},
		{"gated", api.ConsumerConfig{AckPolicy: api.AckExplicit, AckWait: 30e9, MaxDeliver: 5}},
		{"none", api.ConsumerConfig{AckPolicy: api.AckNone}},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkDeliver(b, c.cfg) })
	}
}

func benchmarkDeliver(b *testing.B, cfg api.ConsumerConfig) {
	const batch = 500
	var store memStore
	data := strings.Repeat("x", 128)
	for range b.N {
		store.add("orders.eu", data)
	}
	// Acks and commits are handed in between turns, on the one goroutine, as the
	// worker would find them in its inbox.
	sched := NewScheduler(base.SystemClock, 0)
	defer sched.Stop()
	var acks []Ack
	var r *Runner
	got := 0
	env := &Env{
		Clock: base.SystemClock, Log: base.NopLogger{}, Store: &store,
		Publish: func(string, string, []byte, []byte) {},
		Deliver: func(_, _, reply, _, _ []byte) {
			got++
			if cfg.AckPolicy != api.AckNone {
				acks = append(acks, Ack{Stream: uint64(got), Consumer: uint64(got), Deliveries: 1})
			}
		},
		HasInterest: func(string, string) bool { return true },
		Send:        func(d *Delta) { r.Committed(d.Ticket) },
		Live:        func() bool { return true },
		Patience:    func() time.Duration { return 20 * time.Millisecond },
	}
	r = New(env, sched, Identity{Stream: "S", Consumer: "C", ID: 1, Epoch: 1}, &cfg, State{})
	s := newScratch()
	body := []byte(strconv.Itoa(batch))
	b.ReportAllocs()
	b.ResetTimer()
	for got < b.N {
		r.Pull(PullRequest{Reply: "in", Body: body})
		for range 5 {
			r.step(s)
			for _, a := range acks {
				r.Ack(a)
			}
			acks = acks[:0]
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

// BenchmarkIdleWake wakes a runner that has nothing to do.
func BenchmarkIdleWake(b *testing.B) {
	sched := NewScheduler(base.SystemClock, 0)
	defer sched.Stop()
	var store memStore
	env := &Env{Clock: base.SystemClock, Log: base.NopLogger{}, Store: &store,
		HasInterest: func(string, string) bool { return false }, Live: func() bool { return true }}
	r := New(env, sched, Identity{Stream: "S", Consumer: "C"}, &api.ConsumerConfig{AckPolicy: api.AckExplicit, AckWait: 30e9}, State{})
	s := newScratch()
	b.ReportAllocs()
	for b.Loop() {
		r.step(s)
	}
}
