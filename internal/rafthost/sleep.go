package rafthost

import (
	"encoding/binary"
	"math"

	"weir/internal/base"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// Sleep: a group in which every reachable replica has everything stops ticking.
// The leader decides and tells the followers the term and index of which it
// holds; who does not agree stays awake and, having no heartbeats, soon wakes the
// others. Any message that says something new, a proposal, a read, or news about
// a member's node wakes a replica.

func (g *Group) doTick() {
	n := &g.node
	n.ticks++
	if n.quiesced {
		return
	}
	if n.grace > 0 {
		n.grace--
		return
	}
	n.rn.Tick()
	n.idle++
}

// maybeSleep comes after everything else that a run had to do.
func (g *Group) maybeSleep(w *worker) {
	g.acceptOffer()
	limit := g.h.o.QuiesceTicks
	if limit >= 0 && g.node.idle >= limit && !g.node.quiesced && g.canSleep() {
		g.sleep(w)
	}
}

// canSleep tells whether this leader and everybody reachable have the same log,
// committed and applied, and nothing is under way.
func (g *Group) canSleep() bool {
	n := &g.node
	if n.soft.RaftState != raft.StateLeader || n.change != nil || len(n.held) > 0 || n.rn.HasReady() {
		return false
	}
	st := n.rn.BasicStatus()
	if st.LeadTransferee != 0 || st.Applied != st.GetCommit() || g.members.joint() {
		return false
	}
	same := !g.hasReaders() && !g.appending()
	n.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		switch {
		case id == uint64(g.replica):
			same = same && pr.Match == st.GetCommit()
		case g.h.nodeDown(g.members.nodes[base.ReplicaID(id)]):
		default:
			same = same && pr.Match == st.GetCommit() && pr.State == tracker.StateReplicate
		}
	})
	return same
}

func (g *Group) sleep(w *worker) {
	n := &g.node
	n.quiesced = true
	g.h.setAwake(g, false)
	for id, node := range g.members.nodes {
		if id == g.replica || node == 0 {
			continue
		}
		w.touch(g.h.peers.add(node, recordQuiesce, 64, func(b []byte) []byte {
			for _, v := range [...]uint64{uint64(g.id), uint64(id), uint64(g.replica), n.hard.GetTerm(), n.hard.GetCommit()} {
				b = binary.AppendUvarint(b, v)
			}
			return b
		}))
	}
}

func (h *Host) handleQuiesce(id base.GroupID, to base.ReplicaID, d *decoder) {
	leader, term, index := d.uvarint(), d.uvarint(), d.uvarint()
	g := h.group(id)
	if d.err != nil || g == nil || g.replica != to {
		return
	}
	g.control(func() { g.node.offer = sleepOffer{leader, term, index} })
}

// sleepOffer is a leader's word that everybody has everything up to index.
type sleepOffer struct{ leader, term, index uint64 }

// acceptOffer follows the leader to sleep, if this replica agrees with it.
func (g *Group) acceptOffer() {
	n := &g.node
	o := n.offer
	n.offer = sleepOffer{}
	if o.leader == 0 || n.quiesced || n.campaigns > 0 || n.rn.HasReady() || g.hasReaders() {
		return
	}
	st := n.rn.BasicStatus()
	if st.RaftState == raft.StateFollower && st.Lead == o.leader && st.GetTerm() == o.term && st.GetCommit() == o.index &&
		!g.h.nodeDown(g.address(base.ReplicaID(o.leader))) {
		n.quiesced = true
		g.h.setAwake(g, false)
	}
}

// wakes tells whether a message says something that a sleeping replica does not
// know: the last answers to the last heartbeats do not.
func (g *Group) wakes(m *pb.Message) bool {
	n := &g.node
	switch m.GetType() {
	case pb.MsgHeartbeatResp:
		return len(m.GetContext()) > 0 || m.GetTerm() > n.hard.GetTerm()
	case pb.MsgAppResp:
		return m.GetReject() || m.GetTerm() != n.hard.GetTerm() || m.GetIndex() > n.hard.GetCommit()
	case pb.MsgVote, pb.MsgPreVote:
		// All members were known and had everything: a stranger was removed.
		return g.members.has(base.ReplicaID(m.GetFrom()))
	}
	return true
}

// wake starts the ticks again. A leader first asks how its followers are: whether
// it was heard by them lately is not known, so it leaves out a few ticks lest
// CheckQuorum depose it.
func (g *Group) wake() {
	n := &g.node
	if !n.quiesced {
		return
	}
	n.quiesced = false
	n.idle = 0
	g.h.setAwake(g, true)
	if n.soft.RaftState == raft.StateLeader {
		n.grace = 2
		_ = n.rn.Step(localMessage(pb.MsgBeat, raft.LocalAppendThread))
	}
}

// slowest is the index that every other replica is known to have; 0 if nothing
// is known.
func (g *Group) slowest() uint64 {
	n := &g.node
	least := uint64(math.MaxUint64)
	switch {
	case n.soft.RaftState == raft.StateLeader:
		n.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			if id != uint64(g.replica) {
				least = min(least, pr.Match)
			}
		})
	case n.quiesced:
		// Whoever was up had everything when the leader put us to sleep.
		for id := range g.members.nodes {
			if !g.up(id) {
				least = 0
			}
		}
	default:
		least = 0
	}
	return least
}
