package raftlog

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"weir/internal/base"
)

var (
	// ErrClosed answers an append to a log that was closed.
	ErrClosed = errors.New("raft log is closed")
	// ErrRemoved answers the use of a replica that was removed.
	ErrRemoved = errors.New("replica was removed from the raft log")
	// ErrInUse is returned by Open for a directory that another process holds.
	ErrInUse = errors.New("raft log directory is in use")
)

// Options of a log. Zero values of all but FS and Dir mean the defaults.
type Options struct {
	// FS holds the files. On vfs.NewMem the log lives in memory: set a small
	// SegmentSize then, since files are filled before use.
	FS  vfs.FS
	Dir string
	// SegmentSize is the length of a file in bytes; default 64 MiB.
	SegmentSize int64
	// KeepSegments is how many files may be in use before the oldest one is
	// recycled, if nothing in it is needed; default 2. A higher number means that
	// the state of idle groups is copied forward less often.
	KeepSegments int
	// PressureSegments is how many files may be in use before Pressure names the
	// groups that hold the oldest ones back; default 4.
	PressureSegments int
	// CacheBytes bounds the written entries kept in memory; default 64 MiB.
	// GroupCacheBytes bounds those of one group; default 8 MiB.
	CacheBytes      int64
	GroupCacheBytes int64
	// QueueBytes bounds what waits to be written: Append blocks while there is
	// more; default 64 MiB.
	QueueBytes int64
	Logger     base.Logger
	// Clock times the syncs of relaxed batches; default is the system's.
	Clock base.Clock
	// Stamp returns the random stamp of a new file. It must not be guessable by
	// clients; default is the system's random source.
	Stamp func() uint64
}

func (o Options) withDefaults() Options {
	o.SegmentSize = max(cmp.Or(o.SegmentSize, 64<<20), 2*dataStart)
	o.KeepSegments = cmp.Or(o.KeepSegments, 2)
	o.PressureSegments = cmp.Or(o.PressureSegments, 4)
	o.CacheBytes = cmp.Or(o.CacheBytes, 64<<20)
	o.GroupCacheBytes = cmp.Or(o.GroupCacheBytes, 8<<20)
	o.QueueBytes = cmp.Or(o.QueueBytes, 64<<20)
	if o.Logger == nil {
		o.Logger = base.NopLogger{}
	}
	if o.Clock == nil {
		o.Clock = base.SystemClock
	}
	if o.Stamp == nil {
		o.Stamp = randomStamp
	}
	return o
}

func randomStamp() uint64 {
	var b [8]byte
	_, err := rand.Read(b[:])
	base.Assert(err == nil, "system random source: %v", err)
	return binary.LittleEndian.Uint64(b[:])
}

// Batch is what one replica wants stored, atomically. The log keeps Entries (in
// memory, for readers) and nothing may change them or their data any more; the
// rest must not change until the batch is completed.
type Batch struct {
	Group   base.GroupID
	Replica base.ReplicaID
	// HardState is nil if unchanged.
	HardState *pb.HardState
	// Snapshot, if not nil, takes effect before Entries.
	Snapshot *SnapshotMark
	// ConfState, if not nil, replaces the conf mark (also that of Snapshot).
	ConfState *ConfMark
	// Entries are consecutive; they replace every entry from the first one's index
	// on.
	Entries []*pb.Entry
	// MustSync asks for a sync even where only the commit index moved. Everything
	// else is synced before completion anyhow, unless it is Relaxed.
	MustSync bool
	// Relaxed completes a batch when it is written, if it has nothing but entries and
	// a commit index. It is synced with the next one that is not, or RelaxedDelay later.
	Relaxed bool
}

// RelaxedDelay is how long a relaxed batch may have been written and not be
// durable, but for the time that the sync takes.
const RelaxedDelay = 100 * time.Millisecond

// SnapshotMark says that the log restarts behind a snapshot, whose state the
// owner has made durable already.
type SnapshotMark struct {
	Index, Term uint64
	// ConfState, if not nil, becomes the conf mark at Index, together with Members.
	ConfState *pb.ConfState
	Members   []byte
}

// ConfMark is the configuration that applying the log up to Index led to.
type ConfMark struct {
	Index     uint64
	ConfState *pb.ConfState
	// Members is the owner's own description of the members; opaque here.
	Members []byte
}

