package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is a node's file system. What was not synced is lost when the power is.
type disk struct {
	mem *vfs.MemFS

	mu   sync.Mutex
	rand *rand.Rand
	slow time.Duration // upper bound of what a sync of the Raft log takes
}

func newDisk(r *rand.Rand) *disk {
	return &disk{mem: vfs.NewCrashableMem(), rand: r, slow: time.Millisecond}
}

// loseUnsynced replaces the disk's contents by what a crash leaves: all that was
// synced, and of the rest each block with a chance of percent in 100. Who still
// writes to the old contents does so in vain.
func (d *disk) loseUnsynced(percent int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem = d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: d.rand})
}

// damage flips a bit of one file, drawn from those that a path is part of. It returns
// the file's name, empty if there is none.
func (d *disk) damage(part string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	if err := d.find(storeDir, &names); err != nil {
		return "", err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.Contains(name, part) })
	if len(names) == 0 {
		return "", nil
	}
	name := names[d.rand.IntN(len(names))]
	f, err := d.mem.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return "", err
	}
	at, b := d.rand.Int64N(info.Size()), make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return "", err
	}
	b[0] ^= 1 << d.rand.IntN(8)
	if _, err := f.WriteAt(b, at); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s at %d of %d", name, at, info.Size()), f.Sync()
}

// find lists all files below dir. The caller holds mu.
func (d *disk) find(dir string, names *[]string) error {
	list, err := d.mem.List(dir)
	if err != nil {
		return err
	}
	slices.Sort(list)
	for _, name := range list {
		path := d.mem.PathJoin(dir, name)
		info, err := d.mem.Stat(path)
		switch {
		case err != nil:
			return err
		case info.IsDir():
			if err := d.find(path, names); err != nil {
				return err
			}
		default:
			*names = append(*names, path)
		}
	}
	return nil
}

// fs is the file system as the node sees it until the next crash.
func (d *disk) fs() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &diskFS{FS: d.mem, disk: d}
}

func (d *disk) setSlow(bound time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = bound
}

func (d *disk) latency() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.rand.Int64N(int64(d.slow))) + 10*time.Microsecond
}

// diskFS makes syncs of the Raft log take time. Other syncs do not: they may run
// under a mutex, for which virtual time does not pass.
type diskFS struct {
	vfs.FS
	disk *disk
}

func (fs *diskFS) Unwrap() vfs.FS { return fs.FS }

func (fs *diskFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(name)(fs.FS.Create(name, category))
}

func (fs *diskFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.wrap(name)(fs.FS.OpenReadWrite(name, category, opts...))
}

func (fs *diskFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(newname)(fs.FS.ReuseForWrite(oldname, newname, category))
}

func (fs *diskFS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil || !strings.Contains(name, "/raft/") {
			return f, err
		}
		return &slowFile{f, fs.disk}, nil
	}
}

// slowFile waits before and after it syncs, so that a crash may come on either side.
type slowFile struct {
	vfs.File
	disk *disk
}

func (f *slowFile) slowly(sync func() error) error {
	sleep(f.disk.latency())
	err := sync()
	sleep(f.disk.latency())
	return err
}

func (f *slowFile) Sync() error     { return f.slowly(f.File.Sync) }
func (f *slowFile) SyncData() error { return f.slowly(f.File.SyncData) }
