package jetstream

import (
	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/meta"
)

// Direct gets for a stream are answered by its leader, while there is none by any
// replica, and by the leaders of its mirrors that have mirror_direct and have once
// caught up. A node that could answer does: the stream's own leader rather than a
// mirror, as it is never behind. Another one picks one of those that it knows.

// DirectReader says where a direct get for a stream is answered. originOnly: by the
// stream itself, if not here, as others sent the request on.
func (n *Node) DirectReader(account, stream string, originOnly bool) Place {
	if n.DirectReplica(account, stream) != nil {
		return Place{Here: true}
	}
	own := n.StreamLeader(account, stream)
	var nodes []base.NodeID
	if !originOnly {
		var allowed bool
		if nodes, allowed = n.mirrorNodes(account, stream); allowed && own.Node != 0 {
			nodes = append(nodes, own.Node)
		}
	}
	switch {
	case len(nodes) > 0:
		return Place{Node: nodes[n.rng.below(len(nodes))]}
	case own == (Place{}) && n.Stream(account, stream) != nil: // which says that it has none
		return Place{Here: true}
	}
	return own
}

// mirrorNodes are the other nodes to ask for direct gets from the mirrors of a stream;
// allowed tells whether the stream itself answers some.
func (n *Node) mirrorNodes(account, stream string) (nodes []base.NodeID, allowed bool) {
	var mirrors []*meta.Assignment
	n.View(func(s *meta.State) {
		mirrors = s.Mirrors(account, stream)
		a := s.Stream(account, stream)
		allowed = a != nil && a.Config.AllowDirect
	})
	for _, a := range mirrors {
		if !a.Config.MirrorDirect {
			continue
		}
		if p := n.StreamLeader(account, a.Name); p.Node != 0 {
			nodes = append(nodes, p.Node)
		}
	}
	return nodes, allowed
}

// DirectReplica is the replica on this node that answers direct gets for a stream;
// nil when there is none.
func (n *Node) DirectReplica(account, stream string) *Stream {
	s := n.Stream(account, stream)
	if s != nil && s.AllowsDirect() && (s.Ready() || n.StreamLeader(account, stream) == (Place{})) {
		return s
	}
	return n.readingMirror(account, stream)
}

// readingMirror is a mirror of a stream that this node leads and that answers direct
// gets for it; nil when there is none.
func (n *Node) readingMirror(account, stream string) *Stream {
	var mirrors []*meta.Assignment
	n.View(func(s *meta.State) { mirrors = s.Mirrors(account, stream) })
	for _, a := range mirrors {
		if s := n.Stream(account, a.Name); s != nil && s.Ready() && s.answersFor(stream) {
			return s
		}
	}
	return nil
}

// answersFor tells whether the stream is a mirror that answers direct gets for its
// origin.
func (s *Stream) answersFor(origin string) bool {
	cfg := s.appliedConfig()
	return cfg.MirrorDirect && cfg.Mirror != nil && cfg.Mirror.Name == origin && s.copying.current()
}

// AllowsDirect tells whether the stream exists and answers direct gets.
func (s *Stream) AllowsDirect() bool {
	allowed := false
	s.View(func(m *machine.Machine) { allowed = m.Exists() && m.Stream().Config().AllowDirect })
	return allowed
}
