package rafthost

import "sync"

// runQueue hands groups to workers in the order in which they got something to
// do. A group is in it at most once, so its length is bounded by their number.
type runQueue struct {
	mu     sync.Mutex
	cond   sync.Cond
	items  []*Group
	head   int
	closed bool
}

func newRunQueue() *runQueue {
	q := &runQueue{}
	q.cond.L = &q.mu
	return q
}

func (q *runQueue) push(g *Group) {
	q.mu.Lock()
	if !q.closed {
		q.items = append(q.items, g)
		q.cond.Signal()
	}
	q.mu.Unlock()
}

// pop waits for work and appends up to max groups to dst. False: closed.
func (q *runQueue) pop(dst []*Group, max int) ([]*Group, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.items) && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return dst, false
	}
	n := min(max, len(q.items)-q.head)
	for i := q.head; i < q.head+n; i++ {
		dst = append(dst, q.items[i])
		q.items[i] = nil
	}
	q.head += n
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head > 1024 && q.head > len(q.items)/2 {
		q.items = append(q.items[:0], q.items[q.head:]...)
		q.head = 0
	}
	return dst, true
}

func (q *runQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.cond.Broadcast()
	q.mu.Unlock()
}
