package jetstream

import (
	"testing"
	"time"

	"weir/internal/api"
)

// A node that stood still may have been replaced meanwhile. Its runners wait until
// the replica has caught up, although all links seem to stand.
func TestNodeThatStoodStill(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("S", api.FileStorage, 3), c.all...)
	c.createConsumer("S", "C")
	h := c.runner("S", "C")
	s := h.stream("S")
	c.setDeaf(h.node.cfg.Identity.Node)
	before := s.contact.lost.Load()
	h.node.pulse.last.Add(-int64(time.Minute))
	if s.live() {
		t.Error("a runner delivers after its node stood still")
	}
	c.until("loss of contact", func() bool { return s.contact.lost.Load() > before })
	if s.live() {
		t.Error("a runner delivers before its replica has caught up")
	}
	c.setDeaf(0)
	c.until("contact", s.live)
}
