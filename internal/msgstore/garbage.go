package msgstore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/errors/oserror"
)

// garbage is what no committed state refers to any more, but durable state may:
// it is unlinked after the next flush. Files that an open image reads are kept
// until it is closed.
type garbage struct {
	mu sync.Mutex
	waste
	bytes int64          // of files
	pins  map[uint32]int // store number → images open
}

// collectAt is the size of waste from which a checkpoint is made to get rid of it.
const collectAt = 64 << 20

// waste is one collection's share.
type waste struct {
	files    []fileKey
	stores   []uint32
	erasures []erasure
}

func (g *garbage) addFile(key fileKey, size int64) {
	g.mu.Lock()
	g.files = append(g.files, key)
	g.bytes += size
	g.mu.Unlock()
}

func (g *garbage) addErasure(x erasure) {
	g.mu.Lock()
	g.erasures = append(g.erasures, x)
	g.mu.Unlock()
}

// large tells whether a checkpoint should be made for the garbage's sake.
func (g *garbage) large() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bytes >= collectAt
}

func (g *garbage) addStore(number uint32) {
	g.mu.Lock()
	g.stores = append(g.stores, number)
	g.mu.Unlock()
}

func (g *garbage) pin(number uint32, by int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pins == nil {
		g.pins = map[uint32]int{}
	}
	if g.pins[number] += by; g.pins[number] == 0 {
		delete(g.pins, number)
	}
}

// take removes and returns what may go after the flush that follows.
func (g *garbage) take() (w waste) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files, w.files = split(g, g.files, func(f fileKey) uint32 { return f.store })
	g.stores, w.stores = split(g, g.stores, func(n uint32) uint32 { return n })
	g.erasures, w.erasures = split(g, g.erasures, func(x erasure) uint32 { return x.key.store })
	g.bytes = 0
	return w
}

// split tells what is pinned from what may go.
func split[T any](g *garbage, all []T, number func(T) uint32) (kept, gone []T) {
	for _, x := range all {
		if g.pins[number(x)] > 0 {
			kept = append(kept, x)
		} else {
			gone = append(gone, x)
		}
	}
	return kept, gone
}

func (g *garbage) putBack(w waste) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files = append(g.files, w.files...)
	g.stores = append(g.stores, w.stores...)
	g.erasures = append(g.erasures, w.erasures...)
}

// collect overwrites and unlinks.
func (db *DB) collect(w waste) (err error) {
	// Also in files that go next: their blocks stay as they are when unlinked.
	err = db.erase(w.erasures)
	for _, key := range w.files {
		db.files.forget(key)
		if e := db.opts.FS.Remove(db.files.path(key)); e != nil && !oserror.IsNotExist(e) {
			err = errors.Join(err, fmt.Errorf("removing segment: %w", e))
		}
	}
	for _, number := range w.stores {
		db.files.forgetStore(number)
		if e := db.opts.FS.RemoveAll(db.files.storeDir(number)); e != nil {
			err = errors.Join(err, fmt.Errorf("removing segments: %w", e))
		}
	}
	return err
}

// forgetStore is forget for all files of a store.
func (c *files) forgetStore(number uint32) {
	var keys []fileKey
	c.dirtyMu.Lock()
	for key := range c.dirty {
		if key.store == number {
			keys = append(keys, key)
		}
	}
	delete(c.dirtyDirs, c.storeDir(number))
	c.dirtyMu.Unlock()
	c.mu.Lock()
	for key := range c.open {
		if key.store == number {
			keys = append(keys, key)
		}
	}
	c.mu.Unlock()
	for _, key := range keys {
		c.forget(key)
	}
}
