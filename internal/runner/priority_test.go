package runner

import (
	"fmt"
	"testing"
	"time"

	"weir/internal/api"
)

func prioritized(p api.PriorityPolicy) api.ConsumerConfig {
	cfg := explicit()
	cfg.PriorityGroups, cfg.PriorityPolicy, cfg.PinnedTTL = []string{"A"}, p, time.Second
	return cfg
}

func TestPriorityRefusals(t *testing.T) {
	for _, c := range []struct {
		policy     api.PriorityPolicy
		body, want string
	}{
		{api.PriorityPinned, `{"batch":1}`, "Priority Group missing"},
		{api.PriorityPinned, `{"group":"B"}`, "Invalid Priority Group"},
		{api.PriorityPinned, `{"group":"A","min_pending":3}`, "Not a Overflow Priority consumer"},
		{api.PriorityPinned, `{"group":"A","priority":11}`, "Priority must be between 0 and 9"},
		{api.PriorityOverflow, `{"group":"A","id":"x"}`, "Not a Pinned Client Priority consumer"},
		{api.PriorityPrioritized, `{"group":"A","priority":-1}`, "Priority must be between 0 and 9"},
		{api.PriorityPrioritized, `{"group":"A","min_ack_pending":1}`, "Not a Overflow Priority consumer"},
	} {
		bubble(t, prioritized(c.policy), func(w *world) {
			w.pull("a", c.body)
			w.want("0 a  NATS/1.0 400 Bad Request - " + c.want + "|")
		})
	}
}

func TestOverflow(t *testing.T) {
	bubble(t, prioritized(api.PriorityOverflow), func(w *world) {
		w.publish("s", "1", "2", "3", "4", "5", "6")
		w.pull("a", `{"batch":10,"group":"A","min_pending":3,"expires":1000000000}`)
		w.want("0 a s 1.1.1.T.5 1", "0 a s 1.2.2.T.4 2", "0 a s 1.3.3.T.3 3", "0 a s 1.4.4.T.2 4")
		w.pull("b", `{"batch":1,"group":"A","min_ack_pending":4}`)
		w.want("0 b s 1.5.5.T.1 5")
		w.pull("c", `{"batch":1,"group":"A","min_pending":2,"no_wait":true,"expires":-1}`)
		w.pull("d", `{"batch":1,"group":"A"}`)
		w.want("0 c  NATS/1.0 408 Requests Pending|", "0 d s 1.6.6.T.0 6")
		w.after(time.Second)
		w.want("1000 a  NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 6|Nats-Pending-Bytes: 0|")
	})
}

func TestPrioritized(t *testing.T) {
	bubble(t, prioritized(api.PriorityPrioritized), func(w *world) {
		w.pull("low", `{"batch":2,"group":"A","priority":5}`)
		w.pull("high", `{"batch":1,"group":"A","priority":1}`)
		w.pull("high2", `{"batch":1,"group":"A","priority":1}`)
		w.publish("s", "1", "2", "3", "4")
		w.want("0 high s 1.1.1.T.3 1", "0 high2 s 1.2.2.T.2 2", "0 low s 1.3.3.T.1 3", "0 low s 1.4.4.T.0 4")
	})
}

func TestPinned(t *testing.T) {
	bubble(t, prioritized(api.PriorityPinned), func(w *world) {
		w.publish("s", "1", "2", "3", "4", "5")
		w.pull("a", `{"batch":1,"group":"A"}`)
		w.want("0 a s 1.1.1.T.4 NATS/1.0|Nats-Pin-Id: pin1||1")
		w.pull("b", `{"batch":1,"group":"A"}`)
		w.pull("c", `{"batch":1,"group":"A","id":"other"}`)
		w.want("0 c  NATS/1.0 423 Nats-Pin-Id mismatch|")
		w.after(900 * time.Millisecond)
		w.pull("a", `{"batch":2,"group":"A","id":"pin1"}`)
		w.want("900 a s 1.2.2.T.3 NATS/1.0|Nats-Pin-Id: pin1||2", "900 a s 1.3.3.T.2 NATS/1.0|Nats-Pin-Id: pin1||3")
		if p := w.pin(); p == nil || p.ID != "pin1" || p.Group != "A" || p.Since != w.start.UnixNano() {
			t.Errorf("pinned %+v", p)
		}
		w.after(time.Second)
		w.want("1900 b s 1.4.4.T.1 NATS/1.0|Nats-Pin-Id: pin2||4")
		w.run.Unpin("A")
		w.pull("b", `{"batch":1,"group":"A","id":"pin2"}`)
		w.want("1900 b  NATS/1.0 423 Nats-Wrong-Pin-Id|Nats-Pending-Messages: 1|Nats-Pending-Bytes: 0|")
		if got := fmt.Sprint(w.events()); got != "[{5 0 0 0 0  A pin1} {6 0 0 0 0 timeout A } {5 0 0 0 0  A pin2} {6 0 0 0 0 admin A }]" {
			t.Errorf("advisories %s", got)
		}
	})
}

