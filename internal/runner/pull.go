package runner

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"weir/internal/api"
	"weir/internal/wire"
)

// PullRequest is a client's request for messages: a JSON document, a plain
// number, or nothing, which means one message.
type PullRequest struct {
	Reply string
	Body  []byte
}

// CloseReason is why a runner ends or gives up its clients.
type CloseReason string

// What waiting clients are told (status 409) when a runner ends.
const (
	CloseSilent     CloseReason = ""
	CloseDeleted    CloseReason = "Consumer Deleted"
	CloseLeadership CloseReason = "Leadership Change"
	CloseShutdown   CloseReason = "Server Shutdown"
)

// request is a pull that waits for messages.
type request struct {
	reply     string
	batch     int // messages still wanted
	maxBytes  int // bytes still wanted; 0 with limited false: no limit
	limited   bool
	expires   time.Time // zero: never
	heartbeat time.Duration
	beatAt    time.Time // when the next heartbeat is due
	noWait    bool      // ends as soon as nothing is there
	gone      bool      // ended; to be skipped
}

// requestQueue holds waiting pulls, first come first served.
type requestQueue struct {
	list []*request
}

func (q *requestQueue) len() int { return len(q.list) }

func (q *requestQueue) first() *request {
	if len(q.list) == 0 {
		return nil
	}
	return q.list[0]
}

func (q *requestQueue) remove(w *request) {
	for i, x := range q.list {
		if x == w {
			q.list = append(q.list[:i], q.list[i+1:]...)
			return
		}
	}
}

// Pull takes a pull request.
func (r *Runner) Pull(req PullRequest) {
	r.post(func(r *Runner) { r.pull(req, r.env.Clock.Now()) })
}

func (r *Runner) pull(req PullRequest, now time.Time) {
	r.active = now
	if req.Reply == "" {
		return
	}
	if r.push {
		r.status409(req.Reply, "Consumer is push based")
		return
	}
	next, err := parseNext(req.Body)
	if err == nil {
		err = checkNext(&next)
	}
	if err != nil {
		r.sendStatus(req.Reply, 400, "Bad Request - "+err.Error())
		return
	}
	if text := r.overLimit(&next); text != "" {
		r.status409(req.Reply, text)
		return
	}
	r.enqueue(req.Reply, next, now)
}

// parseNext reads the body of a pull request.
func parseNext(body []byte) (next api.ConsumerNextRequest, err error) {
	switch {
	case len(body) == 0:
	case body[0] == '{':
		err = json.Unmarshal(body, &next)
	default:
		next.Batch, err = strconv.Atoi(string(body))
		if err != nil {
			err = fmt.Errorf("batch size %q is not a number", body)
		}
	}
	next.Batch = max(next.Batch, 1)
	return next, err
}

func checkNext(n *api.ConsumerNextRequest) error {
	if n.Heartbeat > 0 && (n.Expires <= 0 || n.Heartbeat*2 > n.Expires) {
		return fmt.Errorf("heartbeat value too large")
	}
	return nil
}

// overLimit names the consumer's limit that a request breaks.
func (r *Runner) overLimit(n *api.ConsumerNextRequest) string {
	switch c := &r.cfg; {
	case c.MaxRequestBatch > 0 && n.Batch > c.MaxRequestBatch:
		return fmt.Sprintf("Exceeded MaxRequestBatch of %d", c.MaxRequestBatch)
	case c.MaxRequestExpires > 0 && n.Expires > c.MaxRequestExpires:
		return fmt.Sprintf("Exceeded MaxRequestExpires of %v", c.MaxRequestExpires)
	case c.MaxRequestMaxBytes > 0 && n.MaxBytes > c.MaxRequestMaxBytes:
		return fmt.Sprintf("Exceeded MaxRequestMaxBytes of %v", c.MaxRequestMaxBytes)
	}
	return ""
}

