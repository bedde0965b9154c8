// Package meta is the replicated state of the meta group: which nodes there
// are, and what should be: every stream's configuration and the replicas that
// should hold it. It is pure: a State changes only by Apply, which depends on
// nothing but the state and the command; time and every random choice are
// fields of the command, put there by its proposer.
//
// A stream's entry here is wanted state. The stream's own Raft group is what
// is; the reconciler of its leader moves one to the other and reports back
// with MembersChanged. Who may do what with a replica follows from the lists of
// an Assignment:
//
//   - Initial: the bootstrap voters. A replica listed here that has no log yet
//     starts the group; any other waits until the leader adds it.
//   - Replicas: the wanted members.
//   - Leaving: no longer wanted, but perhaps still voters. The leader takes them
//     out of the group; when it reports that, knowing that they are not wanted,
//     they are struck from the list.
//   - Members: the group's voters as its leader last reported them. From these
//     follows whether anything is left of a group that loses replicas.
//
// A node runs the replica that Assignment.ReplicaOn names for it, wanted or
// leaving, and deletes every other. So a replica that is wanted again while it
// is leaving has forgotten nothing and keeps its identity. Everything else that
// comes back does so under a fresh ReplicaID.
//
// Apply never changes an Assignment or a Node in place: readers may keep the
// pointers they got.
package meta

import (
	"cmp"
	"maps"
	"slices"

	"weir/internal/base"
	"weir/internal/subject"
)

// State is the state of the meta group as of Applied. It is not safe for
// concurrent use; lookups do not change it.
type State struct {
	applied     uint64
	clusterID   string
	nextGroup   base.GroupID
	nextReplica base.ReplicaID
	nodes       map[string]*Node // by name, removed ones included
	byNode      map[base.NodeID]*Node
	accounts    map[string]*accountStreams
	groups      map[base.GroupID]*Assignment
	loads       map[base.NodeID]Load
}

// accountStreams are the streams of one account. subjects holds each stream's
// name under each of its subjects, mirrors the streams that mirror another one of
// the account by the name of that one.
type accountStreams struct {
	streams  map[string]*Assignment
	subjects subject.Index[string]
	mirrors  map[string][]*Assignment
}

// Room is how many bytes streams may use on a node; 0: it did not say.
type Room struct {
	MaxMemory int64 `json:"max_memory,omitempty"`
	MaxStore  int64 `json:"max_store,omitempty"`
}

// Node is a server of the meta group.
type Node struct {
	Name string      `json:"name"`
	ID   base.NodeID `json:"node"`
	// Replica is its member in the meta group.
	Replica base.ReplicaID `json:"replica"`
	Cluster string         `json:"cluster,omitempty"`
	Tags    []string       `json:"tags,omitempty"`
	Room
	// Joined is when it joined under this ID, in Unix nanoseconds.
	Joined int64 `json:"joined"`
	// Removed marks a node that an operator took out. The entry stays, so that
	// replicas left on it keep a name.
	Removed bool `json:"removed,omitempty"`
	// Gone: it was down when it was removed, or went before it had handed over
	// everything, and hands nothing over.
	Gone bool `json:"gone,omitempty"`
}

// Peer is the node's peer id as the API shows it.
func (n *Node) Peer() string { return PeerID(n.Name) }

// Load is what a node is assigned. Reserved bytes are the sum of max_bytes.
type Load struct {
	Streams        int
	HAStreams      int // those with more than one replica
	ReservedMemory int64
	ReservedStore  int64
}

// New is the state before the first command.
func New() *State {
	return &State{
		nextGroup:   base.MetaGroup + 1,
		nextReplica: 1,
		nodes:       map[string]*Node{},
		byNode:      map[base.NodeID]*Node{},
		accounts:    map[string]*accountStreams{},
		groups:      map[base.GroupID]*Assignment{},
		loads:       map[base.NodeID]Load{},
	}
}

// Applied is the index of the last command in the state.
func (s *State) Applied() uint64 { return s.applied }

// ClusterID identifies the meta group; empty before MetaInit.
func (s *State) ClusterID() string { return s.clusterID }

// Stream finds a stream; nil when there is none.
func (s *State) Stream(account, name string) *Assignment {
	if a := s.accounts[account]; a != nil {
		return a.streams[name]
	}
	return nil
}

