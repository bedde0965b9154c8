package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/rafthost"
)

// metaLeaderChanged notes who leads the meta group.
func (n *Node) metaLeaderChanged(before, now *rafthost.LeaderInfo) {
	switch {
	case now.Self && now.Ready && !(before.Self && before.Ready):
		n.cfg.Logger.Noticef("JetStream cluster new metadata leader: self")
		n.cfg.Events.MetaLeader()
		n.tendMeta()
	case now.Leader != 0 && before.Leader != now.Leader && !now.Self:
		n.tellSelf()
		n.cfg.Logger.Noticef("JetStream cluster new metadata leader: %s/%s", n.nodeName(now.LeaderNode), n.cfg.Cluster)
	}
}

// metaInit is the first command of the meta group: its first nodes.
func (n *Node) metaInit(voters []base.Replica) *meta.MetaInit {
	cmd := &meta.MetaInit{ClusterID: n.boot.standing().ClusterID}
	for _, r := range voters {
		join := meta.NodeJoin{Name: n.peerName(r.Node), Node: r.Node, Cluster: n.cfg.Cluster}
		if r.Node == n.cfg.Identity.Node {
			join.Tags, join.Room = n.cfg.Tags, n.boot.self.Room
		}
		cmd.Nodes = append(cmd.Nodes, meta.NodeSpec{NodeJoin: join, Replica: r.ID})
	}
	return cmd
}

// peerName is the name of one of the first nodes, as the plan or its link says.
func (n *Node) peerName(id base.NodeID) string {
	if id == n.cfg.Identity.Node {
		return n.cfg.Name
	}
	if name := n.boot.standing().nameOf(id); name != "" {
		return name
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if p, ok := n.peers[id]; ok {
		return p.Name
	}
	return id.String()
}

// selfOutdated tells that the state knows this node by another name or tags than
// its configuration says.
func (n *Node) selfOutdated() bool {
	outdated := false
	n.View(func(s *meta.State) {
		x := s.NodeByID(n.cfg.Identity.Node)
		outdated = x != nil && !x.Removed && (x.Cluster != n.cfg.Cluster || !slices.Equal(x.Tags, n.cfg.Tags) || x.Room != n.boot.self.Room)
	})
	return outdated
}

// tellSelf has the meta leader correct what the state says of this node.
func (n *Node) tellSelf() {
	g := n.meta.Load()
	if g == nil || g.leads() || !n.selfOutdated() || !n.telling.CompareAndSwap(false, true) {
		return
	}
	n.spawn(func() {
		defer n.telling.Store(false)
		req := n.boot.self
		req.Member = true
		body, err := json.Marshal(req)
		if err != nil {
			return
		}
		for n.selfOutdated() && !g.leads() {
			ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
			_, err = n.calls.call(ctx, g.lead.Load().LeaderNode, methodJoin, body)
			cancel()
			if err != nil {
				n.cfg.Logger.Debugf("Correct this node's entry in the meta group: %v", err)
			}
			if !n.pause(time.Second) {
				return
			}
		}
	})
}

func (n *Node) selfJoin() *meta.NodeJoin {
	return &meta.NodeJoin{Name: n.cfg.Name, Node: n.cfg.Identity.Node, Cluster: n.cfg.Cluster, Tags: n.cfg.Tags, Room: n.boot.self.Room, Member: true}
}

// Candidates are the nodes that a stream may be placed on.
func (n *Node) Candidates() []meta.Candidate {
	var list []meta.Candidate
	n.View(func(s *meta.State) { list = s.Candidates(n.status) })
	return list
}

// status is what placement knows of a node. One that has not said how much room it
// has is taken to have as much as this one; one that is about to go is as good as gone.
func (n *Node) status(x *meta.Node) meta.NodeStatus {
	room := x.Room
	if room == (meta.Room{}) {
		room = n.boot.self.Room
	}
	return meta.NodeStatus{Online: n.linked(x.ID) && !n.leavesToo(x.ID), MaxMemory: room.MaxMemory, MaxStore: room.MaxStore}
}

// Plan calls f with a planner over the meta state, which f must not keep; false
// when this node has no meta state yet.
func (n *Node) Plan(f func(*meta.Planner)) bool {
	n.rng.mu.Lock()
	defer n.rng.mu.Unlock()
	return n.View(func(s *meta.State) {
		f(&meta.Planner{State: s, Status: n.status, MaxHAAssets: n.cfg.MaxHAAssets, UniqueTag: n.cfg.UniqueTag, Rand: n.rng.Rand})
	})
}

// TransferMeta hands leadership of the meta group to the member on a node; 0 is
// whoever is furthest.
func (n *Node) TransferMeta(to base.NodeID) error {
	g := n.meta.Load()
	if g == nil || !g.leads() {
		return errNoMetaLeader
	}
	status := g.group.Status()
	var best *rafthost.PeerStatus
	for i := range status.Peers {
		p := &status.Peers[i]
		switch {
		case p.Learner || !n.linked(p.Node) || to != 0 && p.Node != to:
		case best == nil || p.Match > best.Match:
			best = p
		}
	}
	if best == nil {
		return errors.New("no other member can lead the meta group")
	}
	return g.group.TransferLeader(best.ID)
}

// MetaRaft is the state of this node's member of the meta group; false when it
// has none yet.
func (n *Node) MetaRaft() (rafthost.Status, bool) {
	g := n.meta.Load()
	if g == nil {
		return rafthost.Status{}, false
	}
	return g.group.Status(), true
}

// ID is this node's identity.
func (n *Node) ID() base.NodeID { return n.cfg.Identity.Node }

// Linked tells whether a node is this one or has a link to it.
func (n *Node) Linked(id base.NodeID) bool { return n.linked(id) }

// Answers asks a node whether it is there. One that is only slow to answer is, as the
// link to it outlasts the question.
func (n *Node) Answers(id base.NodeID) bool {
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	_, err := n.calls.call(ctx, id, methodHello, nil)
	return err == nil || n.linked(id)
}

// NodeName is a node's server name; empty when it is unknown.
func (n *Node) NodeName(id base.NodeID) string { return n.nodeName(id) }
