package jsapi

import "sync"

// turns has work about one thing done by one call after the other, where each ends only once its command is applied.
type turns struct {
	limit int // of calls that wait for a turn under one key

	mu      sync.Mutex
	waiting map[string][]func() // behind the one that has its turn
}

// take runs f when all that came before it under key have called done; at once when there is none. False: too many wait.
func (t *turns) take(key string, f func()) bool {
	t.mu.Lock()
	if t.waiting == nil {
		t.waiting = make(map[string][]func())
	}
	queue, busy := t.waiting[key]
	if len(queue) >= t.limit {
		t.mu.Unlock()
		return false
	}
	if busy {
		queue = append(queue, f)
	}
	t.waiting[key] = queue
	t.mu.Unlock()
	if !busy {
		f()
	}
	return true
}

// done ends a turn and runs the next.
func (t *turns) done(key string) {
	t.mu.Lock()
	queue := t.waiting[key]
	if len(queue) == 0 {
		delete(t.waiting, key)
		t.mu.Unlock()
		return
	}
	next := queue[0]
	queue[0] = nil
	t.waiting[key] = queue[1:]
	t.mu.Unlock()
	next()
}
