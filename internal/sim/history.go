package sim

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"weir/internal/router"
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

	publisher publisher

	mu       sync.Mutex
	bySeq    map[uint64]string // the id of what was seen at a sequence, ever
	clients  []*client
	pulls    map[string]*pull
	confirms map[string]*confirm
	asks     []*ask
	asked    map[string]*ask
	resets   []*reset
	number   int
}

func (h *history) init(w *world) {
	h.bySeq, h.pulls, h.confirms = map[uint64]string{}, map[string]*pull{}, map[string]*confirm{}
	h.asked = map[string]*ask{}
	h.publisher = publisher{world: w, inbox: "pub.", subjects: "s.", letter: "m", at: h.at}
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
		h.publisher.answered(parts[3], m.Payload)
	case "pull":
		h.pulled(parts[3], m)
	case "push":
		h.pushed(l, parts[3], m)
	case "api":
		h.answered(parts[3], m.Payload)
	case "op":
		h.world.logf("%s: %s", parts[3], m.Payload)
	case "reset":
		h.resetAnswered(parts[3], m.Payload)
	case "ack":
		h.ackConfirmed(parts[3], m)
	default:
		h.world.ears[parts[2]].heard(l, parts[3], m)
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
	deliveries, confirmed := 0, 0
	for _, c := range h.clients {
		confirmed += len(c.confirmed) + len(c.upTo)
		for _, n := range c.seen {
			deliveries += n
		}
	}
	return fmt.Sprintf("%s, %d deliveries, %d acks confirmed", h.publisher.summary(), deliveries, confirmed)
}
