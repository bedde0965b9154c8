package sim

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"weir/internal/api"
)

// reset is a request to start a consumer over.
type reset struct {
	client      *client
	seq         uint64    // that was asked for; 0: what comes behind the ack floor
	sent, ended time.Time // ended is zero while nobody answered
	start       uint64    // where it did
}

// reset asks for a client's consumer to start over, behind its ack floor or with a message.
func (h *history) reset(n *node, c *client) {
	seq := uint64(0)
	h.publisher.mu.Lock()
	if list := h.publisher.list; len(list) > 0 && h.world.chance(70) {
		seq = list[h.world.rand.IntN(len(list))].seq
	}
	h.publisher.mu.Unlock()
	h.mu.Lock()
	h.resets = append(h.resets, &reset{client: c, seq: seq, sent: now()})
	id := len(h.resets) - 1
	h.mu.Unlock()
	body, err := json.Marshal(api.ConsumerResetRequest{Seq: seq})
	if err != nil {
		h.world.fail("reset: %v", err)
	}
	subject := "CONSUMER.RESET." + streamName + "." + c.name
	h.world.logf("%s %s", subject, body)
	n.say(apiPrefix+subject, "_INBOX."+n.name+".reset."+strconv.Itoa(id), nil, body)
}

// skipped tells whether a consumer may have been started over behind a message that it
// had not delivered. The caller holds mu.
func (h *history) skipped(c *client, seq uint64) bool {
	return slices.ContainsFunc(h.resets, func(r *reset) bool { return r.client == c && r.seq > seq })
}

// resetsOf tells whether a consumer is one that is started over.
func (h *history) resetsOf(consumer string) bool {
	return slices.ContainsFunc(h.clients, func(c *client) bool { return c.resets && c.name == consumer })
}

// resetAnswered takes the answer to a reset. The caller holds mu.
func (h *history) resetAnswered(id string, body []byte) {
	i, err := strconv.Atoi(id)
	var a api.ConsumerResetResponse
	if err2 := json.Unmarshal(body, &a); err != nil || err2 != nil {
		h.world.fail("reset: answer %q", body)
		return
	}
	h.resets[i].ended = now()
	if a.Error != nil {
		h.world.logf("reset refused: %v", a.Error)
		return
	}
	h.resets[i].start = a.ResetSeq
}

// deliveredAnew looks for messages that did not come again after a consumer was started
// over. The caller holds the history's mu.
func (c *checker) deliveredAnew(r *reset) {
	h := &c.world.history
	if slices.ContainsFunc(h.resets, func(other *reset) bool {
		return other != r && other.client == r.client && (other.ended.IsZero() || !other.ended.Before(r.sent))
	}) {
		return // another one may have come after it
	}
	for _, p := range h.publisher.list {
		if r.start > 0 && p.seq >= r.start && h.wants(r.client, p) && r.client.seenAt[p.seq].Before(r.sent) &&
			c.world.retention == api.LimitsRetention {
			c.world.fail("%s: message %d came last at %v, the reset to %d was asked for at %v",
				r.client.name, p.seq, r.client.seenAt[p.seq].Sub(c.world.began), r.start, r.sent.Sub(c.world.began))
			return
		}
	}
}
