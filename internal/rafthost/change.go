package rafthost

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"weir/internal/base"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// MemberChange is one step from a configuration to the next; all of it happens
// at once, through a joint configuration where needed.
type MemberChange struct {
	// AddLearners join without a vote. They must have been opened, or be opened
	// soon, on their nodes without Members.
	AddLearners []base.Replica
	// Promote makes learners voters.
	Promote []base.ReplicaID
	Remove  []base.ReplicaID
}

// memberChange is a ChangeMembers under way on the leader.
type memberChange struct {
	token uint64
	cc    *pb.ConfChangeV2
	done  chan error
	// proposed is owned by the Raft worker, applied by the apply worker under mu.
	proposed, applied bool
}

// changeContext travels in a configuration change's Context.
type changeContext struct {
	token uint64 // tells the proposer its own change
	added []base.Replica
}

const changeContextVersion = 1

func (c changeContext) encode() []byte {
	dst := binary.AppendUvarint([]byte{changeContextVersion}, c.token)
	return appendReplicas(dst, c.added)
}

// decodeChangeContext: leaving a joint configuration has no context.
func decodeChangeContext(b []byte) (changeContext, error) {
	if len(b) == 0 {
		return changeContext{}, nil
	}
	d := &decoder{b: b}
	if v := d.byte(); v != changeContextVersion {
		return changeContext{}, base.Corruptf("membership change: unknown version %d", v)
	}
	c := changeContext{token: d.uvarint(), added: decodeReplicas(d)}
	return c, d.err
}

// ChangeMembers changes the members and waits until the change is applied here,
// a joint configuration having been left. Only the leader does it, one change at
// a time. When it fails with ErrNotLeader or ctx after being proposed, the change
// may still happen: look at Status and ask again. Errors: ErrNotLeader,
// ErrChangeInFlight, ErrUnknownReplica, ErrStopped.
func (g *Group) ChangeMembers(ctx context.Context, change MemberChange) error {
	c := &memberChange{done: make(chan error, 1)}
	if err := g.startChange(c, change); err != nil {
		return fmt.Errorf("change members of %v: %w", g.id, err)
	}
	select {
	case err := <-c.done:
		if err != nil {
			return fmt.Errorf("change members of %v: %w", g.id, err)
		}
		return nil
	case <-ctx.Done():
		g.mu.Lock()
		if g.waits.change == c {
			g.waits.change = nil
		}
		g.mu.Unlock()
		return fmt.Errorf("change members of %v: %w", g.id, ctx.Err())
	}
}

func (g *Group) startChange(c *memberChange, change MemberChange) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.err != nil:
		return g.err
	case !g.leader.Self:
		return ErrNotLeader
	case g.waits.change != nil || g.members.joint():
		return ErrChangeInFlight
	}
	changes, err := change.singles(g.members)
	if err != nil || len(changes) == 0 {
		c.done <- nil
		return err
	}
	g.h.randMu.Lock()
	c.token = g.h.o.Rand.Uint64() | 1
	g.h.randMu.Unlock()
	c.cc = &pb.ConfChangeV2{
		Transition: pb.ConfChangeTransitionAuto.Enum(),
		Changes:    changes,
		Context:    changeContext{token: c.token, added: change.AddLearners}.encode(),
	}
	g.waits.change = c
	g.in.kick = true
	g.scheduleLocked()
	return nil
}

// singles checks the change against the members that it starts from.
func (c MemberChange) singles(m *members) ([]*pb.ConfChangeSingle, error) {
	var out []*pb.ConfChangeSingle
	add := func(t pb.ConfChangeType, id base.ReplicaID) {
		out = append(out, &pb.ConfChangeSingle{Type: t.Enum(), NodeId: new(uint64(id))})
	}
	voters := len(m.state.GetVoters()) + len(c.Promote)
	for _, r := range c.AddLearners {
		if r.ID == 0 || r.Node == 0 || m.has(r.ID) {
			return nil, fmt.Errorf("add %v: %w", r, ErrUnknownReplica)
		}
		add(pb.ConfChangeAddLearnerNode, r.ID)
	}
	for _, id := range c.Promote {
		if !m.isLearner(id) || slices.Contains(c.Remove, id) {
			return nil, fmt.Errorf("promote %v: %w", id, ErrUnknownReplica)
		}
		add(pb.ConfChangeAddNode, id)
	}
	for _, id := range c.Remove {
		if !m.has(id) {
			return nil, fmt.Errorf("remove %v: %w", id, ErrUnknownReplica)
		}
		if m.isVoter(id) {
			voters--
		}
		add(pb.ConfChangeRemoveNode, id)
	}
	if voters == 0 {
		return nil, fmt.Errorf("remove the last voter: %w", ErrUnknownReplica)
	}
	return out, nil
}

// pursueChange proposes the change that waits, when Raft can take it: everything
// of former terms and the last change must be applied, or Raft would turn it into
// an empty entry without a word.
func (g *Group) pursueChange() {
	n := &g.node
	g.mu.Lock()
	c := g.waits.change
	g.mu.Unlock()
	if c != n.change {
		n.change = c
	}
	if c == nil || c.proposed {
		return
	}
	g.wake()
	n.idle = 0
	st := n.rn.BasicStatus()
	if st.RaftState != raft.StateLeader {
		g.failChange(ErrNotLeader)
		return
	}
	if n.ownTerm == 0 || st.Applied < n.ownTerm || st.Applied < g.members.index || st.LeadTransferee != 0 {
		return // the next response of storage comes by here
	}
	if g.members.joint() {
		g.failChange(ErrChangeInFlight)
		return
	}
	if n.proposedAt == g.members.index+1 {
		return // one whose caller gave up
	}
	if err := n.rn.ProposeConfChange(c.cc); err == nil {
		c.proposed = true
		n.proposedAt = g.members.index + 1
	}
}

func (g *Group) failChange(err error) {
	g.mu.Lock()
	g.waits.failChange(err)
	g.mu.Unlock()
	g.node.change = nil
}
