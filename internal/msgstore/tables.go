package msgstore

import (
	"sync"
	"sync/atomic"
)

// tableBudget bounds the memory of the tables over all stores. The table of a
// segment with uncommitted changes stays.
type tableBudget struct {
	max  int64
	used atomic.Int64

	mu     sync.Mutex
	loaded []loadedTable // oldest first
}

type loadedTable struct {
	s     *Store
	g     *segment
	bytes int64
}

func (b *tableBudget) add(s *Store, g *segment, t *table) {
	if s.staged {
		return // it drops its tables itself
	}
	n := t.bytes()
	b.mu.Lock()
	b.loaded = append(b.loaded, loadedTable{s, g, n})
	b.mu.Unlock()
	b.used.Add(n)
}

// hasRoom tells whether another table may be brought into memory without one being
// dropped for it.
func (b *tableBudget) hasRoom() bool { return b.used.Load() < b.max-b.max/8 }

// trim drops the oldest tables until the budget is kept. The caller holds no
// store's mu. A store that is in use at the moment is passed over.
func (b *tableBudget) trim() {
	for tries := 0; b.used.Load() > b.max && tries < 8; tries++ {
		b.mu.Lock()
		if len(b.loaded) == 0 {
			b.mu.Unlock()
			return
		}
		oldest := b.loaded[0]
		b.loaded = b.loaded[1:]
		b.mu.Unlock()
		if !oldest.s.dropTable(oldest.g) {
			b.mu.Lock()
			b.loaded = append(b.loaded, oldest)
			b.mu.Unlock()
			continue
		}
		b.used.Add(-oldest.bytes)
	}
}

// dropTable forgets the table of a segment unless it is needed; false when it
// could not be told.
func (s *Store) dropTable(g *segment) bool {
	if !s.mu.TryLock() {
		return false
	}
	defer s.mu.Unlock()
	if g.dirty {
		return false
	}
	g.tab.Store(nil)
	return true
}
