package jetstream

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
)

// identityVersion is the version of the store directory's layout. A newer
// program opens every older one.
const identityVersion = 1

const identityFile = "node.json"

// Identity says whose a store directory is. It is written once, when the
// directory is made, and is what tells a wiped node from the one it was.
type Identity struct {
	Version int         `json:"version"`
	Node    base.NodeID `json:"node"`
	Name    string      `json:"name"`
}

// OpenIdentity reads the identity of the store directory dir, or makes a new one
// for the server called name when the directory has none.
func OpenIdentity(fs vfs.FS, dir, name string) (Identity, error) {
	if err := makeDurably(fs, dir); err != nil {
		return Identity{}, fmt.Errorf("make store directory: %w", err)
	}
	path := fs.PathJoin(dir, identityFile)
	f, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return createIdentity(fs, dir, path, name)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("open store identity: %w", err)
	}
	defer f.Close()
	return readIdentity(f, path, name)
}

func readIdentity(r io.Reader, path, name string) (Identity, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return Identity{}, fmt.Errorf("read store identity: %w", err)
	}
	var id Identity
	if err := json.Unmarshal(raw, &id); err != nil {
		return Identity{}, base.Corruptf("store identity %s: %w", path, err)
	}
	if id.Version > identityVersion {
		return Identity{}, fmt.Errorf("store directory has layout %d, this program knows up to %d", id.Version, identityVersion)
	}
	if id.Node == 0 {
		return Identity{}, base.Corruptf("store identity %s names no node", path)
	}
	if id.Name != name {
		return Identity{}, fmt.Errorf("store directory belongs to server %q, not %q", id.Name, name)
	}
	return id, nil
}

func createIdentity(fs vfs.FS, dir, path, name string) (Identity, error) {
	id := Identity{Version: identityVersion, Node: NewNodeID(), Name: name}
	raw, err := json.Marshal(id)
	if err != nil {
		return Identity{}, err
	}
	if err := writeDurably(fs, dir, path, raw); err != nil {
		return Identity{}, fmt.Errorf("write store identity: %w", err)
	}
	return id, nil
}

// makeDurably makes the directory dir, and those above it, so that they survive a
// crash.
func makeDurably(fs vfs.FS, dir string) error {
	parent := fs.PathDir(dir)
	if _, err := fs.Stat(dir); err == nil || parent == dir {
		return err
	}
	if err := makeDurably(fs, parent); err != nil {
		return err
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// writeDurably replaces the file path in dir by data, so that after a crash it
// holds either what it held before or all of data.
func writeDurably(fs vfs.FS, dir, path string, data []byte) error {
	tmp := path + ".new"
	f, err := fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := fs.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// removeDurably removes a file of dir, if it is there, so that it does not come
// back after a crash.
func removeDurably(fs vfs.FS, dir, name string) error {
	if err := fs.Remove(fs.PathJoin(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(fs, dir)
}

// NewNodeID draws a fresh, non-zero node identity.
func NewNodeID() base.NodeID {
	var b [8]byte
	for {
		rand.Read(b[:])
		if id := base.NodeID(binary.LittleEndian.Uint64(b[:])); id != 0 {
			return id
		}
	}
}
