package rafthost

import (
	"fmt"

	"weir/internal/base"
	"weir/internal/raftlog"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// raftState is the part of a Group that only its current Raft worker touches.
type raftState struct {
	rn *raft.RawNode
	// hard is Raft's latest hard state. A change of the commit index alone is not
	// written (it is learnt again after a restart); written is what is.
	hard, written *pb.HardState
	soft          raft.SoftState
	// ownTerm is the index of the first entry of this leadership, 0 if none.
	ownTerm uint64
	// changeAt is the index of the last change of members that was appended while
	// this was the only one.
	changeAt uint64
	// held proposals wait for the end of a leadership transfer.
	held   []proposal
	reads  reads
	change *memberChange
	// proposedAt is the members' index when a change was proposed in this
	// leadership, plus one; 0 if none is under way.
	proposedAt uint64
	// incoming is the image that Raft is being told of.
	incoming *image

	quiesced bool
	offer    sleepOffer // of the leader, to be looked at after this run
	idle     int        // ticks since something happened
	grace    int        // ticks to leave out after waking as leader
	ticks    uint64
	heard    map[uint64]uint64 // replica → ticks when last heard from

	campaigns int        // attempts left of campaignSoon
	timer     base.Timer // of the next attempt
}

// worker is one Raft worker's scratch space.
type worker struct {
	h     *Host
	in    inbox
	boxes []*outbox // to flush
}

func (h *Host) runWorker() {
	w := &worker{h: h}
	var groups []*Group
	for {
		var ok bool
		if groups, ok = h.ready.Pop(groups[:0], 16); !ok {
			return
		}
		for i, g := range groups {
			g.run(w)
			groups[i] = nil
		}
		w.flush()
	}
}

func (w *worker) flush() {
	for i, b := range w.boxes {
		w.h.peers.flush(b)
		w.boxes[i] = nil
	}
	w.boxes = w.boxes[:0]
}

func (w *worker) touch(b *outbox) {
	for _, have := range w.boxes {
		if have == b {
			return
		}
	}
	w.boxes = append(w.boxes, b)
}

// run lets the group digest its inbox.
func (g *Group) run(w *worker) {
	g.mu.Lock()
	g.queued = false
	if g.err != nil {
		g.mu.Unlock()
		return
	}
	g.running = true
	w.in, g.in = g.in, w.in
	g.mu.Unlock()

	err := g.digest(w)
	w.in.clear()

	g.mu.Lock()
	g.running = false
	if !g.in.empty() && g.err == nil {
		g.scheduleLocked()
	}
	if g.closed {
		g.cond.Broadcast()
	}
	g.mu.Unlock()
	if err != nil {
		g.fail(err)
		g.announceGone()
	}
}

// clear empties the inbox for the next group, keeping small slices only: a busy
// group's must not stay with an idle one.
func (in *inbox) clear() {
	const keep = 256
	if cap(in.messages) > keep || cap(in.proposals) > keep {
		*in = inbox{}
		return
	}
	clear(in.messages)
	clear(in.proposals)
	clear(in.controls)
	*in = inbox{messages: in.messages[:0], proposals: in.proposals[:0], controls: in.controls[:0]}
}

func (g *Group) digest(w *worker) (err error) {
	g.raftMu.Lock()
	defer g.raftMu.Unlock()
	defer g.recovered(&err)
	if g.node.rn == nil {
		return nil // Open failed
	}
	in := &w.in
	for _, m := range in.messages {
		g.step(m, w)
	}
	for _, f := range in.controls {
		f()
	}
	if len(in.proposals) > 0 || len(g.node.held) > 0 {
		g.propose(in.proposals)
	}
	for range in.ticks {
		g.doTick()
	}
	g.pursueChange()
	g.pursueReads()
	if err := g.drain(w); err != nil {
		return err
	}
	g.maybeSleep(w)
	return nil
}

// recovered turns a panic of the raft library, or the library's answer to an
// unreadable log, into an error. Other panics are bugs and go on.
func (g *Group) recovered(err *error) {
	switch p := recover().(type) {
	case nil:
	case raftPanic:
		*err = p
		if g.storage.err != nil {
			*err = fmt.Errorf("%w (%v)", g.storage.err, p)
		}
	default:
		if g.storage.err == nil {
			panic(p)
		}
		*err = g.storage.err
	}
}

// step gives Raft a message of a peer or of the group's own storage, or passes
// on a response to a peer that had to wait for the disk.
func (g *Group) step(m *pb.Message, w *worker) {
	from := m.GetFrom()
	if m.GetTo() != uint64(g.replica) {
		g.send(m, w)
		return
	}
	if !raft.IsLocalMsg(m.GetType()) && from != uint64(g.replica) {
		if g.node.quiesced && !g.wakes(m) {
			return
		}
		g.wake()
		if g.members.has(base.ReplicaID(from)) {
			g.node.heard[from] = g.node.ticks
		}
		if len(m.GetEntries()) > 0 || (m.GetType() != pb.MsgHeartbeat && m.GetType() != pb.MsgHeartbeatResp) {
			g.node.idle = 0
		}
	}
	// Errors say that the message does not fit; a network may bring such.
	_ = g.node.rn.Step(m)
}

func (g *Group) propose(ps []proposal) {
	n := &g.node
	if n.soft.RaftState != raft.StateLeader {
		n.held = nil // their callers were told by LeaderChange
		return
	}
	g.wake()
	n.idle = 0
	if len(n.held) > 0 {
		ps = append(n.held, ps...)
		n.held = nil
	}
	term := n.hard.GetTerm()
	entries := make([]*pb.Entry, 0, len(ps))
	slab := make([]pb.Entry, len(ps))
	for i, p := range ps {
		if p.term == term {
			slab[i].Data = p.data
			entries = append(entries, &slab[i])
		}
	}
	if len(entries) == 0 {
		return
	}
	m := &pb.Message{Type: pb.MsgProp.Enum(), From: new(uint64(g.replica)), Entries: entries}
	if n.rn.Step(m) != nil {
		// A transfer of leadership is under way. It succeeds and the callers are
		// told, or it fails within an election timeout.
		n.held = append([]proposal(nil), ps...)
	}
}

// drain handles what Raft wants done until it wants nothing more.
func (g *Group) drain(w *worker) error {
	for g.node.rn.HasReady() {
		rd := g.node.rn.Ready()
		if rd.HardState != nil && !raft.IsEmptyHardState(rd.HardState) {
			termChanged := rd.HardState.GetTerm() != g.node.hard.GetTerm()
			g.node.hard = rd.HardState
			if termChanged && rd.SoftState == nil {
				g.leaderChanged(g.node.soft)
			}
		}
		if rd.SoftState != nil {
			g.leaderChanged(*rd.SoftState)
		}
		for _, rs := range rd.ReadStates {
			g.readConfirmed(rs)
		}
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				if err := g.append(m, w); err != nil {
					return err
				}
			case raft.LocalApplyThread:
				g.enqueueApply(applyTask{entries: m.GetEntries(), responses: m.GetResponses()})
			default:
				g.send(m, w)
			}
		}
	}
	return nil
}

