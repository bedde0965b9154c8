package conn

import (
	"sync"
	"time"

	"weir/internal/conf"
)

// maxReplies bounds the remembered reply subjects of one client.
const maxReplies = 4096

// replies are the reply subjects of received requests, to which a client with
// allow_responses may publish for a while although nothing else allows it.
type replies struct {
	permission *conf.ResponsePermission // nil: none is remembered

	mu      sync.Mutex
	allowed map[string]*reply
}

type reply struct {
	until time.Time // zero: never ends
	left  int       // messages; negative: without limit
}

// allow remembers the reply subject of a request.
func (r *replies) allow(subject []byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.allowed == nil {
		r.allowed = make(map[string]*reply)
	}
	if len(r.allowed) >= maxReplies {
		r.forgetLocked(now)
	}
	entry := &reply{left: r.permission.MaxMsgs}
	if r.permission.Expires > 0 {
		entry.until = now.Add(r.permission.Expires)
	}
	r.allowed[string(subject)] = entry
}

// forgetLocked drops what has ended, or everything if that is nothing.
func (r *replies) forgetLocked(now time.Time) {
	for subject, entry := range r.allowed {
		if entry.ended(now) {
			delete(r.allowed, subject)
		}
	}
	if len(r.allowed) >= maxReplies {
		clear(r.allowed)
	}
}

func (e *reply) ended(now time.Time) bool {
	return e.left == 0 || !e.until.IsZero() && !now.Before(e.until)
}

// use tells whether the client may publish to the subject now, and counts it.
func (r *replies) use(subject []byte, now time.Time) bool {
	if r.permission == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := r.allowed[string(subject)]
	if entry == nil {
		return false
	}
	if entry.ended(now) {
		delete(r.allowed, string(subject))
		return false
	}
	entry.left--
	if entry.left == 0 {
		delete(r.allowed, string(subject))
	}
	return true
}
