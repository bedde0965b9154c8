package rafthost

import (
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/base"
)

// simulate runs a test in virtual time.
func simulate(t *testing.T, nodes int, f func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newCluster(t, nodes)) })
}

func TestSingleVoterLeadsAtOnce(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		start := time.Now()
		c.openAll(7, 1)
		c.leader(7)
		if d := time.Since(start); d > 50*time.Millisecond {
			t.Errorf("elected after %v", d)
		}
		c.put(7, "a")
		for range 3 {
			c.crash(1)
			c.boot(c.nodes[1])
			start = time.Now()
			c.open(1, 7, nil)
			c.leader(7)
			if d := time.Since(start); d > 50*time.Millisecond {
				t.Errorf("elected after %v on restart", d)
			}
		}
		c.put(7, "b")
		if s := c.machine(1, 7).get(); s.Count != 2 {
			t.Errorf("replayed %d entries with data, want 2", s.Count)
		}
	})
}

func TestThreeVoters(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		c.putMany(7, 20)
		c.converged(7, 1, 2, 3)
		for _, id := range []base.NodeID{1, 2, 3} {
			if v := c.machine(id, 7).voters; len(v) != 3 {
				t.Errorf("node %v knows voters %v", id, v)
			}
		}
	})
}

func TestFollowerRefuses(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		lead := c.leader(7)
		for id := range c.nodes {
			if err := c.group(id, 7).Propose([]byte("x")); (err == nil) != (id == lead) {
				t.Errorf("node %v (leader %v): %v", id, lead, err)
			}
		}
	})
}
