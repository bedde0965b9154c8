package sim

import (
	"encoding/json"
	"time"

	"weir/internal/api"
)

// operate does what operators do to a stream and its consumers, once and whether or
// not it succeeds. What clients were promised holds all the same.
func (w *world) operate(n *node) {
	c := w.history.clients[w.rand.IntN(len(w.history.clients))]
	switch p := w.rand.IntN(100); {
	case c.resets && p < 60:
		w.history.reset(n, c)
	case p < 35:
		w.request(n, "CONSUMER.LEADER.STEPDOWN."+streamName+"."+c.name, nil)
	case p < 60:
		until := now().Add(w.between(200*time.Millisecond, 4*time.Second))
		w.request(n, "CONSUMER.PAUSE."+streamName+"."+c.name, api.ConsumerPauseRequest{PauseUntil: until})
	case p < 85:
		w.update(n, c)
	case len(w.nodes) > w.replicas && !w.scales:
		w.request(n, "STREAM.PEER.REMOVE."+streamName, api.StreamPeerRequest{Peer: w.nodes[w.rand.IntN(len(w.nodes))].name})
	}
}

// update changes how long a consumer waits for acks, and for how many.
func (w *world) update(n *node, c *client) {
	cfg := c.config
	w.history.mu.Lock()
	made := !c.ask.done.IsZero()
	w.history.mu.Unlock()
	if cfg.AckPolicy == api.AckNone || len(cfg.BackOff) > 0 || c.brief || !made {
		return
	}
	cfg.AckWait = w.between(time.Second, 4*time.Second)
	cfg.MaxAckPending = 20 + w.rand.IntN(100)
	w.request(n, c.ask.subject, api.ConsumerCreateRequest{Stream: streamName, Config: cfg})
}

// request sends a request to the API; its answer is logged only.
func (w *world) request(n *node, subject string, doc any) {
	body := []byte{}
	if doc != nil {
		var err error
		if body, err = json.Marshal(doc); err != nil {
			w.fail("%s: %v", subject, err)
		}
	}
	w.logf("%s %s", subject, body)
	n.say(apiPrefix+subject, "_INBOX."+n.name+".op."+subject, nil, body)
}
