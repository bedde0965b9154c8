package jetstream

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/meta"
)

func TestWipedNodeRejoins(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("S", api.FileStorage, 3), c.all...)
	for range 5 {
		c.publish("S")
	}
	h := c.all[2]
	c.kill(h)
	c.wipe(h)
	c.start(h)
	c.untilHealthy()
	c.until("rebuilt replica", func() bool {
		s := h.stream("S")
		return s != nil && s.Store().Reader().State().Msgs == 5 && slices.Contains(c.voters("S"), h.node.cfg.Identity.Node)
	})
	if n := len(c.voters("S")); n != 3 {
		t.Fatalf("%d voters", n)
	}
}

// The only replica of a file stream was on a node that comes back with an empty store. It waits, and
// says why, until an operator takes the replica out: then the stream begins anew.
func TestOnlyReplicaWiped(t *testing.T) {
	c := startCluster(t, 3)
	h := c.all[2]
	c.createStream(streamConfig("F", api.FileStorage, 1), h)
	c.createStream(streamConfig("M", api.MemoryStorage, 1), h)
	c.publish("F")
	c.kill(h)
	c.wipe(h)
	c.start(h)
	c.until("word of the loss", func() bool {
		err := h.node.Healthy()
		return err != nil && strings.Contains(err.Error(), "its data is gone")
	})
	c.publish("M")
	c.propose(&meta.PeerRemove{Account: h.acc.Name(), Name: "F", Node: h.node.cfg.Identity.Node})
	c.untilHealthy()
	c.publish("F")
	if n := c.leader("F").stream("F").Store().Reader().State().FirstSeq; n != 1 {
		t.Errorf("the stream begins at %d", n)
	}
}

func TestNodeAddedLaterJoins(t *testing.T) {
	c := startCluster(t, 3)
	h := c.add("n4")
	c.untilHealthy()
	c.createStream(streamConfig("S", api.FileStorage, 1), h)
	c.publish("S")
}

func TestTagsOfEveryNodeAreKnown(t *testing.T) {
	c := newTestCluster(t, 3)
	for _, name := range []string{"n1", "n2", "n3"} {
		h := &harness{t: t, name: name, tags: []string{"tag:" + name}}
		h.fs = vfs.NewMem()
		c.all = append(c.all, h)
		c.start(h)
	}
	c.untilHealthy()
	c.until("tags of all nodes", func() bool {
		known := 0
		for _, h := range c.all {
			c.all[0].node.View(func(s *meta.State) {
				if x := s.NodeByID(h.node.cfg.Identity.Node); x != nil && slices.Equal(x.Tags, h.tags) {
					known++
				}
			})
		}
		return known == 3
	})
}

// Memory replicas forget with their process: a group that lost all starts anew, and
// one that is left fills the others.
func TestMemoryStreams(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("ONE", api.MemoryStorage, 1), c.all[1])
	c.createStream(streamConfig("THREE", api.MemoryStorage, 3), c.all...)
	for range 3 {
		c.publish("ONE")
		c.publish("THREE")
	}
	for _, h := range c.all { // one by one
		c.kill(h)
		c.start(h)
		c.untilHealthy()
		if n := h.stream("THREE").Store().Reader().State().Msgs; n != 3 {
			t.Fatalf("%d messages in a healthy replica", n)
		}
	}
	c.publish("ONE")
	if n := c.leader("ONE").stream("ONE").Store().Reader().State().Msgs; n != 1 {
		t.Fatalf("%d messages in a stream that lost all", n)
	}
	for _, h := range c.all {
		c.kill(h)
	}
	for _, h := range c.all {
		c.start(h)
	}
	c.untilHealthy()
	c.publish("ONE")
	c.publish("THREE")
	if n := c.leader("THREE").stream("THREE").Store().Reader().State().Msgs; n != 1 {
		t.Fatalf("%d messages in a stream that lost all", n)
	}
}

func (c *testCluster) update(cfg api.StreamConfig, on ...*harness) {
	c.t.Helper()
	c.propose(&meta.StreamUpdate{Account: on[0].acc.Name(), Name: cfg.Name, Config: mustJSON(c.t, cfg), Nodes: ids(on)})
}

func sorted(nodes []base.NodeID) []base.NodeID {
	slices.Sort(nodes)
	return nodes
}

func TestScaleUnderPublish(t *testing.T) {
	c := startCluster(t, 5)
	cfg := streamConfig("S", api.FileStorage, 1)
	c.createStream(cfg, c.all[0])
	published := uint64(0)
	for _, on := range [][]*harness{c.all[:3], c.all, c.all[1:4], c.all[4:]} {
		cfg.Replicas = len(on)
		c.update(cfg, on...)
		deadline := time.Now().Add(patience)
		for c.publish("S"); !slices.Equal(c.voters("S"), sorted(ids(on))); c.publish("S") {
			published++
			if time.Now().After(deadline) {
				t.Fatalf("voters %v, want %v", c.voters("S"), sorted(ids(on)))
			}
		}
		published++
	}
	if n := c.leader("S").stream("S").Store().Reader().State().Msgs; n < published {
		t.Fatalf("%d messages, %d were acknowledged", n, published)
	}
	c.until("end of the other replicas", func() bool {
		for _, h := range c.all[:4] {
			if h.stream("S") != nil {
				return false
			}
		}
		return true
	})
}

func TestPeerRemove(t *testing.T) {
	c := startCluster(t, 4)
	c.createStream(streamConfig("S", api.FileStorage, 3), c.all[:3]...)
	c.publish("S")
	gone := c.leader("S")
	c.propose(&meta.PeerRemove{Account: gone.acc.Name(), Name: "S", Node: gone.node.cfg.Identity.Node, Replacement: c.all[3].node.cfg.Identity.Node})
	c.until("new voters", func() bool {
		v := c.voters("S")
		return len(v) == 3 && !slices.Contains(v, gone.node.cfg.Identity.Node)
	})
	c.publish("S")
}

func TestDeleteAndRecreateUnderLoad(t *testing.T) {
	c := startCluster(t, 3)
	cfg := streamConfig("S", api.FileStorage, 3)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				for _, h := range c.all {
					h.rt.Publish(h.acc, routerInternal, testMessage("S.x", ""))
				}
			}
		}
	}()
	for range 5 {
		c.createStream(cfg, c.all...)
		c.createConsumer("S", "C")
		c.propose(&meta.StreamDelete{Account: c.all[0].acc.Name(), Name: "S"})
		c.until("end of S", func() bool {
			return !slices.ContainsFunc(c.all, func(h *harness) bool { return len(h.node.fileDB.Stores()) != 1 }) // the meta group's
		})
	}
	close(stop)
	<-done
}
