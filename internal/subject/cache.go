package subject

import (
	"hash/maphash"
	"strings"
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
	// missed has for each slot a part of the hash of the subject that was last asked
	// for in vain.
	missed []atomic.Uint32
	// evictions counts live entries and missed subjects pushed out by others; when
	// there are as many as slots, the table is too small.
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

func hashOf(subject string) uint64 { return maphash.String(cacheSeed, subject) }

func (t *cacheTable[T]) slot(hash uint64) *atomic.Pointer[cacheEntry[T]] {
	return &t.slots[hash&uint64(len(t.slots)-1)]
}

func (c *resultCache[T]) get(subject string, hash uint64) *Result[T] {
	t := c.table.Load()
	if t == nil {
		return nil
	}
	e := t.slot(hash).Load()
	if e == nil || e.subject != subject || e.stamp != c.stamp(e.bucket) {
		return nil
	}
	return e.result
}

// put notes the result of a subject that was asked for, and keeps it when that is
// the second time. It does not keep subject. It tells whether the table should grow.
func (c *resultCache[T]) put(subject string, hash uint64, r *Result[T]) (crowded bool) {
	t := c.table.Load()
	if t == nil {
		return true
	}
	tag := uint32(hash>>32) | 1
	if old := t.missed[hash&uint64(len(t.missed)-1)].Swap(tag); old != tag {
		return old != 0 && t.evict()
	}
	bucket := firstTokenBucket(subject)
	e := &cacheEntry[T]{subject: strings.Clone(subject), bucket: bucket, stamp: c.stamp(bucket), result: r}
	old := t.slot(hash).Swap(e)
	return old != nil && old.subject != subject && old.stamp == c.stamp(old.bucket) && t.evict()
}

// evict counts one subject that was pushed out, and tells whether the table should
// grow.
func (t *cacheTable[T]) evict() bool {
	return len(t.slots) < cacheSlotsMax && t.evictions.Add(1) >= int64(len(t.slots))
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
	c.table.Store(&cacheTable[T]{slots: make([]atomic.Pointer[cacheEntry[T]], size), missed: make([]atomic.Uint32, size)})
}

func (c *resultCache[T]) invalidate(pattern string) {
	if !HasWildcard(pattern) {
		if t := c.table.Load(); t != nil {
			t.slot(hashOf(pattern)).Store(nil)
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
