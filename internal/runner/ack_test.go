package runner

import (
	"fmt"
	"testing"
	"time"

	"weir/internal/api"
)

func explicit() api.ConsumerConfig { return api.ConsumerConfig{AckPolicy: api.AckExplicit} }

func TestAckWait(t *testing.T) {
	cfg := explicit()
	cfg.AckWait = 500 * time.Millisecond
	bubble(t, cfg, func(w *world) {
		w.publish("s", "1", "2", "3")
		w.pull("a", "2")
		w.want("0 a s 1.1.1.T.2 1", "0 a s 1.2.2.T.1 2")
		w.ack(1, 2, 2, "+ACK", "")
		w.after(200 * time.Millisecond)
		w.pull("a", "10")
		w.want("200 a s 1.3.3.T.0 3")
		w.after(time.Second)
		w.want("500 a s 2.1.4.T.0 1", "700 a s 2.3.5.T.0 3", "1000 a s 3.1.6.T.0 1", "1200 a s 3.3.7.T.0 3")
		w.ack(3, 1, 6, "", "")
		// An ack of an earlier delivery counts.
		w.ack(2, 3, 5, "+OK", "")
		w.after(time.Minute)
		w.want()
		if f := w.state.AckFloor; f.Stream != 3 || f.Consumer != 7 {
			t.Errorf("ack floor %+v, want 3 and 7", f)
		}
		if s := w.run.Status(); s.AckPending != 0 || s.Redelivered != 0 || w.run.uncommitted != 0 {
			t.Errorf("status %+v, want nothing pending", s)
		}
	})
}

func TestAckWords(t *testing.T) {
	cfg := explicit()
	cfg.AckWait = 10 * time.Second
	bubble(t, cfg, func(w *world) {
		w.publish("s", "1", "2", "3", "4", "5", "6")
		w.pull("a", "6")
		w.set(func() { w.wire = nil })
		w.pull("a", "100")
		w.ack(1, 1, 1, "-NAK", "r")
		w.want("0 a s 2.1.7.T.0 1", "0 r  ")
		w.ack(2, 1, 7, `-NAK {"delay": 3000000000}`, "")
		w.ack(1, 2, 2, "-NAK 2s", "")
		w.ack(1, 3, 3, "+TERM bad", "r")
		w.after(5 * time.Second)
		w.want("0 r  ", "2000 a s 2.2.8.T.0 2", "3000 a s 3.1.9.T.0 1")
		w.ack(1, 4, 4, "+WPI", "r")
		w.ack(1, 5, 5, "bogus", "r")
		w.ack(1, 99, 99, "", "r")
		w.ack(1, 6, 6, "", "r")
		w.ack(1, 6, 6, "", "r")
		w.want("5000 r  ", "5000 r  ", "5000 r  ", "5000 r  ")
		w.after(5 * time.Second)
		w.want("10000 a s 2.5.10.T.0 5")
		w.after(2 * time.Second)
		w.want("12000 a s 3.2.11.T.0 2")
		w.after(3 * time.Second)
		w.want("13000 a s 4.1.12.T.0 1", "15000 a s 2.4.13.T.0 4")
		if got := fmt.Sprint(w.events()); got != "[{1 1 1 1 0   } {1 1 7 2 0   } {1 2 2 1 0   } {2 3 3 1 0 bad  }]" {
			t.Errorf("advisories %s", got)
		}
	})
}

// A message that is due again and gets more time comes behind those that became due meanwhile, as it does under
// a runner that takes over.
func TestMoreTimeForDueMessages(t *testing.T) {
	cfg := explicit()
	cfg.AckWait = 10 * time.Second
	bubble(t, cfg, func(w *world) {
		w.publish("s", "1", "2", "3", "4")
		w.pull("a", `{"batch":4,"no_wait":true}`)
		w.set(func() { w.wire = nil })
		w.after(11 * time.Second)
		w.ack(1, 1, 1, "+WPI", "")
		w.ack(1, 2, 2, "-NAK 5s", "")
		w.ack(1, 3, 3, "-NAK", "")
		w.after(20 * time.Second)
		w.pull("a", `{"batch":4,"no_wait":true}`)
		w.want("31000 a s 2.3.5.T.0 3", "31000 a s 2.4.6.T.0 4", "31000 a s 2.2.7.T.0 2", "31000 a s 2.1.8.T.0 1")
	})
}

