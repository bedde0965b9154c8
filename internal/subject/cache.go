package subject

import (
	"hash/maphash"
	"sync/atomic"
)

const (
	cacheSlotsMin = 1 << 6
	cacheSlotsMax = 1 << 15
	cacheGrowth   = 4
	stampBuckets  = 64
)

var cacheSeed = maphash.MakeSeed()

// resultCache is a direct-mapped table from subject to result. Readers use no
// lock. put is called with the index's read lock held, invalidate and grow with
// its write lock.
type resultCache[T comparable] struct {
	table atomic.Pointer[cacheTable[T]]
	// stamps advance when a wildcard subscription changes; stamps[b] for those
	// whose first token hashes to b, anyFirst for those that begin with a
	// wildcard.
	stamps   [stampBuckets]atomic.Uint64
	anyFirst atomic.Uint64
}

type cacheTable[T comparable] struct {
	slots []atomic.Pointer[cacheEntry[T]]
	// evictions counts live entries pushed out by other subjects; when there
	// are as many as slots, the table is too small.
	evictions atomic.Int64
}

type cacheEntry[T comparable] struct {
	subject string
	bucket  int
	stamp   uint64
	result  *Result[T]
}

// stamp only grows, and changes whenever either of its parts does.
func (c *resultCache[T]) stamp(bucket int) uint64 {
	return c.stamps[bucket].Load() + c.anyFirst.Load()
}

func (t *cacheTable[T]) slot(subject string) *atomic.Pointer[cacheEntry[T]] {
	return &t.slots[maphash.String(cacheSeed, subject)&uint64(len(t.slots)-1)]
}

func (c *resultCache[T]) get(subject string) *Result[T] {
	t := c.table.Load()
	if t == nil {
		return nil
	}
	e := t.slot(subject).Load()
	if e == nil || e.subject != subject || e.stamp != c.stamp(e.bucket) {
		return nil
	}
	return e.result
}

// put tells whether the table should grow.
func (c *resultCache[T]) put(subject string, r *Result[T]) (crowded bool) {
	t := c.table.Load()
	if t == nil {
		return true
	}
	bucket := firstTokenBucket(subject)
	e := &cacheEntry[T]{subject: subject, bucket: bucket, stamp: c.stamp(bucket), result: r}
	old := t.slot(subject).Swap(e)
	if old == nil || old.subject == subject || old.stamp != c.stamp(old.bucket) {
		return false
	}
	return t.evictions.Add(1) >= int64(len(t.slots)) && len(t.slots) < cacheSlotsMax
}

// grow replaces the table by a larger, empty one.
func (c *resultCache[T]) grow() {
	size := cacheSlotsMin
	if t := c.table.Load(); t != nil {
		if t.evictions.Load() < int64(len(t.slots)) {
			return // another caller was here first
		}
		size = min(len(t.slots)*cacheGrowth, cacheSlotsMax)
	}
	c.table.Store(&cacheTable[T]{slots: make([]atomic.Pointer[cacheEntry[T]], size)})
}

func (c *resultCache[T]) invalidate(pattern string) {
	if !HasWildcard(pattern) {
		if t := c.table.Load(); t != nil {
			t.slot(pattern).Store(nil)
		}
		return
	}
	if first, _, more := cut(pattern); first == "*" || (first == ">" && !more) {
		c.anyFirst.Add(1)
		return
	}
	c.stamps[firstTokenBucket(pattern)].Add(1)
}

func firstTokenBucket(subject string) int {
	first, _, _ := cut(subject)
	return int(maphash.String(cacheSeed, first) % stampBuckets)
}
