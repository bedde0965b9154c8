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
	if t.isAllGone(have) {
		return t.beginAnew(have, c)
	}
	return t.remap(have, c.Node, c.Replacement)
}

// isAllGone tells whether nothing is left of a file group, although there are nodes for it.
// Of memory groups see Survey.
func (t *transition) isAllGone(a *Assignment) bool {
	alive := func(r base.Replica) bool { return !t.isGone(a, r) }
	return a.Storage() != api.MemoryStorage && !slices.ContainsFunc(a.Members, alive) && slices.ContainsFunc(a.Replicas, alive)
}

// beginAnew starts a group of which nothing is left anew, empty: that an operator
// changes its members says that what was lost will not come back.
func (t *transition) beginAnew(have *Assignment, c *PeerRemove) *apierr.Error {
	nodes := slices.DeleteFunc(have.Nodes(), func(node base.NodeID) bool {
		n := t.byNode[node]
		return node == c.Node && len(have.Replicas) > 1 || n == nil || n.Removed
	})
	if n := t.byNode[c.Replacement]; n != nil && !n.Removed && !slices.Contains(nodes, c.Replacement) {
		nodes = append(slices.DeleteFunc(nodes, func(node base.NodeID) bool { return node == c.Node }), c.Replacement)
	}
	if len(nodes) == 0 {
		t.result.Assignment = have
		return apierr.JSPeerRemapErr
	}
	a := have.clone()
	t.want(a, nodes)
	t.restart(a)
	t.put(Moved, a, nil)
	return nil
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
	a.Replicas[i] = t.newReplica(node)
}

// restartIfEmpty starts a memory group anew when it is plain that nothing of it is left:
// every member is lost and nobody else was ever given anything.
func (t *transition) restartIfEmpty(a *Assignment) {
	old := func(r base.Replica) bool { return r.ID < t.fresh }
	if a.Storage() == api.MemoryStorage && len(a.Lost) == len(a.Members) &&
		len(a.Leaving) == 0 && !slices.ContainsFunc(a.Replicas, old) {
		t.restart(a)
	}
}

// restartIfGone starts a file group anew, empty, when all of its members are lost or
// were on nodes that were down when they were removed: such a node comes back
// without what it held, so nobody could ever elect a leader. Of memory groups see
// Survey.
func (t *transition) restartIfGone(have *Assignment) {
	if !t.isAllGone(have) {
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
	a.Lost, a.Leaving, a.Reconfig, a.Preferred, a.MembersIndex = nil, nil, nil, 0, 0
	a.Survey, a.Seed = nil, nil
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
	a.Survey = nil // there is a leader; what is left now follows from the members
	a.Members, a.MembersIndex = slices.Clone(c.Members), c.Index
	a.Lost = slices.DeleteFunc(a.Lost, func(id base.ReplicaID) bool { return withID(a.Members, id) < 0 })
	for _, r := range a.Members {
		if !have.has(r.ID) {
			a.lose(r.ID) // it was lost before anybody knew that it was a member
		}
	}
	a.Leaving = slices.DeleteFunc(a.Leaving, func(l Leaving) bool {
		return l.Since <= c.Seen && withID(a.Members, l.ID) < 0
	})
	if sameSet(a.Members, a.Replicas) {
		a.Reconfig = nil
	}
	t.put(Moved, a, nil)
	return nil
}
