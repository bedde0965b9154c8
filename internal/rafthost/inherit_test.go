package rafthost

import (
	"testing"

	"weir/internal/base"
)

// A replica that goes on alone has all that the one before it had in its log, and none
// of its members.
func TestInherit(t *testing.T) {
	simulate(t, 4, func(c *cluster) {
		c.crash(1)
		c.tune = func(o *Options) { o.MemLog = o.FileLog }
		c.boot(c.nodes[1])
		c.openAll(7, 1, 2, 3)
		c.putMany(7, 3)
		c.until("entries on node 1", func() bool { return c.machine(1, 7).get().Count == 3 })
		early := c.machine(1, 7).get()
		c.join(7, 4) // in the log behind what the heir's machine has
		c.putMany(7, 3)
		c.converged(7, 1, 2, 3, 4)
		late := c.machine(1, 7).get()
		for id := range c.nodes {
			c.must(c.nodes[id].host.Close(7))
		}

		heir := base.Replica{ID: 999, Node: 1}
		c.must(c.nodes[1].host.Inherit(7, replica(7, 1).ID, heir, early.Index))
		m := newMachine()
		m.s = early
		c.nodes[1].machines[7] = m
		g, err := c.nodes[1].host.Open(GroupConfig{ID: 7, Replica: heir.ID, Memory: true, Machine: m})
		c.must(err)
		c.until("all entries", func() bool { return m.get().Count == late.Count })
		if m.get().Last != late.Last {
			t.Errorf("the last entry is %q, not %q", m.get().Last, late.Last)
		}
		c.put(7, "alone")
		if v := g.Status().Voters; len(v) != 1 || v[0] != heir {
			t.Errorf("voters %v", v)
		}
	})
}
