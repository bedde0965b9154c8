package jetstream

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weir/internal/api"
	"weir/internal/router"
)

// What a node stages of atomic batches is bounded, also when each has one message only.
func TestStagedBytesAreBounded(t *testing.T) {
	h := startNodeIn(t, newMemFS(), "store")
	t.Cleanup(h.stop)
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	cfg := streamConfig("S", api.MemoryStorage, 1)
	cfg.AllowAtomic = true
	s := h.createStream(cfg)
	answers := h.inbox("answers")
	begin := func(id string) string {
		h.rt.Publish(h.acc, router.Internal, &router.Msg{
			Subject: []byte(s.appliedConfig().Subjects[0]), Reply: []byte("answers"), Payload: make([]byte, 1000),
			Header: fmt.Appendf(nil, "NATS/1.0\r\n%s: %s\r\n%s: 1\r\n\r\n", headerBatchID, id, headerBatchSeq),
		})
		return string(h.receive(answers).Payload)
	}
	if got := begin("one"); got != "" {
		t.Fatalf("a batch begins with %s", got)
	}
	h.node.batches.bytes.Add(maxStagedBytes)
	if got := begin("two"); !strings.Contains(got, "10167") {
		t.Errorf("beyond the bound a batch begins with %q", got)
	}
	if n := h.node.OpenBatches(); n != 1 {
		t.Errorf("%d batches are open", n)
	}
	h.node.batches.bytes.Add(-maxStagedBytes)
	if got := begin("two"); got != "" {
		t.Errorf("when there is room again a batch begins with %s", got)
	}
}

// Streams that open batches at the same time open no more than a server takes.
func TestOpenBatchesOfManyStreams(t *testing.T) {
	const total = 1000
	var batches openBatches
	var opened atomic.Int64
	var streams sync.WaitGroup
	for range 20 {
		s := new(Stream)
		streams.Go(func() {
			for range total {
				if batches.open(s, total) {
					opened.Add(1)
				}
			}
		})
	}
	streams.Wait()
	if opened.Load() != total || batches.atomic.Load() != total {
		t.Errorf("%d batches opened, %d counted, want %d", opened.Load(), batches.atomic.Load(), total)
	}
}
