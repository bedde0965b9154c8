package jetstream

import (
	"testing"

	"weir/internal/api"
)

// A leader that hears from nobody may have been succeeded: it can not say that it
// knows all that was acknowledged.
func TestConfirm(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("S", api.FileStorage, 3), c.all...)
	c.publish("S")
	leader := c.leader("S")
	s := leader.stream("S")
	if err := s.Confirm(); err != nil {
		t.Fatal(err)
	}
	c.setDeaf(leader.node.ID())
	if err := s.Confirm(); err == nil {
		t.Error("confirmed by nobody")
	}
	c.setDeaf(0)
	c.until("the confirmation", func() bool { return s.Confirm() == nil })
}
