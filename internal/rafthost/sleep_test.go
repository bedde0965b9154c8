package rafthost

import (
	"testing"
	"time"

	"weir/internal/base"
)

func (c *cluster) asleep(g base.GroupID, nodes ...base.NodeID) bool {
	for _, n := range nodes {
		if !c.group(n, g).Status().Quiesced {
			return false
		}
	}
	return true
}

func TestSleep(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		const groups = 50
		for g := base.GroupID(1); g <= groups; g++ {
			c.openAll(g, 1, 2, 3)
		}
		c.open(1, 100, replicas(100, 1))
		for g := base.GroupID(1); g <= groups; g++ {
			c.put(g, "a")
		}
		time.Sleep(10 * time.Second)
		before := c.net.frames()
		time.Sleep(time.Hour)
		if n := c.net.frames() - before; n != 0 {
			t.Errorf("%d frames in an hour of sleep", n)
		}
		for id, n := range c.nodes {
			if s := n.host.Stats(); s.Awake != 0 {
				t.Errorf("node %v: %+v", id, s)
			}
		}
		lead := c.leader(1)
		start := time.Now()
		c.put(1, "b")
		if d := time.Since(start); d > 10*time.Millisecond {
			t.Errorf("woke within %v", d)
		}
		time.Sleep(10 * time.Second)
		if c.leader(1) != lead || !c.asleep(1, 1, 2, 3) {
			t.Error("did not go back to sleep")
		}
		// The leader's death wakes.
		start = time.Now()
		c.kill(lead)
		c.leader(1)
		if d := time.Since(start); d > 300*time.Millisecond {
			t.Errorf("new leader of a sleeping group after %v", d)
		}
		// A member that is down keeps nobody awake.
		time.Sleep(10 * time.Second)
		for g := base.GroupID(1); g <= groups; g++ {
			c.put(g, "c")
		}
		time.Sleep(10 * time.Second)
		for id, n := range c.nodes {
			if n.host != nil && n.host.Stats().Awake != 0 {
				t.Errorf("node %v, one member being down: %+v", id, n.host.Stats())
			}
		}
		c.revive(lead)
		for g := base.GroupID(1); g <= groups; g++ {
			c.converged(g, 1, 2, 3)
		}
		time.Sleep(10 * time.Second)
		for g := base.GroupID(1); g <= groups; g++ {
			if !c.asleep(g, 1, 2, 3) {
				t.Errorf("%v is awake", g)
			}
		}
	})
}

// A sleeping leader that wakes keeps its leadership although it has heard
// nobody for long.
func TestWakingLeaderStays(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.net.delay = 50 * time.Millisecond
		c.openAll(7, 1, 2, 3)
		c.put(7, "a")
		first := c.group(1, 7).Status().Term
		for i := range 40 {
			time.Sleep(4*time.Second + time.Duration(i)*37*time.Millisecond)
			_, err := c.group(c.leader(7), 7).ReadIndex(c.ctx())
			c.must(err)
		}
		if term := c.group(1, 7).Status().Term; term != first {
			t.Errorf("term %d, want %d, that of the first leader", term, first)
		}
	})
}
