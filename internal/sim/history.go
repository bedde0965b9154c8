package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/router"
	"weir/internal/wire"
)

const (
	streamName  = "S"
	ackPrefix   = "$JS.ACK."
	pullSubject = "$JS.API.CONSUMER.MSG.NEXT." + streamName + "."
)

// history is what the clients did and heard. Its clients are simple: they speak
// through the router of a node that is up, and what they want answered has an
// inbox that names that node.
type history struct {
	world *world

	mu        sync.Mutex
	published []*publication
	bySeq     map[uint64]string // the id of what was seen at a sequence, ever
	consumers []*client
	pulls     map[string]*pull
	confirms  map[string]*confirm
	asks      []*ask
	asked     map[string]*ask
	number    int
}

// publication is one message that a client wants to be in the stream.
type publication struct {
	id, subject string
	first       time.Time // when it was sent first
	tries       int
	again       time.Time // when to try again
	seq         uint64    // as acknowledged; 0: not yet
}

// client consumes from one consumer.
type client struct {
	name   string
	config api.ConsumerConfig
	ask    *ask

	seen      map[uint64]int       // deliveries by sequence
	confirmed map[uint64]time.Time // when a double ack was confirmed
	givenUp   map[uint64]bool      // delivered as often as allowed, by the consumer's own word
	todo      []delivery
}

type delivery struct {
	seq   uint64
	reply string
}

// pull is a request for messages.
type pull struct {
	client *client
	sent   time.Time
}

// confirm is an ack that waits for its confirmation.
type confirm struct {
	client *client
	delivery
	again time.Time
	tries int
}

func (h *history) init(w *world) {
	h.world = w
	h.bySeq, h.pulls, h.confirms = map[uint64]string{}, map[string]*pull{}, map[string]*confirm{}
	h.asked = map[string]*ask{}
	h.prepare()
}

func (h *history) next() string {
	h.number++
	return strconv.Itoa(h.number)
}

// attach lets clients of a node's new life hear.
func (h *history) attach(l *life) error {
	_, err := l.router.Subscribe(l.account(), "_INBOX."+l.node.name+".>", "", func(_ *router.Sub, _ router.Source, m *router.Msg) {
		if !l.isOver() {
			h.heard(m)
		}
	}, router.SubOptions{})
	if err != nil {
		return err
	}
	// Local: an advisory that were lost on its way would look like a message that was.
	_, err = l.router.Subscribe(l.account(), "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "", func(_ *router.Sub, _ router.Source, m *router.Msg) {
		if !l.isOver() {
			h.gaveUp(m.Payload)
		}
	}, router.SubOptions{Local: true})
	return err
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
	for _, c := range h.consumers {
		if c.name != a.Consumer {
			continue
		}
		if limit := c.config.MaxDeliver; int(a.Deliveries) != limit {
			h.world.fail("%s: message %d given up after %d deliveries, %d are allowed", c.name, a.StreamSeq, a.Deliveries, limit)
		}
		c.givenUp[a.StreamSeq] = true
	}
}

// say publishes as a client of a node.
func (n *node) say(subject, reply string, header, payload []byte) {
	n.life.router.Publish(n.life.account(), router.Internal, &router.Msg{
		Subject: []byte(subject), Reply: []byte(reply), Header: header, Payload: payload,
	})
}

// heard takes a message to an inbox: _INBOX.<node>.<kind>.<number>.
func (h *history) heard(m *router.Msg) {
	parts := strings.SplitN(string(m.Route()), ".", 4)
	if len(parts) < 4 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch parts[2] {
	case "pub":
		h.publishAnswered(parts[3], m.Payload)
	case "pull":
		h.pulled(parts[3], m)
	case "push":
		h.pushed(parts[3], m)
	case "api":
		h.answered(parts[3], m.Payload)
	case "ack":
		h.ackConfirmed(parts[3], m)
	}
}

// publish sends a new message by way of n.
func (h *history) publish(n *node) {
	h.mu.Lock()
	p := &publication{id: "m" + strconv.Itoa(len(h.published)), subject: "s." + strconv.Itoa(h.world.rand.IntN(4)), first: now()}
	h.published = append(h.published, p)
	h.mu.Unlock()
	h.try(n, p)
}

func (h *history) try(n *node, p *publication) {
	h.mu.Lock()
	p.tries++
	p.again = now().Add(h.world.between(300*time.Millisecond, 2*time.Second))
	h.mu.Unlock()
	n.say(p.subject, "_INBOX."+n.name+".pub."+p.id, wire.HeaderBlock("Nats-Msg-Id", p.id), []byte(p.id))
}

// retry sends publications again that nobody acknowledged in time.
func (h *history) retry(n *node) {
	for _, p := range h.unacknowledged() {
		if now().After(p.again) {
			h.try(n, p)
		}
	}
}

