package rafthost

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"weir/internal/base"
)

var chaosSeeds = flag.Int("chaos.seeds", 12, "random schedules to run")

// TestChaos runs random faults, then heals and checks that nothing that was
// acknowledged is lost, that no two replicas ever differ, and that all converge.
func TestChaos(t *testing.T) {
	for seed := range *chaosSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			simulate(t, 5, func(c *cluster) { newChaos(c, uint64(seed)).run() })
		})
	}
}

// chaos drives two groups: 7 keeps its members, 8 changes them.
type chaos struct {
	*cluster
	rand  *rand.Rand
	acked map[base.GroupID]machineState
	next  int
}

func newChaos(c *cluster, seed uint64) *chaos {
	c.net.rand = rand.New(rand.NewPCG(seed, 1))
	return &chaos{cluster: c, rand: rand.New(rand.NewPCG(seed, 2)), acked: map[base.GroupID]machineState{}}
}

func (c *chaos) run() {
	c.openAll(7, 1, 2, 3)
	c.openAll(8, 1, 2, 3)
	c.open(4, 8, nil)
	c.open(5, 8, nil)
	c.grow(7, 300<<10)
	for range 150 {
		c.step()
		for _, g := range []base.GroupID{7, 8} {
			c.tryPut(g)
		}
		time.Sleep(time.Duration(c.rand.IntN(100)) * time.Millisecond)
	}
	c.heal()
	for _, g := range []base.GroupID{7, 8} {
		c.put(g, "healed")
		var members []base.NodeID
		for _, r := range c.group(c.leader(g), g).Status().Voters {
			members = append(members, r.Node)
		}
		c.converged(g, members...)
		if s := c.machine(members[0], g).get(); s.Index < c.acked[g].Index {
			c.t.Errorf("%v ends at %d, %d was acknowledged", g, s.Index, c.acked[g].Index)
		}
		c.t.Logf("%v: voters %v, index %d, acknowledged %d, term %d, %d entries, %d restores at one",
			g, members, c.machine(members[0], g).get().Index, c.acked[g].Index, c.group(members[0], g).Status().Term,
			c.machine(members[0], g).get().Count, c.machine(members[0], g).restore)
	}
}

func (c *chaos) step() {
	id := base.NodeID(c.rand.IntN(5) + 1)
	up := c.nodes[id].host != nil
	switch p := c.rand.IntN(100); {
	case p < 8 && up:
		if c.rand.IntN(2) == 0 {
			c.crash(id)
		} else {
			c.kill(id)
		}
	case p < 40 && !up:
		c.revive(id)
	case p < 48:
		c.net.isolate(id, true)
		if c.rand.IntN(2) == 0 {
			c.tell(id, true)
		}
	case p < 70:
		c.net.isolate(id, false)
		c.tell(id, false)
	case p < 78:
		c.net.mu.Lock()
		c.net.drop = []float64{0, 0, 0.05, 0.3}[c.rand.IntN(4)]
		c.net.delay = time.Duration(1+c.rand.IntN(20)) * time.Millisecond
		c.net.mu.Unlock()
	case p < 88 && up:
		for _, g := range []base.GroupID{7, 8} {
			if m, group := c.nodes[id].machines[g], c.group(id, g); m != nil && group != nil {
				group.CompactAll(m.checkpoint())
			}
		}
	case p < 96:
		c.randomChange()
	}
}

// randomChange asks for a change of members where it seems to be possible, and
// does not wait for it.
func (c *chaos) randomChange() {
	node := base.NodeID(c.rand.IntN(5) + 1)
	r := replica(8, node)
	for _, n := range c.nodes {
		if n.host == nil || n.machines[8] == nil || !n.machines[8].lead().Self || n.host.Group(8) == nil {
			continue
		}
		g := n.host.Group(8)
		s := g.Status()
		var ch MemberChange
		role := ""
		for _, v := range s.Voters {
			if v == r {
				role = "voter"
			}
		}
		for _, l := range s.Learners {
			if l == r {
				role = "learner"
			}
		}
		switch {
		case role == "" && node >= 4: // 1 to 3 never come back once removed
			ch.AddLearners = []base.Replica{r}
		case role == "learner":
			ch.Promote = []base.ReplicaID{r.ID}
		case role == "voter" && node < 4 && len(s.Voters) > 3:
			ch.Remove = []base.ReplicaID{r.ID}
		default:
			return
		}
		go func() { _ = g.ChangeMembers(c.t.Context(), ch) }()
	}
}

// tryPut proposes where a leader is, and notes what was acknowledged within a
// moment.
func (c *chaos) tryPut(g base.GroupID) {
	for _, n := range c.nodes {
		if n.host == nil || n.machines[g] == nil || n.host.Group(g) == nil || !n.machines[g].lead().Self {
			continue
		}
		m := n.machines[g]
		c.next++
		data := fmt.Sprint(c.next)
		if err := n.host.Group(g).Propose([]byte(data)); err != nil {
			if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrOverloaded) {
				c.t.Errorf("propose: %v", err)
			}
			continue
		}
		time.Sleep(5 * time.Millisecond)
		// Applied by the leader: durable on a majority.
		if s := m.get(); s.Index > c.acked[g].Index {
			c.acked[g] = s
		}
	}
}

func (c *chaos) heal() {
	c.net.mu.Lock()
	c.net.drop, c.net.delay = 0, time.Millisecond
	c.net.mu.Unlock()
	for id, n := range c.nodes {
		c.net.isolate(id, false)
		if n.host == nil {
			c.revive(id)
		}
	}
	for id := range c.nodes {
		c.tell(id, false)
	}
}
