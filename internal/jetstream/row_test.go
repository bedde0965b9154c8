package jetstream

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"weir/internal/api"
)

// logBytes is what the files of a node's Raft log take.
func (h *harness) logBytes() (sum int64) {
	h.t.Helper()
	names, err := h.fs.List("store/raft")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range names {
		if info, err := h.fs.Stat(h.fs.PathJoin("store/raft", name)); err == nil { // it may just have gone
			sum += info.Size()
		}
	}
	return sum
}

// TestRow10_LogIsBounded publishes many times what the log may take, while the stream moves from nodes to nodes: the log is
// compacted on every one of them, and a member that comes later does without what is gone.
func TestRow10_LogIsBounded(t *testing.T) {
	const (
		messages = 60 // of 64 KiB, between two moves
		bound    = 4 << 20
	)
	c := newTestCluster(t, 4)
	c.logSegment = 256 << 10
	for i := range 4 {
		c.add(fmt.Sprint("n", i))
	}
	c.untilHealthy()
	cfg := streamConfig("S", api.FileStorage, 3)
	cfg.MaxMsgs = 20
	c.createStream(cfg, c.all[:3]...)
	c.createConsumer("S", "C")
	payload, published := bytes.Repeat([]byte{'x'}, 64<<10), 0
	for _, on := range [][]*harness{c.all[:3], c.all[1:], {c.all[0], c.all[2], c.all[3]}, c.all[:3]} {
		c.update(cfg, on...)
		for range messages {
			c.publishData("S", payload)
			published += len(payload)
		}
		c.until("the stream is where it should be", func() bool {
			moving := len(c.leader("S").stream("S").Assignment().Leaving) > 0
			return !moving && slices.Equal(c.voters("S"), sorted(ids(on)))
		})
		c.until("the log is compacted", func() bool {
			return !slices.ContainsFunc(c.all, func(h *harness) bool { return h.logBytes() > bound })
		})
	}
	if published < 3*bound {
		t.Fatalf("%d bytes published", published)
	}
	if st := c.leader("S").stream("S").Store().Reader().State(); st.Msgs != 20 {
		t.Errorf("%+v", st)
	}
}