// TestPinOutlivesRunner has the pinned client go on with its pin under the next
// runner, on another node and on the same one, for as long as it is heard of.
func TestPinOutlivesRunner(t *testing.T) {
	bubble(t, prioritized(api.PriorityPinned), func(w *world) {
		w.publish("s", "1", "2", "3", "4", "5")
		w.pull("a", `{"batch":1,"group":"A"}`)
		w.want("0 a s 1.1.1.T.4 NATS/1.0|Nats-Pin-Id: pin1||1")
		w.after(500 * time.Millisecond)
		w.takeOver()
		w.pull("b", `{"batch":1,"group":"A"}`)
		w.pull("c", `{"batch":1,"group":"A","id":"other"}`)
		w.want("500 c  NATS/1.0 423 Nats-Pin-Id mismatch|")
		w.after(900 * time.Millisecond)
		w.pull("a", `{"batch":1,"group":"A","id":"pin1"}`)
		w.want("1400 a s 1.2.2.T.3 NATS/1.0|Nats-Pin-Id: pin1||2")
		w.handOver()
		w.pull("a", `{"batch":1,"group":"A","id":"pin1"}`)
		w.want("1400 a s 1.3.3.T.2 NATS/1.0|Nats-Pin-Id: pin1||3")
		w.takeOver()
		w.pull("b", `{"batch":2,"group":"A"}`)
		w.after(time.Second)
		w.want("2400 b s 1.4.4.T.1 NATS/1.0|Nats-Pin-Id: pin2||4", "2400 b s 1.5.5.T.0 NATS/1.0|Nats-Pin-Id: pin2||5")
		w.run.Unpin("A")
		w.settle()
		if p := w.pin(); p != nil {
			t.Errorf("pinned %+v", p)
		}
		if got := fmt.Sprint(w.events()); got != "[{5 0 0 0 0  A pin1} {6 0 0 0 0 timeout A } {5 0 0 0 0  A pin2} {6 0 0 0 0 admin A }]" {
			t.Errorf("advisories %s", got)
		}
	})
}

// TestPinIsCommittedFirst: nobody is told that it is pinned before that is committed, as
// the next runner would not know.
func TestPinIsCommittedFirst(t *testing.T) {
	bubble(t, prioritized(api.PriorityPinned), func(w *world) {
		w.publish("s", "1", "2")
		w.set(func() { w.stalled = true })
		w.pull("a", `{"batch":1,"group":"A"}`)
		w.pull("n", `{"batch":1,"group":"A","no_wait":true,"expires":-1}`)
		w.want("0 n  NATS/1.0 408 Requests Pending|")
		if got := w.events(); len(got) > 0 {
			t.Errorf("advisories %v", got)
		}
		w.set(func() { w.stalled = false })
		w.takeOver()
		w.pull("b", `{"batch":1,"group":"A","no_wait":true}`)
		w.want("0 b s 1.1.1.T.1 NATS/1.0|Nats-Pin-Id: pin2||1")
		if got := fmt.Sprint(w.events()); got != "[{5 0 0 0 0  A pin2}]" {
			t.Errorf("advisories %s", got)
		}
	})
}

// TestPinIsHandedOver has a pin that is not committed yet survive a new epoch on the
// same node.
func TestPinIsHandedOver(t *testing.T) {
	bubble(t, prioritized(api.PriorityPinned), func(w *world) {
		w.publish("s", "1", "2", "3")
		w.set(func() { w.stalled = true })
		w.pull("a", `{"batch":2,"group":"A"}`)
		w.want()
		w.set(func() { w.stalled = false })
		w.handOver()
		w.want("0 a s 1.1.1.T.2 NATS/1.0|Nats-Pin-Id: pin1||1", "0 a s 1.2.2.T.1 NATS/1.0|Nats-Pin-Id: pin1||2")
		if p := w.pin(); p == nil || p.ID != "pin1" {
			t.Errorf("pinned %+v", p)
		}
	})
}

// TestPinWhileOutOfTouch leaves the pin alone while the runner does not hear of its
// group, as its client may talk to another one.
func TestPinWhileOutOfTouch(t *testing.T) {
	bubble(t, prioritized(api.PriorityPinned), func(w *world) {
		w.publish("s", "1")
		w.pull("a", `{"batch":1,"group":"A"}`)
		w.set(func() { w.dead = true })
		w.after(5 * time.Second)
		if got := fmt.Sprint(w.events()); got != "[{5 0 0 0 0  A pin1}]" {
			t.Errorf("advisories %s", got)
		}
	})
}
