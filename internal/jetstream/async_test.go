package jetstream

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/api"
	"weir/internal/router"
)

// publishAsync publishes messages to S.x and waits for their acks.
func (h *harness) publishAsync(s *Stream, acks chan router.Msg, n int) (last uint64) {
	h.t.Helper()
	for range n {
		s.ingest.take(nil, routerInternal, testMessage("S.x", "acks"))
		select {
		case m := <-acks:
			var ack struct{ Seq uint64 }
			if err := json.Unmarshal(m.Payload, &ack); err != nil || ack.Seq != last+1 && last != 0 {
				h.t.Fatalf("ack %s: %v", m.Payload, err)
			}
			last = ack.Seq
		case <-time.After(30 * time.Second):
			h.t.Fatal("no ack")
		}
	}
	return last
}

// TestAsyncPersist stops the machine at many moments while an asynchronous stream takes messages: what a
// checkpoint made durable is there, the rest may be gone from the end on, and the stream goes on.
func TestAsyncPersist(t *testing.T) {
	fs := vfs.NewCrashableMem()
	h := startNodeIn(t, fs, "store")
	defer func() { h.stop() }()
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	cfg := streamConfig("S", api.FileStorage, 1)
	cfg.PersistMode = "async"
	s := h.createStream(cfg)
	acks := h.inbox("acks")
	for round := range 8 {
		syncs := h.node.fileLog.Stats().Syncs
		began := time.Now()
		last := h.publishAsync(s, acks, 50)
		spent := time.Since(began)
		if n := h.node.fileLog.Stats().Syncs - syncs; n > 2+uint64(2*spent/(100*time.Millisecond)) {
			t.Fatalf("%d syncs for 50 messages in %v", n, spent)
		}
		low := uint64(0)
		if round%2 == 0 {
			if _, err := h.node.fileDB.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			low = last
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		h.stop()
		fs = crashed
		h = startNodeIn(t, fs, "store")
		h.until(fmt.Sprintf("stream in round %d", round), func() bool {
			s = h.node.Stream(h.acc.Name(), "S")
			return s != nil && s.Ready() && s.takesMessages()
		})
		if got := s.store.Reader().State().LastSeq; got < low || got > last {
			t.Fatalf("round %d: the stream ends at %d, %d was stored and %d durable", round, got, last, low)
		}
		acks = h.inbox("acks")
	}
}
