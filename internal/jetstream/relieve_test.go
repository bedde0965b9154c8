package jetstream

import (
	"context"
	"testing"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/machine"
)

// A runner that was appointed just now and does not know it yet is retired all the same:
// it would begin to deliver beside those that are appointed after it.
func TestRetireOfRunnerToCome(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("S", api.FileStorage, 3), c.all...)
	c.createConsumer("S", "C")
	leader := c.leader("S")
	s := leader.stream("S")
	var behind *harness
	for behind = range c.eachLive() {
		if behind != leader && behind != c.runner("S", "C") {
			break
		}
	}
	r := behind.stream("S")
	c.setDeaf(behind.node.ID())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var appoint machine.Appointment
	s.View(func(m *machine.Machine) {
		x := m.Consumer("C")
		appoint = machine.Appointment{Consumer: x.ID, Epoch: x.Epoch, Runner: r.replica}
	})
	if _, err := s.Propose(ctx, machine.Runners{appoint}); err != nil {
		t.Fatal(err)
	}
	if r.Runner("C") != nil {
		t.Fatal("a replica that hears nothing knows of its appointment")
	}
	c.net.mu.Lock()
	c.net.filter = func(_, to base.NodeID, kind byte, payload []byte) bool {
		if _, m, _, err := decodeCall(payload); kind == frameCall && err == nil && m == methodRetire && to == behind.node.ID() {
			go c.setDeaf(0)
		}
		return false
	}
	c.net.mu.Unlock()
	s.retireAt(ctx, behind.node.ID(), []uint64{appoint.Consumer})
	if r.Runner("C") == nil {
		t.Error("the runner that was to retire is yet to come")
	}
}

// A leader that has many consumers to give to others does what else is due between two
// parts of them.
func TestReliefGivesWay(t *testing.T) {
	h, s := aloneWith(t, streamConfig("S", api.FileStorage, 1))
	list := make(machine.Runners, 3*relievePart)
	for i := range list {
		list[i] = machine.Appointment{Consumer: uint64(1000 + i), Runner: s.replica}
	}
	h.until("the end of the reconcile that is under way", func() bool {
		s.duty.mu.Lock()
		defer s.duty.mu.Unlock()
		idle := !s.duty.busy
		s.duty.busy = true // no other one begins
		return idle
	})
	s.node.reconcile(s)
	before := s.group.Status().LastIndex
	if more, err := s.relieveInParts(t.Context(), list); !more || err != nil {
		t.Errorf("something else is due: more %t, %v", more, err)
	}
	h.until("one part before it", func() bool { return s.group.Applied() == before+1 })
	if n := s.group.Status().LastIndex - before; n != 1 {
		t.Errorf("%d parts before it", n)
	}
}