func TestAckNext(t *testing.T) {
	bubble(t, explicit(), func(w *world) {
		w.publish("s", "1", "2", "3", "4", "5", "6")
		w.pull("a", "1")
		w.ack(1, 1, 1, "+NXT", "a")
		w.ack(1, 2, 2, `+NXT {"batch":2}`, "b")
		w.ack(1, 3, 3, "+NXT 2", "c")
		w.ack(1, 4, 4, `+NXT {"no_wait":true}`, "d")
		w.want("0 a s 1.1.1.T.5 1", "0 a s 1.2.2.T.4 2", "0 b s 1.3.3.T.3 3", "0 b s 1.4.4.T.2 4",
			"0 c s 1.5.5.T.1 5", "0 c s 1.6.6.T.0 6", "0 d  NATS/1.0 404 No Messages|")
		if n := w.state.NumAckPending(); n != 2 {
			t.Errorf("%d pending, want 2", n)
		}
	})
}

func TestAckAll(t *testing.T) {
	bubble(t, api.ConsumerConfig{AckPolicy: api.AckAll, AckWait: time.Second}, func(w *world) {
		w.publish("s", "1", "2", "3", "4", "5")
		w.pull("a", "5")
		w.ack(1, 3, 3, "", "r")
		if n := w.state.NumAckPending(); n != 2 {
			t.Errorf("%d pending, want 2", n)
		}
		w.set(func() { w.wire = nil })
		w.pull("a", "2")
		w.after(time.Second)
		w.want("1000 a s 2.4.6.T.0 4", "1000 a s 2.5.7.T.0 5")
		w.ack(2, 5, 7, "", "r")
		w.ack(2, 4, 6, "", "r")
		w.want("1000 r  ", "1000 r  ")
		if w.state.NumAckPending() != 0 || w.run.Status().AckPending != 0 {
			t.Error("something is still pending")
		}
	})
}

func TestAckNone(t *testing.T) {
	bubble(t, api.ConsumerConfig{AckPolicy: api.AckNone}, func(w *world) {
		w.publish("s", "1", "2")
		w.pull("a", "2")
		w.ack(1, 1, 1, "", "r")
		w.want("0 a s 1.1.1.T.1 1", "0 a s 1.2.2.T.0 2")
		if d := w.delivered().Stream; d != 0 {
			t.Errorf("position %d was replicated at once", d)
		}
		w.after(lazyPositionInterval)
		if d := w.state.Delivered; d.Stream != 2 || d.Consumer != 2 {
			t.Errorf("position %+v, want 2", d)
		}
		w.want()
	})
}

func TestConfirmAfterCommit(t *testing.T) {
	bubble(t, explicit(), func(w *world) {
		w.publish("s", "1")
		w.pull("a", "1")
		w.set(func() { w.wire, w.stalled = nil, true })
		w.ack(1, 1, 1, "", "r")
		w.ack(1, 1, 1, "", "again")
		w.after(time.Minute)
		w.want()
		w.commit()
		w.want("60000 r  ", "60000 again  ")
	})
}

func TestMaxDeliver(t *testing.T) {
	cfg := explicit()
	cfg.MaxDeliver, cfg.AckWait = 2, time.Second
	bubble(t, cfg, func(w *world) {
		w.set(func() { w.stalled = true })
		w.publish("s", "1", "2")
		w.pull("a", `{"batch":3,"no_wait":true}`)
		w.want()
		w.commit()
		// The status comes behind the messages that it counts.
		w.want("0 a s 1.1.1.T.1 1", "0 a s 1.2.2.T.0 2", "0 a  NATS/1.0 404 No Messages|")
		w.set(func() { w.stalled = false })
		w.pull("a", "10")
		w.ack(1, 2, 2, "", "")
		w.after(time.Minute)
		w.want("1000 a s 2.1.3.T.0 1")
		if got := fmt.Sprint(w.events()); got != "[{3 1 1 2 0   }]" {
			t.Errorf("advisories %s", got)
		}
		if n := w.state.NumAckPending(); n != 0 {
			t.Errorf("%d pending, want 0", n)
		}
	})
}

