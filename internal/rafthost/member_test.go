package rafthost

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"weir/internal/base"
)

// join opens a replica without members on node and makes it a voter.
func (c *cluster) join(g base.GroupID, node base.NodeID) {
	c.t.Helper()
	r := replica(g, node)
	if c.group(node, g) == nil {
		c.open(node, g, nil)
	}
	c.change(g, MemberChange{AddLearners: []base.Replica{r}})
	c.until("the learner to catch up", func() bool {
		for _, p := range c.group(c.leader(g), g).Status().Peers {
			if p.ID == r.ID && p.Learner && p.Lag == 0 && p.Match > 0 {
				return true
			}
		}
		return false
	})
	c.change(g, MemberChange{Promote: []base.ReplicaID{r.ID}})
}

func (c *cluster) change(g base.GroupID, ch MemberChange) {
	c.t.Helper()
	mayHappen := false
	c.until("a membership change", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := c.group(c.leader(g), g).ChangeMembers(ctx, ch)
		switch {
		case errors.Is(err, ErrNotLeader):
			mayHappen = true // a leader that removes itself may not live to see it
		case errors.Is(err, ErrUnknownReplica) && mayHappen:
			return c.changed(g, ch)
		case err != nil && !errors.Is(err, ErrChangeInFlight):
			c.t.Fatal(err)
		}
		return err == nil
	})
}

// changed tells whether the leader's members are as the change makes them.
func (c *cluster) changed(g base.GroupID, ch MemberChange) bool {
	s := c.group(c.leader(g), g).Status()
	in := func(list []base.Replica, id base.ReplicaID) bool {
		return slices.ContainsFunc(list, func(r base.Replica) bool { return r.ID == id })
	}
	for _, r := range ch.AddLearners {
		if !in(s.Learners, r.ID) {
			return false
		}
	}
	for _, id := range ch.Promote {
		if !in(s.Voters, id) {
			return false
		}
	}
	for _, id := range ch.Remove {
		if in(s.Voters, id) || in(s.Learners, id) {
			return false
		}
	}
	return !s.Joint
}

func TestMembers(t *testing.T) {
	simulate(t, 5, func(c *cluster) {
		c.openAll(7, 1)
		c.putMany(7, 3)
		for _, id := range []base.NodeID{2, 3, 4, 5} {
			c.join(7, id)
			c.put(7, "joined")
		}
		c.converged(7, 1, 2, 3, 4, 5)
		restartAll(c, 7)
		c.put(7, "five")
		if v := c.machine(3, 7).voters; len(v) != 5 {
			t.Errorf("voters %v", v)
		}
		// The leader and another one go, at once: a joint configuration.
		lead := c.leader(7)
		other := lead%5 + 1
		c.change(7, MemberChange{Remove: []base.ReplicaID{replica(7, lead).ID, replica(7, other).ID}})
		c.must(c.nodes[lead].host.Remove(7))
		c.must(c.nodes[other].host.Remove(7))
		delete(c.nodes[lead].machines, 7)
		delete(c.nodes[other].machines, 7)
		c.putMany(7, 3)
		restartAll(c, 7)
		c.put(7, "three")
		if s := c.group(c.leader(7), 7).Status(); len(s.Voters) != 3 || s.Joint {
			t.Errorf("after removal: %+v", s)
		}
		// A removed replica's id does not come back, another one may.
		c.kill(c.leader(7))
		c.putMany(7, 3)
	})
}

func restartAll(c *cluster, g base.GroupID) {
	for id := range c.nodes {
		c.crash(id)
	}
	for id := range c.nodes {
		c.revive(id)
	}
	c.leader(g)
}

// One step replaces a voter by a learner that has caught up.
func TestReplaceVoter(t *testing.T) {
	simulate(t, 4, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		c.putMany(7, 5)
		c.open(4, 7, nil)
		c.change(7, MemberChange{AddLearners: []base.Replica{replica(7, 4)}})
		c.kill(3)
		c.change(7, MemberChange{Promote: []base.ReplicaID{replica(7, 4).ID}, Remove: []base.ReplicaID{replica(7, 3).ID}})
		c.putMany(7, 5)
		c.converged(7, 1, 2, 4)
		for _, id := range []base.NodeID{1, 2, 4} {
			if v := c.machine(id, 7).voters; len(v) != 3 || v[2] != replica(7, 4) {
				t.Errorf("node %v knows voters %v", id, v)
			}
		}
	})
}

func TestChangeRefused(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.openAll(7, 1, 2, 3)
		lead := c.leader(7)
		g := c.group(lead, 7)
		for name, ch := range map[string]MemberChange{
			"member added":      {AddLearners: []base.Replica{replica(7, 2)}},
			"voter promoted":    {Promote: []base.ReplicaID{replica(7, 2).ID}},
			"stranger removed":  {Remove: []base.ReplicaID{99}},
			"everybody removed": {Remove: []base.ReplicaID{replica(7, 1).ID, replica(7, 2).ID, replica(7, 3).ID}},
		} {
			if err := g.ChangeMembers(c.ctx(), ch); !errors.Is(err, ErrUnknownReplica) {
				t.Errorf("%s: %v", name, err)
			}
		}
		follower := c.group(lead%3+1, 7)
		if err := follower.ChangeMembers(c.ctx(), MemberChange{Remove: []base.ReplicaID{replica(7, 1).ID}}); !errors.Is(err, ErrNotLeader) {
			t.Errorf("on a follower: %v", err)
		}
		// Without a quorum a change hangs; meanwhile no other is taken.
		for id := range c.nodes {
			if id != lead {
				c.crash(id)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		add := MemberChange{AddLearners: []base.Replica{replica(7, 9)}}
		first := make(chan error)
		go func() { first <- g.ChangeMembers(ctx, add) }()
		time.Sleep(10 * time.Millisecond)
		if err := g.ChangeMembers(c.ctx(), add); !errors.Is(err, ErrChangeInFlight) {
			t.Errorf("second change: %v", err)
		}
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("first change: %v", err)
		}
	})
}

func TestReplicaWithoutMembersWaits(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		g := c.open(2, 7, nil)
		time.Sleep(time.Minute)
		if s := g.Status(); s.Term != 0 || len(s.Voters) != 0 {
			t.Errorf("campaigned: %+v", s)
		}
	})
}
