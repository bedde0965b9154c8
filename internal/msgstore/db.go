package msgstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
)

// Options says where and how a DB keeps its files. Zero values have defaults.
type Options struct {
	FS     vfs.FS // vfs.NewMem() for memory storage
	Dir    string
	Logger base.Logger
	// Memory counts a message's size in State.Bytes as memory storage does.
	Memory       bool
	CacheSize    int64 // memory of the index, bytes: its memtables, and blocks in what they leave; 256 MiB
	MemTableSize int64 // bytes of index changes between flushes, up to four times in memory; 32 MiB
	SegmentSize  int64 // bytes after which a segment is sealed; 8 MiB
	MaxOpenFiles int   // segment files kept open; 256
	TableBytes   int64 // offset tables of sealed segments kept in memory; 64 MiB
	// NoCompactions: the index is left in the shape that it has, by who only reads.
	NoCompactions bool
	// BeforeSync, if set, makes durable what the commits rest on, before any of
	// them becomes durable.
	BeforeSync func() error
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = base.NopLogger{}
	}
	setDefault(&o.CacheSize, 256<<20)
	setDefault(&o.MemTableSize, 32<<20)
	setDefault(&o.SegmentSize, 8<<20)
	setDefault(&o.MaxOpenFiles, 256)
	setDefault(&o.TableBytes, 64<<20)
}

func setDefault[T int | int64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// StoreID names a store: one replica of a group.
type StoreID struct {
	Group   base.GroupID
	Replica base.ReplicaID
}

func (id StoreID) String() string { return fmt.Sprintf("%s/%s", id.Group, id.Replica) }

// ErrClosed is returned by a DB, or a store, that is closed or removed.
var ErrClosed = errors.New("message store is closed")

// DB holds the stores of a node for one kind of storage. See DESIGN.md for what
// is durable when. Safe for concurrent use.
type DB struct {
	opts  Options
	p     *pebble.DB
	files *files

	mu         sync.Mutex
	catalog    map[StoreID]catalogEntry
	open       map[StoreID]*Store
	nextNumber uint32
	closed     bool

	// failed is set once, when a file could not be synced or the index is damaged
	// or can not be written: from then on nothing is committed and nothing becomes
	// durable.
	failed     atomic.Pointer[error]
	failedOnce sync.Once
	failedCh   chan struct{}
	opened     chan struct{} // closed when Pebble is open
	closing    chan struct{}

	checkpointMu sync.Mutex
	garbage      garbage
	tables       tableBudget
	janitor      *janitor
	recent       recent
	ahead        readAhead
	leastRun     int // subjects; tests have a small one
}

// catalogEntry is what is known of a store whether or not it is open.
type catalogEntry struct {
	number  uint32
	applied uint64 // durable when the DB was opened, or at the last checkpoint
}

// Open opens the DB in o.Dir, which it creates. A directory in use by another
// process is refused.
func Open(o Options) (*DB, error) {
	o.setDefaults()
	db := &DB{
		opts: o, catalog: map[StoreID]catalogEntry{}, open: map[StoreID]*Store{}, leastRun: leastRun,
		failedCh: make(chan struct{}), opened: make(chan struct{}), closing: make(chan struct{}),
	}
	segments, index := o.FS.PathJoin(o.Dir, "segments"), o.FS.PathJoin(o.Dir, "index")
	for _, dir := range []string{segments, index} {
		if err := o.FS.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("creating store directory: %w", err)
		}
	}
	db.files = newFiles(o.FS, segments, o.MaxOpenFiles)
	db.files.markDir(o.Dir)
	db.files.markDir(o.FS.PathDir(o.Dir))
	p, err := db.openPebble(index)
	if err != nil {
		return nil, err
	}
	db.p = p
	close(db.opened)
	db.tables.max = o.TableBytes
	if err := db.recover(); err != nil {
		close(db.closing)
		return nil, errors.Join(err, p.Close())
	}
	db.janitor = startJanitor(db)
	return db, nil
}

