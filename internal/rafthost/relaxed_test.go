package rafthost

import (
	"bytes"
	"testing"
	"time"

	"weir/internal/base"
)

func simulateRelaxed(t *testing.T, nodes int, f func(c *cluster)) {
	t.Helper()
	simulate(t, nodes, func(c *cluster) {
		c.relaxed = func(data []byte) bool { return bytes.HasPrefix(data, []byte("relaxed")) }
		f(c)
	})
}

// applies proposes while no sync of the leader returns, and tells whether it was applied.
func (c *cluster) applies(g base.GroupID, data string) bool {
	c.t.Helper()
	lead := c.leader(g)
	c.nodes[lead].disk.stick(true)
	defer c.nodes[lead].disk.stick(false)
	c.must(c.group(lead, g).Propose([]byte(data)))
	time.Sleep(50 * time.Millisecond)
	return c.machine(lead, g).get().Last == data
}

// A relaxed entry of a group of one is applied before it is durable; what a crash takes of such
// entries leaves a group that goes on.
func TestRelaxedAlone(t *testing.T) {
	simulateRelaxed(t, 1, func(c *cluster) {
		c.openAll(7, 1)
		c.put(7, "strict 1")
		if !c.applies(7, "relaxed 1") {
			t.Error("a relaxed entry waited for the disk")
		}
		if c.applies(7, "strict 2") {
			t.Error("another entry did not")
		}
		c.until("it", func() bool { return c.machine(1, 7).get().Last == "strict 2" })
		c.put(7, "relaxed 2")
		c.crash(1)
		c.revive(1)
		c.until("the start", func() bool { return c.machine(1, 7).get().Count >= 3 })
		if s := c.machine(1, 7).get(); s.Last != "strict 2" {
			t.Errorf("after a crash the group has %q at last", s.Last)
		}
		if c.applies(7, "strict 3") || !c.applies(7, "relaxed 3") {
			t.Error("it is different after the crash")
		}
	})
}

// With a second member nothing is applied before it is durable, from the change on.
func TestRelaxedWithOthers(t *testing.T) {
	simulateRelaxed(t, 2, func(c *cluster) {
		c.openAll(7, 1)
		c.put(7, "strict 1")
		c.put(7, "relaxed 1")
		lead := c.leader(7)
		c.open(2, 7, nil)
		c.change(7, MemberChange{AddLearners: []base.Replica{replica(7, 2)}})
		if c.applies(7, "relaxed 2") {
			t.Error("an entry was applied before it was durable, with a learner")
		}
		c.change(7, MemberChange{Remove: []base.ReplicaID{replica(7, 2).ID}})
		c.until("the change", func() bool { return len(c.group(lead, 7).Status().Learners) == 0 })
		if !c.applies(7, "relaxed 3") {
			t.Error("alone again, a relaxed entry waited for the disk")
		}
	})
}
