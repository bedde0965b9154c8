package rafthost

import (
	"cmp"
	"encoding/binary"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"weir/internal/base"
)

// members is a group's configuration together with the node of every member, so
// that each replica can address each other. Immutable once published.
type members struct {
	// index is that of the last configuration change contained.
	index uint64
	state *pb.ConfState
	nodes map[base.ReplicaID]base.NodeID
}

var noMembers = &members{state: &pb.ConfState{}}

// initialMembers is what a new group starts with, equal on all its replicas
// whatever the order in which they are given.
func initialMembers(replicas []base.Replica) *members {
	m := &members{index: bootstrapIndex, state: &pb.ConfState{}, nodes: map[base.ReplicaID]base.NodeID{}}
	for _, r := range replicas {
		m.state.Voters = append(m.state.Voters, uint64(r.ID))
		m.nodes[r.ID] = r.Node
	}
	slices.Sort(m.state.Voters)
	return m
}

// changed returns the configuration that state describes, knowing the nodes of m
// and those of added.
func (m *members) changed(index uint64, state *pb.ConfState, added []base.Replica) *members {
	n := &members{index: index, state: state, nodes: map[base.ReplicaID]base.NodeID{}}
	known := func(id base.ReplicaID) base.NodeID {
		for _, r := range added {
			if r.ID == id {
				return r.Node
			}
		}
		return m.nodes[id]
	}
	for _, set := range [][]uint64{state.GetVoters(), state.GetLearners(), state.GetVotersOutgoing(), state.GetLearnersNext()} {
		for _, id := range set {
			n.nodes[base.ReplicaID(id)] = known(base.ReplicaID(id))
		}
	}
	return n
}

func (m *members) joint() bool { return len(m.state.GetVotersOutgoing()) > 0 }

// isVoter tells whether id votes now (in either half of a joint configuration).
func (m *members) isVoter(id base.ReplicaID) bool {
	return slices.Contains(m.state.GetVoters(), uint64(id)) || slices.Contains(m.state.GetVotersOutgoing(), uint64(id))
}

func (m *members) isLearner(id base.ReplicaID) bool {
	return slices.Contains(m.state.GetLearners(), uint64(id)) || slices.Contains(m.state.GetLearnersNext(), uint64(id))
}

func (m *members) has(id base.ReplicaID) bool {
	_, ok := m.nodes[id]
	return ok
}

// hasNode tells whether a replica other than self lives on node.
func (m *members) hasNode(node base.NodeID, self base.ReplicaID) bool {
	for id, n := range m.nodes {
		if n == node && id != self {
			return true
		}
	}
	return false
}

// onlyVoter tells whether id decides alone.
func (m *members) onlyVoter(id base.ReplicaID) bool {
	return !m.joint() && len(m.state.GetVoters()) == 1 && m.state.GetVoters()[0] == uint64(id)
}

// quorum tells whether the members for which up holds can decide.
func (m *members) quorum(up func(base.ReplicaID) bool) bool {
	for _, half := range [][]uint64{m.state.GetVoters(), m.state.GetVotersOutgoing()} {
		n := 0
		for _, id := range half {
			if up(base.ReplicaID(id)) {
				n++
			}
		}
		if len(half) > 0 && n <= len(half)/2 {
			return false
		}
	}
	return true
}

func (m *members) list(ids ...[]uint64) []base.Replica {
	var out []base.Replica
	for _, set := range ids {
		for _, id := range set {
			out = append(out, base.Replica{ID: base.ReplicaID(id), Node: m.nodes[base.ReplicaID(id)]})
		}
	}
	slices.SortFunc(out, func(a, b base.Replica) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (m *members) voters() []base.Replica { return m.list(m.state.GetVoters()) }

func (m *members) learners() []base.Replica {
	return m.list(m.state.GetLearners(), m.state.GetLearnersNext())
}

// Stored form: index, the five parts of the ConfState, then the nodes in order of
// replica id; the same members give the same bytes.

func (m *members) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, m.index)
	s := m.state
	for _, set := range [][]uint64{s.GetVoters(), s.GetLearners(), s.GetVotersOutgoing(), s.GetLearnersNext()} {
		dst = binary.AppendUvarint(dst, uint64(len(set)))
		for _, id := range set {
			dst = binary.AppendUvarint(dst, id)
		}
	}
	dst = append(dst, boolByte(s.GetAutoLeave()))
	ids := make([]base.ReplicaID, 0, len(m.nodes))
	for id := range m.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	replicas := make([]base.Replica, len(ids))
	for i, id := range ids {
		replicas[i] = base.Replica{ID: id, Node: m.nodes[id]}
	}
	return appendReplicas(dst, replicas)
}

func decodeMembers(d *decoder) *members {
	m := &members{index: d.uvarint(), state: &pb.ConfState{}, nodes: map[base.ReplicaID]base.NodeID{}}
	for _, p := range [...]*[]uint64{&m.state.Voters, &m.state.Learners, &m.state.VotersOutgoing, &m.state.LearnersNext} {
		n := d.uvarint()
		d.failIf(n > uint64(len(d.b)), "impossible number of members")
		for ; n > 0 && d.err == nil; n-- {
			*p = append(*p, d.uvarint())
		}
	}
	if d.byte() != 0 {
		m.state.AutoLeave = new(true)
	}
	for _, r := range decodeReplicas(d) {
		m.nodes[r.ID] = r.Node
	}
	return m
}

func appendReplicas(dst []byte, replicas []base.Replica) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(replicas)))
	for _, r := range replicas {
		dst = binary.AppendUvarint(dst, uint64(r.ID))
		dst = binary.AppendUvarint(dst, uint64(r.Node))
	}
	return dst
}

func decodeReplicas(d *decoder) []base.Replica {
	n := d.uvarint()
	d.failIf(n > uint64(len(d.b)), "impossible number of replicas")
	var out []base.Replica
	for ; n > 0 && d.err == nil; n-- {
		out = append(out, base.Replica{ID: base.ReplicaID(d.uvarint()), Node: base.NodeID(d.uvarint())})
	}
	return out
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// image names a snapshot: the state after an index, the term of that index, and
// the members then.
type image struct {
	index, term uint64
	members     *members
}

func (i *image) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, i.index)
	dst = binary.AppendUvarint(dst, i.term)
	return i.members.append(dst)
}

func decodeImage(d *decoder) image {
	return image{index: d.uvarint(), term: d.uvarint(), members: decodeMembers(d)}
}

func (i *image) snapshot() *pb.Snapshot {
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
		ConfState: i.members.state, Index: new(i.index), Term: new(i.term),
	}}
}

// stored is what the host keeps in the log beside the ConfState.
//
// restoring is written before a Machine begins to restore an image. Should the
// process die between the machine's switch and the log's restart after the image,
// the next start finds the machine ahead of the log and knows from here which
// term and members go with its index.
type stored struct {
	members   *members
	restoring *image
}

const storedVersion = 1

func (s stored) encode() []byte {
	dst := s.members.append([]byte{storedVersion})
	if s.restoring == nil {
		return append(dst, 0)
	}
	return s.restoring.append(append(dst, 1))
}

func decodeStored(b []byte) (stored, error) {
	d := &decoder{b: b}
	if v := d.byte(); v != storedVersion {
		return stored{}, base.Corruptf("members of a group: unknown version %d", v)
	}
	s := stored{members: decodeMembers(d)}
	if d.byte() != 0 {
		i := decodeImage(d)
		s.restoring = &i
	}
	return s, d.err
}
