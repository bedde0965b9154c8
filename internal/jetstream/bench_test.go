package jetstream

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/api"
	"weir/internal/router"
)

// BenchmarkPublish measures publishes to an R1 file stream with 500 under way.
func BenchmarkPublish(b *testing.B) {
	h := startNodeIn(b, vfs.Default, b.TempDir())
	defer h.stop()
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	h.createStream(api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: "limits", Storage: "file", Discard: "old", Replicas: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPer: -1, MaxMsgSize: -1, MaxConsumers: -1, Compression: "none"})
	window := make(chan struct{}, 500)
	_, err := h.rt.Subscribe(h.acc, "acks", "", func(*router.Sub, router.Source, *router.Msg) { <-window }, router.SubOptions{})
	if err != nil {
		b.Fatal(err)
	}
	m := router.Msg{Subject: []byte("s.x"), Reply: []byte("acks"), Payload: bytes.Repeat([]byte("x"), 128)}
	b.SetBytes(128)
	for b.Loop() {
		window <- struct{}{}
		h.rt.Publish(h.acc, router.Internal, &m)
	}
	for range cap(window) {
		window <- struct{}{}
	}
}
