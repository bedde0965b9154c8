package raftlog

import (
	"slices"
	"sort"
	"sync"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"weir/internal/base"
)

// Group is the log of one replica of one group. It implements raft.Storage
// (embed it to override Snapshot) and is safe for concurrent use.
//
// The log is visible from the moment that Append is called, before it is
// durable: that is within the contract of raft's asynchronous storage writes,
// which asks Storage at most for what has been acknowledged to it. HardState
// and ConfState are those that have been written to the file.
type Group struct {
	log *Log
	key groupKey

	mu sync.Mutex
	// err, once set, is returned by everything: the replica was removed or is
	// damaged.
	err error

	// The visible log is (base.index, last]. The entry at base is compacted, its
	// term is known. terms says where the terms of the entries change.
	base  position
	last  uint64
	terms []position
	// tail holds the last len(tail) entries of the visible log, at least those
	// that are not written yet.
	tail      []*pb.Entry
	tailBytes int64
	// stable is the last index up to which the visible log stands in the files;
	// everything behind it is in tail.
	stable uint64
	// snapshots counts the batches with a snapshot that are not written yet.
	snapshots int

	// What the files hold. written is the last entry there, writtenBase where the
	// log there begins: it differs from base while a snapshot waits to be written.
	hard        hardState
	conf        []byte
	writtenBase position
	written     position
	// runs says where the entries (writtenBase, written] stand, oldest first.
	runs []run

	// The rest belongs to the writer goroutine.

	// seq is the number of the last record; anchor the file of the last anchor,
	// anchorNeeds that of the oldest entry that stood before the anchor and that
	// it counts on, nil without.
	seq                 uint64
	anchor, anchorNeeds *segment
	// epoch and file are those of the last record, for the directories.
	epoch uint64
	file  uint64
	// newer and older link the groups that have a tail, by last append.
	newer, older *Group
}

var _ raft.Storage = (*Group)(nil)

// run is a stretch of one file of at most runSpan bytes which holds the entries
// from first up to the next run, among records of other groups.
type run struct {
	first uint64
	seg   *segment
	at    int64
}

// runSpan bounds what must be read to find one entry, and so also the memory
// for the positions of entries.
const runSpan = 64 << 10

// ID is the group's id.
func (g *Group) ID() base.GroupID { return g.key.group }

// Replica is the replica's id.
func (g *Group) Replica() base.ReplicaID { return g.key.replica }

// Err says why the replica cannot be used: ErrRemoved, or what is damaged
// (marked as corruption). It is nil while the log is fine.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// InitialState implements raft.Storage.
func (g *Group) InitialState() (*pb.HardState, *pb.ConfState, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return nil, nil, g.err
	}
	m, err := decodeConf(g.conf)
	if err != nil {
		return nil, nil, err
	}
	return g.hard.proto(), m.ConfState, nil
}

// HardState is the last hard state in the files; empty if there is none.
func (g *Group) HardState() *pb.HardState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hard.proto()
}

// ConfState is the last conf mark in the files. Its ConfState is never nil.
func (g *Group) ConfState() (ConfMark, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return ConfMark{}, g.err
	}
	return decodeConf(g.conf)
}

// FirstIndex implements raft.Storage.
func (g *Group) FirstIndex() (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.base.index + 1, g.err
}

// LastIndex implements raft.Storage.
func (g *Group) LastIndex() (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last, g.err
}

// Base is the position that the log begins behind: that of the last compaction
// or snapshot.
func (g *Group) Base() (index, term uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.base.index, g.base.term
}

// Term implements raft.Storage. It never reads from a file.
func (g *Group) Term(index uint64) (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.err != nil:
		return 0, g.err
	case index < g.base.index:
		return 0, raft.ErrCompacted
	case index > g.last:
		return 0, raft.ErrUnavailable
	}
	return g.termLocked(index), nil
}

// termLocked is the term of an index within [base, last].
func (g *Group) termLocked(index uint64) uint64 {
	i := sort.Search(len(g.terms), func(i int) bool { return g.terms[i].index > index })
	if i == 0 {
		return g.base.term
	}
	return g.terms[i-1].term
}