// beforeTable runs before Pebble creates a file that may make state durable. If
// the DB has failed, or does because the segments cannot be synced, the flush
// waits until the DB closes.
func (db *DB) beforeTable() error {
	if err := db.failure(); err == nil {
		err = db.sync()
		if err == nil {
			return nil
		}
		db.fail(err)
	}
	<-db.closing
	return db.failure()
}

// manifestFailed runs after Pebble has written to a MANIFEST. After an error it waits as beforeTable does,
// as Pebble would try something else at once; an open that fails does not.
func (db *DB) manifestFailed(err error) error {
	if err == nil {
		return nil
	}
	db.fail(fmt.Errorf("writing index: %w", err))
	select {
	case <-db.opened:
		<-db.closing
	default:
	}
	return err
}

// sync makes durable what has to be so before the index.
func (db *DB) sync() error {
	if before := db.opts.BeforeSync; before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	return db.files.sync()
}

func (db *DB) fail(err error) {
	db.failedOnce.Do(func() {
		db.opts.Logger.Errorf("message store in %s stops: %v", db.opts.Dir, err)
		db.failed.Store(&err)
		close(db.failedCh)
	})
}

// Failed is closed when nothing can be committed any more. Err tells why.
func (db *DB) Failed() <-chan struct{} { return db.failedCh }

// Err is the error that made the DB fail, or nil.
func (db *DB) Err() error {
	if err := db.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (db *DB) failure() error {
	if err := db.failed.Load(); err != nil {
		return fmt.Errorf("message store has failed: %w", *err)
	}
	return nil
}

// recover reads the catalog and removes what no store refers to.
func (db *DB) recover() error {
	number, err := db.get(appendPrefix(nil, 0, kindNextNumber))
	if err != nil {
		return err
	}
	switch len(number) {
	case 0:
		db.nextNumber = 1
	case 4:
		db.nextNumber = binary.BigEndian.Uint32(number)
	default:
		return base.Corruptf("number of the next store has %d bytes", len(number))
	}
	if err := db.readCatalog(); err != nil {
		return err
	}
	live := map[uint32]bool{}
	for _, e := range db.catalog {
		live[e.number] = true
	}
	if err := db.dropOrphanKeys(live); err != nil {
		return err
	}
	return db.dropOrphanDirs(live)
}

func (db *DB) readCatalog() error {
	prefix := appendPrefix(nil, 0, kindCatalog)
	err := db.scan(db.p, prefix, func(key, value []byte) (bool, error) {
		if len(key) != len(prefix)+16 || len(value) != 4 {
			return false, base.Corruptf("catalog record: key of %d bytes, value of %d", len(key), len(value))
		}
		id := StoreID{
			Group:   base.GroupID(binary.BigEndian.Uint64(key[len(prefix):])),
			Replica: base.ReplicaID(binary.BigEndian.Uint64(key[len(prefix)+8:])),
		}
		db.catalog[id] = catalogEntry{number: binary.BigEndian.Uint32(value)}
		return true, nil
	})
	if err != nil {
		return err
	}
	for id, e := range db.catalog {
		m, _, err := db.loadMeta(e.number)
		if err != nil && !base.IsCorrupt(err) {
			return err
		}
		e.applied = m.applied // a damaged record shows when its store is opened
		db.catalog[id] = e
	}
	return nil
}

func (db *DB) loadMeta(number uint32) (meta, bool, error) {
	b, err := db.get(appendPrefix(nil, number, kindMeta))
	if err != nil || b == nil {
		return meta{}, false, err
	}
	m, err := decodeMeta(b)
	return m, err == nil, err
}

// dropOrphanKeys deletes keys of stores that are not in the catalog: a removal
// or a restore was cut short.
func (db *DB) dropOrphanKeys(live map[uint32]bool) error {
	it, err := db.p.NewIter(nil)
	if err != nil {
		return fmt.Errorf("looking for orphans: %w", err)
	}
	defer it.Close()
	for number, ok := uint32(1), true; ok; {
		if ok = it.SeekGE(binary.BigEndian.AppendUint32(nil, number)); !ok {
			break
		}
		if number = binary.BigEndian.Uint32(it.Key()); !live[number] {
			if err := db.deleteStoreKeys(number); err != nil {
				return err
			}
		}
		number++
		ok = number != 0
	}
	return it.Error()
}

func (db *DB) deleteStoreKeys(number uint32) error {
	start := binary.BigEndian.AppendUint32(nil, number)
	if err := db.p.DeleteRange(start, upperBound(start), pebble.NoSync); err != nil {
		return fmt.Errorf("removing store %d: %w", number, err)
	}
	return nil
}

func (db *DB) dropOrphanDirs(live map[uint32]bool) error {
	names, err := db.opts.FS.List(db.files.dir)
	if err != nil {
		return fmt.Errorf("listing segment directories: %w", err)
	}
	known := map[string]bool{}
	for number := range live {
		known[db.opts.FS.PathBase(db.files.storeDir(number))] = true
	}
	for _, name := range names {
		if known[name] {
			continue
		}
		if err := db.opts.FS.RemoveAll(db.opts.FS.PathJoin(db.files.dir, name)); err != nil {
			return fmt.Errorf("removing orphaned segments: %w", err)
		}
	}
	return nil
}

// Store opens the store of a group's replica, or creates it.
func (db *DB) Store(group base.GroupID, replica base.ReplicaID) (*Store, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return nil, ErrClosed
	}
	id := StoreID{group, replica}
	if s := db.open[id]; s != nil {
		return s, nil
	}
	e, ok := db.catalog[id]
	if !ok {
		number, err := db.allocateLocked()
		if err != nil {
			return nil, err
		}
		e = catalogEntry{number: number}
		if err := db.p.Set(catalogKey(id), binary.BigEndian.AppendUint32(nil, number), pebble.NoSync); err != nil {
			return nil, fmt.Errorf("creating store: %w", err)
		}
		db.catalog[id] = e
	}
	s := &Store{db: db, id: id}
	if err := s.load(e.number); err != nil {
		return nil, fmt.Errorf("opening store %s: %w", id, err)
	}
	db.open[id] = s
	return s, nil
}