// GroupInfo describes a replica that Open found.
type GroupInfo struct {
	Group   base.GroupID
	Replica base.ReplicaID
	// Damaged says what is wrong with the log of this replica (marked as
	// corruption); nil if nothing is. The rest then has no meaning. A damaged
	// replica accepts nothing but Remove.
	Damaged               error
	FirstIndex, LastIndex uint64
	HardState             *pb.HardState
}

// Stats are counters since Open, and the present size.
type Stats struct {
	Batches, Writes, Syncs, BytesWritten uint64
	Segments                             int
}

// Log is the write-ahead log of all groups of a node. All methods are safe for
// concurrent use.
type Log struct {
	opts Options
	fs   vfs.FS
	lock io.Closer

	// mu comes after Group.mu.
	mu     sync.Mutex
	room   sync.Cond
	queue  []pending
	queued int64
	closed bool
	err    error

	wake    chan struct{}
	reclaim atomic.Bool
	// trim asks the writer to give files back.
	trim atomic.Bool
	// relaxed says that relaxed batches may have been completed and are not durable,
	// syncDue that it is time to sync them.
	relaxed, syncDue atomic.Bool
	failed           chan struct{}
	// spaceErr is the error of the last try to allocate the next file.
	spaceErr atomic.Pointer[error]
	stopped  chan struct{}

	// groupsMu comes before Group.mu.
	groupsMu sync.RWMutex
	groups   map[groupKey]*Group
	// removed are the replicas that were removed. Their ids are never used again:
	// this is so that a late append does not bring one back.
	removed map[groupKey]struct{}

	// segments are the files in use, oldest first; the last is written to. The
	// writer goroutine changes it under segmentsMu.
	segmentsMu sync.Mutex
	segments   []*segment

	// cached is the sum of all Group.tailBytes.
	cached atomic.Int64

	// lostUnknown says that Open met damage of which it cannot tell which groups
	// it hit.
	lostUnknown bool

	stats struct{ batches, writes, syncs, bytes atomic.Uint64 }
}

// pending is a batch in the queue.
type pending struct {
	g      *Group
	batch  Batch
	remove bool
	// err, if not nil, is all that there is to say.
	err  error
	size int64
	done func(error)
}

// Append makes b durable and then calls done, which may be nil, with the
// result. Batches complete in the order of the calls, on the writer goroutine:
// done must be quick and must not call Append, Remove or Close. Appends of one
// group must not race with one another. Only after Close, done runs on the
// caller's goroutine. The entries are visible to readers at once.
//
// An error other than of this replica (ErrRemoved, corruption) is that of the log:
// nothing can be appended any more.
func (l *Log) Append(b Batch, done func(error)) {
	size := int64(sizeBound(&b, nil))
	l.waitForRoom(size)
	g := l.Group(b.Group, b.Replica)
	g.mu.Lock()
	p := pending{g: g, batch: b, size: size, done: done, err: g.err}
	select {
	case <-l.failed:
		// The writer answers with the error of the log.
	default:
		if g.err == nil {
			g.extendLocked(&b)
		}
	}
	queued := l.enqueue(p)
	g.mu.Unlock()
	if !queued && done != nil {
		done(ErrClosed)
	}
}

// SyncRelaxed makes relaxed batches that were completed durable.
func (l *Log) SyncRelaxed() error {
	if !l.relaxed.Load() {
		return nil
	}
	done := make(chan error, 1)
	if !l.enqueue(pending{batch: Batch{MustSync: true}, done: func(err error) { done <- err }}) {
		<-l.stopped // which has synced
		return l.Err()
	}
	return <-done
}

// waitForRoom waits until the queue is short enough.
func (l *Log) waitForRoom(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.queued > 0 && l.queued+size > l.opts.QueueBytes && !l.closed {
		l.room.Wait()
	}
}

// enqueue hands p to the writer; false after Close.
func (l *Log) enqueue(p pending) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, p)
	l.queued += p.size
	if len(l.queue) == 1 {
		l.wakeWriter()
	}
	return true
}

func (l *Log) wakeWriter() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Log) wakeSync() {
	l.syncDue.Store(true)
	l.wakeWriter()
}

