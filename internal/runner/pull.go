package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"weir/internal/api"
)

// PullRequest is a client's request for messages: a JSON document, a plain
// number, or anything else, which means one message.
type PullRequest struct {
	Reply string
	Body  []byte
}

func (r *Runner) pull(req PullRequest, now time.Time) {
	r.active = now
	if req.Reply == "" {
		return
	}
	if r.push {
		r.sendStatus(req.Reply, 409, "Consumer is push based")
		return
	}
	next, err := parseNext(req.Body)
	if err == nil {
		err = r.checkNext(&next)
	}
	if err == nil && isDocument(req.Body) { // a number has no fields that a priority group needs
		err = r.checkPriority(&next)
	}
	if err != nil {
		r.sendStatus(req.Reply, 400, "Bad Request - "+err.Error())
		return
	}
	if text := r.overLimit(&next); text != "" {
		r.sendStatus(req.Reply, 409, text)
		return
	}
	if r.wrongPin(&next) {
		r.sendStatus(req.Reply, 423, "Nats-Pin-Id mismatch")
		return
	}
	r.enqueue(req.Reply, &next, now)
}

// parseNext reads the body of a pull request. A document without batch has it 0,
// which is served like 1 but reported as it is.
func parseNext(body []byte) (next api.ConsumerNextRequest, err error) {
	if isDocument(body) {
		err = json.Unmarshal(body, &next)
		next.Batch = max(next.Batch, 0)
		return next, err
	}
	next.Batch, err = strconv.Atoi(string(body))
	if err != nil || next.Batch < 1 {
		next.Batch = 1
	}
	return next, nil
}

func isDocument(body []byte) bool { return len(body) > 0 && body[0] == '{' }

var errHeartbeat = errors.New("heartbeat value too large")

func (r *Runner) checkNext(n *api.ConsumerNextRequest) error {
	if n.Heartbeat > 0 && (n.Expires <= 0 || n.Heartbeat > n.Expires/2) {
		return errHeartbeat
	}
	return nil
}

// overLimit names the consumer's limit that a request breaks.
func (r *Runner) overLimit(n *api.ConsumerNextRequest) string {
	switch c := r.cfg; {
	case c.MaxRequestBatch > 0 && n.Batch > c.MaxRequestBatch:
		return fmt.Sprintf("Exceeded MaxRequestBatch of %d", c.MaxRequestBatch)
	case c.MaxRequestExpires > 0 && n.Expires > c.MaxRequestExpires:
		return fmt.Sprintf("Exceeded MaxRequestExpires of %v", c.MaxRequestExpires)
	case c.MaxRequestMaxBytes > 0 && n.MaxBytes > c.MaxRequestMaxBytes:
		return fmt.Sprintf("Exceeded MaxRequestMaxBytes of %v", c.MaxRequestMaxBytes)
	}
	return ""
}

// enqueue lets a request wait for its turn. One that does not want to wait is
// turned down at once when there is nothing, or when others wait for what there
// is; else it ends as soon as there is nothing more (see endNoWait).
func (r *Runner) enqueue(reply string, n *api.ConsumerNextRequest, now time.Time) {
	if n.NoWait {
		switch exist := uint64(len(r.redeliver)) + r.pendingCount(); {
		case exist == 0 && n.Expires <= 0:
			r.sendStatus(reply, 404, "No Messages")
			return
		case exist > 0 && r.requests.len() > 0:
			r.sendStatus(reply, 408, "Requests Pending")
			return
		}
	}
	if r.cfg.MaxWaiting > 0 && r.requests.len() >= r.cfg.MaxWaiting {
		r.dropUninterested()
		if r.requests.len() >= r.cfg.MaxWaiting {
			r.sendStatus(reply, 409, "Exceeded MaxWaiting")
			return
		}
	}
	w := &request{
		reply: reply, to: []byte(reply),
		batch: n.Batch, maxBytes: n.MaxBytes, limited: n.MaxBytes > 0, noWait: n.NoWait, heartbeat: max(n.Heartbeat, 0),
		id: n.ID, priority: n.Priority, minPending: n.MinPending, minAckPending: n.MinAckPending,
	}
	if n.Expires != 0 {
		w.expires = now.Add(n.Expires)
	}
	if w.heartbeat > 0 {
		w.beatAt = now.Add(w.heartbeat)
	}
	r.requests.add(w)
}

// ackRoom is how many more messages may be pending; negative: any number.
func (r *Runner) ackRoom() int {
	if r.ackNone || r.cfg.MaxAckPending <= 0 {
		return -1
	}
	return max(r.cfg.MaxAckPending-r.pending.len(), 0)
}
