package jetstream

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"weir/internal/base"
	"weir/internal/meta"
)

func TestRemovedNodeSaysSo(t *testing.T) {
	c := startCluster(t, 4)
	gone := c.all[slices.IndexFunc(c.all, func(h *harness) bool { return !h.node.MetaLeader().Here })]
	c.propose(&meta.NodeRemove{Node: gone.node.cfg.Identity.Node})
	c.until("word of the removal", func() bool { return errors.Is(gone.node.Healthy(), errRemoved) })
}

// TestAnswers: who takes a node out of the cluster has to know whether it is there. The link to
// one that just died may still seem to stand.
func TestAnswers(t *testing.T) {
	c := startCluster(t, 2)
	asks, asked := c.all[0].node, c.all[1].node.ID()
	if !asks.Answers(asks.ID()) || !asks.Answers(asked) || asks.Answers(4711) {
		t.Error("nodes that are there do not answer, or one that is not does")
	}
	c.net.mu.Lock()
	c.net.filter = func(_, to base.NodeID, kind byte, _ []byte) bool {
		if kind == frameCall && to == asked {
			go asks.PeerDown(asked) // only now it is found out
		}
		return kind == frameCall
	}
	c.net.mu.Unlock()
	if asks.Answers(asked) {
		t.Error("a node that died answers")
	}
	c.net.mu.Lock()
	c.net.filter = func(_, _ base.NodeID, kind byte, _ []byte) bool { return kind == frameCall }
	c.net.mu.Unlock()
	asks.PeerUp(Peer{Node: asked, Name: "n2", JetStream: true})
	if !asks.Answers(asked) {
		t.Error("a node that is slow is taken for dead")
	}
}

// TestTwoMetaGroupsMeet links a node of one cluster, which should be larger, to a
// node of another, which is whole.
func TestTwoMetaGroupsMeet(t *testing.T) {
	a, b := startCluster(t, 3), startCluster(t, 3)
	short, whole := a.all[0].node, b.all[0].node
	b.until("three members", func() bool { return whole.metaMembers() == 3 })
	short.cfg.Expected = func() int { return 4 }
	b.net.join(short)
	a.net.join(whole)
	a.until("a warning of another meta group", func() bool {
		err := short.Healthy()
		return err != nil && strings.Contains(err.Error(), "another meta group")
	})
	if err := whole.Healthy(); err != nil {
		t.Errorf("the whole cluster suffers from the stranger: %v", err)
	}
	short.PeerDown(whole.cfg.Identity.Node)
	if err := short.Healthy(); err != nil {
		t.Errorf("the stranger is gone: %v", err)
	}
}
