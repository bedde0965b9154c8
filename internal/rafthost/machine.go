// Package rafthost runs the Raft groups of one node: many
// go.etcd.io/raft RawNodes on few goroutines, over one shared write-ahead log
// and one link per peer.
//
// See DESIGN.md for who runs what and which guarantees hold.
package rafthost

import (
	"errors"
	"io"

	"weir/internal/base"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotLeader: this replica does not lead the group (any more). A proposal
	// that had been taken before may still commit.
	ErrNotLeader = errors.New("not the leader of the group")
	// ErrOverloaded: too many bytes wait to be committed and applied.
	ErrOverloaded = errors.New("group is overloaded")
	// ErrStopped: the group was closed or its replica failed.
	ErrStopped = errors.New("group is stopped")
	// ErrChangeInFlight: a membership change has not finished yet.
	ErrChangeInFlight = errors.New("a membership change is in flight")
	// ErrGroupExists: Open of a group that is open.
	ErrGroupExists = errors.New("group is open already")
	// ErrUnknownReplica: the named replica is not a member, or not one that fits.
	ErrUnknownReplica = errors.New("unknown replica")
)

// Transport carries frames to peers. Send is best effort, keeps the order per
// peer, never blocks, and owns frame after the call. False says that the frame
// was dropped.
type Transport interface {
	Send(to base.NodeID, frame []byte) bool
}

// Entry is one committed entry.
type Entry struct {
	Index uint64
	Term  uint64
	// Data is what was proposed; nil for entries of Raft itself (a leader's first
	// entry, membership changes), whose index counts all the same. Borrowed: valid
	// during the call only.
	Data []byte
}

// Snapshot is a consistent image of a Machine. WriteTo runs on its own goroutine
// while Apply goes on. Close is called once, whether or not WriteTo was.
type Snapshot interface {
	// Index is the last applied index that the image contains.
	Index() uint64
	WriteTo(w io.Writer) (int64, error)
	Close() error
}

// LeaderInfo says who leads, as far as this replica knows.
type LeaderInfo struct {
	Leader     base.ReplicaID // 0: nobody known
	LeaderNode base.NodeID    // 0: nobody known
	Term       uint64
	// Self: this replica leads.
	Self bool
	// Ready: Self, and every entry of former terms has been applied here.
	Ready bool
}

// Machine is a group's replicated state. Its methods are called on the host's
// apply goroutines, one at a time per group and in log order, never under a lock
// of the host; only Restore has a goroutine of its own, during which nothing else
// is called. Machine methods may call the group's methods except those that wait
// (ChangeMembers, ReadIndex, WaitApplied) and Host.Close and Host.Remove of it.
type Machine interface {
	// Apply applies committed entries. Indexes are consecutive and follow Applied,
	// except that a new group's first entry has index 2 (its members stand at 1).
	// An error stops the replica (see Stopped).
	Apply(entries []Entry) error
	// Applied is the index that the state stands at; called once, in Host.Open.
	// 0 is the state before anything. It must not be ahead of what the machine
	// has been given by Apply or Restore.
	Applied() uint64
	// Snapshot returns an image of the state as of the last Apply.
	Snapshot() (Snapshot, error)
	// Restore replaces all state by an image that a Snapshot wrote. It is atomic
	// across a crash: stage, then switch. When r returns an error other than
	// io.EOF, the old state stays and the error is returned.
	Restore(index uint64, r io.Reader) error
	// LeaderChange tells of a new leader or of its loss. This replica's own
	// leadership is announced twice: when elected and when Ready.
	LeaderChange(info LeaderInfo)
	// MembersChange tells the members after Open and after every change.
	MembersChange(voters, learners []base.Replica)
	// Stopped says that the replica failed: corruption (base.IsCorrupt) or an
	// operating error. Nothing is called afterwards.
	Stopped(err error)
}
