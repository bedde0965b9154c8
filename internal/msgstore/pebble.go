package msgstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
)

// flushFS is the filesystem that Pebble gets. Whatever Pebble makes durable goes
// through a new table (or blob file) first, and a flush begins to write one only
// after the set of memtables that it covers is fixed. So before any such file is
// created, beforeTable makes the segments durable, and what Pebble holds on disk
// never speaks of segment bytes that a crash can take away. Hooking the creation
// and not the MANIFEST's sync matters: unsynced bytes may survive a crash too,
// and then a MANIFEST edit that was only written would count.
//
// FlushBegin would be the other place, but Pebble calls it with its central
// mutex held, and an fsync there stops every reader and writer.
type flushFS struct {
	vfs.FS
	beforeTable func() error
	failed      func(error) error // takes the error that a MANIFEST can not be written for, and returns it in time
}

func (fs flushFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob") {
		if err := fs.beforeTable(); err != nil {
			return nil, err
		}
	}
	f, err := fs.FS.Create(name, category)
	manifest, marker := strings.HasPrefix(fs.PathBase(name), "MANIFEST-"), strings.HasPrefix(fs.PathBase(name), "marker.")
	if err == nil && manifest {
		if err = fs.syncDir(fs.PathDir(name)); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	switch {
	case err != nil && (manifest || marker):
		return nil, fs.failed(err)
	case manifest:
		return manifestFile{f, fs.failed}, nil
	}
	return f, err
}

// manifestFile is where Pebble ends the process over an error: nobody knows what an edit that was half written is
// worth after a restart. So the DB fails first, and nothing is written to it any more.
type manifestFile struct {
	vfs.File
	failed func(error) error
}

func (f manifestFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.failed(err)
}

func (f manifestFile) Sync() error     { return f.failed(f.File.Sync()) }
func (f manifestFile) SyncData() error { return f.failed(f.File.SyncData()) }

// syncDir makes the names in a directory durable. Pebble syncs its directory after a new
// MANIFEST and the marker that names it: a crash could leave the marker alone.
func (fs flushFS) syncDir(dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (fs flushFS) Unwrap() vfs.FS { return fs.FS }

// pebbleLogger passes what matters on.
type pebbleLogger struct {
	base.Logger
	failed func() bool
}

func (l pebbleLogger) Infof(format string, args ...any) { l.Tracef("index: "+format, args...) }
func (l pebbleLogger) Errorf(format string, args ...any) {
	l.Logger.Errorf("index: "+format, args...)
}

// Fatalf is called when Pebble cannot write its MANIFEST and must not go on: the DB has failed by
// then, and Pebble has an error for its caller.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.Logger.Errorf("index: "+format, args...)
	if !l.failed() {
		panic("index: " + fmt.Sprintf(format, args...))
	}
}

func (db *DB) openPebble(dir string) (*pebble.DB, error) {
	o, fs := &db.opts, flushFS{FS: db.opts.FS, beforeTable: db.beforeTable, failed: db.manifestFailed}
	opts := &pebble.Options{
		FS:                          fs,
		Logger:                      pebbleLogger{o.Logger, func() bool { return db.failure() != nil }},
		DisableWAL:                  true,
		CacheSize:                   o.CacheSize,
		MemTableSize:                uint64(o.MemTableSize),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		MaxOpenFiles:                500,
		FormatMajorVersion:          pebble.FormatNewest,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		BytesPerSync:                1 << 20,
		DisableAutomaticCompactions: o.NoCompactions,
	}
	opts.EventListener = &pebble.EventListener{
		// Pebble would try the same again, at once and for ever.
		BackgroundError:   func(err error) { db.fail(fmt.Errorf("writing index: %w", err)) },
		DataCorruption:    func(info pebble.DataCorruptionInfo) { db.fail(base.Corruptf("index: %v", info.Details)) },
		FlushBegin:        func(pebble.FlushInfo) {},
		CompactionBegin:   func(pebble.CompactionInfo) {},
		CompactionEnd:     func(pebble.CompactionInfo) {},
		TableCreated:      func(pebble.TableCreateInfo) {},
		TableDeleted:      func(pebble.TableDeleteInfo) {},
		ManifestCreated:   func(pebble.ManifestCreateInfo) {},
		ManifestDeleted:   func(pebble.ManifestDeleteInfo) {},
		WriteStallBegin:   func(info pebble.WriteStallBeginInfo) { o.Logger.Debugf("index: write stall: %s", info.Reason) },
		PossibleAPIMisuse: func(info pebble.PossibleAPIMisuseInfo) { o.Logger.Debugf("index: %v", info) },
		FormatUpgrade:     func(pebble.FormatMajorVersion) {},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].FilterType = pebble.TableFilter
		opts.Levels[i].BlockSize = 4 << 10 // most reads are of single keys, and not in the cache
		opts.Levels[i].IndexBlockSize = 64 << 10
		opts.Levels[i].Compression = func() *block.CompressionProfile { return block.FastestCompression }
	}
	if err := dropLogs(fs, dir); err != nil {
		return nil, err
	}
	p, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("opening index: %w", err)
	}
	return p, nil
}

// dropLogs removes the logs, which are empty. Pebble would flush what is in them, and for as long as
// the disk is full it would neither do so nor return from its Open.
func dropLogs(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("opening index: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
				return fmt.Errorf("opening index: %w", err)
			}
		}
	}
	return nil
}
