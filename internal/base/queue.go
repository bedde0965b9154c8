package base

import (
	"slices"
	"sync"
)

// Queue hands work to workers in the order in which it came. It has no bound of its
// own: whoever adds an item keeps a mark as long as it is in the queue, and does not
// add it again meanwhile. Make one with NewQueue.
type Queue[T any] struct {
	mu     sync.Mutex
	cond   sync.Cond
	items  []T
	head   int
	closed bool
}

// NewQueue returns an empty queue.
func NewQueue[T any]() *Queue[T] {
	q := &Queue[T]{}
	q.cond.L = &q.mu
	return q
}

// Push adds an item; nothing happens once the queue is closed.
func (q *Queue[T]) Push(item T) {
	q.mu.Lock()
	if !q.closed {
		q.items = append(q.items, item)
		q.cond.Signal()
	}
	q.mu.Unlock()
}

// Pop waits for work and appends up to max items to dst. False: closed.
func (q *Queue[T]) Pop(dst []T, max int) ([]T, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.items) && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return dst, false
	}
	n := min(max, len(q.items)-q.head)
	dst = append(dst, q.items[q.head:q.head+n]...)
	clear(q.items[q.head : q.head+n])
	q.head += n
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head > 1024 && q.head > len(q.items)/2 {
		q.items, q.head = slices.Delete(q.items, 0, q.head), 0
	}
	return dst, true
}

// Close ends every Pop, with work left or not.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	q.closed = true
	q.cond.Broadcast()
	q.mu.Unlock()
}
