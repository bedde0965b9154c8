package subject

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

const (
	cacheWays     = 4
	cacheSlotsMin = 1 << 6
	cacheSlotsMax = 1 << 15
	cacheGrowth   = 4
	stampBuckets  = 64
)

var cacheSeed = maphash.MakeSeed()

// resultCache is a table from subject to result, of sets in which a subject may be in
// any slot: a few that meet in one set are all kept. Readers use no lock. put is called
// with the index's read lock held, invalidate and grow with its write lock.
type resultCache[T comparable] struct {
	table atomic.Pointer[cacheTable[T]]
	// stamps advance when a wildcard subscription changes; stamps[b] for those
	// whose first token hashes to b, anyFirst for those that begin with a
	// wildcard.
	stamps   [stampBuckets]atomic.Uint64
	anyFirst atomic.Uint64
}

type cacheTable[T comparable] struct {
	sets []cacheSet[T]
	// evictions counts live entries and missed subjects pushed out by others; when
	// there are as many as slots, the table is too small.
	evictions atomic.Int64
	turn      atomic.Uint32 // which slot of a full set goes next
}

type cacheSet[T comparable] struct {
	slots [cacheWays]atomic.Pointer[cacheEntry[T]]
	// missed is tags, parts of the hash, of the subjects that were last asked for in
	// vain, the newest lowest; 0 is none.
	missed atomic.Uint64
}

const (
	tagBits = 64 / cacheWays
	tagMask = 1<<tagBits - 1
)

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

func (t *cacheTable[T]) set(hash uint64) *cacheSet[T] {
	return &t.sets[hash&uint64(len(t.sets)-1)]
}

func (t *cacheTable[T]) numSlots() int { return len(t.sets) * cacheWays }

func (c *resultCache[T]) get(subject string, hash uint64) *Result[T] {
	t := c.table.Load()
	if t == nil {
		return nil
	}
	set := t.set(hash)
	for i := range set.slots {
		if e := set.slots[i].Load(); e != nil && e.subject == subject && c.live(e) {
			return e.result
		}
	}
	return nil
}

func (c *resultCache[T]) live(e *cacheEntry[T]) bool { return e.stamp == c.stamp(e.bucket) }

// put notes the result of a subject that was asked for, and keeps it when that is
// the second time. It does not keep subject. It tells whether the table should grow.
func (c *resultCache[T]) put(subject string, hash uint64, r *Result[T]) (crowded bool) {
	t := c.table.Load()
	if t == nil {
		return true
	}
	set := t.set(hash)
	if again, forgotten := set.miss(hash); !again {
		return forgotten && t.evict()
	}
	bucket := firstTokenBucket(subject)
	e := &cacheEntry[T]{subject: strings.Clone(subject), bucket: bucket, stamp: c.stamp(bucket), result: r}
	for i := range set.slots {
		if old := set.slots[i].Load(); old == nil || old.subject == subject || !c.live(old) {
			set.slots[i].Store(e)
			return false
		}
	}
	set.slots[t.turn.Add(1)%cacheWays].Store(e)
	return t.evict()
}

// miss notes that a subject was asked for in vain. It tells whether that is so again,
// and else whether an older one is forgotten for it. Of two at a time one may be lost.
func (s *cacheSet[T]) miss(hash uint64) (again, forgotten bool) {
	tag, missed := hash>>(64-tagBits)|1, s.missed.Load()
	for rest := missed; rest != 0; rest >>= tagBits {
		if rest&tagMask == tag {
			return true, false
		}
	}
	s.missed.Store(missed<<tagBits | tag)
	return false, missed>>(64-tagBits) != 0
}

// evict counts one subject that was pushed out, and tells whether the table should
// grow.
func (t *cacheTable[T]) evict() bool {
	return t.numSlots() < cacheSlotsMax && t.evictions.Add(1) >= int64(t.numSlots())
}

// grow replaces the table by a larger, empty one.
func (c *resultCache[T]) grow() {
	size := cacheSlotsMin
	if t := c.table.Load(); t != nil {
		if t.evictions.Load() < int64(t.numSlots()) {
			return // another caller was here first
		}
		size = min(t.numSlots()*cacheGrowth, cacheSlotsMax)
	}
	c.table.Store(&cacheTable[T]{sets: make([]cacheSet[T], size/cacheWays)})
}

func (c *resultCache[T]) invalidate(pattern string) {
	if !HasWildcard(pattern) {
		if t := c.table.Load(); t != nil {
			t.set(hashOf(pattern)).drop(pattern)
		}
		return
	}
	if first, _, more := cut(pattern); first == "*" || (first == ">" && !more) {
		c.anyFirst.Add(1)
		return
	}
	c.stamps[firstTokenBucket(pattern)].Add(1)
}

// drop empties the slots of a subject, which may be in two if it came twice at a time.
func (s *cacheSet[T]) drop(subject string) {
	for i := range s.slots {
		if e := s.slots[i].Load(); e != nil && e.subject == subject {
			s.slots[i].Store(nil)
		}
	}
}

func firstTokenBucket(subject string) int {
	first, _, _ := cut(subject)
	return int(maphash.String(cacheSeed, first) % stampBuckets)
}
