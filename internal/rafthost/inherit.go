package rafthost

import (
	"fmt"

	"weir/internal/base"
	"weir/internal/raftlog"

	pb "go.etcd.io/raft/v3/raftpb"
)

// Inherit writes the log of a new replica of a memory group that goes on alone, as the
// group's only member, where another one on this node ended. Entries up to
// applied are in the state that the new one's machine has; those behind it count as
// committed, known to be so or not. Neither replica may be open, and the caller
// knows that no other of the group will ever vote again.
func (h *Host) Inherit(group base.GroupID, from base.ReplicaID, to base.Replica, applied uint64) error {
	old := h.o.MemLog.Group(group, from)
	if err := h.inherit(old, to, applied); err != nil {
		return fmt.Errorf("hand the log of replica %v of %v to %v: %w", from, group, to.ID, err)
	}
	return nil
}

func (h *Host) inherit(old *raftlog.Group, to base.Replica, applied uint64) error {
	if base, _ := old.Base(); base == bootstrapIndex {
		applied = max(applied, base) // the machine hears nothing of that entry
	}
	term, err := old.Term(applied)
	if err != nil {
		return err
	}
	last, err := old.LastIndex()
	if err != nil {
		return err
	}
	lastTerm, err := old.Term(last)
	if err != nil {
		return err
	}
	m := initialMembers([]base.Replica{to})
	m.index = applied
	b := raftlog.Batch{
		Group: old.ID(), Replica: to.ID, MustSync: true, Snapshot: image{applied, term, m}.mark(),
		HardState: &pb.HardState{Term: new(max(old.HardState().GetTerm(), lastTerm)), Vote: new(uint64(0)), Commit: new(applied)},
	}
	for next := applied + 1; ; {
		if next <= last {
			entries, err := old.Entries(next, last+1, uint64(h.o.MaxMessageBytes))
			if err != nil {
				return err
			}
			next += uint64(len(entries))
			b.Entries = withoutMembers(entries)
		}
		done := make(chan error, 1)
		h.o.MemLog.Append(b, func(err error) { done <- err })
		if err := <-done; err != nil || next > last {
			return err
		}
		b = raftlog.Batch{Group: old.ID(), Replica: to.ID, MustSync: true}
	}
}

// withoutMembers are entries with empty ones in place of changes of members, which were
// those of the group before.
func withoutMembers(entries []*pb.Entry) []*pb.Entry {
	list := make([]*pb.Entry, len(entries))
	for i, e := range entries {
		if list[i] = e; e.GetType() != pb.EntryNormal {
			list[i] = &pb.Entry{Term: e.Term, Index: e.Index, Type: pb.EntryNormal.Enum()}
		}
	}
	return list
}