// Snapshot implements raft.Storage. The log has no images of the state machine:
// the owner overrides it.
func (g *Group) Snapshot() (*pb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// extendLocked makes a batch visible.
func (g *Group) extendLocked(b *Batch) {
	if s := b.Snapshot; s != nil {
		g.base = position{s.Index, s.Term}
		g.last, g.stable = s.Index, s.Index
		g.snapshots++
		g.terms = nil
		g.dropTailLocked(len(g.tail))
	}
	if len(b.Entries) == 0 {
		return
	}
	first := b.Entries[0].GetIndex()
	// Assert only where it fails: its arguments would be allocated every time.
	if first <= g.base.index || first > g.last+1 {
		base.Assert(false, "%s/%s: entries from %d appended to log (%d, %d]",
			g.key.group, g.key.replica, first, g.base.index, g.last)
	}
	if first <= g.last {
		g.truncateLocked(first)
	}
	for i, e := range b.Entries {
		if e.GetIndex() != first+uint64(i) {
			base.Assert(false, "%s/%s: entry %d follows entry %d",
				g.key.group, g.key.replica, e.GetIndex(), first+uint64(i)-1)
		}
		g.appendTermLocked(e.GetIndex(), e.GetTerm())
	}
	g.tail = append(g.tail, b.Entries...)
	g.countTailLocked(b.Entries, 1)
}

// truncateLocked drops the visible entries from index on.
func (g *Group) truncateLocked(index uint64) {
	keep := max(0, len(g.tail)-int(g.last+1-index))
	g.countTailLocked(g.tail[keep:], -1)
	clear(g.tail[keep:])
	g.tail = g.tail[:keep]
	g.last = index - 1
	g.stable = min(g.stable, g.last)
	for n := len(g.terms); n > 0 && g.terms[n-1].index >= index; n-- {
		g.terms = g.terms[:n-1]
	}
}

// appendTermLocked notes the entry behind last.
func (g *Group) appendTermLocked(index, term uint64) {
	if term != g.termLocked(g.last) {
		g.terms = append(g.terms, position{index, term})
	}
	g.last = index
}

// dropTailLocked drops the n oldest entries of the tail.
func (g *Group) dropTailLocked(n int) {
	g.countTailLocked(g.tail[:n], -1)
	clear(g.tail[:n])
	if g.tail = g.tail[n:]; len(g.tail) == 0 {
		g.tail = nil
	}
}

// countTailLocked notes that entries came into memory (sign 1) or left it (-1).
func (g *Group) countTailLocked(entries []*pb.Entry, sign int64) {
	var size int64
	for _, e := range entries {
		size += entryMemory(e)
	}
	g.tailBytes += sign * size
	g.log.cached.Add(sign * size)
}

// tailFirstLocked is the index of the first entry of the tail.
func (g *Group) tailFirstLocked() uint64 { return g.last + 1 - uint64(len(g.tail)) }

// entryMemory is about what an entry takes in memory.
func entryMemory(e *pb.Entry) int64 { return int64(len(e.Data)) + 144 }

// Compact lets go of every entry up to index, whose effects the owner has made
// durable. It is cheap: files are recycled later, in the background. An index
// beyond what is written is taken as the last written one. It is not a promise
// to forget: after a restart entries that are in the files still may be back.
func (g *Group) Compact(index uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	index = min(index, g.stable)
	if g.err != nil || index <= g.base.index {
		return
	}
	g.compactLocked(position{index, g.termLocked(index)})
}

func (g *Group) compactLocked(to position) {
	if drop := int64(to.index) - int64(g.tailFirstLocked()) + 1; drop > 0 {
		g.dropTailLocked(int(min(drop, int64(len(g.tail)))))
	}
	i := sort.Search(len(g.terms), func(i int) bool { return g.terms[i].index > to.index })
	if g.terms = slices.Delete(g.terms, 0, i); len(g.terms) == 0 {
		g.terms = nil
	}
	g.base, g.writtenBase = to, to
	defer g.repinLocked(g.pinnedLocked())
	g.trimRunsLocked()
}

// trimRunsLocked drops the runs that hold compacted entries only.
func (g *Group) trimRunsLocked() {
	if g.writtenBase.index >= g.written.index {
		g.runs = nil
		return
	}
	n := 0
	for n+1 < len(g.runs) && g.runs[n+1].first <= g.writtenBase.index+1 {
		n++
	}
	g.runs = slices.Delete(g.runs, 0, n)
}

// pinnedLocked is the file that holds the oldest retained entry, or nil.
func (g *Group) pinnedLocked() *segment {
	if len(g.runs) == 0 {
		return nil
	}
	return g.runs[0].seg
}

// repinLocked moves the group's pin to where it belongs after runs changed.
func (g *Group) repinLocked(old *segment) {
	now := g.pinnedLocked()
	if now == old {
		return
	}
	if now != nil {
		now.pins.Add(1)
	}
	if old != nil && old.pins.Add(-1) == 0 {
		g.log.wakeReclaim()
	}
}

// wroteLocked notes that a batch stands in the file at at. terms of the entries
// are known to the visible log already; last is the position of its last entry.
func (g *Group) wroteLocked(seg *segment, at int64, c *writtenBatch) {
	defer g.repinLocked(g.pinnedLocked())
	if c.hasHard {
		g.hard = c.hard
	}
	if c.conf != nil {
		g.conf = c.conf
	}
	if c.hasSnapshot {
		g.writtenBase, g.written, g.runs = c.snapshot, c.snapshot, nil
		g.snapshots--
	}
	if c.first == 0 {
		return
	}
	// A run is continued only by the entry that follows, so that within a run the
	// entries are in order.
	n := len(g.runs)
	for n > 0 && g.runs[n-1].first >= c.first {
		n--
	}
	clear(g.runs[n:])
	g.runs = g.runs[:n]
	follows := c.first == g.written.index+1
	if !follows || n == 0 || g.runs[n-1].seg != seg || at-g.runs[n-1].at >= runSpan {
		g.runs = append(g.runs, run{first: c.first, seg: seg, at: at})
	}
	g.written = c.last
	// Equal index and term mean an equal log up to there. Otherwise, a batch on its
	// way overwrites this one.
	if at := c.last.index; g.snapshots == 0 && at > g.stable && at <= g.last && g.termLocked(at) == c.last.term {
		g.stable = at
	}
}

// writtenBatch is what a batch changed, as far as the files are concerned.
type writtenBatch struct {
	hasHard     bool
	hard        hardState
	conf        []byte
	hasSnapshot bool
	snapshot    position
	// first is 0 without entries; last is the position of the last one.
	first uint64
	last  position
}

// Entries implements raft.Storage. It may return fewer entries than maxSize
// would allow, but at least one. An entry that has left memory is read from its
// file; if that is damaged the error is marked as corruption and the replica is
// of no use any more.
func (g *Group) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	g.mu.Lock()
	switch {
	case g.err != nil:
		defer g.mu.Unlock()
		return nil, g.err
	case lo <= g.base.index:
		g.mu.Unlock()
		return nil, raft.ErrCompacted
	case lo >= hi:
		g.mu.Unlock()
		return nil, nil
	case hi > g.last+1:
		g.mu.Unlock()
		return nil, raft.ErrUnavailable
	}
	tailFirst := g.tailFirstLocked()
	if lo >= tailFirst {
		defer g.mu.Unlock()
		return limited(g.tail[lo-tailFirst:hi-tailFirst], maxSize), nil
	}
	runs, hi := g.runsLocked(lo, min(hi, tailFirst))
	g.mu.Unlock()
	entries, err := g.readRuns(runs, lo, hi, maxSize)
	for _, r := range runs {
		if r.seg.readers.Add(-1) == 0 && r.seg.pins.Load() == 0 {
			g.log.wakeReclaim()
		}
	}
	if base.IsCorrupt(err) {
		g.damage(err)
	}
	return entries, err
}