// ByGroup finds a stream by its Raft group; nil when there is none.
func (s *State) ByGroup(group base.GroupID) *Assignment { return s.groups[group] }

// Streams lists an account's streams by name.
func (s *State) Streams(account string) []*Assignment {
	a := s.accounts[account]
	if a == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(a.streams), byName)
}

// NumStreams counts an account's streams.
func (s *State) NumStreams(account string) int {
	if a := s.accounts[account]; a != nil {
		return len(a.streams)
	}
	return 0
}

// Mirrors lists by name the streams that mirror one of the same account.
func (s *State) Mirrors(account, origin string) []*Assignment {
	if a := s.accounts[account]; a != nil {
		return a.mirrors[origin]
	}
	return nil
}

// Accounts lists the accounts that have streams.
func (s *State) Accounts() []string { return slices.Sorted(maps.Keys(s.accounts)) }

// All visits every stream in no particular order until visit returns false.
func (s *State) All(visit func(*Assignment) bool) {
	for _, a := range s.groups {
		if !visit(a) {
			return
		}
	}
}

// Len counts the streams of all accounts.
func (s *State) Len() int { return len(s.groups) }

// StreamsOn are the streams with a replica on a node, in the order of their groups.
func (s *State) StreamsOn(node base.NodeID) []*Assignment {
	var list []*Assignment
	for _, id := range s.groupIDs() {
		if a := s.groups[id]; onNode(a.Replicas, node) >= 0 {
			list = append(list, a)
		}
	}
	return list
}

// StreamsOverlapping lists by name the account's streams with a subject that
// overlaps the given one. A stream without subjects matches by its name.
func (s *State) StreamsOverlapping(account, subj string) []*Assignment {
	var found []*Assignment
	for _, a := range s.Streams(account) {
		if a.overlaps(subj) {
			found = append(found, a)
		}
	}
	return found
}

// TakenBy returns the name of another stream of the account that has a subject
// overlapping one of these; empty when there is none.
func (s *State) TakenBy(account, name string, subjects []string) (other string) {
	a := s.accounts[account]
	if a == nil {
		return ""
	}
	for _, subj := range subjects {
		a.subjects.Overlapping(subj, func(_, _, stream string) bool {
			if stream != name {
				other = stream
			}
			return other == ""
		})
		if other != "" {
			return other
		}
	}
	return ""
}

// Nodes lists the nodes of the meta group by name, without removed ones.
func (s *State) Nodes() []*Node {
	var list []*Node
	for _, n := range s.nodes {
		if !n.Removed {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Node finds a node by server name, removed ones included; nil when unknown.
func (s *State) Node(name string) *Node { return s.nodes[name] }

// NodeByID finds a node by its current ID, removed ones included.
func (s *State) NodeByID(id base.NodeID) *Node { return s.byNode[id] }

// NodeByPeer finds a node by server name or peer id, without removed ones.
func (s *State) NodeByPeer(nameOrPeer string) *Node {
	return s.findPeer(nameOrPeer, func(n *Node) bool { return !n.Removed })
}

// RemovableByPeer is NodeByPeer with the removed nodes that were up then: they can be
// removed again, as gone.
func (s *State) RemovableByPeer(nameOrPeer string) *Node {
	return s.findPeer(nameOrPeer, func(n *Node) bool { return !n.Removed || !n.Gone })
}

func (s *State) findPeer(nameOrPeer string, fits func(*Node) bool) *Node {
	if n := s.nodes[nameOrPeer]; n != nil && fits(n) {
		return n
	}
	for _, n := range s.nodes {
		if fits(n) && n.Peer() == nameOrPeer {
			return n
		}
	}
	return nil
}

// MetaReplicas are the wanted members of the meta group, by node name.
func (s *State) MetaReplicas() []base.Replica {
	var list []base.Replica
	for _, n := range s.Nodes() {
		list = append(list, base.Replica{ID: n.Replica, Node: n.ID})
	}
	return list
}

// Load tells what a node is assigned.
func (s *State) Load(id base.NodeID) Load { return s.loads[id] }

func byName(a, b *Assignment) int { return cmp.Compare(a.Name, b.Name) }