func (g *Group) send(m *pb.Message, w *worker) {
	if m.GetType() == pb.MsgSnap {
		g.sendSnapshot(m)
		return
	}
	node := g.address(base.ReplicaID(m.GetTo()))
	if node == 0 {
		return
	}
	w.touch(g.h.peers.add(node, recordMessage, messageBound(m), func(b []byte) []byte {
		return appendMessage(b, g.id, m)
	}))
}

// append hands entries, hard state and snapshot mark to the log. What depends on
// them goes out when they are durable (appended), never before.
func (g *Group) append(m *pb.Message, w *worker) error {
	n := &g.node
	b := raftlog.Batch{Group: g.id, Replica: g.replica, Entries: m.GetEntries()}
	if s := m.GetSnapshot(); s != nil && !raft.IsEmptySnap(s) {
		g.snapshotAccepted(s, &b)
	}
	elected := n.hard.GetTerm() != n.written.GetTerm() || n.hard.GetVote() != n.written.GetVote()
	if len(b.Entries) == 0 && b.Snapshot == nil && !elected {
		g.afterAppends(m.GetResponses(), w)
		return nil
	}
	if n.hard.GetCommit() != n.written.GetCommit() || elected {
		b.HardState = n.hard
		n.written = n.hard
	}
	b.Relaxed = g.mayRelax(b.Entries) && b.Snapshot == nil && !elected
	b.MustSync = !b.Relaxed
	if n.soft.RaftState == raft.StateLeader && n.ownTerm == 0 {
		for _, e := range b.Entries {
			if e.GetTerm() == n.hard.GetTerm() {
				n.ownTerm = e.GetIndex()
				break
			}
		}
	}
	g.write(b, m.GetResponses())
	return nil
}

