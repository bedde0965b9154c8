// Package overlay is a filesystem whose changes stay in memory: a program that repairs or tidies up what it opens can look at
// files without changing them.
package overlay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS shows the files of another filesystem. What is written goes to memory, and hides what is below. Only locks are those of
// the filesystem below, so that no other program uses the files meanwhile. A file that is written to is held in memory whole.
type FS struct {
	vfs.FS // below
	upper  *vfs.MemFS

	mu   sync.Mutex
	gone map[string]bool // names below that were removed
}

// New makes an overlay without changes.
func New(below vfs.FS) *FS { return &FS{FS: below, upper: vfs.NewMem(), gone: map[string]bool{}} }

// Unwrap implements vfs.FS.
func (fs *FS) Unwrap() vfs.FS { return fs.FS }

// Lock implements vfs.FS. It is taken below if there is something to be locked.
func (fs *FS) Lock(name string) (io.Closer, error) {
	if isIn(fs.FS, fs.PathDir(name)) {
		return fs.FS.Lock(name)
	}
	return fs.upper.Lock(name)
}

func isIn(fs vfs.FS, name string) bool {
	_, err := fs.Stat(name)
	return err == nil
}

// isGone tells whether name, or a directory that it is in, was removed.
func (fs *FS) isGone(name string) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for len(fs.gone) > 0 {
		if fs.gone[name] {
			return true
		}
		dir := fs.PathDir(name)
		if dir == name {
			break
		}
		name = dir
	}
	return false
}

// below is the filesystem below if name is to be looked for there.
func (fs *FS) below(op, name string) (vfs.FS, error) {
	if fs.isGone(name) {
		return nil, &os.PathError{Op: op, Path: name, Err: oserror.ErrNotExist}
	}
	return fs.FS, nil
}

// Create implements vfs.FS.
func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.upper.MkdirAll(fs.PathDir(name), 0o755); err != nil {
		return nil, err
	}
	return fs.upper.Create(name, category)
}

// Open implements vfs.FS.
func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if isIn(fs.upper, name) {
		return fs.upper.Open(name, opts...)
	}
	below, err := fs.below("open", name)
	if err != nil {
		return nil, err
	}
	return below.Open(name, opts...)
}

// OpenReadWrite implements vfs.FS.
func (fs *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	below, err := fs.below("open", name)
	if err != nil || isIn(fs.upper, name) || !isIn(below, name) {
		if err := fs.upper.MkdirAll(fs.PathDir(name), 0o755); err != nil {
			return nil, err
		}
		return fs.upper.OpenReadWrite(name, category, opts...)
	}
	f, err := below.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &file{File: f, fs: fs, name: name}, nil
}

// OpenDir implements vfs.FS.
func (fs *FS) OpenDir(name string) (vfs.File, error) {
	if isIn(fs.upper, name) {
		return fs.upper.OpenDir(name)
	}
	below, err := fs.below("open", name)
	if err != nil {
		return nil, err
	}
	return below.OpenDir(name)
}

// Stat implements vfs.FS.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	if info, err := fs.upper.Stat(name); err == nil {
		return info, nil
	}
	below, err := fs.below("stat", name)
	if err != nil {
		return nil, err
	}
	return below.Stat(name)
}

// List implements vfs.FS.
func (fs *FS) List(dir string) ([]string, error) {
	names, err := fs.upper.List(dir)
	if err != nil {
		names = nil
	}
	below, e := fs.below("list", dir)
	if e == nil {
		var lower []string
		if lower, e = below.List(dir); e == nil {
			names = append(names, slices.DeleteFunc(lower, func(name string) bool { return fs.isGone(fs.PathJoin(dir, name)) })...)
		}
	}
	if err != nil && e != nil {
		return nil, e
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// MkdirAll implements vfs.FS.
func (fs *FS) MkdirAll(dir string, perm os.FileMode) error { return fs.upper.MkdirAll(dir, perm) }

// Remove implements vfs.FS.
func (fs *FS) Remove(name string) error {
	if _, err := fs.Stat(name); err != nil {
		return err
	}
	fs.hide(name)
	if isIn(fs.upper, name) {
		return fs.upper.Remove(name)
	}
	return nil
}

func (fs *FS) hide(name string) {
	if isIn(fs.FS, name) {
		fs.mu.Lock()
		fs.gone[name] = true
		fs.mu.Unlock()
	}
}

// RemoveAll implements vfs.FS.
func (fs *FS) RemoveAll(name string) error {
	fs.hide(name)
	return fs.upper.RemoveAll(name)
}

// Rename implements vfs.FS, for files.
func (fs *FS) Rename(from, to string) error {
	if err := fs.Link(from, to); err != nil {
		return err
	}
	return fs.Remove(from)
}

// Link implements vfs.FS: the new name is a copy.
func (fs *FS) Link(from, to string) error {
	src, err := fs.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := fs.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(plainWriter{dst}, src)
	return errors.Join(err, dst.Close())
}

// plainWriter hides what else a file can do from io.Copy.
type plainWriter struct{ io.Writer }

// ReuseForWrite implements vfs.FS.
func (fs *FS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Rename(from, to); err != nil {
		return nil, err
	}
	return fs.OpenReadWrite(to, category)
}

// file is a file below that is open for writing. It turns into one in memory with the first write.
type file struct {
	vfs.File // below, or in memory
	fs       *FS
	name     string

	mu    sync.RWMutex
	upper bool // File is in memory
	at    int64
}

// Read implements vfs.File.
func (f *file) Read(b []byte) (int, error) {
	n, err := f.ReadAt(b, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.File.ReadAt(b, off)
}

// Write implements vfs.File.
func (f *file) Write(b []byte) (int, error) {
	n, err := f.WriteAt(b, f.at)
	f.at += int64(n)
	return n, err
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(b []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.lift(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

// lift brings the file into memory. The caller holds mu.
func (f *file) lift() error {
	if f.upper {
		return nil
	}
	if !isIn(f.fs.upper, f.name) { // another handle may have
		if err := f.fs.Link(f.name, f.name); err != nil {
			return fmt.Errorf("copying %s to memory: %w", f.name, err)
		}
	}
	upper, err := f.fs.upper.OpenReadWrite(f.name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = f.File.Close()
	f.File, f.upper = upper, true
	return err
}

// Stat implements vfs.File.
func (f *file) Stat() (vfs.FileInfo, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.File.Stat()
}

// Preallocate implements vfs.File.
func (f *file) Preallocate(_, _ int64) error { return nil }

// Sync implements vfs.File.
func (f *file) Sync() error { return nil }

// SyncTo implements vfs.File.
func (f *file) SyncTo(int64) (bool, error) { return true, nil }

// SyncData implements vfs.File.
func (f *file) SyncData() error { return nil }

var _ vfs.FS = (*FS)(nil)
