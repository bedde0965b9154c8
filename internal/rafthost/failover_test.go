package rafthost

import (
	"context"
	"errors"
	"testing"
	"time"

	"weir/internal/base"
)

func TestLeaderKilled(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		var worst, sum time.Duration
		const rounds = 20
		c.openAll(7, 1, 2, 3)
		for range rounds {
			c.putMany(7, 3)
			c.converged(7, 1, 2, 3)
			lead := c.leader(7)
			c.kill(lead)
			start := time.Now()
			c.leader(7)
			took := time.Since(start)
			worst, sum = max(worst, took), sum+took
			c.put(7, "x")
			c.revive(lead)
		}
		c.converged(7, 1, 2, 3)
		t.Logf("new leader after %v on average, %v at worst", sum/rounds, worst)
		if sum/rounds > 150*time.Millisecond || worst > time.Second {
			t.Errorf("new leader after %v on average, %v at worst", sum/rounds, worst)
		}
	})
}

func TestLeaderKilledUnnoticed(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		c.putMany(7, 3)
		lead := c.leader(7)
		c.crash(lead)
		start := time.Now()
		c.leader(7)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("new leader after %v", d)
		}
		c.putMany(7, 3)
	})
}

func TestPartitionedLeaderStepsDown(t *testing.T) {
	for _, noticed := range []bool{false, true} {
		simulate(t, 3, func(c *cluster) {
			c.openAll(7, 1, 2, 3)
			c.putMany(7, 3)
			lead := c.leader(7)
			c.net.isolate(lead, true)
			start := time.Now()
			limit := 2100 * time.Millisecond
			if noticed {
				limit = 20 * time.Millisecond
				for _, o := range []base.NodeID{1, 2, 3} {
					if o != lead {
						c.nodes[lead].host.PeerDown(o)
						c.nodes[o].host.PeerDown(lead)
					}
				}
			}
			_ = c.group(lead, 7).Propose([]byte("never"))
			c.until("step down", func() bool { return !c.machine(lead, 7).lead().Self })
			if d := time.Since(start); d > limit {
				t.Errorf("noticed %v: stepped down after %v", noticed, d)
			}
			c.putMany(7, 3)
			c.net.isolate(lead, false)
			for _, o := range []base.NodeID{1, 2, 3} {
				c.tell(o, false)
			}
			c.put(7, "y")
			c.converged(7, 1, 2, 3)
		})
	}
}

func TestRestartOfAll(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		c.openAll(8, 1, 2, 3)
		for round := range 6 {
			c.putMany(7, 5)
			c.putMany(8, 2)
			if round%2 == 1 {
				for id := range c.nodes {
					m := c.machine(id, 7)
					c.group(id, 7).CompactAll(m.checkpoint())
				}
			}
			acked := c.machine(c.leader(7), 7).get()
			for id := range c.nodes {
				c.crash(id)
			}
			for id := range c.nodes {
				c.revive(id)
			}
			c.until("what was acknowledged", func() bool { return c.machine(1, 7).get().Index > acked.Index })
			c.put(7, "z")
			c.converged(7, 1, 2, 3)
		}
		if n := c.machine(1, 7).get().Count; n != 36 {
			t.Errorf("%d entries with data, want 36", n)
		}
	})
}

func TestTransfer(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		for g := base.GroupID(7); g < 27; g++ {
			c.openAll(g, 1, 2, 3)
		}
		c.openAll(100, 1)
		for g := base.GroupID(7); g < 27; g++ {
			c.leader(g)
		}
		c.must(c.nodes[1].host.TransferAll(c.ctx(), nil))
		for g := base.GroupID(7); g < 27; g++ {
			c.put(g, "a")
			if c.leader(g) == 1 {
				t.Errorf("node 1 still leads %v", g)
			}
		}
		c.must(c.group(c.leader(7), 7).TransferLeader(replica(7, 1).ID))
		c.until("node 1 to lead", func() bool { return c.leader(7) == 1 })
		if err := c.group(1, 7).TransferLeader(99); !errors.Is(err, ErrUnknownReplica) {
			t.Errorf("transfer to a stranger: %v", err)
		}
	})
}

// Of nodes that go together, none hands over to another that goes.
func TestTransferAvoids(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		lead := c.leader(7)
		stays := lead%3 + 1
		c.must(c.nodes[lead].host.TransferAll(c.ctx(), func(n base.NodeID) bool { return n != stays }))
		if now := c.leader(7); now != stays {
			t.Errorf("%v leads, want %v", now, stays)
		}
		c.must(c.nodes[stays].host.TransferAll(c.ctx(), func(base.NodeID) bool { return true }))
		if now := c.leader(7); now != stays {
			t.Errorf("%v leads after all others went, want %v", now, stays)
		}
	})
}

// A transfer to a follower that is cut off fails; what was proposed meanwhile
// is not forgotten.
func TestProposalsSurviveFailedTransfer(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		lead := c.leader(7)
		to := lead%3 + 1
		c.put(7, "a")
		c.net.isolate(to, true)
		c.put(7, "b")
		c.must(c.group(lead, 7).TransferLeader(replica(7, to).ID))
		c.put(7, "c")
		if c.leader(7) != lead {
			t.Errorf("leader changed")
		}
	})
}

func TestClosedLeaderHandsOver(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		c.put(7, "a")
		time.Sleep(5 * time.Second) // asleep
		lead := c.leader(7)
		start := time.Now()
		c.must(c.nodes[lead].host.Close(7))
		delete(c.nodes[lead].machines, 7)
		c.leader(7)
		if d := time.Since(start); d > 500*time.Millisecond {
			t.Errorf("new leader after %v", d)
		}
		c.put(7, "b")
	})
}

func TestReadIndex(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		for i := range 5 {
			c.put(7, "a")
			want := c.machine(c.leader(7), 7).get().Index
			for id := range c.nodes {
				g := c.group(id, 7)
				index, err := g.ReadIndex(c.ctx())
				c.must(err)
				if index < want {
					t.Errorf("read index %d on node %v, %d is acknowledged", index, id, want)
				}
				c.must(g.WaitApplied(c.ctx(), index))
				if c.machine(id, 7).get().Count < i+1 {
					t.Errorf("stale read on node %v", id)
				}
			}
			time.Sleep(time.Duration(i) * time.Second)
		}
		lead := c.leader(7)
		c.net.isolate(lead, true)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if i, err := c.group(lead, 7).ReadIndex(ctx); err == nil {
			t.Errorf("a leader that is cut off answered a read: %d", i)
		}
	})
}

func TestReadIndexOfSingleVoterAfterRestart(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.openAll(7, 1)
		c.putMany(7, 10)
		want := c.machine(1, 7).get().Index
		c.crash(1)
		c.boot(c.nodes[1])
		g := c.open(1, 7, nil)
		index, err := g.ReadIndex(c.ctx())
		c.must(err)
		if index < want {
			t.Errorf("read index %d, %d was acknowledged", index, want)
		}
	})
}
