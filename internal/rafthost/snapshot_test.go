package rafthost

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"weir/internal/base"
)

// grow makes the group's image about size bytes large on every replica.
func (c *cluster) grow(g base.GroupID, size int) {
	for _, n := range c.nodes {
		if m := n.machines[g]; m != nil {
			m.mu.Lock()
			m.s.Pad = make([]byte, size)
			m.mu.Unlock()
		}
	}
}

func (c *cluster) compact(g base.GroupID) {
	for _, n := range c.nodes {
		if n.host != nil && n.host.Group(g) != nil {
			n.host.Group(g).CompactAll(n.machines[g].checkpoint())
		}
	}
}

func TestSnapshotToLaggard(t *testing.T) {
	for name, hurt := range map[string]func(c *cluster){
		"clean": func(*cluster) {},
		"drops": func(c *cluster) { c.net.mu.Lock(); c.net.drop = 0.1; c.net.mu.Unlock() },
		"cut": func(c *cluster) {
			for range 3 {
				time.Sleep(30 * time.Millisecond)
				c.net.isolate(3, true)
				c.tell(3, true)
				c.nodes[3].host.PeerDown(1)
				c.nodes[3].host.PeerDown(2)
				time.Sleep(time.Second)
				c.net.isolate(3, false)
				c.tell(3, false)
				c.nodes[3].host.PeerUp(1)
				c.nodes[3].host.PeerUp(2)
			}
		},
		"leader killed": func(c *cluster) {
			time.Sleep(30 * time.Millisecond)
			lead := c.leader(7)
			c.kill(lead)
			time.Sleep(2 * time.Second)
			c.revive(lead)
		},
		"receiver killed": func(c *cluster) {
			time.Sleep(30 * time.Millisecond)
			c.kill(3)
			time.Sleep(2 * time.Second)
			c.revive(3)
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 3, func(c *cluster) {
				c.openAll(7, 1, 2, 3)
				c.putMany(7, 5)
				c.converged(7, 1, 2, 3)
				c.kill(3)
				c.putMany(7, 20)
				c.grow(7, 4<<20)
				c.compact(7)
				c.put(7, "behind the image")
				c.revive(3)
				hurt(c)
				c.converged(7, 1, 2, 3)
				if c.machine(3, 7).restore == 0 {
					t.Error("caught up without an image")
				}
				c.put(7, "after")
				c.converged(7, 1, 2, 3)
				c.until("the end of all streams", func() bool {
					for _, n := range c.nodes {
						if s := n.host.Stats(); s.Sending+s.Receiving != 0 {
							return false
						}
					}
					return true
				})
			})
		})
	}
}

// The machine has switched to the image, the log has not restarted after it.
func TestCrashBetweenSwitchAndMark(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		c.putMany(7, 5)
		c.converged(7, 1, 2, 3)
		c.kill(3)
		c.putMany(7, 20)
		c.compact(7)
		// Members change as well, so that the image's are not those of the log.
		c.change(7, MemberChange{AddLearners: []base.Replica{replica(7, 9)}})
		c.compact(7)
		m := c.machine(3, 7)
		hit, hold := make(chan struct{}), make(chan struct{})
		m.switched = func() { close(hit); <-hold }
		c.revive(3)
		<-hit
		m.switched = nil
		time.AfterFunc(time.Millisecond, func() { close(hold) })
		c.kill(3)
		image := m.get().Index
		c.revive(3)
		if s := c.group(3, 7).Status(); s.Applied != image || s.LastIndex != image || len(s.Learners) != 1 {
			t.Errorf("after the crash: %+v, image at %d", s, image)
		}
		c.put(7, "after")
		c.converged(7, 1, 2, 3)
	})
}

func TestLostStateIsCorruption(t *testing.T) {
	for name, hurt := range map[string]func(c *cluster, m *machine){
		"machine behind the log":   func(_ *cluster, m *machine) { m.durable = machineState{} },
		"machine ahead of the log": func(_ *cluster, m *machine) { m.durable.Index += 10 },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 1, func(c *cluster) {
				c.openAll(7, 1)
				c.put(7, "a")
				for range 6 { // the log is let go of a file at a time
					for range 20 {
						c.must(c.group(1, 7).Propose(make([]byte, 100<<10)))
					}
					c.put(7, "a")
					c.compact(7)
				}
				hurt(c, c.machine(1, 7))
				c.crash(1)
				c.boot(c.nodes[1])
				_, err := c.nodes[1].host.Open(GroupConfig{ID: 7, Replica: replica(7, 1).ID, Machine: c.machine(1, 7)})
				if !base.IsCorrupt(err) {
					t.Errorf("opened: %v", err)
				}
			})
		})
	}
}

func TestManySnapshotsAtOnce(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		const groups = 20
		for g := base.GroupID(1); g <= groups; g++ {
			c.openAll(g, 1, 2, 3)
		}
		for g := base.GroupID(1); g <= groups; g++ {
			c.putMany(g, 2)
		}
		c.kill(3)
		for g := base.GroupID(1); g <= groups; g++ {
			c.putMany(g, 2)
			c.grow(g, 300<<10)
			c.compact(g)
		}
		c.revive(3)
		for g := base.GroupID(1); g <= groups; g++ {
			c.converged(g, 1, 2, 3)
		}
	})
}

// An image for a replica that has failed is refused, so that its sender does not wait.
func TestSnapshotToFailedReplica(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		c.put(7, "x")
		c.converged(7, 1, 2, 3)
		g, h := c.group(3, 7), c.nodes[3].host
		b := binary.AppendUvarint(nil, 1) // stream
		b = binary.AppendUvarint(b, uint64(c.group(1, 7).Replica()))
		b = binary.AppendUvarint(b, 100)
		i := image{index: 1000, term: 100, members: g.members}
		b = i.append(b)
		g.fail(errors.New("disk is full"))
		h.handleSnapBegin(1, 7, g.Replica(), &decoder{b: b})
		if n := h.Stats().Receiving; n != 0 {
			t.Errorf("%d images are received by a failed replica", n)
		}
	})
}
