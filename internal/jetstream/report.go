package jetstream

import (
	"cmp"
	"slices"

	"weir/internal/meta"
)

// Streams are the replicas on this node, by account and name.
func (n *Node) Streams() []*Stream {
	list := n.allStreams()
	slices.SortFunc(list, func(a, b *Stream) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.name, b.name))
	})
	return list
}

// InMemory tells whether the stream's messages are in memory.
func (s *Stream) InMemory() bool { return s.memory }

// Load is what is assigned to this node.
func (n *Node) Load() (load meta.Load) {
	n.View(func(s *meta.State) { load = s.Load(n.cfg.Identity.Node) })
	return load
}
