package rafthost

import (
	"context"
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3"
)

// reads is the read under way. One at a time asks the leader; callers that come
// meanwhile share the next.
type reads struct {
	id    uint64
	asked bool
	at    uint64 // tick of asking
}

// readRetryTicks: a question that has no answer after so many ticks is asked again.
const readRetryTicks = 3

// ReadIndex returns an index such that a state which has applied it contains
// everything that was acknowledged before the call. It works on every member
// that reaches the leader, and waits until it does or ctx is done.
func (g *Group) ReadIndex(ctx context.Context) (uint64, error) {
	ch := make(chan readResult, 1)
	g.mu.Lock()
	if g.err != nil {
		g.mu.Unlock()
		return 0, g.err
	}
	g.waits.read = append(g.waits.read, ch)
	g.in.kick = true
	g.scheduleLocked()
	g.mu.Unlock()
	select {
	case r := <-ch:
		return r.index, r.err
	case <-ctx.Done():
		g.mu.Lock()
		g.waits.forgetRead(ch)
		g.mu.Unlock()
		return 0, fmt.Errorf("read index of %v: %w", g.id, ctx.Err())
	}
}

// pursueReads asks for the callers that wait, once a round.
func (g *Group) pursueReads() {
	n := &g.node
	again := n.reads.asked && n.ticks-n.reads.at >= readRetryTicks
	if n.reads.asked && !again {
		return
	}
	g.mu.Lock()
	if !n.reads.asked || again {
		g.waits.asked = append(g.waits.asked, g.waits.read...)
		g.waits.read = nil
	}
	waiting := len(g.waits.asked)
	g.mu.Unlock()
	n.reads.asked = false
	if waiting == 0 {
		return
	}
	g.wake()
	n.idle = 0
	// A leader knows what was acknowledged in former terms only after the first
	// commit of its own; Raft waits for it, but not with a single voter.
	if n.soft.Lead == raft.None || n.soft.RaftState == raft.StateLeader && !g.ownTermCommitted() {
		return // the callers stay in waits.asked; every run comes by here
	}
	n.reads.id++
	n.reads.asked, n.reads.at = true, n.ticks
	n.rn.ReadIndex(binary.BigEndian.AppendUint64(nil, n.reads.id))
}

func (g *Group) hasReaders() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waits.asked)+len(g.waits.read) > 0
}

func (g *Group) ownTermCommitted() bool {
	return g.node.ownTerm != 0 && g.node.hard.GetCommit() >= g.node.ownTerm
}

func (g *Group) readConfirmed(rs raft.ReadState) {
	n := &g.node
	if !n.reads.asked || len(rs.RequestCtx) != 8 || binary.BigEndian.Uint64(rs.RequestCtx) != n.reads.id {
		return
	}
	n.reads.asked = false
	g.mu.Lock()
	for _, ch := range g.waits.asked {
		ch <- readResult{index: rs.Index}
	}
	g.waits.asked = nil
	if len(g.waits.read) > 0 {
		g.in.kick = true
		g.scheduleLocked()
	}
	g.mu.Unlock()
}
