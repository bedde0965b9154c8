package meta

import (
	"fmt"
	"slices"

	"weir/internal/apierr"
	"weir/internal/base"
)

// Effects are what a command did.
type Effects struct {
	Index    uint64
	Proposer base.ReplicaID
	Seq      uint64
	// Result is for the proposer.
	Result Result
	// Changed are the assignments that changed, in the order of their changes.
	Changed []Change
	// Nodes are the nodes that changed; a changed ID or Replica, or Removed,
	// changes the members of the meta group.
	Nodes []NodeChange
}

// Result answers the proposer.
type Result struct {
	// Err says why nothing was done (10075 of PeerRemove may come with a change).
	Err *apierr.Error
	// Assignment is the stream created, changed, found equal, or deleted.
	Assignment *Assignment
	// Existing: an equal stream stood before, or the group was initialised before.
	Existing bool
	// Stale: another change came first; look again and propose anew.
	Stale bool
	// Node is the node that joined or was removed.
	Node *Node
	// Refused are the last replicas of file groups, which are not replaced.
	Refused []LostReplica
}

// ChangeKind says what happened to an assignment.
type ChangeKind int

// Kinds of changes. A Configured one has a new ConfigVersion and perhaps new
// replicas; of a Moved one only replicas, members or initial members differ.
const (
	Created ChangeKind = iota + 1
	Configured
	Moved
	Deleted
)

func (k ChangeKind) String() string {
	return [...]string{"none", "created", "configured", "moved", "deleted"}[k]
}

// Change is one assignment before and after; nil for none. Request is where the
// command came from, if it says.
type Change struct {
	Kind          ChangeKind
	Before, After *Assignment
	Request       *Origin
}

// Groups are those whose assignments changed.
func (e *Effects) Groups() []base.GroupID {
	ids := make([]base.GroupID, 0, len(e.Changed))
	for _, c := range e.Changed {
		if c.After != nil {
			ids = append(ids, c.After.Group)
		} else {
			ids = append(ids, c.Before.Group)
		}
	}
	return ids
}

// NodeChange is one node before and after; Before is nil for a new one.
type NodeChange struct {
	Before, After *Node
}

// Apply applies the command at an index of the log. An index at or below
// Applied is a bug of the caller.
func (s *State) Apply(index uint64, c Command) Effects {
	base.Assert(index > s.applied, "meta: applying %d after %d", index, s.applied)
	s.applied = index
	t := &transition{State: s, index: index, time: c.Time, fresh: s.nextReplica}
	if _, first := c.Body.(*MetaInit); s.clusterID == "" && !first {
		t.result.Err = apierr.JSClusterNotAvailErr
	} else {
		t.result.Err = t.apply(c.Body)
	}
	return Effects{Index: index, Proposer: c.Proposer, Seq: c.Seq,
		Result: t.result, Changed: t.changed, Nodes: t.nodes}
}

// Skip notes an index of the log that holds no command.
func (s *State) Skip(index uint64) {
	base.Assert(index > s.applied, "meta: skipping %d after %d", index, s.applied)
	s.applied = index
}

// transition is one command under way: the state, which it changes, and the
// effects so far.
type transition struct {
	*State
	index uint64
	time  int64
	// fresh is the first replica that this command makes.
	fresh base.ReplicaID

	result  Result
	changed []Change
	nodes   []NodeChange
}

func (t *transition) apply(body Body) *apierr.Error {
	switch b := body.(type) {
	case *MetaInit:
		return t.init(b)
	case *NodeJoin:
		return t.joinNode(b)
	case *NodeRemove:
		return t.removeNode(b)
	case *StreamCreate:
		return t.createStream(b)
	case *StreamUpdate:
		return t.updateStream(b)
	case *StreamCancelMove:
		return t.cancelMove(b)
	case *StreamDelete:
		return t.deleteStream(b)
	case *AccountPurge:
		return t.purgeAccount(b)
	case *PeerRemove:
		return t.removePeer(b)
	case *ReplicasLost:
		return t.loseReplicas(b)
	case *MembersChanged:
		return t.changeMembers(b)
	case *RestoreEnded:
		return t.endRestore(b)
	case *RemainsTold:
		return t.tellRemains(b)
	case *SurveyAsked:
		return t.askSurvey(b)
	}
	panic(fmt.Sprintf("bug: meta command %T", body))
}

// newReplica hands out an identity that was never used.
func (t *transition) newReplica(node base.NodeID) base.Replica {
	r := base.Replica{ID: t.nextReplica, Node: node}
	t.nextReplica++
	return r
}

// put installs an assignment and notes the change.
func (t *transition) put(kind ChangeKind, a *Assignment, request *Origin) {
	before := t.groups[a.Group]
	t.regroup(a)
	a.Revision = t.index
	if before != nil {
		t.detach(before)
	}
	t.attach(a)
	t.changed = append(t.changed, Change{Kind: kind, Before: before, After: a, Request: request})
	t.result.Assignment = a
}

// drop removes an assignment and notes the change.
func (t *transition) drop(a *Assignment, request *Origin) {
	t.detach(a)
	t.changed = append(t.changed, Change{Kind: Deleted, Before: a, Request: request})
	t.result.Assignment = a
}

// attach enters an assignment into every index; detach takes it out.
func (s *State) attach(a *Assignment) {
	acc := s.accounts[a.Account]
	if acc == nil {
		acc = &accountStreams{streams: map[string]*Assignment{}, mirrors: map[string][]*Assignment{}}
		s.accounts[a.Account] = acc
	}
	base.Assert(acc.streams[a.Name] == nil, "meta: stream %s %s assigned twice", a.Account, a.Name)
	acc.streams[a.Name] = a
	for _, subj := range a.Config.Subjects {
		acc.subjects.Insert(subj, "", a.Name)
	}
	if origin := a.mirrorOf(); origin != "" {
		acc.mirrors[origin] = slices.SortedFunc(slices.Values(append(acc.mirrors[origin], a)), byName)
	}
	s.groups[a.Group] = a
	s.addLoad(a, 1)
}

func (s *State) detach(a *Assignment) {
	acc := s.accounts[a.Account]
	delete(acc.streams, a.Name)
	for _, subj := range a.Config.Subjects {
		acc.subjects.Remove(subj, "", a.Name)
	}
	if origin := a.mirrorOf(); origin != "" {
		acc.mirrors[origin] = slices.DeleteFunc(slices.Clone(acc.mirrors[origin]), func(x *Assignment) bool { return x == a })
		if len(acc.mirrors[origin]) == 0 {
			delete(acc.mirrors, origin)
		}
	}
	if len(acc.streams) == 0 {
		delete(s.accounts, a.Account)
	}
	delete(s.groups, a.Group)
	s.addLoad(a, -1)
}

func (s *State) addLoad(a *Assignment, sign int) {
	for _, r := range a.Replicas {
		l := s.loads[r.Node]
		l.Streams += sign
		if len(a.Replicas) > 1 {
			l.HAStreams += sign
		}
		l.ReservedMemory += int64(sign) * a.reservedMemory()
		l.ReservedStore += int64(sign) * a.reservedStore()
		s.loads[r.Node] = l
		if l == (Load{}) {
			delete(s.loads, r.Node)
		}
	}
}

// groupIDs are all groups in order: a change of many is the same everywhere.
func (s *State) groupIDs() []base.GroupID {
	ids := make([]base.GroupID, 0, len(s.groups))
	for id := range s.groups {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
