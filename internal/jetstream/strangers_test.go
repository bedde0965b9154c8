package jetstream

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"weir/internal/meta"
)

func TestRemovedNodeSaysSo(t *testing.T) {
	c := startCluster(t, 4)
	gone := c.all[slices.IndexFunc(c.all, func(h *harness) bool { return !h.node.MetaLeader().Here })]
	c.propose(&meta.NodeRemove{Node: gone.node.cfg.Identity.Node})
	c.until("word of the removal", func() bool { return errors.Is(gone.node.Healthy(), errRemoved) })
}

// TestTwoMetaGroupsMeet links a node of one cluster to a node of another.
func TestTwoMetaGroupsMeet(t *testing.T) {
	a, b := startCluster(t, 3), startCluster(t, 3)
	x, y := a.all[0].node, b.all[0].node
	b.net.join(x)
	a.net.join(y)
	for _, n := range []*Node{x, y} {
		a.until("a warning of another meta group", func() bool {
			err := n.Healthy()
			return err != nil && strings.Contains(err.Error(), "another meta group")
		})
	}
}