// limited copies the first entries, as many as maxSize allows and at least one.
func limited(entries []*pb.Entry, maxSize uint64) []*pb.Entry {
	n, size := 0, uint64(0)
	for n < len(entries) {
		if size += entrySize(len(entries[n].Data)); size > maxSize && n > 0 {
			break
		}
		n++
	}
	return append(make([]*pb.Entry, 0, n), entries[:n]...)
}

// entrySize is about what an entry takes in a message.
func entrySize(data int) uint64 { return uint64(data) + 16 }

// maxReadRuns bounds the runs of one read.
const maxReadRuns = 64

// runsLocked copies the runs that hold [lo, hi), holds their files, and returns
// them with the end of what they cover.
func (g *Group) runsLocked(lo, hi uint64) ([]run, uint64) {
	from := sort.Search(len(g.runs), func(i int) bool { return g.runs[i].first > lo })
	base.Assert(from > 0, "%s/%s: no run holds entry %d of (%d, %d]",
		g.key.group, g.key.replica, lo, g.base.index, g.last)
	from--
	to := from + 1
	for to < len(g.runs) && g.runs[to].first < hi && to-from < maxReadRuns {
		to++
	}
	if to < len(g.runs) {
		hi = min(hi, g.runs[to].first)
	}
	runs := slices.Clone(g.runs[from:to])
	for _, r := range runs {
		r.seg.readers.Add(1)
	}
	return runs, hi
}

// damage takes the replica out of use.
func (g *Group) damage(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
		g.dropLocked()
		g.log.opts.Logger.Errorf("raft log of %s/%s: %v", g.key.group, g.key.replica, err)
	}
}

// dropLocked lets go of all entries of a replica that has an error.
func (g *Group) dropLocked() {
	g.dropTailLocked(len(g.tail))
	old := g.pinnedLocked()
	g.runs = nil
	g.repinLocked(old)
}

// Remove deletes the replica's log, durably, and waits for that. It must not be
// called from a completion callback. Afterwards the replica may be forgotten;
// appends that come later fail with ErrRemoved.
func (g *Group) Remove() error {
	done := make(chan error, 1)
	g.mu.Lock()
	if g.err == ErrRemoved {
		g.mu.Unlock()
		return nil
	}
	g.err = ErrRemoved
	g.dropLocked()
	closed := !g.log.enqueue(pending{g: g, remove: true, done: func(err error) { done <- err }})
	g.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return <-done
}

// evictLocked drops the oldest written entries from memory until at most limit
// bytes of entries are left.
func (g *Group) evictLocked(limit int64) {
	written := max(0, int64(g.stable)-int64(g.tailFirstLocked())+1)
	n, left := 0, g.tailBytes
	for n < int(written) && left > limit {
		left -= entryMemory(g.tail[n])
		n++
	}
	g.dropTailLocked(n)
}
