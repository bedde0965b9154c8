package sim

import (
	"encoding/json"
	"fmt"
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
	clients   []*client
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
			h.heard(l, m)
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

// say publishes as a client of a node.
func (n *node) say(subject, reply string, header, payload []byte) {
	n.life.router.Publish(n.life.account(), router.Internal, &router.Msg{
		Subject: []byte(subject), Reply: []byte(reply), Header: header, Payload: payload,
	})
}

// heard takes a message to an inbox: _INBOX.<node>.<kind>.<number>.
func (h *history) heard(l *life, m *router.Msg) {
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
		h.pushed(l, parts[3], m)
	case "api":
		h.answered(parts[3], m.Payload)
	case "reg":
		h.world.registers.answered(parts[3], m.Payload)
	case "op":
		h.world.logf("%s: %s", parts[3], m.Payload)
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
	for _, c := range h.clients {
		confirmed += len(c.confirmed) + len(c.upTo)
		for _, n := range c.seen {
			deliveries += n
		}
	}
	return fmt.Sprintf("%d of %d publishes acknowledged, %d deliveries, %d acks confirmed",
		acknowledged, len(h.published), deliveries, confirmed)
}