// Deliveries that were committed count after a change of runner, even if the old
// one died before it put them on the wire; those that were not do not.
func TestMaxDeliverTakeover(t *testing.T) {
	cfg := explicit()
	cfg.MaxDeliver, cfg.AckWait = 3, time.Second
	bubble(t, cfg, func(w *world) {
		w.publish("s", "1")
		w.pull("a", "1")
		w.want("0 a s 1.1.1.T.0 1")
		w.set(func() { w.stalled = true })
		w.pull("a", "1")
		w.after(time.Second)
		w.want()
		w.set(func() { w.stalled = false })
		w.takeOver()
		w.pull("a", "10")
		w.after(time.Minute)
		w.want("1000 a s 2.1.2.T.0 1", "2000 a s 3.1.3.T.0 1")
	})
}

// A message that was given up stays in the stream for a late ack, unless it is kept for
// other reasons only.
func TestLateAck(t *testing.T) {
	for _, policy := range []api.AckPolicy{api.AckExplicit, api.AckAll} {
		cfg := explicit()
		cfg.AckPolicy, cfg.MaxDeliver, cfg.AckWait = policy, 1, time.Second
		bubble(t, cfg, func(w *world) {
			w.set(func() { w.keeps = true })
			w.publish("s", "1", "2", "3")
			w.pull("a", "2")
			w.after(2 * time.Second)
			w.lines()
			if n := w.state.NumAckPending(); n != 0 || !w.state.Abandoned(1) || !w.state.Abandoned(2) || len(w.released) > 0 {
				t.Errorf("%s: %d pending, %v released", policy, n, w.released)
			}
			w.ack(1, 3, 3, "", "never delivered")
			w.ack(1, 1, 1, "", "r")
			w.ack(1, 2, 2, "+TERM", "r")
			w.ack(1, 2, 2, "", "r")
			w.want("2000 r  ", "2000 r  ", "2000 r  ")
			if len(w.released) != 2 || w.state.Abandoned(1) || w.state.Abandoned(2) {
				t.Errorf("%s: %v released", policy, w.released)
			}
		})
	}
}

func TestBackOff(t *testing.T) {
	cfg := explicit()
	cfg.MaxDeliver, cfg.BackOff = 4, []time.Duration{100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond}
	bubble(t, cfg, func(w *world) {
		w.publish("s", "1", "2")
		w.pull("a", "10")
		w.ack(1, 2, 2, "", "")
		w.after(time.Minute)
		w.want("0 a s 1.1.1.T.1 1", "0 a s 1.2.2.T.0 2", "100 a s 2.1.3.T.0 1", "350 a s 3.1.4.T.0 1", "850 a s 4.1.5.T.0 1")
		if got := w.events(); len(got) != 1 {
			t.Errorf("advisories %v, want one", got)
		}
	})
}

func TestTakeover(t *testing.T) {
	cfg := explicit()
	cfg.AckWait = 10 * time.Second
	bubble(t, cfg, func(w *world) {
		w.publish("s", "1", "2", "3", "4", "5")
		w.pull("a", "3")
		w.ack(1, 1, 1, "", "")
		w.after(2 * time.Second)
		w.ack(1, 3, 3, "-NAK 5s", "")
		w.set(func() { w.wire, w.stalled = nil, true })
		w.ack(1, 2, 2, "", "r")
		w.pull("a", "1")
		w.want("2000 a s 1.4.4.T.1 4")
		w.set(func() { w.stalled = false })
		w.takeOver()
		w.pull("b", "10")
		w.after(time.Minute)
		w.want("2000 b s 1.4.4.T.1 4", "2000 b s 1.5.5.T.0 5", "7000 b s 2.3.6.T.0 3", "10000 b s 2.2.7.T.0 2",
			"12000 b s 2.4.8.T.0 4", "12000 b s 2.5.9.T.0 5", "17000 b s 3.3.10.T.0 3", "20000 b s 3.2.11.T.0 2",
			"22000 b s 3.4.12.T.0 4", "22000 b s 3.5.13.T.0 5")
	})
}

func TestMaxAckPending(t *testing.T) {
	cfg := explicit()
	cfg.MaxAckPending, cfg.AckWait = 2, time.Second
	bubble(t, cfg, func(w *world) {
		w.publish("s", "1", "2", "3", "4")
		w.pull("a", "100")
		w.want("0 a s 1.1.1.T.3 1", "0 a s 1.2.2.T.2 2")
		w.after(time.Second)
		w.want("1000 a s 2.1.3.T.2 1", "1000 a s 2.2.4.T.2 2")
		w.ack(2, 2, 4, "", "")
		w.want("1000 a s 1.3.5.T.1 3")
		// What is purged from the stream makes room too.
		w.store.remove(1)
		w.store.remove(2)
		w.run.Stored()
		w.want("1000 a s 1.4.6.T.0 4")
		if n := w.run.Status().AckPending; n != 2 {
			t.Errorf("%d pending, want 2", n)
		}
		// So does what a limit removed, which the next one who asks brings to light.
		w.publish("s", "5")
		w.store.remove(3)
		w.store.remove(4)
		w.pull("b", "1")
		w.want("1000 a s 1.5.7.T.0 5")
	})
}

