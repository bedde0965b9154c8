package subject

import (
	"sync"
	"sync/atomic"

	"weir/internal/base"
)

// Index finds the subscriptions for a published subject. The zero Index is
// empty and ready to use; it is safe for concurrent use.
//
// Subscriptions live in a trie of tokens under a read-write lock. In front of
// it stands a bounded cache of immutable results that is read without a lock.
// A cached result is valid as long as
//
//   - it is still in its slot: a change of a literal subscription empties
//     that of its subject, and
//   - its stamp is current: a change of a wildcard subscription advances the
//     stamp of the subjects that begin with the same token (of all subjects if
//     it begins with a wildcard).
//
// A result is cached when its subject is asked for a second time: in a stream with
// a subject for each message, most are seen once. Slots are filled while holding the
// read lock and invalidated while holding the write lock, so a result computed
// before a change never enters the cache after it.
type Index[T comparable] struct {
	mu    sync.RWMutex
	root  level[T]
	count int
	cache resultCache[T]
	size  atomic.Int64 // count, readable without the lock
	none  Result[T]    // what matches a subject that nothing matches
}

// Result is what matches one subject. It is shared and must not be changed.
type Result[T comparable] struct {
	Plain  []T
	Queues []QueueGroup[T]
}

// Empty tells whether nothing matched.
func (r *Result[T]) Empty() bool { return len(r.Plain) == 0 && len(r.Queues) == 0 }

// QueueGroup is the members of one queue group that match one subject. Members
// of one name that subscribed with different patterns are in one group.
type QueueGroup[T comparable] struct {
	Name    string
	Members []T
}

// Insert adds v under pattern, which must be Valid; queue is the queue group's
// name, or empty. Inserting what is there already changes nothing.
func (x *Index[T]) Insert(pattern, queue string, v T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.root.insert(pattern, queue, v) {
		x.count++
		x.size.Store(int64(x.count))
		x.cache.invalidate(pattern)
	}
}

// Remove takes out what Insert added; it tells whether it was there.
func (x *Index[T]) Remove(pattern, queue string, v T) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.root.remove(pattern, pattern, queue, v) {
		return false
	}
	x.count--
	x.size.Store(int64(x.count))
	x.cache.invalidate(pattern)
	return true
}

// Match returns what matches a published subject; never nil.
func (x *Index[T]) Match(literal string) *Result[T] {
	hash := hashOf(literal)
	if r := x.cache.get(literal, hash); r != nil {
		return r
	}
	return x.matchSlow(literal, hash)
}

// MatchBytes is Match for a subject that is still in a read buffer. It does not
// allocate when the result is cached, nor when a single pattern matches.
func (x *Index[T]) MatchBytes(literal []byte) *Result[T] { return x.Match(base.View(literal)) }

// matchSlow does not keep literal.
func (x *Index[T]) matchSlow(literal string, hash uint64) *Result[T] {
	x.mu.RLock()
	r := x.matchLocked(literal)
	crowded := x.cache.put(literal, hash, r)
	x.mu.RUnlock()
	if crowded {
		x.mu.Lock()
		x.cache.grow()
		x.mu.Unlock()
	}
	return r
}

func (x *Index[T]) matchLocked(literal string) *Result[T] {
	if x.count == 0 || hasEmptyToken(literal) {
		return &x.none
	}
	var only *node[T]
	several := !x.root.match(literal, func(n *node[T]) bool {
		if only != nil {
			return false
		}
		only = n
		return true
	})
	switch {
	case only == nil:
		return &x.none
	case !several:
		return only.result()
	}
	r := new(Result[T])
	x.root.match(literal, func(n *node[T]) bool {
		n.collect(r)
		return true
	})
	return r
}

// HasInterest tells whether anything matches a published subject. It leaves the
// cache as it is, so it suits subjects that are seen once.
func (x *Index[T]) HasInterest(literal string) bool {
	if x.size.Load() == 0 || hasEmptyToken(literal) {
		return false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	return !x.root.match(literal, func(*node[T]) bool { return false })
}

// Overlapping visits every subscription that some literal could match together
// with pattern, until visit returns false. visit must not use the index.
func (x *Index[T]) Overlapping(pattern string, visit func(pattern, queue string, v T) bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.root.overlapping(pattern, func(n *node[T]) bool { return n.visit(visit) })
}

// All visits every subscription in no particular order until visit returns
// false. visit must not use the index.
func (x *Index[T]) All(visit func(pattern, queue string, v T) bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.root.all(func(n *node[T]) bool { return n.visit(visit) })
}

// Len is the number of subscriptions.
func (x *Index[T]) Len() int { return int(x.size.Load()) }
