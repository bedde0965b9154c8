package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/api"
	"weir/internal/router"
	"weir/internal/wire"
)

// client consumes from one consumer.
type client struct {
	kind
	ask  *ask
	pins pins

	seen   map[uint64]int       // deliveries by sequence
	seenAt map[uint64]time.Time // the last of them
	// said are the messages that an ack or term was sent for; saidTo is the last one
	// whose ack means all before it, too.
	said   map[uint64]bool
	saidTo uint64
	// confirmed is when a double ack of a message was confirmed; upTo are those that
	// meant all before it.
	confirmed map[uint64]time.Time
	upTo      []upTo
	givenUp   map[uint64]bool // delivered as often as allowed, by the consumer's own word
	todo      []delivery
}

type delivery struct {
	seq   uint64
	reply string
}

type upTo struct {
	seq uint64
	at  time.Time
}

// pull is a request for messages.
type pull struct {
	client   *client
	sent     time.Time
	member   int  // which of the clients of a pinned group
	hopeless bool // its conditions never hold
}

// confirm is an ack that waits for its confirmation.
type confirm struct {
	client *client
	delivery
	word  string
	again time.Time
	tries int
}

func (h *history) newClient(k kind, a *ask) *client {
	return &client{
		kind: k, ask: a, pins: pins{owner: map[string]int{}}, seen: map[uint64]int{}, seenAt: map[uint64]time.Time{}, said: map[uint64]bool{},
		confirmed: map[uint64]time.Time{}, givenUp: map[uint64]bool{},
	}
}

func (c *client) pulls() bool  { return c.config.DeliverSubject == "" }
func (c *client) ackAll() bool { return c.config.AckPolicy == api.AckAll }

// hasSaid tells whether an ack or term was sent that covers a message.
func (c *client) hasSaid(seq uint64) bool { return c.said[seq] || seq <= c.saidTo }

// doneAt is when it was confirmed that a message need not come again.
func (c *client) doneAt(seq uint64) (time.Time, bool) {
	if at, ok := c.confirmed[seq]; ok {
		return at, true
	}
	i := slices.IndexFunc(c.upTo, func(u upTo) bool { return u.seq >= seq })
	if i < 0 {
		return time.Time{}, false
	}
	return c.upTo[i].at, true
}

// pull asks for messages by way of n.
func (h *history) pull(n *node, c *client, batch int, expires time.Duration) {
	if !c.pulls() {
		return
	}
	h.mu.Lock()
	id := h.next()
	p := &pull{client: c, sent: now()}
	h.pulls[id] = p
	req := api.ConsumerNextRequest{Batch: batch, Expires: expires}
	h.join(c, p, &req)
	h.mu.Unlock()
	body, err := json.Marshal(&req)
	if err != nil {
		h.world.fail("pull: %v", err)
	}
	n.say(pullSubject+c.name, "_INBOX."+n.name+".pull."+id, nil, body)
}

// pulled takes what a pull brought. The caller holds mu.
func (h *history) pulled(id string, m *router.Msg) {
	p := h.pulls[id]
	switch code, _, ok := wire.Status(m.Header); {
	case !ok:
		h.pin(p, m)
		if p.hopeless {
			h.world.fail("%s: a pull is served whose conditions do not hold", p.client.name)
		}
		h.delivered(p.client, p.sent, m)
	case code == 423: // another client is pinned
		p.client.pins.own[p.member] = ""
	}
}

// pushed takes what was pushed to a consumer's deliver subject. The caller holds
// mu.
func (h *history) pushed(l *life, name string, m *router.Msg) {
	if _, _, ok := wire.Status(m.Header); ok && len(m.Payload) == 0 && !strings.HasPrefix(string(m.Reply), ackPrefix) {
		answerFlow(l, m)
		return
	}
	for _, c := range h.clients {
		if c.name == name {
			h.delivered(c, now(), m)
		}
	}
}

// delivered takes a message of a consumer, sent not before since. The caller holds
// mu.
func (h *history) delivered(c *client, since time.Time, m *router.Msg) {
	parts := strings.Split(string(m.Reply), ".")
	if len(parts) != 9 {
		h.world.fail("delivery to %s with ack subject %q", c.name, m.Reply)
		return
	}
	seq, err := strconv.ParseUint(parts[5], 10, 64)
	if err != nil {
		h.world.fail("delivery to %s with ack subject %q", c.name, m.Reply)
		return
	}
	id, _ := wire.GetHeader(m.Header, "Nats-Msg-Id")
	h.at(seq, string(id))
	if !c.config.HeadersOnly && string(m.Payload) != string(id) {
		h.world.fail("%s: message %d is %q, not %q", c.name, seq, m.Payload, id)
	}
	if at, ok := c.doneAt(seq); ok && since.Sub(at) > staleRunner {
		h.world.fail("%s: message %d delivered on a pull of %v, its ack was confirmed at %v; %s as %s",
			c.name, seq, since.Sub(h.world.began), at.Sub(h.world.began), m.Reply, h.world.runnersOf(c.name))
	}
	c.seen[seq]++
	c.seenAt[seq] = now()
	if limit := c.config.MaxDeliver; limit > 0 && c.seen[seq] > limit {
		h.world.fail("%s: message %d delivered %d times, at most %d are allowed", c.name, seq, c.seen[seq], limit)
	}
	if c.config.AckPolicy != api.AckNone {
		c.todo = append(c.todo, delivery{seq, string(m.Reply)})
	}
}

