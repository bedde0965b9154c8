package meta

import (
	"slices"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
)

// want makes the nodes the wanted ones, in that order. A replica that is wanted
// or leaving keeps its identity; another gets a fresh one. What was wanted and
// is not any more is leaving.
func (t *transition) want(a *Assignment, nodes []base.NodeID) {
	before, next := a.Replicas, make([]base.Replica, 0, len(nodes))
	for _, node := range nodes {
		r, _, ok := a.ReplicaOn(node)
		if !ok {
			r = t.newReplica(node)
		}
		next = append(next, r)
	}
	a.Replicas = next
	gone := func(id base.ReplicaID) bool { return withID(next, id) < 0 }
	a.Replacements = slices.DeleteFunc(a.Replacements, gone)
	a.Leaving = slices.DeleteFunc(a.Leaving, func(l Leaving) bool { return !gone(l.ID) })
	for _, r := range before {
		if gone(r.ID) {
			a.Leaving = append(a.Leaving, Leaving{r, t.index})
		}
	}
}

// removePeer takes the replica on a node out of a stream.
func (t *transition) removePeer(c *PeerRemove) *apierr.Error {
	have := t.Stream(c.Account, c.Name)
	if have == nil {
		return apierr.JSStreamNotFoundErr
	}
	if c.IfRevision != 0 && c.IfRevision != have.Revision {
		t.result.Stale, t.result.Assignment = true, have
		return nil
	}
	if onNode(have.Replicas, c.Node) < 0 {
		return apierr.JSClusterPeerNotMemberErr
	}
	return t.remap(have, c.Node, c.Replacement)
}

// remap replaces the replica on a node by one on another. Without a usable
// other a group of several goes on with fewer, a group of one stays as it is,
// and the result is 10075.
func (t *transition) remap(have *Assignment, from, to base.NodeID) *apierr.Error {
	var nodes []base.NodeID
	for _, r := range have.Replicas {
		if r.Node != from {
			nodes = append(nodes, r.Node)
		}
	}
	n := t.byNode[to]
	replaced := to != 0 && n != nil && !n.Removed && to != from && !slices.Contains(nodes, to)
	if replaced {
		nodes = append(nodes, to)
	}
	if len(nodes) == 0 {
		t.result.Assignment = have
		return apierr.JSPeerRemapErr
	}
	a := have.clone()
	t.want(a, nodes)
	a.Preferred = 0
	if replaced {
		t.beginReconfig(a, have)
	}
	t.put(Moved, a, nil)
	if !replaced {
		return apierr.JSPeerRemapErr
	}
	return nil
}

func (t *transition) loseReplicas(c *ReplicasLost) *apierr.Error {
	for _, lost := range c.Lost {
		if lost.Group == base.MetaGroup {
			t.loseMetaReplica(lost.Replica)
			continue
		}
		have := t.groups[lost.Group]
		if have == nil || !have.has(lost.Replica) {
			continue
		}
		a := have.clone()
		if a.Storage() != api.MemoryStorage && a.lastMember(lost.Replica) {
			t.result.Refused = append(t.result.Refused, lost)
			continue
		}
		if i := withID(a.Replicas, lost.Replica); i >= 0 {
			t.replace(a, i, a.Replicas[i].Node)
		}
		a.lose(lost.Replica)
		t.restartIfEmpty(a)
		t.put(Moved, a, nil)
	}
	return nil
}

// has tells whether the replica is wanted or leaving.
func (a *Assignment) has(id base.ReplicaID) bool {
	return withID(a.Replicas, id) >= 0 || slices.ContainsFunc(a.Leaving, func(l Leaving) bool { return l.ID == id })
}

// lastMember tells whether the replica is the only member not lost.
func (a *Assignment) lastMember(id base.ReplicaID) bool {
	if withID(a.Members, id) < 0 {
		return false
	}
	return !slices.ContainsFunc(a.Members, func(r base.Replica) bool {
		return r.ID != id && !slices.Contains(a.Lost, r.ID)
	})
}

// lose notes that a replica's state is gone.
func (a *Assignment) lose(id base.ReplicaID) {
	a.Leaving = slices.DeleteFunc(a.Leaving, func(l Leaving) bool { return l.ID == id })
	if withID(a.Members, id) >= 0 && !slices.Contains(a.Lost, id) {
		a.Lost = append(a.Lost, id)
	}
}

// replace puts a fresh replica on a node in place of the wanted one at i.
func (t *transition) replace(a *Assignment, i int, node base.NodeID) {
	old := a.Replicas[i].ID
	a.Replacements = slices.DeleteFunc(a.Replacements, func(id base.ReplicaID) bool { return id == old })
	a.Replicas[i] = t.newReplica(node)
	a.Replacements = append(a.Replacements, a.Replicas[i].ID)
}

// restartIfEmpty starts a memory group anew when nothing of it is left: every
// member is lost, none is leaving, and every wanted replica only stands in for
// a lost one.
func (t *transition) restartIfEmpty(a *Assignment) {
	if a.Storage() == api.MemoryStorage && len(a.Lost) == len(a.Members) &&
		len(a.Leaving) == 0 && len(a.Replacements) == len(a.Replicas) {
		t.restart(a)
	}
}

// restartIfGone starts a group anew, empty, when all of its members are lost or
// were on nodes that were down when they were removed: such a node comes back
// without what it held, so nobody could ever elect a leader.
func (t *transition) restartIfGone(have *Assignment) {
	alive := func(r base.Replica) bool {
		n := t.byNode[r.Node]
		return n != nil && !n.Gone && !slices.Contains(have.Lost, r.ID)
	}
	if slices.ContainsFunc(have.Members, alive) || !slices.ContainsFunc(have.Replicas, alive) {
		return
	}
	a := have.clone()
	t.restart(a)
	t.put(Moved, a, nil)
}

// restart makes fresh replicas on the wanted nodes the group's first members.
func (t *transition) restart(a *Assignment) {
	for i, r := range a.Replicas {
		a.Replicas[i] = t.newReplica(r.Node)
	}
	a.Initial, a.Members = slices.Clone(a.Replicas), slices.Clone(a.Replicas)
	a.Lost, a.Leaving, a.Replacements, a.Reconfig, a.Preferred, a.MembersIndex = nil, nil, nil, nil, 0, 0
}

func (t *transition) changeMembers(c *MembersChanged) *apierr.Error {
	have := t.groups[c.Group]
	if have == nil {
		return apierr.JSStreamNotFoundErr
	}
	neverMade := func(r base.Replica) bool { return r.ID >= t.nextReplica }
	if len(c.Members) == 0 || slices.ContainsFunc(c.Members, neverMade) {
		return apierr.JSBadRequestErr
	}
	known := slices.ContainsFunc(c.Members, func(r base.Replica) bool { return have.has(r.ID) })
	if !known || c.Index < have.MembersIndex {
		t.result.Stale, t.result.Assignment = true, have
		return nil
	}
	a := have.clone()
	a.Members, a.MembersIndex = slices.Clone(c.Members), c.Index
	a.Lost = slices.DeleteFunc(a.Lost, func(id base.ReplicaID) bool { return withID(a.Members, id) < 0 })
	a.Replacements = slices.DeleteFunc(a.Replacements, func(id base.ReplicaID) bool { return withID(a.Members, id) >= 0 })
	a.Leaving = slices.DeleteFunc(a.Leaving, func(l Leaving) bool {
		return l.Since <= c.Seen && withID(a.Members, l.ID) < 0
	})
	if sameSet(a.Members, a.Replicas) {
		a.Reconfig = nil
	}
	t.put(Moved, a, nil)
	return nil
}
