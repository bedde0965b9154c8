package runner

import (
	"slices"
	"strconv"
	"time"

	"weir/internal/wire"
)

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
	to        []byte // reply
	batch     int    // messages still wanted
	maxBytes  int    // bytes still wanted, if limited
	limited   bool
	expires   time.Time // zero: never
	heartbeat time.Duration
	beatAt    time.Time // when the next heartbeat is due
	noWait    bool      // ends as soon as nothing more is there
	served    bool      // got a message
	seenTurn  uint64    // the turn in which its client was last found to be there

	// For priority groups.
	id                        string // pin
	pinned                    bool   // id is the pin in force when it was last served
	priority                  int
	minPending, minAckPending int64
}

// requestQueue holds waiting pulls by priority, within it in turns: each gets a
// message, then goes to the end.
type requestQueue struct {
	list []*request
	// wakeAt is not after the first time that a request expires or has its heartbeat
	// due; zero: none does.
	wakeAt time.Time
}

func (q *requestQueue) len() int { return len(q.list) }

func (q *requestQueue) add(w *request) {
	i := len(q.list)
	for i > 0 && q.list[i-1].priority > w.priority {
		i--
	}
	q.list = slices.Insert(q.list, i, w)
	q.noteWake(w)
}

func (q *requestQueue) noteWake(w *request) {
	for _, t := range [2]time.Time{w.expires, w.beatAt} {
		if !t.IsZero() && (q.wakeAt.IsZero() || t.Before(q.wakeAt)) {
			q.wakeAt = t
		}
	}
}

// due tells whether some request may have expired or want a heartbeat.
func (q *requestQueue) due(now time.Time) bool {
	return !q.wakeAt.IsZero() && !now.Before(q.wakeAt)
}

func (q *requestQueue) remove(w *request) {
	if q.list[0] == w {
		q.list[0] = nil
		q.list = q.list[1:]
	} else if i := slices.Index(q.list, w); i >= 0 {
		q.list = slices.Delete(q.list, i, i+1)
	}
	if len(q.list) == 0 {
		*q = requestQueue{}
	}
}

// rotate puts a request that was served behind the others of its priority, so
// that clients that pull at the same time share the messages.
func (q *requestQueue) rotate(w *request) {
	if len(q.list) > 1 {
		q.remove(w)
		q.add(w)
	}
}

// keep drops the requests for which f is false.
func (q *requestQueue) keep(f func(*request) bool) {
	q.list = slices.DeleteFunc(q.list, func(w *request) bool { return !f(w) })
	if len(q.list) == 0 {
		*q = requestQueue{}
	}
}

// there tells whether the client of a request still listens, looking once a turn.
func (r *Runner) there(w *request) bool {
	if w.seenTurn != r.turn {
		if !r.env.HasInterest(w.reply, "") {
			return false
		}
		w.seenTurn = r.turn
	}
	return true
}

func (r *Runner) dropUninterested() { r.requests.keep(r.there) }

// nextRequest returns the pull that gets the next message. Those whose client has
// gone are dropped.
func (r *Runner) nextRequest(now time.Time) *request {
	for i := 0; i < len(r.requests.list); {
		w := r.requests.list[i]
		switch {
		case !r.there(w):
			r.requests.remove(w)
		case r.lostPin(w):
			r.requests.remove(w)
			r.endStatus(w, 423, "Nats-Wrong-Pin-Id")
		case r.eligible(w, now):
			return w
		default:
			i++
		}
	}
	return nil
}

// served accounts for a message of size bytes given to w.
func (r *Runner) served(w *request, size int, now time.Time) {
	w.served = true
	w.batch--
	if w.heartbeat > 0 {
		w.beatAt = now.Add(w.heartbeat)
	}
	if w.limited {
		w.maxBytes -= size
	}
	full := w.limited && w.maxBytes <= 0
	if w.batch > 0 && !full {
		r.requests.rotate(w)
		return
	}
	r.requests.remove(w)
	if w.limited {
		r.endStatus(w, 409, "Batch Completed")
	}
}

// giveBack lets a pull have another message for one that it was counted for and
// did not get.
func (r *Runner) giveBack(w *request) {
	w.batch = max(w.batch, 0) + 1
	open := w.expires.IsZero() || r.now.Before(w.expires)
	if open && !w.limited && !slices.Contains(r.requests.list, w) {
		r.requests.add(w)
	}
}

// expireRequests ends pulls whose time is over.
func (r *Runner) expireRequests(now time.Time) {
	if !r.requests.due(now) {
		return
	}
	r.requests.keep(func(w *request) bool {
		if w.expires.IsZero() || now.Before(w.expires) {
			return true
		}
		r.active = now
		r.endStatus(w, 408, "Request Timeout")
		return false
	})
}

// beatRequests sends the heartbeats that are due and finds out when the next are.
func (r *Runner) beatRequests(now time.Time) {
	r.requests.wakeAt = time.Time{}
	r.requests.keep(func(w *request) bool {
		if w.heartbeat > 0 && !now.Before(w.beatAt) {
			if !r.there(w) {
				return false
			}
			w.beatAt = now.Add(w.heartbeat)
			r.say(w.reply, r.beat())
		}
		r.requests.noteWake(w)
		return true
	})
}

// endNoWait ends pulls that do not wait, as nothing is left to deliver to them
// now. One with an expiry waits for its first message until then.
func (r *Runner) endNoWait() {
	for _, w := range r.requests.list {
		if w.noWait {
			r.dropNoWait()
			return
		}
	}
}

func (r *Runner) dropNoWait() {
	r.requests.keep(func(w *request) bool {
		if !w.noWait || !w.expires.IsZero() && !w.served {
			return true
		}
		r.sendStatus(w.reply, 404, "No Messages")
		return false
	})
}

func (r *Runner) endRequests(reason CloseReason) {
	for _, w := range r.requests.list {
		switch reason {
		case CloseSilent:
		case CloseDeleted:
			r.env.Publish(w.reply, "", wire.StatusBlock(409, string(reason)), nil)
		default:
			r.env.Publish(w.reply, "", endBlock(w, 409, string(reason)), nil)
		}
	}
}

// endStatus tells a client that its pull ended, and what was left of it.
func (r *Runner) endStatus(w *request, code int, text string) {
	r.say(w.reply, endBlock(w, code, text))
}

func endBlock(w *request, code int, text string) []byte {
	return wire.StatusBlock(code, text,
		"Nats-Pending-Messages", strconv.Itoa(max(w.batch, 0)),
		"Nats-Pending-Bytes", strconv.Itoa(max(w.maxBytes, 0)))
}

func (r *Runner) sendStatus(reply string, code int, text string) {
	r.say(reply, wire.StatusBlock(code, text))
}