// mayRelax tells whether entries may be applied before they are durable. Who joins
// must never hear of an entry that this replica could still lose: from the entry on
// that changes the members all are durable first, until it is applied and nobody
// joined; and so are those of a leadership until its first one is applied, as there may be
// such a change in what was left by the one before.
func (g *Group) mayRelax(entries []*pb.Entry) bool {
	n := &g.node
	if g.relaxed == nil || len(g.members.nodes) != 1 || n.ownTerm == 0 || g.applied.Load() < n.ownTerm {
		return false
	}
	all := true
	for _, e := range entries {
		if e.GetType() != pb.EntryNormal {
			n.changeAt = e.GetIndex()
		}
		all = all && g.relaxed(e.GetData())
	}
	return all && n.changeAt <= g.members.index
}

// write appends to the log; responses are delivered when b is durable.
func (g *Group) write(b raftlog.Batch, responses []*pb.Message) {
	g.mu.Lock()
	g.appends = append(g.appends, &appendOp{responses})
	g.mu.Unlock()
	g.logs.Append(b, g.appended)
}

// afterAppends delivers responses that depend on nothing new but on the appends
// under way.
func (g *Group) afterAppends(responses []*pb.Message, w *worker) {
	if len(responses) == 0 {
		return
	}
	g.mu.Lock()
	if n := len(g.appends); n > 0 {
		op := g.appends[n-1]
		op.responses = append(op.responses, responses...)
		responses = nil
	}
	g.mu.Unlock()
	for _, r := range responses {
		g.step(r, w)
	}
}

func (g *Group) appending() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.appends) > 0
}

// appended runs on the log's goroutine, once per append, in their order.
func (g *Group) appended(err error) {
	g.mu.Lock()
	op := g.appends[0]
	g.appends[0] = nil
	if g.appends = g.appends[1:]; len(g.appends) == 0 {
		g.appends = nil
	}
	if g.closed {
		g.cond.Broadcast()
	}
	if err == nil && g.err == nil {
		g.in.messages = append(g.in.messages, op.responses...)
		g.scheduleLocked()
	}
	g.mu.Unlock()
	if err != nil {
		g.fail(fmt.Errorf("append to the log: %w", err))
	}
}

// leaderChanged publishes a new role, leader or term and queues its announcement
// behind what is already to be applied.
func (g *Group) leaderChanged(soft raft.SoftState) {
	n := &g.node
	n.soft = soft
	info := LeaderInfo{
		Leader:     base.ReplicaID(soft.Lead),
		LeaderNode: g.address(base.ReplicaID(soft.Lead)),
		Term:       n.hard.GetTerm(),
		Self:       soft.RaftState == raft.StateLeader,
	}
	if info.Leader != 0 {
		n.campaigns = 0
	}
	g.mu.Lock()
	old := g.leader
	if old == info || (old.Leader == 0 && info.Leader == 0) {
		g.leader.Term = info.Term
		g.mu.Unlock()
		return
	}
	g.leader = info
	n.reads.asked = false // the old leader may never answer
	if len(g.waits.asked)+len(g.waits.read) > 0 {
		g.in.kick = true
	}
	if old.Self != info.Self || old.Term != info.Term {
		g.pending = 0
	}
	g.mu.Unlock()
	n.idle = 0
	if !info.Self {
		n.ownTerm, n.held, n.proposedAt = 0, nil, 0
		g.failChange(ErrNotLeader)
	}
	g.enqueueApply(applyTask{leader: &info})
}
