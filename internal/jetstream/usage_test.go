package jetstream

import (
	"testing"

	"weir/internal/api"
	"weir/internal/meta"
	"weir/internal/msg"
)

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
