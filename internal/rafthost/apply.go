package rafthost

import (
	"context"
	"fmt"

	"weir/internal/base"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// applyTask is one thing to do on the apply worker, in order with the others of
// its group; exactly one of its parts is set.
type applyTask struct {
	entries   []*pb.Entry
	responses []*pb.Message // to Raft, once entries are applied
	leader    *LeaderInfo
	call      func() error
	stopped   error
}

// applyState belongs to the apply worker that has the group.
type applyState struct {
	term  uint64 // of the last applied entry
	batch []Entry
	// done are the responses due when batch is applied.
	done   []*pb.Message
	leader LeaderInfo // as last announced
}

func (g *Group) enqueueApply(t applyTask) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.tasks = append(g.tasks, t)
		g.scheduleApplyLocked()
	}
}

func (g *Group) scheduleApplyLocked() {
	if !g.applyQueued && !g.applying && g.holds == 0 && len(g.tasks) > 0 && !g.closed {
		g.applyQueued = true
		g.h.applies.Push(g)
	}
}

func (h *Host) applyWorker() {
	var groups []*Group
	for {
		var ok bool
		if groups, ok = h.applies.Pop(groups[:0], 1); !ok {
			return
		}
		groups[0].runApply()
	}
}

func (g *Group) runApply() {
	g.mu.Lock()
	g.applyQueued = false
	if g.closed || g.holds > 0 {
		g.mu.Unlock()
		return
	}
	g.applying = true
	tasks := g.tasks
	g.tasks = nil
	g.mu.Unlock()

	rest, err := g.runTasks(tasks)
	if err != nil {
		g.Fail(err)
	}

	g.mu.Lock()
	g.applying = false
	if len(rest) > 0 && g.err == nil {
		g.tasks = append(rest, g.tasks...)
	}
	g.scheduleApplyLocked()
	if g.closed {
		g.cond.Broadcast()
	}
	g.mu.Unlock()
}

// runTasks runs tasks until one suspends applying; it returns those left.
func (g *Group) runTasks(tasks []applyTask) (rest []applyTask, err error) {
	a := &g.apply
	for i := range tasks {
		t := &tasks[i]
		if t.stopped != nil {
			g.machine.Stopped(t.stopped)
			return nil, nil
		}
		if !g.mayApply() {
			return nil, nil
		}
		if t.entries != nil {
			if err := g.gather(t.entries); err != nil {
				return nil, err
			}
			a.done = append(a.done, t.responses...)
			if i+1 < len(tasks) && tasks[i+1].entries != nil {
				continue
			}
		}
		if err := g.applyBatch(); err != nil {
			return nil, err
		}
		switch {
		case t.leader != nil:
			a.leader = *t.leader
			g.machine.LeaderChange(a.leader)
		case t.call != nil:
			if err := t.call(); err != nil {
				return nil, err
			}
			if g.suspended() {
				return tasks[i+1:], nil
			}
		}
	}
	return nil, nil
}

func (g *Group) mayApply() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err == nil
}

func (g *Group) suspended() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.holds > 0
}

// gather adds committed entries to the batch and makes configuration changes.
// What the machine has already (restored from an image, or durable before a
// restart) is passed over; what the configuration has already, too.
func (g *Group) gather(entries []*pb.Entry) error {
	a := &g.apply
	for _, e := range entries {
		isConf := e.GetType() != pb.EntryNormal
		if isConf {
			if err := g.applyBatch(); err != nil {
				return err
			}
			if err := g.applyConf(e); err != nil {
				return err
			}
		}
		next := g.applied.Load() + uint64(len(a.batch)) + 1
		if e.GetIndex() < next {
			continue
		}
		if e.GetIndex() > next {
			return base.Corruptf("entry %d follows %d", e.GetIndex(), next-1)
		}
		out := Entry{Index: e.GetIndex(), Term: e.GetTerm()}
		if !isConf && len(e.GetData()) > 0 {
			out.Data = e.GetData()
		}
		a.batch = append(a.batch, out)
	}
	return nil
}