func catalogKey(id StoreID) []byte {
	key := appendPrefix(nil, 0, kindCatalog)
	key = binary.BigEndian.AppendUint64(key, uint64(id.Group))
	return binary.BigEndian.AppendUint64(key, uint64(id.Replica))
}

// allocateLocked hands out a number that no store has had.
func (db *DB) allocateLocked() (uint32, error) {
	number := db.nextNumber
	next := binary.BigEndian.AppendUint32(nil, number+1)
	if err := db.p.Set(appendPrefix(nil, 0, kindNextNumber), next, pebble.NoSync); err != nil {
		return 0, fmt.Errorf("creating store: %w", err)
	}
	db.nextNumber++
	return number, nil
}

// Stores lists the stores that exist.
func (db *DB) Stores() []StoreID {
	db.mu.Lock()
	defer db.mu.Unlock()
	ids := make([]StoreID, 0, len(db.catalog))
	for id := range db.catalog {
		ids = append(ids, id)
	}
	return ids
}

// Remove deletes a store. Its space comes back with the next checkpoint; if the
// machine crashes before, the store is still there afterwards.
func (db *DB) Remove(group base.GroupID, replica base.ReplicaID) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	id := StoreID{group, replica}
	e, ok := db.catalog[id]
	if !ok {
		return nil
	}
	if s := db.open[id]; s != nil {
		if err := s.close(); err != nil {
			return err
		}
		delete(db.open, id)
	}
	delete(db.catalog, id)
	return db.discard(e.number, catalogKey(id), nil)
}

