package rafthost

import (
	"errors"
	"fmt"

	"weir/internal/base"
	"weir/internal/raftlog"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// A new group starts as if everybody had just received an empty image at this
// position, with the initial members in it: no entry says who they are, so there
// is nothing to agree upon first, and all initial members write the same bytes.
const (
	bootstrapIndex = 1
	bootstrapTerm  = 1
)

// GroupConfig describes a replica to open.
type GroupConfig struct {
	ID      base.GroupID
	Replica base.ReplicaID
	// Members are the initial voters of a new group, this replica among them; the
	// same on all of them. Ignored when the log knows the group. Empty: the replica
	// waits until the group's leader adds it, and never campaigns before. A memory
	// replica that was voting is gone with its process: it must come back under a
	// new id, without Members.
	Members []base.Replica
	// Memory puts the log into Options.MemLog.
	Memory  bool
	Machine Machine
	// Campaign at once if the group is new: the preferred first leader.
	Campaign bool
	// Relaxed, if set, tells of the data of an entry whether it may be applied
	// before it is durable while this replica is the only member: a crash of the
	// machine, not of the process, may lose the last ones for raftlog.RelaxedDelay.
	// What Machine makes durable must not be ahead of the log. Must be quick.
	Relaxed func(data []byte) bool
}

// storage is what Raft reads: the log, the state at start, and the name of an
// image (which sendSnapshot makes).
type storage struct {
	*raftlog.Group
	g    *Group
	hard *pb.HardState
	conf *pb.ConfState
	// err is the first fault of the log that Raft met.
	err error
}

func (s *storage) InitialState() (*pb.HardState, *pb.ConfState, error) { return s.hard, s.conf, nil }

func (s *storage) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	e, err := s.Group.Entries(lo, hi, maxSize)
	return e, s.note(err)
}

func (s *storage) Term(i uint64) (uint64, error) {
	t, err := s.Group.Term(i)
	return t, s.note(err)
}

func (s *storage) note(err error) error {
	if err != nil && s.err == nil && !errors.Is(err, raft.ErrCompacted) && !errors.Is(err, raft.ErrUnavailable) {
		s.err = err
	}
	return err
}

func (s *storage) Snapshot() (*pb.Snapshot, error) {
	name, ok := s.g.imageName()
	if !ok {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return name.snapshot(), nil
}

// Open opens a replica: a new one, or one that the log knows. The machine is
// called from then on. An error marked as corruption says that log or machine
// have lost something: this replica must not be opened any more and has to be
// replaced by one under a new id.
func (h *Host) Open(c GroupConfig) (*Group, error) {
	logs := h.o.FileLog
	if c.Memory {
		logs = h.o.MemLog
	}
	if c.ID == 0 || c.Replica == 0 || c.Machine == nil || logs == nil {
		return nil, fmt.Errorf("open %v: group, replica, machine and log are required", c.ID)
	}
	g := &Group{h: h, id: c.ID, replica: c.Replica, machine: c.Machine, relaxed: c.Relaxed, logs: logs, log: logs.Group(c.ID, c.Replica)}
	g.cond.L = &g.mu
	g.node.heard = map[uint64]uint64{}
	if err := h.reserve(c.ID); err != nil {
		return nil, fmt.Errorf("open %v: %w", c.ID, err)
	}
	fresh, err := g.start(c, c.Machine.Applied())
	if err := h.settle(g, err); err != nil {
		g.shut(err)
		return nil, fmt.Errorf("open replica %v of %v: %w", c.Replica, c.ID, err)
	}
	h.setAwake(g, true)
	m := g.members
	if len(m.nodes) > 0 {
		g.enqueueApply(applyTask{call: func() error {
			g.machine.MembersChange(m.voters(), m.learners())
			return nil
		}})
	}
	if m.onlyVoter(g.replica) || fresh && c.Campaign {
		g.Campaign()
	}
	return g, nil
}

// reserve keeps others from opening the group meanwhile.
func (h *Host) reserve(id base.GroupID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.stopped:
		return ErrStopped
	case h.groups[id] != nil || h.opening[id]:
		return ErrGroupExists
	}
	h.opening[id] = true
	return nil
}

// settle ends the reservation; from then on the group takes part, unless err.
func (h *Host) settle(g *Group, err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.opening, g.id)
	if err == nil && h.stopped {
		err = ErrStopped
	}
	if err == nil {
		h.groups[g.id] = g
	}
	return err
}

// start brings log and machine together and makes the RawNode. It tells whether
// the group is new.
func (g *Group) start(c GroupConfig, applied uint64) (fresh bool, err error) {
	g.raftMu.Lock() // the log's first answers must find a RawNode
	defer g.raftMu.Unlock()
	defer g.recovered(&err)
	g.storage = &storage{Group: g.log, g: g, hard: g.log.HardState()}
	mark, err := g.log.ConfState()
	if err != nil {
		return false, err
	}
	g.members = noMembers
	known := stored{members: noMembers}
	if len(mark.Members) > 0 {
		if known, err = decodeStored(mark.Members); err != nil {
			return false, err
		}
		g.members = known.members
	} else if len(c.Members) > 0 {
		fresh = true
		if err := g.bootstrap(c.Members); err != nil {
			return false, err
		}
	}
	if err := g.completeRestore(known, applied); err != nil {
		return false, err
	}
	if err := g.checkPosition(applied); err != nil {
		return false, err
	}
	return fresh, g.makeNode(max(applied, min(g.members.index, bootstrapIndex)))
}