// staleRunner is for how long a runner that was replaced may go on: until its
// node notices that it is cut off, or stood still.
const staleRunner = 4 * time.Second

// handle works on the messages that a client got.
func (h *history) handle(n *node, c *client, settle bool) {
	h.mu.Lock()
	todo := c.todo
	c.todo = nil
	h.mu.Unlock()
	if c.brief && settle {
		return // it is to go
	}
	if c.ackAll() && len(todo) > 0 {
		last := slices.MaxFunc(todo, func(a, b delivery) int { return int(a.seq) - int(b.seq) })
		todo = []delivery{last}
	}
	for _, d := range todo {
		h.reply(n, c, d, settle)
	}
}

// reply says something about one message.
func (h *history) reply(n *node, c *client, d delivery, settle bool) {
	switch p := h.world.rand.IntN(100); {
	case c.brief: // it may be gone, and would never confirm
		n.say(d.reply, "", nil, []byte("+ACK"))
	case settle || p < 33:
		h.doubleAck(n, c, d, "+ACK")
	case p < 36 && !c.ackAll():
		h.doubleAck(n, c, d, "+TERM")
	case p < 80:
		h.noteSaid(c, d.seq)
		n.say(d.reply, "", nil, []byte("+ACK"))
	case p < 84:
		n.say(d.reply, "", nil, []byte("-NAK"))
	case p < 88:
		n.say(d.reply, "", nil, fmt.Appendf(nil, `-NAK {"delay":%d}`, h.world.between(0, 3*time.Second)))
	case p < 92:
		n.say(d.reply, "", nil, []byte("+WPI"))
	}
}

func (h *history) noteSaid(c *client, seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.said[seq] = true
	if c.ackAll() {
		c.saidTo = max(c.saidTo, seq)
	}
}

func (h *history) doubleAck(n *node, c *client, d delivery, word string) {
	h.noteSaid(c, d.seq)
	h.mu.Lock()
	id := h.next()
	h.confirms[id] = &confirm{client: c, delivery: d, word: word, again: now().Add(time.Second), tries: 1}
	h.mu.Unlock()
	n.say(d.reply, "_INBOX."+n.name+".ack."+id, nil, []byte(word))
}

// retryAcks asks again where a double ack got no confirmation.
func (h *history) retryAcks(n *node) {
	h.mu.Lock()
	var ids []string
	for id, c := range h.confirms {
		if now().After(c.again) {
			c.again = now().Add(time.Second)
			c.tries++
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	var list []confirm
	for _, id := range ids {
		list = append(list, *h.confirms[id])
	}
	h.mu.Unlock()
	for i, id := range ids {
		n.say(list[i].reply, "_INBOX."+n.name+".ack."+id, nil, []byte(list[i].word))
	}
}

// ackConfirmed takes the answer to a double ack. The caller holds mu.
func (h *history) ackConfirmed(id string, m *router.Msg) {
	c := h.confirms[id]
	if c == nil {
		return // confirmed before
	}
	if code, text, ok := wire.Status(m.Header); ok {
		h.world.logf("ack of %d refused: %d %s", c.seq, code, text)
		return
	}
	delete(h.confirms, id)
	if _, ok := c.client.doneAt(c.seq); ok || c.client.resets {
		return // or it comes again all the same
	}
	if c.client.ackAll() {
		c.client.upTo = append(c.client.upTo, upTo{c.seq, now()})
	} else {
		c.client.confirmed[c.seq] = now()
	}
}

// gaveUp takes the advisory that a message was delivered as often as it may be.
func (h *history) gaveUp(body []byte) {
	var a api.MaxDeliveries
	if err := json.Unmarshal(body, &a); err != nil {
		h.world.fail("advisory %q: %v", body, err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.clients {
		if c.name != a.Consumer {
			continue
		}
		if limit := c.config.MaxDeliver; int(a.Deliveries) != limit {
			h.world.fail("%s: message %d given up after %d deliveries, %d are allowed", c.name, a.StreamSeq, a.Deliveries, limit)
		}
		c.givenUp[a.StreamSeq] = true
	}
}
