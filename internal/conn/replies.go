package conn

import (
	"sync"
	"time"

	"weir/internal/conf"
)

// So many reply subjects of one client, of so many bytes together, are remembered for
// certain; twice as many are at most, of which the oldest are forgotten first.
const (
	keptReplies    = 16 << 10
	keptReplyBytes = 2 << 20
)

// replies are the reply subjects of received requests, to which a client with
// allow_responses may publish for a while although nothing else allows it.
type replies struct {
	permission *conf.ResponsePermission // nil: none is remembered

	mu sync.Mutex
	// recent takes new ones; when it is full it becomes older, and what was older is
	// forgotten. No subject is in both.
	recent, older map[string]*reply
	recentBytes   int // of the subjects in recent
}

type reply struct {
	until time.Time // zero: never ends
	left  int       // messages; negative: without limit
}

// allow remembers the reply subject of a request.
func (r *replies) allow(subject []byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, again := r.recent[string(subject)]
	full := len(r.recent) >= keptReplies || r.recentBytes+len(subject) > keptReplyBytes
	if r.recent == nil || full && !again {
		r.recent, r.older, r.recentBytes = make(map[string]*reply), r.recent, 0
	}
	if !again {
		r.recentBytes += len(subject)
	}
	entry := &reply{left: r.permission.MaxMsgs}
	if r.permission.Expires > 0 {
		entry.until = now.Add(r.permission.Expires)
	}
	delete(r.older, string(subject))
	r.recent[string(subject)] = entry
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
	entry, recent := r.recent[string(subject)]
	if !recent {
		entry = r.older[string(subject)]
	}
	if entry == nil {
		return false
	}
	allowed := !entry.ended(now)
	if allowed {
		entry.left--
	}
	if allowed && entry.left != 0 {
		return true
	}
	if recent {
		r.recentBytes -= len(subject)
		delete(r.recent, string(subject))
	} else {
		delete(r.older, string(subject))
	}
	return allowed
}
