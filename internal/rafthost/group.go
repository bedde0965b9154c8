package rafthost

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"weir/internal/base"
	"weir/internal/raftlog"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Group is one replica of one Raft group.
//
// Three parties touch it: callers and the network put things into the inbox and
// the apply queue (under mu, which is never held for long); one Raft worker at a
// time runs the RawNode (under raftMu); one apply worker at a time calls the
// Machine (under no lock). Lock order: raftMu, then mu.
type Group struct {
	h       *Host
	id      base.GroupID
	replica base.ReplicaID
	machine Machine
	relaxed func(data []byte) bool // GroupConfig.Relaxed
	logs    *raftlog.Log
	log     *raftlog.Group
	storage *storage

	raftMu sync.Mutex
	node   raftState // guarded by raftMu

	mu   sync.Mutex
	cond sync.Cond // on mu: a worker let go of the group
	in   inbox
	// queued and running say where the group stands with the Raft workers,
	// applyQueued and applying with the apply workers; holds counts the reasons
	// for which applying is suspended (a Machine.Restore).
	queued, running       bool
	applyQueued, applying bool
	holds                 int
	tasks                 []applyTask
	// streaming counts the goroutines of snapshots that use the machine.
	streaming int
	// err is set once, when the group is closed or its replica failed; nothing
	// goes in afterwards.
	err error
	// closed: no Machine method may be called any more.
	closed bool
	// leader is what was last handed to the apply queue for LeaderChange.
	leader LeaderInfo
	// pending bytes were proposed in term leader.Term and are not applied yet.
	pending int
	// appends are handed to the log and not durable yet, oldest first.
	appends []*appendOp
	// members are written under raftMu and mu, so that either allows reading.
	members *members
	// strangers are the nodes of replicas that members does not name. Copied to change.
	strangers map[base.ReplicaID]base.NodeID
	waits     waits
	// appliedTerm is the term of entry applied.
	appliedTerm uint64

	applied atomic.Uint64 // last index applied to the machine
	apply   applyState    // owned by the apply worker
}

// inbox is what waits for a Raft worker. Messages from peers are bounded in
// bytes; the group's own proposals are bounded by MaxUncommittedBytes; responses
// of storage by what is outstanding.
type inbox struct {
	messages  []*pb.Message
	proposals []proposal
	controls  []func()
	ticks     int
	bytes     int
	kick      bool // look again at what is under mu
}

func (in *inbox) empty() bool {
	return len(in.messages) == 0 && len(in.proposals) == 0 && len(in.controls) == 0 && in.ticks == 0 && !in.kick
}

// proposal carries the term in which it was taken, so that none outlives the
// leadership that its caller knew of.
type proposal struct {
	term uint64
	data []byte
}

// appendOp is one append on its way to the disk and what to do when it is there.
type appendOp struct{ responses []*pb.Message }

// ID returns the group's id.
func (g *Group) ID() base.GroupID { return g.id }

// Replica returns the id of this replica.
func (g *Group) Replica() base.ReplicaID { return g.replica }

// Applied returns the index up to which the machine stands.
func (g *Group) Applied() uint64 { return g.applied.Load() }

// Leader returns the leader as last announced or about to be announced.
func (g *Group) Leader() LeaderInfo {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leader
}

// Propose has data committed and applied on every replica, if this replica leads
// and goes on to do so. The outcome is told by Apply only: whoever waits must give
// up when LeaderChange announces another term or Self false. Data is owned by the
// host after the call. Errors: ErrNotLeader, ErrOverloaded, ErrStopped; then
// data was not taken.
func (g *Group) Propose(data []byte) error {
	base.Assert(len(data) > 0, "empty proposal to %v", g.id)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.err != nil:
		return g.err
	case !g.leader.Self:
		return ErrNotLeader
	case g.pending > 0 && g.pending+len(data) > g.h.o.MaxUncommittedBytes:
		return ErrOverloaded
	}
	g.pending += len(data)
	g.in.proposals = append(g.in.proposals, proposal{g.leader.Term, data})
	g.scheduleLocked()
	return nil
}

// deliver takes a message of a peer. A full inbox drops it, as a network may; an
// empty one takes it however large it is, or it would never arrive.
func (g *Group) deliver(m *pb.Message, size int, from base.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil || g.in.bytes > 0 && g.in.bytes+size > g.h.o.MaxInboxBytes {
		return
	}
	if id := base.ReplicaID(m.GetFrom()); g.members.nodes[id] == 0 && m.GetType() != pb.MsgTransferLeader {
		g.meetLocked(id, from)
	}
	g.in.bytes += size
	g.in.messages = append(g.in.messages, m)
	g.scheduleLocked()
}

// maxStrangers bounds the addresses kept of replicas that are not members as far
// as this replica knows.
const maxStrangers = 16

// meetLocked notes where a stranger lives: a replica that waits to be added has to
// answer a leader of whom no members tell it.
func (g *Group) meetLocked(id base.ReplicaID, node base.NodeID) {
	if g.strangers[id] == node {
		return
	}
	known := make(map[base.ReplicaID]base.NodeID, len(g.strangers)+1)
	if len(g.strangers) < maxStrangers {
		maps.Copy(known, g.strangers)
	}
	known[id] = node
	g.strangers = known
}