// Trim gives back the files that wait to be used again, if no file was filled since
// the call before, and also the next file if nothing was written. It only asks for it.
func (l *Log) Trim() {
	l.trim.Store(true)
	l.wakeWriter()
}

func (l *Log) wakeReclaim() {
	l.reclaim.Store(true)
	l.wakeWriter()
}

// Group returns the log of a replica. One that is not known is empty; the first
// append makes it known.
func (l *Log) Group(group base.GroupID, replica base.ReplicaID) *Group {
	key := groupKey{group, replica}
	l.groupsMu.RLock()
	g := l.groups[key]
	l.groupsMu.RUnlock()
	if g != nil {
		return g
	}
	l.groupsMu.Lock()
	defer l.groupsMu.Unlock()
	if g = l.groups[key]; g == nil {
		g = &Group{log: l, key: key}
		if _, ok := l.removed[key]; ok {
			g.err = ErrRemoved
			return g
		}
		l.groups[key] = g
	}
	return g
}

// Groups lists the replicas that have something in the log, in order of their
// ids.
func (l *Log) Groups() []GroupInfo {
	var infos []GroupInfo
	for _, g := range l.allGroups() {
		g.mu.Lock()
		if g.err != ErrRemoved && (g.last > 0 || g.hard != hardState{} || g.conf != nil || g.err != nil) {
			infos = append(infos, GroupInfo{
				Group: g.key.group, Replica: g.key.replica, Damaged: g.err,
				FirstIndex: g.base.index + 1, LastIndex: g.last, HardState: g.hard.proto(),
			})
		}
		g.mu.Unlock()
	}
	slices.SortFunc(infos, func(a, b GroupInfo) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Replica, b.Replica))
	})
	return infos
}

func (l *Log) allGroups() []*Group {
	l.groupsMu.RLock()
	defer l.groupsMu.RUnlock()
	groups := make([]*Group, 0, len(l.groups))
	for _, g := range l.groups {
		groups = append(groups, g)
	}
	return groups
}

// LostUnknown says that Open met damage of which it cannot tell everything that
// it hit: besides the groups reported as damaged there may have been others, of
// which no trace is left. A replica that should be in this log and is not must
// then count as damaged, not as new.
func (l *Log) LostUnknown() bool { return l.lostUnknown }

// Failed is closed when a write or a sync has failed. Err tells why.
func (l *Log) Failed() <-chan struct{} { return l.failed }

// Err is the error that made the log fail, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// SpaceErr is the error of the last try to allocate the next file, usually that
// the disk is full; nil if it went well. The log goes on until the present file
// is full as well, and then fails with this error. Trim has it tried again.
func (l *Log) SpaceErr() error {
	if err := l.spaceErr.Load(); err != nil {
		return *err
	}
	return nil
}

// Pressure lists the groups whose entries hold back the oldest files, while
// there are more than Options.PressureSegments: those to be checkpointed first.
func (l *Log) Pressure() []base.GroupID {
	l.segmentsMu.Lock()
	var excess uint64
	if n := len(l.segments) - l.opts.PressureSegments; n > 0 {
		excess = l.segments[n-1].number
	}
	l.segmentsMu.Unlock()
	if excess == 0 {
		return nil
	}
	var ids []base.GroupID
	for _, g := range l.allGroups() {
		g.mu.Lock()
		if s := g.pinnedLocked(); s != nil && s.number <= excess {
			ids = append(ids, g.key.group)
		}
		g.mu.Unlock()
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	l.segmentsMu.Lock()
	defer l.segmentsMu.Unlock()
	return Stats{
		Batches: l.stats.batches.Load(), Writes: l.stats.writes.Load(), Syncs: l.stats.syncs.Load(),
		BytesWritten: l.stats.bytes.Load(), Segments: len(l.segments),
	}
}

// Close writes what waits, stops the writer and releases the directory. Nobody
// may be reading entries any more.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	l.room.Broadcast()
	l.mu.Unlock()
	l.wakeWriter()
	<-l.stopped
	errs := []error{l.Err()}
	for _, s := range l.segments {
		errs = append(errs, s.file.Close())
	}
	errs = append(errs, l.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close raft log: %w", err)
	}
	return nil
}
