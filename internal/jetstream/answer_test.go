package jetstream

import (
	"encoding/json"
	"testing"

	"weir/internal/api"
	"weir/internal/router"
)

// What a publisher is told is JSON, whatever the stream is called.
func TestAckOfOddName(t *testing.T) {
	h := startNodeIn(t, newMemFS(), "store")
	t.Cleanup(h.stop)
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	const name = `"quoted"`
	cfg := streamConfig(name, api.MemoryStorage, 1)
	cfg.Subjects = []string{"odd"}
	h.createStream(cfg)
	acks := h.inbox("acks")
	h.rt.Publish(h.acc, router.Internal, &router.Msg{Subject: []byte("odd"), Reply: []byte("acks")})
	var ack struct {
		Stream string
		Seq    uint64
	}
	if raw := h.receive(acks).Payload; json.Unmarshal(raw, &ack) != nil || ack.Stream != name || ack.Seq != 1 {
		t.Errorf("told %s", raw)
	}
}