// Nothing is delivered beyond the window until deltas commit, and then it goes on.
func TestWindow(t *testing.T) {
	bubble(t, explicit(), func(w *world) {
		n := 0
		w.onMsg = func(string, string) { n++ }
		w.set(func() { w.stalled = true })
		w.publish("s", make([]string, 3*maxUncommittedOps)...)
		w.pull("a", fmt.Sprint(3*maxUncommittedOps))
		if n < maxUncommittedOps || n > maxUncommittedOps+maxDeltaOps {
			t.Errorf("%d messages delivered without a commit", n)
		}
		for i := 0; n < 3*maxUncommittedOps && i < 1000; i++ {
			before := n
			w.commitN(8)
			w.settle()
			if n == before {
				break
			}
		}
		if n != 3*maxUncommittedOps {
			t.Errorf("%d messages delivered, want all", n)
		}
	})
}

func TestDeletedMessage(t *testing.T) {
	cfg := explicit()
	cfg.AckWait = time.Second
	bubble(t, cfg, func(w *world) {
		w.publish("s", "1", "2", "3")
		w.pull("a", "2")
		w.store.remove(2)
		w.run.Stored()
		w.set(func() { w.wire = nil })
		w.pull("a", "3")
		w.want("0 a s 1.3.3.T.0 3")
		w.after(time.Second)
		w.want("1000 a s 2.1.4.T.0 1", "1000 a s 2.3.5.T.0 3")
		if n := w.state.NumAckPending(); n != 2 {
			t.Errorf("%d pending, want 2", n)
		}
	})
}

func TestSync(t *testing.T) {
	bubble(t, api.ConsumerConfig{AckPolicy: api.AckNone}, func(w *world) {
		done := 0
		w.run.Sync(func() { done++ })
		w.settle()
		w.publish("s", "1")
		w.pull("a", "1")
		w.set(func() { w.stalled = true })
		w.run.Sync(func() { done++ })
		w.settle()
		if done != 1 {
			t.Errorf("told %d times before the commit, want 1", done)
		}
		w.commit()
		w.settle()
		if done != 2 || w.state.Delivered.Stream != 1 {
			t.Errorf("told %d times, want 2; position %d, want 1", done, w.state.Delivered.Stream)
		}
	})
}

// Messages that went without anybody saying so are not pending any more.
func TestSyncLooksAtTheStore(t *testing.T) {
	bubble(t, explicit(), func(w *world) {
		w.publish("s", "1", "2", "3")
		w.pull("a", "3")
		w.store.remove(1)
		w.store.remove(2)
		done := false
		w.run.Sync(func() { done = true })
		w.commit()
		w.settle()
		if n := w.state.NumAckPending(); n != 1 || !done {
			t.Errorf("%d pending, want 1; told: %t", n, done)
		}
	})
}

// A new runner on the same node goes on with what the old one's clients wait for.
func TestHandOver(t *testing.T) {
	for _, limit := range []int{-1, 5} {
		cfg := explicit()
		cfg.MaxDeliver, cfg.AckWait = limit, time.Minute
		bubble(t, cfg, func(w *world) {
			w.publish("s", "1")
			w.pull("a", "1")
			w.want("0 a s 1.1.1.T.0 1")
			w.set(func() { w.stalled = true })
			w.ack(1, 1, 1, "", "r")
			w.pull("b", `{"batch":2,"expires":10000000000}`)
			if limit > 0 {
				w.publish("s", "2")
			}
			w.want()
			w.set(func() { w.stalled = false })
			w.handOver()
			if limit > 0 {
				w.want("0 r  ", "0 b s 1.2.2.T.0 2")
			} else {
				w.want("0 r  ")
				w.publish("s", "2")
				w.want("0 b s 1.2.2.T.0 2")
			}
			w.after(10 * time.Second)
			w.want("10000 b  NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 1|Nats-Pending-Bytes: 0|")
		})
	}
}
