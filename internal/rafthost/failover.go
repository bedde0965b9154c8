package rafthost

import (
	"encoding/binary"
	"slices"
	"time"

	"weir/internal/base"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// Failover without waiting for election timeouts: the cluster links know within
// a moment when a node is gone. The replicas that followed a leader there forget
// it (which ends its lease with them) and campaign one after the other, in an
// order that differs from group to group, until somebody leads or the attempts
// are used up; Raft's own timeout is the fallback.

const (
	campaignAttempts = 8
	campaignFirst    = 5 * time.Millisecond  // lets the others hear of it too
	campaignStep     = 40 * time.Millisecond // between one replica and the next
	campaignRetry    = 100 * time.Millisecond
)

// PeerUp says that the link to node stands.
func (h *Host) PeerUp(node base.NodeID) { h.peerChanged(node, false) }

// PeerDown says that node is not heard from. Groups led there elect another
// leader at once; a leader here that has lost its quorum steps down.
func (h *Host) PeerDown(node base.NodeID) {
	h.streams.abort(func(s *stream) bool { return s.peer == node }, errPeerDown)
	h.peerChanged(node, true)
}

func (h *Host) peerChanged(node base.NodeID, down bool) {
	h.mu.Lock()
	if down {
		h.down[node] = true
	} else {
		delete(h.down, node)
	}
	h.mu.Unlock()
	for _, g := range h.allGroups() {
		g.control(func() {
			if !g.members.hasNode(node, g.replica) {
				return
			}
			g.wake()
			if down {
				g.peerDown(node)
			} else if g.node.soft.Lead == raft.None {
				g.campaignSoon(g.turn(), campaignAttempts)
			}
		})
	}
}

func (g *Group) peerDown(node base.NodeID) {
	n := &g.node
	if n.soft.RaftState == raft.StateLeader {
		for id, at := range g.members.nodes {
			if at == node {
				n.rn.ReportUnreachable(uint64(id))
			}
		}
		if !g.members.quorum(g.up) {
			// The first round forgets who was heard from, the second finds nobody.
			_ = n.rn.Step(localMessage(pb.MsgCheckQuorum, raft.LocalAppendThread))
			_ = n.rn.Step(localMessage(pb.MsgCheckQuorum, raft.LocalAppendThread))
		}
		return
	}
	if lead := base.ReplicaID(n.soft.Lead); lead == 0 || g.members.nodes[lead] == node {
		g.leaderGone()
	}
}

// up tells whether a replica is here or on a node that is not known to be down.
func (g *Group) up(id base.ReplicaID) bool {
	return id == g.replica || !g.h.nodeDown(g.members.nodes[id])
}

func (g *Group) leaderGone() {
	_ = g.node.rn.ForgetLeader()
	g.campaignSoon(g.turn(), campaignAttempts)
}

// turn is how long this replica waits before it campaigns.
func (g *Group) turn() time.Duration {
	var alive []base.ReplicaID
	for _, r := range g.members.voters() {
		if g.up(r.ID) {
			alive = append(alive, r.ID)
		}
	}
	rank := 0
	if i := slices.Index(alive, g.replica); i >= 0 {
		rank = (i + int(g.id)) % len(alive)
	}
	return campaignFirst + time.Duration(rank)*campaignStep + g.h.random(campaignStep/2)
}

// campaignSoon arms up to attempts elections, the first after delay. A leader
// that appears ends it.
func (g *Group) campaignSoon(delay time.Duration, attempts int) {
	n := &g.node
	g.wake()
	if !g.members.isVoter(g.replica) || n.soft.RaftState == raft.StateLeader {
		return
	}
	n.campaigns = attempts
	if n.timer != nil {
		n.timer.Stop()
		n.timer = nil
	}
	if delay == 0 {
		g.campaign()
		return
	}
	n.timer = g.h.o.Clock.AfterFunc(delay, func() { g.control(g.campaign) })
}

func (g *Group) campaign() {
	n := &g.node
	n.timer = nil
	if n.campaigns == 0 || n.rn.BasicStatus().Lead != raft.None {
		n.campaigns = 0
		return
	}
	// Unless our own last vote is still on its way to a slow disk.
	if n.soft.RaftState == raft.StateFollower || !g.appending() {
		n.campaigns--
		_ = n.rn.Campaign()
	}
	if n.campaigns > 0 {
		delay := campaignRetry + g.h.random(campaignRetry)
		n.timer = g.h.o.Clock.AfterFunc(delay, func() { g.control(g.campaign) })
	}
}

// stopTimers ends what the Raft worker had armed; the caller holds raftMu.
func (g *Group) stopTimers() {
	g.node.campaigns = 0
	if g.node.timer != nil {
		g.node.timer.Stop()
		g.node.timer = nil
	}
}

// best is the voter that is up, not to be avoided, and has most of the log; 0 if
// there is none.
func (g *Group) best(avoid func(base.NodeID) bool) (id uint64, behind uint64) {
	var match, own uint64
	g.node.rn.WithProgress(func(i uint64, _ raft.ProgressType, pr tracker.Progress) {
		r := base.ReplicaID(i)
		switch {
		case r == g.replica:
			own = pr.Match
		case !slices.Contains(g.members.state.GetVoters(), i) || !g.up(r) || avoid != nil && avoid(g.members.nodes[r]):
		case id == 0 || pr.Match > match:
			id, match = i, pr.Match
		}
	})
	return id, own - min(own, match)
}

// handOver starts the transfer of leadership, if this replica leads and another
// voter is up and not to be avoided; it tells whether this is so.
func (g *Group) handOver(avoid func(base.NodeID) bool) bool {
	g.raftMu.Lock()
	defer g.raftMu.Unlock()
	if g.node.soft.RaftState != raft.StateLeader {
		return false
	}
	id, _ := g.best(avoid)
	if id == 0 {
		return false
	}
	return g.control(func() {
		if g.node.rn.BasicStatus().LeadTransferee == 0 {
			g.transfer(base.ReplicaID(id))
		}
	})
}

// standDown is the last thing that a failing leader does: it lets a follower that
// has everything take over at once.
func (g *Group) standDown() {
	g.raftMu.Lock()
	defer g.raftMu.Unlock()
	n := &g.node
	if n.soft.RaftState != raft.StateLeader {
		return
	}
	if id, behind := g.best(nil); id != 0 && behind == 0 {
		m := &pb.Message{Type: pb.MsgTimeoutNow.Enum(), To: &id, From: new(uint64(g.replica)), Term: new(n.hard.GetTerm())}
		g.h.peers.now(g.members.nodes[base.ReplicaID(id)], recordMessage, func(b []byte) []byte {
			return appendMessage(b, g.id, m)
		})
	}
}

// resign is standDown and the news that this replica is gone, for a group that
// is being closed.
func (g *Group) resign() {
	g.standDown()
	g.announceGone()
}

// announceGone tells the other members that this replica has stopped although
// its node is up: a sleeping follower would not find out.
func (g *Group) announceGone() {
	g.mu.Lock()
	m := g.members
	g.mu.Unlock()
	for id, node := range m.nodes {
		if id == g.replica || node == 0 {
			continue
		}
		g.h.peers.now(node, recordGone, func(b []byte) []byte {
			for _, v := range [...]uint64{uint64(g.id), uint64(id), uint64(g.replica)} {
				b = binary.AppendUvarint(b, v)
			}
			return b
		})
	}
}

func (h *Host) handleGone(id base.GroupID, to base.ReplicaID, d *decoder) {
	gone := d.uvarint()
	g := h.group(id)
	if d.err != nil || g == nil || g.replica != to {
		return
	}
	g.control(func() {
		switch g.node.soft.Lead {
		case gone:
			g.wake()
			g.leaderGone()
		case uint64(g.replica):
			g.wake() // CheckQuorum may have to depose us
		}
	})
}
