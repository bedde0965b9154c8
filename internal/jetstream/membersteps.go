package jetstream

import (
	"slices"
	"time"

	"weir/internal/base"
	"weir/internal/rafthost"
)

// membershipPause is the time between two steps of a change of members.
const membershipPause = 200 * time.Millisecond

// nextMemberStep is the next change on the way from the members that a group has
// to those that it should have: new ones join as learners, become voters once
// they have caught up, together with the going of those not wanted. No step
// shrinks the group below a majority of what is wanted. ok is false when there
// is nothing to do, or nothing yet.
func nextMemberStep(wanted []base.Replica, have *members, g *rafthost.Group, self base.ReplicaID) (step rafthost.MemberChange, ok bool) {
	isWanted := func(r base.Replica) bool { return slices.Contains(wanted, r) }
	for _, r := range wanted {
		if !slices.Contains(have.voters, r) && !slices.Contains(have.learners, r) {
			step.AddLearners = append(step.AddLearners, r)
		}
	}
	for _, r := range have.learners {
		if !isWanted(r) {
			step.Remove = append(step.Remove, r.ID)
		}
	}
	if len(step.AddLearners)+len(step.Remove) > 0 {
		return step, true
	}
	status := g.Status()
	promoted := 0
	for _, r := range have.learners {
		if !caughtUp(&status, r.ID) {
			continue
		}
		step.Promote = append(step.Promote, r.ID)
		promoted++
	}
	staying := promoted
	var leaving []base.ReplicaID
	for _, r := range have.voters {
		if isWanted(r) {
			staying++
		} else {
			leaving = append(leaving, r.ID)
		}
	}
	switch {
	case staying == len(wanted):
		step.Remove = leaving
	case promoted > 0:
		// Some of the new ones are ready: let as many of the old ones go, dead first.
		step.Remove = leaving[:min(promoted, len(leaving))]
	}
	if slices.Contains(step.Remove, self) {
		// The leader goes last: somebody who stays takes over first.
		step.Remove = slices.DeleteFunc(step.Remove, func(id base.ReplicaID) bool { return id == self })
		if len(step.Remove)+len(step.Promote) == 0 {
			handOver(g, &status, wanted, self)
		}
	}
	return step, len(step.Remove)+len(step.Promote) > 0
}

// caughtUpLag is how many entries a learner may lack to become a voter.
const caughtUpLag = 1000

func caughtUp(st *rafthost.Status, id base.ReplicaID) bool {
	for _, p := range st.Peers {
		if p.ID == id {
			return p.Match > 0 && p.Match+caughtUpLag >= st.Committed
		}
	}
	return false
}

// handOver gives leadership to the wanted member that is furthest.
func handOver(g *rafthost.Group, st *rafthost.Status, wanted []base.Replica, self base.ReplicaID) {
	var best base.ReplicaID
	var match uint64
	for _, p := range st.Peers {
		isWanted := slices.ContainsFunc(wanted, func(r base.Replica) bool { return r.ID == p.ID })
		if p.ID != self && isWanted && p.Active && p.Match >= match {
			best, match = p.ID, p.Match
		}
	}
	if best != 0 {
		_ = g.TransferLeader(best) // tried again with the next step
	}
}
