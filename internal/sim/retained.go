package sim

import (
	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/subject"
)

// finally judges the end of a run, with everything healed and settled: each replica
// holds what it should, and each client got what was its due.
func (c *checker) finally() {
	h := &c.world.history
	h.mu.Lock()
	defer h.mu.Unlock()
	replicas := 0
	for _, n := range c.world.nodes {
		if s := n.life.stream(); s != nil {
			replicas++
			c.contents(n, s)
		}
	}
	if replicas != c.world.replicas {
		c.world.fail("%d nodes have a replica, not %d", replicas, c.world.replicas)
	}
	for _, cl := range h.clients {
		c.consumed(cl)
	}
	for _, r := range h.resets {
		c.deliveredAnew(r)
	}
}

// contents compares what a replica holds with what clients know. The caller
// holds the history's mu.
func (c *checker) contents(n *node, s *jetstream.Stream) {
	h := &c.world.history
	ids, ok := c.stored(n, s)
	if !ok {
		return
	}
	for _, p := range h.publisher.list {
		at, stays := ids[p.id]
		switch {
		case p.seq != 0 && stays && at != p.seq:
			c.world.fail("%s: message %s was acknowledged at %d, is at %d", n.name, p.id, p.seq, at)
		case p.seq != 0 && !stays && c.world.retention == api.LimitsRetention:
			c.world.fail("%s: message %s was acknowledged at %d and is gone", n.name, p.id, p.seq)
		case p.seq != 0 && !stays:
			c.released(n, p)
		case stays && c.world.retention != api.LimitsRetention && !h.mayStay(p):
			c.world.fail("%s: message %s stays at %d, nobody needs it", n.name, p.id, at)
		}
	}
}

// stored is where a replica holds which message; ok is false when it is known to be
// damaged.
func (c *checker) stored(n *node, s *jetstream.Stream) (ids map[string]uint64, ok bool) {
	list, ok := c.world.messages(n, s)
	ids = map[string]uint64{}
	for _, m := range list {
		id := string(m.Data)
		if before, twice := ids[id]; twice {
			c.world.fail("%s: message %s is stored at %d and %d", n.name, id, before, m.Seq)
		}
		ids[id] = m.Seq
		c.world.history.at(m.Seq, id)
	}
	return ids, ok
}

// wants tells whether a consumer filters a message that it was made before, if that
// matters. The caller holds mu.
func (h *history) wants(cl *client, p *publication) bool {
	late := h.world.retention == api.InterestRetention && p.first.Before(cl.ask.done)
	return !cl.brief && !late && subject.NewFilter(cl.config.Filters()...).Match(p.subject)
}

// released judges that a message is gone, under retention by interest or that of a work
// queue: all who want it must have acknowledged it, also those that gave it up. The
// caller holds the history's mu.
func (c *checker) released(n *node, p *publication) {
	h := &c.world.history
	for _, cl := range h.clients {
		if cl.config.AckPolicy != api.AckNone && h.wants(cl, p) && !cl.hasSaid(p.seq) && !h.skipped(cl, p.seq) {
			c.world.fail("%s: message %s, acknowledged at %d, is gone, and %s never acked it", n.name, p.id, p.seq, cl.name)
		}
	}
}

// mayStay tells that a message may stay although retention is by interest or that of a
// work queue, as a consumer delivered it as often as it may. The caller holds mu.
func (h *history) mayStay(p *publication) bool {
	for _, cl := range h.clients {
		if cl.givenUp[p.seq] {
			return true
		}
	}
	return false
}

// consumed looks for messages that a client never got. A delivery counts from its
// commit, and may be lost with its runner or its client before it is seen: so with a
// limit a message may never be, but only if the consumer said that it gave it up. What
// is delivered once or acknowledged with a later one may be lost in the same way. The
// caller holds the history's mu.
func (c *checker) consumed(cl *client) {
	h := &c.world.history
	missing := 0
	for _, p := range h.publisher.list {
		excused := c.world.options.Faults && (cl.givenUp[p.seq] || cl.hasSaid(p.seq) || cl.config.AckPolicy == api.AckNone)
		if p.seq != 0 && h.wants(cl, p) && cl.seen[p.seq] == 0 && !excused && !h.skipped(cl, p.seq) {
			missing++
		}
	}
	if missing > 0 {
		c.world.fail("consumer %s never got %d messages", cl.name, missing)
	}
}

// streamConfig is that of the stream of a run.
func (w *world) streamConfig() api.StreamConfig {
	cfg := plainStream(streamName, "s.>", w.replicas)
	cfg.Retention, cfg.Storage = w.retention, w.storage
	return cfg
}