// discard deletes all that a store number stands for, and in the same step
// gives the catalog key another value or, with nil, none.
func (db *DB) discard(number uint32, catalog, value []byte) error {
	b := db.p.NewBatch()
	defer b.Close()
	start := binary.BigEndian.AppendUint32(nil, number)
	err := b.DeleteRange(start, upperBound(start), nil)
	if value == nil {
		err = errors.Join(err, b.Delete(catalog, nil))
	} else {
		err = errors.Join(err, b.Set(catalog, value, nil))
	}
	if err = errors.Join(err, b.Commit(pebble.NoSync)); err != nil {
		return fmt.Errorf("removing store %d: %w", number, err)
	}
	db.garbage.addStore(number)
	return nil
}

// Checkpoint makes everything that was committed before the call durable, and
// returns for every store the applied index up to which it now is. With an error beside that,
// what is not needed any more could not be deleted; the next one tries again.
func (db *DB) Checkpoint() (map[StoreID]uint64, error) {
	db.checkpointMu.Lock()
	defer db.checkpointMu.Unlock()
	applied, err := db.appliedNow()
	if err != nil {
		return nil, err
	}
	waste := db.garbage.take()
	if err := db.flush(); err != nil {
		db.garbage.putBack(waste)
		return nil, err
	}
	db.noteDurable(applied)
	err = db.collect(waste)
	if err != nil {
		db.garbage.putBack(waste)
	}
	return applied, err
}

func (db *DB) appliedNow() (map[StoreID]uint64, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return nil, ErrClosed
	}
	applied := make(map[StoreID]uint64, len(db.catalog))
	for id, e := range db.catalog {
		applied[id] = e.applied
		if s := db.open[id]; s != nil {
			applied[id] = s.Applied()
			if err := s.lookup.close(); err != nil {
				return nil, err
			}
		}
	}
	return applied, nil
}

func (db *DB) noteDurable(applied map[StoreID]uint64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for id, index := range applied {
		if e, ok := db.catalog[id]; ok {
			e.applied = index
			db.catalog[id] = e
		}
	}
}

// flush makes all committed batches durable, and the segments before them.
func (db *DB) flush() error {
	if err := db.failure(); err != nil {
		return err
	}
	if err := db.sync(); err != nil {
		db.fail(err)
		return err
	}
	done, err := db.flushIndex()
	if err != nil {
		return fmt.Errorf("flushing index: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-db.failedCh:
		return db.failure()
	}
}

// Close makes everything durable, if it can, and closes the DB. Stores must not
// be used any more, and images must be closed.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.mu.Unlock()
	db.janitor.stop()
	_, err := db.Checkpoint()
	db.mu.Lock()
	db.closed = true
	for _, s := range db.open {
		err = errors.Join(err, s.close())
	}
	db.mu.Unlock()
	close(db.closing)
	return errors.Join(err, db.p.Close(), db.files.close())
}

// get returns a copy of the value of key, nil when there is none.
func (db *DB) get(key []byte) ([]byte, error) {
	value, closer, err := db.p.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, indexError("reading index", err)
	}
	defer closer.Close()
	return append([]byte{}, value...), nil
}

// scan visits the keys that start with prefix, in order.
func (db *DB) scan(r pebble.Reader, prefix []byte, visit func(key, value []byte) (bool, error)) error {
	return db.scanRange(r, prefix, upperBound(prefix), visit)
}

func (db *DB) scanRange(r pebble.Reader, lower, upper []byte, visit func(key, value []byte) (bool, error)) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return indexError("scanning index", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return indexError("scanning index", err)
		}
		if more, err := visit(it.Key(), value); err != nil || !more {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return indexError("scanning index", err)
	}
	return nil
}

// indexError wraps an error of Pebble's and keeps its mark of corruption.
func indexError(doing string, err error) error {
	if pebble.IsCorruptionError(err) {
		return base.Corruptf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