// bootstrap writes the first mark of a new group. Nothing waits for it: whatever
// this replica says to others goes through the log behind it.
func (g *Group) bootstrap(initial []base.Replica) error {
	m := initialMembers(initial)
	if !m.has(g.replica) || len(m.nodes) != len(initial) {
		return fmt.Errorf("initial members %v: want this replica among them, each once", initial)
	}
	g.members = m
	g.storage.hard = &pb.HardState{Term: new(uint64(bootstrapTerm)), Vote: new(uint64(0)), Commit: new(uint64(bootstrapIndex))}
	g.writeImage(image{bootstrapIndex, bootstrapTerm, m}, g.storage.hard)
	return nil
}

// writeImage lets the log restart after an image.
func (g *Group) writeImage(i image, hard *pb.HardState) {
	g.write(raftlog.Batch{Group: g.id, Replica: g.replica, HardState: hard, MustSync: true, Snapshot: i.mark()}, nil)
}

func (i image) mark() *raftlog.SnapshotMark {
	return &raftlog.SnapshotMark{
		Index: i.index, Term: i.term, ConfState: i.members.state,
		Members: stored{members: i.members}.encode(),
	}
}

// completeRestore finishes what a crash cut short: the machine had switched to
// an image, the log had not restarted after it.
func (g *Group) completeRestore(known stored, applied uint64) error {
	i := known.restoring
	if i == nil || i.index != applied {
		return nil
	}
	term, err := g.log.Term(i.index)
	if err == nil && term == i.term || errors.Is(err, raft.ErrCompacted) {
		// The log has the entries up to the image, and maybe later members.
		return nil
	}
	hard := &pb.HardState{
		Term:   new(max(g.storage.hard.GetTerm(), i.term)),
		Vote:   new(g.storage.hard.GetVote()),
		Commit: new(i.index),
	}
	if hard.GetTerm() != g.storage.hard.GetTerm() {
		hard.Vote = new(uint64(0))
	}
	g.members, g.storage.hard = i.members, hard
	g.writeImage(*i, hard)
	return nil
}

// checkPosition refuses a replica that has lost something: an index that machine
// and log must both know is missing in one of them.
func (g *Group) checkPosition(applied uint64) error {
	first, err := g.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := g.log.LastIndex()
	if err != nil {
		return err
	}
	if first > bootstrapIndex+1 && applied+1 < first {
		return base.Corruptf("the machine stands at %d, but the log begins at %d", applied, first)
	}
	if applied > last {
		return base.Corruptf("the machine stands at %d, but the log ends at %d", applied, last)
	}
	commit := g.storage.hard.GetCommit()
	if commit > last {
		return base.Corruptf("entry %d was committed, but the log ends at %d", commit, last)
	}
	// What was applied is committed; the hard state is not written for that alone.
	if low := max(applied, first-1); commit < low {
		h := g.storage.hard
		g.storage.hard = &pb.HardState{Term: new(h.GetTerm()), Vote: new(h.GetVote()), Commit: new(low)}
	}
	return nil
}

func (g *Group) makeNode(applied uint64) error {
	g.storage.conf = g.members.state
	o := &g.h.o
	rn, err := raft.NewRawNode(&raft.Config{
		ID:                        uint64(g.replica),
		ElectionTick:              o.ElectionTicks,
		HeartbeatTick:             o.HeartbeatTicks,
		Storage:                   g.storage,
		Applied:                   applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             uint64(o.MaxMessageBytes),
		MaxCommittedSizePerReady:  uint64(o.MaxApplyingBytes),
		MaxInflightMsgs:           256,
		MaxInflightBytes:          uint64(o.MaxInflightBytes),
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		Logger:                    raftLogger{o.Logger, g.id},
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
	})
	if err != nil {
		return err
	}
	g.node.rn = rn
	g.node.hard, g.node.written = g.storage.hard, g.storage.hard
	g.applied.Store(applied)
	if g.apply.term, err = g.log.Term(applied); err != nil {
		return err
	}
	g.appliedTerm = g.apply.term
	return nil
}

// storeMembers writes members beside the log and waits until they are durable.
func (g *Group) storeMembers(s stored) error {
	done := make(chan error, 1)
	g.logs.Append(raftlog.Batch{
		Group: g.id, Replica: g.replica, MustSync: true,
		ConfState: &raftlog.ConfMark{Index: s.members.index, ConfState: s.members.state, Members: s.encode()},
	}, func(err error) { done <- err })
	if err := <-done; err != nil {
		return fmt.Errorf("store members: %w", err)
	}
	return nil
}
