package msgstore

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
)

// fileKey names a segment file.
type fileKey struct {
	store uint32
	id    uint64
}

// files opens segment files when they are wanted, keeps a bounded number of
// them open, and knows which have bytes that are not synced.
type files struct {
	fs  vfs.FS
	dir string
	max int

	mu   sync.Mutex
	open map[fileKey]*handle
	lru  list.List // of *handle with refs == 0, least recently used first

	// dirty and dirtyDirs are what a sync must take. A writer adds its file after
	// it has written (a sync may come between) and before it commits the batch that
	// depends on the bytes.
	dirtyMu   sync.Mutex
	dirty     map[fileKey]struct{}
	dirtyDirs map[string]struct{}
	// syncMu is held until all that was taken is synced: a second caller must not
	// return while the first is still at it.
	syncMu sync.Mutex
}

// handle is an open file with a count of its users.
type handle struct {
	vfs.File
	key   fileKey
	refs  int
	elem  *list.Element
	stale bool // removed: close with the last user
	// pos is the offset at which a plain Write lands, -1 when unknown.
	pos int64
}

func newFiles(fs vfs.FS, dir string, max int) *files {
	return &files{
		fs: fs, dir: dir, max: max,
		open: map[fileKey]*handle{}, dirty: map[fileKey]struct{}{}, dirtyDirs: map[string]struct{}{},
	}
}

func (c *files) storeDir(store uint32) string {
	return c.fs.PathJoin(c.dir, strconv.FormatUint(uint64(store), 10))
}

func (c *files) path(key fileKey) string {
	return c.fs.PathJoin(c.storeDir(key.store), fmt.Sprintf("%08d.seg", key.id))
}

// create makes an empty file, in place of one that a crash left behind.
func (c *files) create(key fileKey) (*handle, error) {
	dir := c.storeDir(key.store)
	if err := c.fs.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating segment directory: %w", err)
	}
	f, err := c.fs.Create(c.path(key), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("creating segment: %w", err)
	}
	c.markDir(c.dir)
	c.markDir(dir)
	c.mu.Lock()
	defer c.mu.Unlock()
	base.Assert(c.open[key] == nil, "segment %v created while open", key)
	h := &handle{File: f, key: key, refs: 1}
	c.open[key] = h
	return h, nil
}

// acquire opens a file or shares it. The caller releases it.
func (c *files) acquire(key fileKey) (*handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.open[key]
	if h == nil {
		// OpenReadWrite would create a file that is not there.
		if _, err := c.fs.Stat(c.path(key)); oserror.IsNotExist(err) {
			return nil, base.Corruptf("segment %d of store %d is missing", key.id, key.store)
		} else if err != nil {
			return nil, fmt.Errorf("opening segment: %w", err)
		}
		f, err := c.fs.OpenReadWrite(c.path(key), vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, fmt.Errorf("opening segment: %w", err)
		}
		h = &handle{File: f, key: key, pos: -1}
		c.open[key] = h
	}
	if h.elem != nil {
		c.lru.Remove(h.elem)
		h.elem = nil
	}
	h.refs++
	return h, nil
}

func (c *files) release(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.refs--; h.refs > 0 {
		return
	}
	if h.stale {
		h.Close()
		return
	}
	h.elem = c.lru.PushBack(h)
	for len(c.open) > c.max && c.lru.Len() > 0 {
		c.closeIdleLocked(c.lru.Front().Value.(*handle))
	}
}

func (c *files) closeIdleLocked(h *handle) {
	c.lru.Remove(h.elem)
	delete(c.open, h.key)
	h.Close()
}

// write puts b at offset off of the file.
func (c *files) write(key fileKey, b []byte, off int64) error {
	h, err := c.acquire(key)
	if err != nil {
		return err
	}
	defer c.release(h)
	return c.writeTo(h, b, off)
}

func (c *files) writeTo(h *handle, b []byte, off int64) (err error) {
	if h.pos == off {
		_, err = h.Write(b)
		h.pos += int64(len(b))
	} else {
		_, err = h.WriteAt(b, off)
		h.pos = -1
	}
	c.markDirty(h.key)
	if err != nil {
		return fmt.Errorf("writing segment %d: %w", h.key.id, err)
	}
	return nil
}

// read fills b from offset off. A file that ends before is a corruption.
func (c *files) read(h *handle, b []byte, off int64) error {
	n, err := h.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return base.Corruptf("segment %d of store %d ends before offset %d", h.key.id, h.key.store, off+int64(len(b)))
	}
	return fmt.Errorf("reading segment %d: %w", h.key.id, err)
}

func (c *files) markDirty(key fileKey) {
	c.dirtyMu.Lock()
	c.dirty[key] = struct{}{}
	c.dirtyMu.Unlock()
}

func (c *files) markDir(dir string) {
	c.dirtyMu.Lock()
	c.dirtyDirs[dir] = struct{}{}
	c.dirtyMu.Unlock()
}

// sync makes every byte that was written before the call durable. After an error
// nothing may be built on what the files hold.
func (c *files) sync() error {
	c.syncMu.Lock()
	defer c.syncMu.Unlock()
	c.dirtyMu.Lock()
	dirty, dirs := c.dirty, c.dirtyDirs
	c.dirty, c.dirtyDirs = map[fileKey]struct{}{}, map[string]struct{}{}
	c.dirtyMu.Unlock()
	for key := range dirty {
		if err := c.syncFile(key); err != nil {
			return err
		}
	}
	for dir := range dirs {
		if err := c.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (c *files) syncFile(key fileKey) error {
	h, err := c.acquire(key)
	if err != nil {
		return err
	}
	defer c.release(h)
	if err := h.SyncData(); err != nil {
		return fmt.Errorf("syncing segment %d: %w", key.id, err)
	}
	return nil
}

func (c *files) syncDir(dir string) error {
	d, err := c.fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("syncing segment directory: %w", err)
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return fmt.Errorf("syncing segment directory: %w", err)
	}
	return d.Close()
}

// forget closes a file that nothing refers to any more, and takes it from the
// dirty ones. It can be unlinked then.
func (c *files) forget(key fileKey) {
	// A sync that has taken the file must be done with it.
	c.syncMu.Lock()
	defer c.syncMu.Unlock()
	c.dirtyMu.Lock()
	delete(c.dirty, key)
	c.dirtyMu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.open[key]
	if h == nil {
		return
	}
	if h.refs == 0 {
		c.closeIdleLocked(h)
		return
	}
	h.stale = true
	delete(c.open, key)
}

func (c *files) close() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.open {
		err = errors.Join(err, h.Close())
	}
	c.open = map[fileKey]*handle{}
	return err
}
