package jetstream

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/rafthost"
)

// A replica that is scaled away hears nothing of its group any more. So it stays a
// member until it knows that it runs nothing, even if that takes long.
func TestReplicaLeavesWithoutRunners(t *testing.T) {
	c := startCluster(t, 3)
	cfg := streamConfig("S", api.FileStorage, 3)
	c.createStream(cfg, c.all...)
	names := []string{"C0", "C1", "C2"}
	for _, name := range names {
		c.createConsumer("S", name)
	}
	leader := c.leader("S")
	var h *harness
	for h = range c.eachLive() {
		if h != leader && h.runs("S", names) > 0 {
			break
		}
	}
	deaf := h.node.cfg.Identity.Node
	var asked atomic.Int64
	c.setDeaf(deaf)
	c.net.mu.Lock()
	c.net.filter = func(_, to base.NodeID, kind byte, payload []byte) bool {
		if _, m, _, err := decodeCall(payload); kind == frameCall && err == nil && m == methodApplied && to == deaf {
			asked.Add(1)
		}
		return false
	}
	c.net.mu.Unlock()
	s := h.stream("S")
	cfg.Replicas = 1
	c.update(cfg, leader)
	c.until("question to the replica that goes", func() bool { return asked.Load() > 1 })
	if !slices.Contains(c.voters("S"), deaf) {
		t.Fatal("a replica left its group before it knew that it runs nothing")
	}
	c.setDeaf(0)
	c.until("group of one", func() bool { return len(c.voters("S")) == 1 })
	if s.runsAny() {
		t.Error("a replica runs consumers after it left its group")
	}
	for _, name := range names {
		if c.runner("S", name) != leader {
			t.Errorf("%s does not run on the replica that stays", name)
		}
	}
}

// Nobody deletes a replica while the change that removes it is half done: who stays
// could not elect anybody without it, if the leader died.
func TestLeaderDiesInJointConfiguration(t *testing.T) {
	c := startCluster(t, 5)
	cfg := streamConfig("S", api.FileStorage, 5)
	c.createStream(cfg, c.all...)
	leader := c.leader("S")
	var stays *harness
	for stays = range c.eachLive() {
		if stays != leader {
			break
		}
	}
	s := leader.stream("S")
	c.setDeaf(stays.node.cfg.Identity.Node)
	cfg.Replicas = 1
	c.update(cfg, stays)
	c.until("joint configuration", func() bool { return s.Group().Status().Joint })
	// Who does not hear from the one that stays gives up leading.
	if _, err := s.reconcile(); err != nil && !errors.Is(err, rafthost.ErrChangeInFlight) && !errors.Is(err, rafthost.ErrNotLeader) {
		t.Fatal(err)
	}
	c.kill(leader)
	c.start(leader)
	c.setDeaf(0)
	c.until("group of one", func() bool {
		s := stays.stream("S")
		voters, _ := s.Members()
		return s.Ready() && len(voters) == 1 && !s.Group().Status().Joint
	})
}

func (c *testCluster) setDeaf(node base.NodeID) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.net.deaf = node
}