// address is the node of a replica, 0 if unknown; the caller holds raftMu.
func (g *Group) address(id base.ReplicaID) base.NodeID {
	if node := g.members.nodes[id]; node != 0 {
		return node
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.strangers[id]
}

// respond takes messages of the group's own storage, which must not be lost.
func (g *Group) respond(ms ...*pb.Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.in.messages = append(g.in.messages, ms...)
		g.scheduleLocked()
	}
}

// control runs f on a Raft worker under raftMu. False: the group is stopped.
func (g *Group) control(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return false
	}
	g.in.controls = append(g.in.controls, f)
	g.scheduleLocked()
	return true
}

func (g *Group) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	// After a pause of the process one tick too many must not start an election.
	if g.err == nil && g.in.ticks < 2 {
		g.in.ticks++
		g.scheduleLocked()
	}
}

func (g *Group) scheduleLocked() {
	if !g.queued && !g.running {
		g.queued = true
		g.h.ready.Push(g)
	}
}

// Campaign asks for an election, unless a leader is known.
func (g *Group) Campaign() {
	g.control(func() { g.campaignSoon(0, campaignAttempts) })
}

// TransferLeader asks the leader to hand over to a voter. It does not wait:
// LeaderChange tells the outcome; after an election timeout the attempt is over.
func (g *Group) TransferLeader(to base.ReplicaID) error {
	g.mu.Lock()
	m := g.members
	g.mu.Unlock()
	if !m.isVoter(to) {
		return fmt.Errorf("transfer leadership of %v to %v: %w", g.id, to, ErrUnknownReplica)
	}
	if !g.control(func() { g.transfer(to) }) {
		return ErrStopped
	}
	return nil
}

func (g *Group) transfer(to base.ReplicaID) {
	g.wake()
	g.node.rn.TransferLeader(uint64(to))
}

// Compact says that the machine is durable up to index, so that the log may let
// go of entries up to it. What followers still need is kept: everything behind
// the slowest live follower within TailEntries, nothing when all are known to
// have caught up.
func (g *Group) Compact(durable uint64) { g.compact(durable, g.h.o.TailEntries) }

// CompactAll is Compact without keeping a tail: replicas that lag get a snapshot.
func (g *Group) CompactAll(durable uint64) { g.compact(durable, 0) }

func (g *Group) compact(durable, tail uint64) {
	g.control(func() {
		// Raft still scans what it does not know to be applied.
		index := min(durable, g.node.rn.BasicStatus().Applied)
		if behind := g.slowest(); behind < index && index-behind > tail {
			index -= tail
		} else {
			index = min(index, behind)
		}
		if s, ok := g.h.streams.oldest(g); ok {
			index = min(index, s)
		}
		if first, err := g.log.FirstIndex(); err == nil && index >= first {
			g.log.Compact(index)
		}
	})
}

// shut refuses further input with err and waits until nobody runs the group.
func (g *Group) shut(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	g.closed = true
	g.waits.fail(err)
	g.mu.Unlock()
	g.h.setAwake(g, false)
	g.h.streams.end(g, err)
	g.mu.Lock()
	for g.running || g.applying || g.streaming > 0 || len(g.appends) > 0 {
		g.cond.Wait()
	}
	g.tasks, g.in = nil, inbox{}
	g.mu.Unlock()
	g.raftMu.Lock()
	g.stopTimers()
	g.raftMu.Unlock()
}

// Fail stops the replica as an error of its machine does: for an owner that knows before
// the machine or the log meets it that there is nothing to go on with. Another replica
// takes over at once.
func (g *Group) Fail(err error) {
	g.standDown()
	g.fail(err)
	g.announceGone()
}

// fail stops the replica: it takes no more input, votes no more, and the owner
// is told once. Called on any goroutine, without locks.
func (g *Group) fail(err error) {
	g.mu.Lock()
	if g.err != nil {
		g.mu.Unlock()
		return
	}
	g.err = fmt.Errorf("%w: %w", ErrStopped, err)
	g.waits.fail(g.err)
	g.leader = LeaderInfo{Term: g.leader.Term}
	g.in = inbox{}
	g.tasks = []applyTask{{stopped: err}}
	g.scheduleApplyLocked()
	g.mu.Unlock()
	g.h.o.Logger.Errorf("replica %v of %v stopped: %v", g.replica, g.id, err)
	g.h.setAwake(g, false)
	g.h.streams.end(g, err)
}

func localMessage(t pb.MessageType, from uint64) *pb.Message {
	return &pb.Message{Type: t.Enum(), From: &from}
}

// fromPeer tells whether m is of a kind that peers send.
func fromPeer(m *pb.Message) bool {
	return !raft.IsLocalMsg(m.GetType()) && !raft.IsLocalMsgTarget(m.GetFrom()) &&
		m.GetType() != pb.MsgSnap && m.GetType() != pb.MsgProp
}
