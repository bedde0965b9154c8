package jetstream

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/api"
	"weir/internal/machine"
)

// A restart ends the ephemeral consumers of a single replica that are to be kept in
// memory, and nothing else.
func TestRestartEndsVolatileConsumers(t *testing.T) {
	fs := vfs.NewMem()
	h := startNode(t, fs)
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	s := h.createStream(streamConfig("S", api.FileStorage, 1))
	for name, change := range map[string]func(*api.ConsumerConfig){
		"volatile":  func(c *api.ConsumerConfig) { c.Durable, c.MemoryStorage = "", true },
		"ephemeral": func(c *api.ConsumerConfig) { c.Durable = "" },
		"durable":   func(c *api.ConsumerConfig) { c.MemoryStorage = true },
		"copier": func(c *api.ConsumerConfig) {
			c.Durable, c.MemoryStorage, c.Direct, c.DeliverSubject, c.AckPolicy = "", true, true, "out", api.AckNone
		},
	} {
		cfg := consumerConfig(name)
		change(&cfg)
		demand(t, s, &machine.ConsumerCreate{Time: time.Now().UnixNano(), Runner: s.replica, Config: cfg})
	}
	h.stop()

	h = startNode(t, fs)
	defer h.stop()
	h.until("the end of one consumer", func() bool {
		s = h.node.Stream(h.acc.Name(), "S")
		return s != nil && s.Ready() && !s.hasConsumer("volatile")
	})
	for _, name := range []string{"ephemeral", "durable", "copier"} {
		if !s.hasConsumer(name) {
			t.Errorf("consumer %s is gone", name)
		}
		h.until("runner of "+name, func() bool { return s.Runner(name) != nil })
	}

	cfg := consumerConfig("later")
	cfg.Durable, cfg.MemoryStorage = "", true
	demand(t, s, &machine.ConsumerCreate{Time: time.Now().UnixNano(), Runner: s.replica, Config: cfg})
	if err := s.askReturn(); err != nil { // what it proposed is applied then
		t.Fatal(err)
	}
	if !s.hasConsumer("later") {
		t.Error("a consumer that was made after the restart is gone")
	}
}

// Where there are other replicas, a consumer outlives the restart of each of them.
func TestReplicatedVolatileConsumerStays(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("S", api.FileStorage, 3), c.all...)
	cfg := consumerConfig("volatile")
	cfg.Durable, cfg.MemoryStorage = "", true
	s := c.leader("S").stream("S")
	demand(t, s, &machine.ConsumerCreate{Time: time.Now().UnixNano(), Runner: s.replica, Config: cfg})
	c.untilEqual("S")
	for _, h := range c.all {
		c.kill(h)
	}
	for _, h := range c.all {
		c.start(h)
	}
	c.untilHealthy()
	c.runner("S", "volatile")
}
