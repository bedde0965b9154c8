package jsapi

import (
	"sync"
	"sync/atomic"

	"weir/internal/jetstream"
)

// lines keep the pulls of a consumer in order while the first of them is held: those
// that come after it line up behind, and go when it has gone. Without them, a pull
// that comes in the moment in which the runner begins would overtake the held ones. So
// would one that comes when it has just become known where the consumer runs.
type lines struct {
	svc *Service

	mu      sync.Mutex
	behind  map[string][]*jetstream.Request // by consumer, while its first pull is held
	waiting int                             // in all lines, at most maxHeld
	open    atomic.Int64                    // len(behind), for a look without the lock
}

func lineKey(r *jetstream.Request, h hotRequest) string {
	return r.Account + "\x00" + h.stream + "\x00" + h.consumer
}

// join lines a pull up if there is a line; what there is no room for is dropped.
func (l *lines) join(r *jetstream.Request, h hotRequest) bool {
	if l.open.Load() == 0 {
		return false
	}
	l.mu.Lock()
	joined, full := l.joinLocked(lineKey(r, h), r)
	l.mu.Unlock()
	if full {
		l.svc.limits.dropped(l.svc)
	}
	return joined
}

func (l *lines) joinLocked(key string, r *jetstream.Request) (joined, full bool) {
	list, joined := l.behind[key]
	if full = joined && l.waiting >= maxHeld; joined && !full {
		l.behind[key] = append(list, r)
		l.waiting++
	}
	return joined, full
}

// begin starts a line behind a pull that is about to be held; false when it lined
// up behind another one instead.
func (l *lines) begin(r *jetstream.Request, h hotRequest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := lineKey(r, h)
	if joined, _ := l.joinLocked(key, r); joined {
		return false
	}
	if l.behind == nil {
		l.behind = make(map[string][]*jetstream.Request)
	}
	l.behind[key] = nil
	l.open.Add(1)
	return true
}

// next takes the first of a line whose held pull has gone; nil ends the line.
func (l *lines) next(r *jetstream.Request, h hotRequest) *jetstream.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := lineKey(r, h)
	list, ok := l.behind[key]
	if len(list) == 0 {
		if ok {
			delete(l.behind, key)
			l.open.Add(-1)
		}
		return nil
	}
	l.behind[key] = list[1:]
	l.waiting--
	return list[0]
}
