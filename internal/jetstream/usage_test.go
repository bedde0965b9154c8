package jetstream

import (
	"testing"

	"weir/internal/api"
	"weir/internal/meta"
	"weir/internal/msg"
	"weir/internal/router"
)

// A replica that can not be opened, however often that is tried, takes no room.
func TestFailedReplicaTakesNoRoom(t *testing.T) {
	h := startNodeIn(t, newMemFS(), "store")
	t.Cleanup(h.stop)
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	s := h.createStream(streamConfig("S", api.FileStorage, 1))
	acks := h.inbox("acks")
	h.rt.Publish(h.acc, router.Internal, &router.Msg{Subject: []byte("S.x"), Reply: []byte("acks"), Payload: []byte("hello")})
	h.receive(acks)
	held := h.node.room.here.store.Load()
	if held == 0 {
		t.Fatal("a message takes no room")
	}
	a := s.Assignment()
	for range 3 {
		if _, err := h.node.openStream(a, a.Replicas[0], nil, false); err == nil {
			t.Fatal("a replica was opened twice")
		}
	}
	if n := h.node.room.here.store.Load(); n != held {
		t.Errorf("%d bytes are held, not %d", n, held)
	}
}

// Every node tells at once of what was acknowledged, all replicas of it, and in time
// nothing of a stream that is deleted.
func TestUsageHasWhatWasAcknowledged(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("F", api.FileStorage, 3), c.all...)
	c.createStream(streamConfig("M", api.MemoryStorage, 1), c.all[1])
	for n := range uint64(20) {
		c.publishData("F", []byte("data")) // twice if the ack is late
		c.publishData("M", []byte("data"))
		storage := 3 * (n + 1) * uint64(msg.Size(false, len("F.x"), 0, len("data")))
		memory := (n + 1) * uint64(msg.Size(true, len("M.x"), 0, len("data")))
		for _, h := range c.all {
			if u := h.node.AccountUsage(t.Context(), h.acc.Name()); u.Storage < storage || u.Memory < memory || u.Streams != 2 {
				t.Fatalf("%s tells of %+v, there are 2 streams with %d and %d bytes", h.name, u, storage, memory)
			}
		}
	}
	c.propose(&meta.StreamDelete{Account: c.all[0].acc.Name(), Name: "M"})
	for _, h := range c.all {
		c.until("end of M", func() bool {
			u := h.node.AccountUsage(t.Context(), h.acc.Name())
			return u.Memory == 0 && u.Streams == 1
		})
	}
}
