package server

import (
	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/monitor"
	"weir/internal/rafthost"
)

// metaGroupName is what tools know the meta group by.
const metaGroupName = "_meta_"

// raftGroups are the Raft groups of an account with a replica here: those of its
// streams with more than one, and the meta group of the system account. None without a
// cluster.
func (s *source) raftGroups(account string) map[string]*monitor.RaftGroup {
	groups := make(map[string]*monitor.RaftGroup)
	if s.node == nil || s.mesh == nil {
		return groups
	}
	if status, ok := s.node.MetaRaft(); ok && account == s.accounts.System().Name() {
		groups[metaGroupName] = s.raftGroup(&status)
	}
	for _, st := range s.node.Streams() {
		if a := st.Assignment(); a.Account == account && len(a.Replicas) > 1 {
			status := st.Group().Status()
			groups[a.RaftName] = s.raftGroup(&status)
		}
	}
	return groups
}

func (s *source) raftGroup(st *rafthost.Status) *monitor.RaftGroup {
	g := &monitor.RaftGroup{
		ID: s.peerID(s.node.ID()), State: "FOLLOWER", Size: len(st.Voters), QuorumNeeded: len(st.Voters)/2 + 1,
		Committed: st.Committed, Applied: st.Applied, EverHadLeader: st.Committed > 0, Term: st.Term, LastIndex: st.LastIndex,
		Peers: make(map[string]*monitor.RaftPeer),
	}
	switch {
	case st.Err != nil:
		g.State = "CLOSED"
	case st.Leader.Self:
		g.State = "LEADER"
	}
	if leader := st.Leader.LeaderNode; leader != 0 {
		g.Leader = s.peerID(leader)
	}
	for _, p := range st.Peers {
		peer := &monitor.RaftPeer{Name: s.node.NodeName(p.Node), Known: true, LastIndex: p.Match}
		if st.Leader.Self && p.Since > 0 {
			peer.LastSeen = p.Since.String()
		}
		g.Peers[meta.PeerID(peer.Name)] = peer
	}
	return g
}

func (s *source) peerID(node base.NodeID) string { return meta.PeerID(s.node.NodeName(node)) }
