package runner

import (
	"testing"

	"weir/internal/base"
)

// A client can send more than a runner gets to: what does not fit into the inbox is
// dropped, whatever it is.
func TestInboxIsBounded(t *testing.T) {
	sched := NewScheduler(base.SystemClock, 0) // nobody empties it
	defer sched.Stop()
	cfg := explicit()
	for name, send := range map[string]func(r *Runner){
		"pulls":                func(r *Runner) { r.Pull(PullRequest{Reply: "in"}) },
		"flow control replies": func(r *Runner) { r.FlowReply("$JS.FC.S.C.1", nil) },
	} {
		r := New(&Env{Clock: base.SystemClock}, sched, Identity{}, &cfg, State{})
		for range maxInboxEvents + 100 {
			send(r)
		}
		if n := len(r.in.events); n != maxInboxEvents {
			t.Errorf("%s: %d wait, where %d are allowed", name, n, maxInboxEvents)
		}
	}
}

// While nothing is committed, a client may ask for as many confirmations as it likes:
// no more are kept than a bound, and those are given.
func TestConfirmationsAreBounded(t *testing.T) {
	bubble(t, explicit(), func(w *world) {
		w.publish("s", "1")
		w.pull("a", "1")
		w.set(func() { w.wire, w.stalled = nil, true })
		for range maxAwaited / 1000 * 2 {
			for range 1000 {
				w.run.Ack(Ack{Stream: 1, Consumer: 1, Deliveries: 1, Reply: "r"})
			}
			w.settle()
		}
		if n := len(w.run.onCommit); n > maxAwaited+1 {
			t.Errorf("%d confirmations are kept", n)
		}
		w.commit()
		w.settle()
		if n := len(w.lines()); n < maxAwaited/2 || n > maxAwaited {
			t.Errorf("%d confirmations came", n)
		}
	})
}

func TestHeartbeatTooLong(t *testing.T) {
	bubble(t, explicit(), func(w *world) {
		w.pull("a", `{"batch":1,"expires":1000000000,"idle_heartbeat":4611686018427387904}`)
		w.want("0 a  NATS/1.0 400 Bad Request - heartbeat value too large|")
	})
}