// applyBatch gives the machine what gather has put together.
func (g *Group) applyBatch() error {
	a := &g.apply
	if n := len(a.batch); n > 0 {
		if err := g.machine.Apply(a.batch); err != nil {
			return fmt.Errorf("apply entries %d to %d: %w", a.batch[0].Index, a.batch[n-1].Index, err)
		}
		last := a.batch[n-1]
		a.term = last.Term
		g.batchApplied(last.Index)
		clear(a.batch)
		if a.batch = a.batch[:0]; cap(a.batch) > 1024 {
			a.batch = nil
		}
	}
	if len(a.done) > 0 {
		g.respond(a.done...)
		a.done = nil
	}
	if a.leader.Self && !a.leader.Ready && a.term == a.leader.Term {
		g.announceReady()
	}
	return nil
}

// batchApplied publishes the new index, frees the room of own proposals, and
// wakes who waits for the index.
func (g *Group) batchApplied(index uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied.Store(index)
	g.appliedTerm = g.apply.term
	for _, e := range g.apply.batch {
		if e.Term == g.leader.Term {
			g.pending = max(0, g.pending-len(e.Data))
		}
	}
	g.waits.applied(index)
}

func (g *Group) announceReady() {
	a := &g.apply
	a.leader.Ready = true
	g.mu.Lock()
	if g.leader.Term == a.leader.Term && g.leader.Self {
		g.leader.Ready = true
	}
	g.mu.Unlock()
	g.machine.LeaderChange(a.leader)
}

// applyConf makes one configuration change, unless it is contained already. It
// returns when the new members are durable: the machine must not get past a
// change that the log could forget.
func (g *Group) applyConf(e *pb.Entry) error {
	cc, ctx, err := decodeChange(e)
	if err != nil {
		return err
	}
	m, err := g.switchMembers(e.GetIndex(), cc, ctx)
	if err != nil || m == nil {
		return err
	}
	if err := g.storeMembers(stored{members: m}); err != nil {
		return err
	}
	g.mu.Lock()
	g.waits.changed(ctx.token, m)
	g.in.kick = true // the change may have given Raft something to send
	g.scheduleLocked()
	g.mu.Unlock()
	g.machine.MembersChange(m.voters(), m.learners())
	return nil
}

// switchMembers returns nil if the change is contained already.
func (g *Group) switchMembers(index uint64, cc *pb.ConfChangeV2, ctx changeContext) (m *members, err error) {
	g.raftMu.Lock()
	defer g.raftMu.Unlock()
	if index <= g.members.index {
		return nil, nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("membership change at %d: %v", index, p)
		}
	}()
	state := g.node.rn.ApplyConfChange(cc)
	m = g.members.changed(index, state, ctx.added)
	g.setMembers(m)
	return m, nil
}

// setMembers publishes members; the caller holds raftMu.
func (g *Group) setMembers(m *members) {
	g.mu.Lock()
	g.members = m
	g.mu.Unlock()
}

// WaitApplied waits until the machine has applied index.
func (g *Group) WaitApplied(ctx context.Context, index uint64) error {
	ch := make(chan error, 1)
	g.mu.Lock()
	switch {
	case g.err != nil:
		ch <- g.err
	case g.applied.Load() >= index:
		ch <- nil
	default:
		g.waits.apply = append(g.waits.apply, applyWait{index, ch})
	}
	g.mu.Unlock()
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		g.mu.Lock()
		g.waits.forget(ch)
		g.mu.Unlock()
		return fmt.Errorf("wait for entry %d of %v: %w", index, g.id, ctx.Err())
	}
}

// decodeChange decodes an entry that changes the configuration.
func decodeChange(e *pb.Entry) (*pb.ConfChangeV2, changeContext, error) {
	cc := &pb.ConfChangeV2{}
	if e.GetType() != pb.EntryConfChangeV2 {
		return nil, changeContext{}, base.Corruptf("entry %d has unknown type %v", e.GetIndex(), e.GetType())
	}
	if err := proto.Unmarshal(e.GetData(), cc); err != nil {
		return nil, changeContext{}, base.Corruptf("membership change at %d: %w", e.GetIndex(), err)
	}
	ctx, err := decodeChangeContext(cc.GetContext())
	return cc, ctx, err
}