func (r *Runner) enqueue(reply string, n api.ConsumerNextRequest, now time.Time) {
	if n.NoWait && n.Expires <= 0 {
		available := r.available()
		if available == 0 || r.requests.len() > 0 {
			r.sendStatus(reply, 404, "No Messages")
			return
		}
		n.Batch = int(min(uint64(n.Batch), available))
	}
	if r.cfg.MaxWaiting > 0 && r.requests.len() >= r.cfg.MaxWaiting {
		r.dropUninterested()
		if r.requests.len() >= r.cfg.MaxWaiting {
			r.status409(reply, "Exceeded MaxWaiting")
			return
		}
	}
	w := &request{reply: reply, batch: n.Batch, maxBytes: n.MaxBytes, limited: n.MaxBytes > 0, noWait: n.NoWait && n.Expires <= 0, heartbeat: n.Heartbeat}
	if n.Expires > 0 {
		w.expires = now.Add(n.Expires)
	}
	if n.Heartbeat > 0 {
		w.beatAt = now.Add(n.Heartbeat)
	}
	r.requests.list = append(r.requests.list, w)
}

// available is how many messages could be delivered at once.
func (r *Runner) available() uint64 {
	n := uint64(len(r.redeliver))
	if room := r.ackRoom(); room < 0 {
		return n + r.pendingCount()
	} else if room > 0 {
		return n + min(r.pendingCount(), uint64(room))
	}
	return n
}

// ackRoom is how many more messages may be pending; negative: any number.
func (r *Runner) ackRoom() int {
	if r.ackNone || r.cfg.MaxAckPending <= 0 {
		return -1
	}
	return max(r.cfg.MaxAckPending-len(r.pending), 0)
}

// nextRequest returns the pull that gets the next message, skipping those whose
// client has gone.
func (r *Runner) nextRequest() *request {
	for {
		w := r.requests.first()
		if w == nil || r.env.HasInterest(w.reply, "") {
			return w
		}
		r.requests.remove(w)
	}
}

func (r *Runner) dropUninterested() {
	kept := r.requests.list[:0]
	for _, w := range r.requests.list {
		if r.env.HasInterest(w.reply, "") {
			kept = append(kept, w)
		}
	}
	clear(r.requests.list[len(kept):])
	r.requests.list = kept
}

// served accounts for a message of size bytes given to w.
func (r *Runner) served(w *request, size int, now time.Time) {
	w.batch--
	if w.heartbeat > 0 {
		w.beatAt = now.Add(w.heartbeat)
	}
	if w.limited {
		w.maxBytes -= size
	}
	switch {
	case w.batch <= 0:
		r.requests.remove(w)
	case w.limited && w.maxBytes <= 0:
		r.requests.remove(w)
		r.endStatus(w, 409, "Batch Completed")
	}
}

// expireRequests ends pulls whose time is over.
func (r *Runner) expireRequests(now time.Time) {
	kept := r.requests.list[:0]
	for _, w := range r.requests.list {
		if w.expires.IsZero() || now.Before(w.expires) {
			kept = append(kept, w)
			continue
		}
		r.active = now
		r.endStatus(w, 408, "Request Timeout")
	}
	clear(r.requests.list[len(kept):])
	r.requests.list = kept
}

// endNoWait ends pulls that do not wait, as nothing is left to deliver.
func (r *Runner) endNoWait() {
	kept := r.requests.list[:0]
	for _, w := range r.requests.list {
		if !w.noWait {
			kept = append(kept, w)
			continue
		}
		r.sendStatus(w.reply, 404, "No Messages")
	}
	clear(r.requests.list[len(kept):])
	r.requests.list = kept
}

func (r *Runner) endRequests(reason CloseReason) {
	if reason != CloseSilent {
		for _, w := range r.requests.list {
			r.endStatus(w, 409, string(reason))
		}
		if r.push && reason == CloseDeleted && r.cfg.Heartbeat > 0 {
			r.status409(r.cfg.DeliverSubject, string(reason))
		}
	}
	r.requests.list = nil
}

// endStatus tells a client that its pull ended, and what was left of it.
func (r *Runner) endStatus(w *request, code int, text string) {
	hdr := wire.StatusBlock(code, text,
		"Nats-Pending-Messages", strconv.Itoa(w.batch),
		"Nats-Pending-Bytes", strconv.Itoa(max(w.maxBytes, 0)))
	r.env.Publish(w.reply, "", hdr, nil)
}

func (r *Runner) status409(reply, text string) { r.sendStatus(reply, 409, text) }

func (r *Runner) sendStatus(reply string, code int, text string) {
	r.env.Publish(reply, "", wire.StatusBlock(code, text), nil)
}
