package jetstream

import (
	"slices"

	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/rafthost"
)

// metaLeaderChanged notes who leads the meta group.
func (n *Node) metaLeaderChanged(_ *metaGroup, before, now *rafthost.LeaderInfo) {
	switch {
	case now.Self && now.Ready && !(before.Self && before.Ready):
		n.cfg.Logger.Noticef("JetStream cluster new metadata leader: self")
		n.cfg.Events.MetaLeader()
		n.tendMeta()
	case now.Leader != 0 && before.Leader != now.Leader && !now.Self:
		n.cfg.Logger.Noticef("JetStream cluster new metadata leader: %s/%s", n.nodeName(now.LeaderNode), n.cfg.Cluster)
	}
}

// metaInit is the first command of the meta group: its first nodes.
func (n *Node) metaInit(voters []base.Replica) *meta.MetaInit {
	cmd := &meta.MetaInit{ClusterID: n.boot.standing().ClusterID}
	for _, r := range voters {
		join := meta.NodeJoin{Name: n.peerName(r.Node), Node: r.Node, Cluster: n.cfg.Cluster}
		if r.Node == n.cfg.Identity.Node {
			join.Tags = n.cfg.Tags
		}
		cmd.Nodes = append(cmd.Nodes, meta.NodeSpec{NodeJoin: join, Replica: r.ID})
	}
	return cmd
}

// peerName is the name of a linked node; for one that is not, its identity stands
// in until it joins under its name.
func (n *Node) peerName(id base.NodeID) string {
	if id == n.cfg.Identity.Node {
		return n.cfg.Name
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
		outdated = x != nil && (x.Cluster != n.cfg.Cluster || !slices.Equal(x.Tags, n.cfg.Tags))
	})
	return outdated
}

func (n *Node) selfJoin() *meta.NodeJoin {
	return &meta.NodeJoin{Name: n.cfg.Name, Node: n.cfg.Identity.Node, Cluster: n.cfg.Cluster, Tags: n.cfg.Tags}
}

// Candidates are the nodes that a stream may be placed on.
func (n *Node) Candidates() []meta.Candidate {
	var list []meta.Candidate
	n.View(func(s *meta.State) {
		list = s.Candidates(func(x *meta.Node) meta.NodeStatus {
			return meta.NodeStatus{
				Known: true, Online: n.linked(x.ID),
				MaxMemory: n.cfg.MaxMemory, MaxStore: n.cfg.MaxStore,
			}
		})
	})
	return list
}

// Place chooses nodes for a stream.
func (n *Node) Place(req meta.PlacementRequest) (cluster string, nodes []base.NodeID, err *meta.PlacementError) {
	req.MaxHAAssets, req.UniqueTag = n.cfg.MaxHAAssets, n.cfg.UniqueTag
	candidates := n.Candidates()
	n.rng.mu.Lock()
	defer n.rng.mu.Unlock()
	return meta.PlaceIn([]string{n.cfg.Cluster}, req, candidates, n.rng.Rand)
}
