package rafthost

import (
	"errors"
	"strings"
	"testing"
	"time"

	"weir/internal/base"
)

func TestOverload(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.tune = func(o *Options) { o.MaxUncommittedBytes = 1 << 20 }
		for id := range c.nodes {
			c.crash(id)
			c.boot(c.nodes[id])
		}
		c.openAll(7, 1, 2, 3)
		lead := c.leader(7)
		m := c.machine(lead, 7)
		block := make(chan struct{})
		m.mu.Lock()
		m.block = block
		m.mu.Unlock()
		taken, chunk := 0, make([]byte, 10<<10)
		for {
			err := c.group(lead, 7).Propose(append([]byte(nil), chunk...))
			if errors.Is(err, ErrOverloaded) {
				break
			}
			c.must(err)
			if taken++; taken > 1000 {
				t.Fatal("takes everything")
			}
		}
		time.Sleep(10 * time.Second)
		if c.group(lead, 7).Status().Leader.Leader != replica(7, lead).ID {
			t.Error("lost leadership")
		}
		m.mu.Lock()
		m.block = nil
		m.mu.Unlock()
		close(block)
		c.until("everything taken", func() bool { return m.get().Count == taken })
		c.put(7, "goes on")
		c.converged(7, 1, 2, 3)
	})
}

// An entry larger than what may wait on a follower reaches it all the same.
func TestEntryLargerThanInbox(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.tune = func(o *Options) { o.MaxInboxBytes = 10 << 10 }
		for id := range c.nodes {
			c.crash(id)
			c.boot(c.nodes[id])
		}
		c.openAll(7, 1, 2, 3)
		c.put(7, strings.Repeat("x", 100<<10))
		c.put(7, "goes on")
		c.converged(7, 1, 2, 3)
	})
}

func TestFailedReplica(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		t.Run(who, func(t *testing.T) {
			simulate(t, 3, func(c *cluster) {
				c.openAll(7, 1, 2, 3)
				c.openAll(8, 1, 2, 3)
				c.putMany(7, 5)
				c.converged(7, 1, 2, 3)
				lead := c.leader(7)
				bad := lead
				if who == "follower" {
					bad = lead%3 + 1
				}
				m := c.machine(bad, 7)
				m.mu.Lock()
				m.fault = base.Corruptf("a bit flipped")
				m.mu.Unlock()
				_ = c.group(lead, 7).Propose([]byte("hits it"))
				c.until("the replica to stop", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.stopped != nil })
				start := time.Now()
				m.mu.Lock()
				m.leader = LeaderInfo{}
				if !base.IsCorrupt(m.stopped) {
					t.Errorf("stopped with %v", m.stopped)
				}
				m.mu.Unlock()
				c.leader(7)
				if d := time.Since(start); d > 500*time.Millisecond {
					t.Errorf("new leader after %v", d)
				}
				c.put(7, "goes on")
				if err := c.group(bad, 7).Propose([]byte("x")); !errors.Is(err, ErrStopped) || !base.IsCorrupt(err) {
					t.Errorf("proposal to the stopped replica: %v", err)
				}
				if s := c.group(bad, 7).Status(); s.Err == nil {
					t.Errorf("status %+v", s)
				}
				c.put(8, "other groups go on")
				c.converged(8, 1, 2, 3)
				// Rebuilt under a new id.
				c.must(c.nodes[bad].host.Remove(7))
				delete(c.nodes[bad].machines, 7)
				fresh := base.Replica{ID: 1000, Node: bad}
				again := newMachine()
				_, err := c.nodes[bad].host.Open(GroupConfig{ID: 7, Replica: fresh.ID, Machine: again})
				c.must(err)
				c.change(7, MemberChange{AddLearners: []base.Replica{fresh}})
				c.change(7, MemberChange{Promote: []base.ReplicaID{fresh.ID}, Remove: []base.ReplicaID{replica(7, bad).ID}})
				c.nodes[bad].machines[7] = again
				c.put(7, "rebuilt")
				c.converged(7, 1, 2, 3)
			})
		})
	}
}

// What is not on disk is not acknowledged: with the disks of both followers
// stuck nothing commits.
func TestNothingCommitsWithoutDisk(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		c.put(7, "a")
		c.converged(7, 1, 2, 3)
		lead := c.leader(7)
		for id, n := range c.nodes {
			if id != lead {
				n.disk.stick(true)
			}
		}
		before := c.machine(lead, 7).get()
		c.must(c.group(lead, 7).Propose([]byte("b")))
		time.Sleep(500 * time.Millisecond)
		if s := c.machine(lead, 7).get(); s.Index != before.Index {
			t.Errorf("committed %q while the disks were stuck", s.Last)
		}
		for _, n := range c.nodes {
			n.disk.stick(false)
		}
		c.until("the commit", func() bool { return c.machine(lead, 7).get().Last == "b" })
	})
}

func TestCloseAndReopen(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		for i := range 10 {
			c.put(7, "a")
			id := base.NodeID(i%3 + 1)
			c.must(c.nodes[id].host.Close(7))
			if err := c.nodes[id].host.Close(7); !errors.Is(err, ErrStopped) {
				t.Errorf("closed twice: %v", err)
			}
			c.machine(id, 7).LeaderChange(LeaderInfo{})
			c.open(id, 7, nil)
			if _, err := c.nodes[id].host.Open(GroupConfig{ID: 7, Replica: 5, Machine: newMachine()}); !errors.Is(err, ErrGroupExists) {
				t.Errorf("opened twice: %v", err)
			}
		}
		c.put(7, "b")
		c.converged(7, 1, 2, 3)
	})
}