func (h *history) unacknowledged() []*publication {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*publication
	for _, p := range h.published {
		if p.seq == 0 {
			list = append(list, p)
		}
	}
	return list
}

// publishAnswered takes a PubAck. The caller holds mu.
func (h *history) publishAnswered(id string, body []byte) {
	var a api.PubAck
	if err := json.Unmarshal(body, &a); err != nil {
		h.world.fail("publish %s: answer %q: %v", id, body, err)
		return
	}
	i, err := strconv.Atoi(strings.TrimPrefix(id, "m"))
	if err != nil {
		return
	}
	p := h.published[i]
	switch {
	case a.Error != nil:
		h.world.logf("publish %s refused: %v", id, a.Error)
	case a.Sequence == 0:
		h.world.fail("publish %s: acknowledged without a sequence: %s", id, body)
	case p.seq != 0 && p.seq != a.Sequence:
		h.world.fail("publish %s: acknowledged at %d, and at %d", id, p.seq, a.Sequence)
	default:
		p.seq = a.Sequence
		h.at(a.Sequence, id)
	}
}

// at notes which message has a sequence. The caller holds mu.
func (h *history) at(seq uint64, id string) {
	if other, ok := h.bySeq[seq]; ok && other != id {
		h.world.fail("sequence %d was %s and is %s", seq, other, id)
	}
	h.bySeq[seq] = id
}

// pull asks for messages by way of n.
func (h *history) pull(n *node, c *client, batch int, expires time.Duration) {
	if c.config.DeliverSubject != "" {
		return
	}
	h.mu.Lock()
	id := h.next()
	h.pulls[id] = &pull{client: c, sent: now()}
	h.mu.Unlock()
	body := fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, batch, expires)
	n.say(pullSubject+c.name, "_INBOX."+n.name+".pull."+id, nil, body)
}

// pulled takes what a pull brought. The caller holds mu.
func (h *history) pulled(id string, m *router.Msg) {
	if _, _, ok := wire.Status(m.Header); !ok { // else the pull is over
		p := h.pulls[id]
		h.delivered(p.client, p.sent, m)
	}
}

// pushed takes what was pushed to a consumer's deliver subject. The caller holds
// mu.
func (h *history) pushed(name string, m *router.Msg) {
	for _, c := range h.consumers {
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
	h.at(seq, string(m.Payload))
	if at, ok := c.confirmed[seq]; ok && since.Sub(at) > staleRunner {
		h.world.fail("%s: message %d delivered on a pull of %v, its ack was confirmed at %v; %s as %s",
			c.name, seq, since.Sub(h.world.began), at.Sub(h.world.began), m.Reply, h.world.runnersOf(c.name))
	}
	c.seen[seq]++
	if limit := c.config.MaxDeliver; limit > 0 && c.seen[seq] > limit {
		h.world.fail("%s: message %d delivered %d times, at most %d are allowed", c.name, seq, c.seen[seq], limit)
	}
	c.todo = append(c.todo, delivery{seq, string(m.Reply)})
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
	for _, d := range todo {
		switch p := h.world.rand.IntN(100); {
		case settle || p < 35:
			h.doubleAck(n, c, d)
		case p < 80:
			n.say(d.reply, "", nil, []byte("+ACK"))
		case p < 88:
			n.say(d.reply, "", nil, []byte("-NAK"))
		case p < 92:
			n.say(d.reply, "", nil, []byte("+WPI"))
		}
	}
}

func (h *history) doubleAck(n *node, c *client, d delivery) {
	h.mu.Lock()
	id := h.next()
	h.confirms[id] = &confirm{client: c, delivery: d, again: now().Add(time.Second), tries: 1}
	h.mu.Unlock()
	n.say(d.reply, "_INBOX."+n.name+".ack."+id, nil, []byte("+ACK"))
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
	var list []delivery
	for _, id := range ids {
		list = append(list, h.confirms[id].delivery)
	}
	h.mu.Unlock()
	for i, id := range ids {
		n.say(list[i].reply, "_INBOX."+n.name+".ack."+id, nil, []byte("+ACK"))
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
	if _, ok := c.client.confirmed[c.seq]; !ok {
		c.client.confirmed[c.seq] = now()
	}
}

// summary says how much happened.
func (h *history) summary() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	acknowledged, deliveries, confirmed := 0, 0, 0
	for _, p := range h.published {
		if p.seq != 0 {
			acknowledged++
		}
	}
	for _, c := range h.consumers {
		confirmed += len(c.confirmed)
		for _, n := range c.seen {
			deliveries += n
		}
	}
	return fmt.Sprintf("%d of %d publishes acknowledged, %d deliveries, %d acks confirmed",
		acknowledged, len(h.published), deliveries, confirmed)
}
