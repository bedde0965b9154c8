package msgstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/errors/oserror"
)

// garbage is what no committed state refers to any more, but durable state may:
// it is unlinked after the next flush. Files that an open image reads are kept
// until it is closed.
type garbage struct {
	mu     sync.Mutex
	files  []fileKey
	stores []uint32
	pins   map[uint32]int // store number → images open
}

// waste is one collection's share.
type waste struct {
	files  []fileKey
	stores []uint32
}

func (g *garbage) addFile(key fileKey) {
	g.mu.Lock()
	g.files = append(g.files, key)
	g.mu.Unlock()
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
	pinned := func(number uint32) bool { return g.pins[number] > 0 }
	for _, f := range g.files {
		if !pinned(f.store) {
			w.files = append(w.files, f)
		}
	}
	for _, number := range g.stores {
		if !pinned(number) {
			w.stores = append(w.stores, number)
		}
	}
	g.files = slices.DeleteFunc(g.files, func(f fileKey) bool { return !pinned(f.store) })
	g.stores = slices.DeleteFunc(g.stores, func(n uint32) bool { return !pinned(n) })
	return w
}

func (g *garbage) putBack(w waste) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files = append(g.files, w.files...)
	g.stores = append(g.stores, w.stores...)
}

// collect unlinks.
func (db *DB) collect(w waste) (err error) {
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
