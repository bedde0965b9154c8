package sim

import (
	"encoding/json"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/jsapi"
)

// ask is something that a client wants of the JetStream API and asks for until it
// gets it.
type ask struct {
	subject string // behind $JS.API.
	body    any
	again   time.Time // when to ask again
	done    time.Time // zero: not yet
}

const apiPrefix = "$JS.API."

// prepare asks for what the run needs: the stream, then its consumers.
func (h *history) prepare() {
	h.asks = append(h.asks, &ask{subject: "STREAM.CREATE." + streamName, body: h.world.streamConfig()})
	h.world.drawSides()
	for _, k := range h.world.drawKinds() {
		c := &k.config
		c.Name = k.name
		if c.Durable = k.name; k.brief {
			c.Durable = ""
		}
		if c.AckPolicy == "" {
			c.AckPolicy = api.AckExplicit
		}
		c.DeliverPolicy, c.ReplayPolicy = api.DeliverAll, api.ReplayInstant
		a := &ask{
			subject: "CONSUMER.CREATE." + streamName + "." + k.name,
			body:    api.ConsumerCreateRequest{Stream: streamName, Config: *c},
		}
		h.asks = append(h.asks, a)
		h.clients = append(h.clients, h.newClient(k, a))
	}
}

// askNext asks for the first thing that is not there yet, of the first limit.
func (h *history) askNext(n *node, limit int) {
	h.mu.Lock()
	var next *ask
	for _, a := range h.asks[:limit] {
		if a.done.IsZero() {
			next = a
			break
		}
	}
	if next == nil || now().Before(next.again) {
		h.mu.Unlock()
		return
	}
	next.again = now().Add(1500 * time.Millisecond)
	id := h.next()
	h.asked[id] = next
	h.mu.Unlock()
	body, err := json.Marshal(next.body)
	if err != nil {
		h.world.fail("%s: %v", next.subject, err)
	}
	n.say(apiPrefix+next.subject, "_INBOX."+n.name+".api."+id, nil, body)
}

// answered takes an answer of the API. What was refused is asked for again: the
// nodes may be about to find each other. The caller holds mu.
func (h *history) answered(id string, body []byte) {
	a := h.asked[id]
	if a == nil {
		return
	}
	var r struct {
		Error *apierr.Error `json:"error"`
	}
	switch err := json.Unmarshal(body, &r); {
	case err != nil:
		h.world.fail("%s: answer %q: %v", a.subject, body, err)
	case r.Error != nil:
		h.world.logf("%s: %v", a.subject, r.Error)
	case a.done.IsZero():
		h.world.logf("%s: done", a.subject)
		a.done = now()
	}
}

// scale asks for another number of replicas, once the last one asked for is there.
func (h *history) scale() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.asks {
		if a.done.IsZero() {
			return
		}
	}
	w := h.world
	numbers := []int{1, 3}
	if len(w.nodes) == 5 {
		numbers = append(numbers, 5)
	}
	to := numbers[w.rand.IntN(len(numbers))]
	if to == w.replicas {
		return
	}
	w.logf("scale from %d to %d replicas", w.replicas, to)
	w.replicas = to
	h.asks = append(h.asks, &ask{subject: "STREAM.UPDATE." + streamName, body: w.streamConfig()})
}

// made tells whether the first n things that were asked for are there.
func (h *history) made(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.asks[:n] {
		if a.done.IsZero() {
			return false
		}
	}
	return true
}

// serve answers the API on a node.
func (l *life) serve(cluster string) {
	l.api = jsapi.New(l.js, jsapi.Config{
		Name: l.node.name, Cluster: cluster,
		Router: l.router, Accounts: l.accounts, Logger: l.log, Clock: l.host.clock,
	})
}
