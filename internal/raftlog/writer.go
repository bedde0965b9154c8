package raftlog

import (
	"errors"
	"fmt"

	"weir/internal/base"
)

// maxWrite bounds the bytes that are gathered for one write and one sync; a
// single larger batch is written alone.
const maxWrite = 8 << 20

// maxSpareItems bounds the length of a queue that is kept for reuse.
const maxSpareItems = 4096

// writer is the state of the writer goroutine.
type writer struct {
	l     *Log
	maker maker

	// seg is the file that is written to, off where the next write goes.
	seg *segment
	off int64
	// next is the number of the next file, low that of the oldest one needed.
	next, low uint64

	// epoch is that of the next record. epochOpen says that records of it have
	// been encoded, the first at epochStart. unsynced says that some of them have
	// been written.
	epoch      uint64
	epochOpen  bool
	epochStart int64
	unsynced   bool
	// timed says that the sync of relaxed batches has a timer.
	timed bool
	// closed are the groups in the epochs from closedFrom to the one before this,
	// current those in this one; file are those in this file. sealed is the file
	// before until it is marked.
	closed, current, file []*Group
	closedFrom            uint64
	sealed                uint64
	// trimmed is what was written when files were last to be given back.
	trimmed written

	// buf holds the records of the next write; batches are all that is completed
	// with it, in order.
	buf     []byte
	batches []*pending
	placed  []placed
	sync    bool

	// newest and oldest end the list of groups that have a tail in memory.
	newest, oldest *Group

	spare spare
}

// written is a place behind which nothing is written.
type written struct {
	file uint64
	off  int64
}

// placed is a batch's record in buf.
type placed struct {
	g      *Group
	at     int64
	remove bool
	wrote  writtenBatch
}

// run is the writer goroutine.
func (w *writer) run() {
	defer close(w.l.stopped)
	var items []pending
	for {
		var closed bool
		items, closed = w.take(items)
		if len(items) > 0 {
			w.process(items)
		}
		if w.l.syncDue.Swap(false) {
			w.timed = false
			w.sync = w.l.relaxed.Load()
			w.flush()
		}
		w.spare.poll(w)
		if w.l.reclaim.Swap(false) {
			w.reclaimFiles(w.l.opts.KeepSegments)
		}
		if w.l.trim.Swap(false) {
			w.trim()
		}
		if len(items) > 0 {
			continue
		}
		if closed {
			w.finish()
			return
		}
		w.idle()
		<-w.l.wake
	}
}

// take swaps the queue for the slice of the former call.
func (w *writer) take(used []pending) (items []pending, closed bool) {
	if clear(used); cap(used) > maxSpareItems {
		used = nil
	}
	l := w.l
	l.mu.Lock()
	defer l.mu.Unlock()
	items, l.queue = l.queue, used[:0]
	l.queued = 0
	l.room.Broadcast()
	return items, l.closed
}

// process encodes, writes and completes items.
func (w *writer) process(items []pending) {
	for i := range items {
		p := &items[i]
		w.l.stats.batches.Add(1)
		if err := w.add(p); err != nil {
			w.fail(err)
		}
		w.batches = append(w.batches, p)
		if len(w.buf) >= maxWrite {
			w.flush()
		}
	}
	w.flush()
}

// add encodes p into buf. A batch that has nothing to store only waits for its
// turn.
func (w *writer) add(p *pending) error {
	if p.err != nil || w.l.err != nil {
		return nil
	}
	if p.remove {
		return w.addTombstone(p.g)
	}
	b := &p.batch
	conf, err := encodeConf(b)
	if err != nil {
		return fmt.Errorf("encode conf state of %s: %w", b.Group, err)
	}
	if b.HardState == nil && b.Snapshot == nil && conf == nil && len(b.Entries) == 0 {
		w.sync = w.sync || b.MustSync
		return nil
	}
	if err := w.reserve(sizeBound(b, conf)); err != nil {
		return err
	}
	wrote := writtenBatch{conf: conf}
	if hs := b.HardState; hs != nil {
		wrote.hasHard, wrote.hard = true, hardOf(hs)
	}
	if s := b.Snapshot; s != nil {
		wrote.hasSnapshot, wrote.snapshot = true, position{s.Index, s.Term}
	}
	if n := len(b.Entries); n > 0 {
		wrote.first = b.Entries[0].GetIndex()
		wrote.last = position{b.Entries[n-1].GetIndex(), b.Entries[n-1].GetTerm()}
	}
	if b.Relaxed {
		w.l.relaxed.Store(true)
	}
	w.sync = w.sync || b.MustSync || conf != nil || wrote.hasSnapshot || wrote.first > 0 && !b.Relaxed ||
		p.g.seq == 0 || wrote.hasHard && (wrote.hard.term != p.g.hard.term || wrote.hard.vote != p.g.hard.vote)
	begin := w.begin()
	w.buf = appendBatch(w.buf, b, conf)
	w.end(begin, kindBatch, p.g)
	w.placed = append(w.placed, placed{g: p.g, at: w.off + int64(begin), wrote: wrote})
	return nil
}

func (w *writer) addTombstone(g *Group) error {
	if g.seq > 0 {
		if err := w.reserve(0); err != nil {
			return err
		}
		w.end(w.begin(), kindTombstone, g)
		w.sync = true
	}
	w.placed = append(w.placed, placed{g: g, remove: true})
	return nil
}

// reserve makes sure that a record with a body of that length fits into the
// file, and opens an epoch for it. It may write what was gathered before, and go on
// to the next file.
func (w *writer) reserve(bodyLen int) error {
	need := recordSize(bodyLen)
	if !w.epochOpen {
		need += recordSize(markBound(max(len(w.closed), len(w.file))))
	}
	if at := w.off + int64(len(w.buf)); at > dataStart && at+need > w.seg.size {
		w.sync = w.sync || w.unsynced || len(w.buf) > 0
		if w.flush(); w.l.err != nil {
			return w.l.err
		}
		if err := w.rotate(); err != nil {
			return err
		}
	}
	w.openEpoch()
	return nil
}

// openEpoch starts an epoch with the mark of the one before, unless it is open.
func (w *writer) openEpoch() {
	if w.epochOpen {
		return
	}
	w.epochOpen = true
	w.epochStart = w.off + int64(len(w.buf))
	m := mark{low: w.low, from: w.closedFrom, closes: w.epoch - 1, sealed: w.sealed}
	groups := w.closed
	if w.sealed != 0 {
		groups, w.file = w.file, nil
	}
	begin := w.begin()
	w.buf = appendMark(w.buf, &m, groups)
	w.end(begin, kindMark, nil)
	w.closed, w.sealed = w.closed[:0], 0
}

// begin leaves room for a header and returns where it goes.
func (w *writer) begin() int {
	begin := len(w.buf)
	w.buf = append(w.buf, make([]byte, headerSize)...)
	return begin
}

// end completes the record at begin, which belongs to g, or is a mark.
func (w *writer) end(begin int, kind recordKind, g *Group) {
	h := header{kind: kind, at: w.off + int64(begin), epochStart: w.epochStart, epoch: w.epoch}
	if g != nil {
		g.seq++
		h.key, h.seq = g.key, g.seq
		if g.epoch != w.epoch {
			g.epoch = w.epoch
			w.current = append(w.current, g)
		}
		if g.file != w.seg.number {
			g.file = w.seg.number
			w.file = append(w.file, g)
		}
		if g.anchor == nil {
			g.anchor = w.seg
		}
	}
	h.seal(w.buf[begin:], w.seg.stamp)
	for len(w.buf)%recordAlign != 0 {
		w.buf = append(w.buf, 0)
	}
}

// flush writes buf, syncs if something in it asks for that, and completes the
// batches.
func (w *writer) flush() {
	if err := w.store(); err != nil {
		w.fail(err)
	}
	w.buf, w.placed, w.sync = w.buf[:0], w.placed[:0], false
	if w.l.relaxed.Load() && !w.timed {
		w.timed = true
		w.l.opts.Clock.AfterFunc(RelaxedDelay, w.l.wakeSync)
	}
	if cap(w.buf) > 2*maxWrite {
		w.buf = nil
	}
	err := w.l.err
	for i, p := range w.batches {
		w.batches[i] = nil
		if p.done == nil {
			continue
		}
		if p.err != nil {
			p.done(p.err)
		} else {
			p.done(err)
		}
	}
	w.batches = w.batches[:0]
}

func (w *writer) store() error {
	if w.l.err != nil {
		return nil
	}
	if len(w.buf) > 0 {
		if _, err := w.seg.file.WriteAt(w.buf, w.off); err != nil {
			return fmt.Errorf("write raft log %s: %w", w.seg.path, err)
		}
		w.l.stats.writes.Add(1)
		w.l.stats.bytes.Add(uint64(len(w.buf)))
		w.off += int64(len(w.buf))
		w.unsynced = true
	}
	for i := range w.placed {
		w.notePlaced(&w.placed[i])
	}
	w.evict()
	if w.sync && w.unsynced {
		return w.syncEpoch()
	}
	return nil
}

// syncEpoch makes the open epoch durable and closes it.
func (w *writer) syncEpoch() error {
	if err := w.seg.file.SyncData(); err != nil {
		return fmt.Errorf("sync raft log %s: %w", w.seg.path, err)
	}
	w.l.stats.syncs.Add(1)
	w.unsynced, w.epochOpen = false, false
	w.l.relaxed.Store(false)
	w.closedFrom = w.epoch
	w.epoch++
	w.closed, w.current = w.current, w.closed[:0]
	return nil
}

func (w *writer) notePlaced(p *placed) {
	g := p.g
	if p.remove {
		w.l.groupsMu.Lock()
		delete(w.l.groups, g.key)
		w.l.removed[g.key] = struct{}{}
		w.l.groupsMu.Unlock()
		w.unlink(g)
		return
	}
	g.mu.Lock()
	if g.err == nil {
		g.wroteLocked(w.seg, p.at, &p.wrote)
		g.evictLocked(w.l.opts.GroupCacheBytes)
	}
	g.mu.Unlock()
	w.touch(g)
}

// fail makes the log unusable. What is in buf is not written any more.
func (w *writer) fail(err error) {
	l := w.l
	l.mu.Lock()
	first := l.err == nil
	if first {
		l.err = err
	}
	l.mu.Unlock()
	if first {
		l.opts.Logger.Errorf("raft log failed, nothing can be stored any more: %v", err)
		close(l.failed)
	}
}

// rotate goes on to the next file. Nothing is gathered or unsynced.
func (w *writer) rotate() error {
	base.Assert(len(w.buf) == 0 && !w.unsynced && !w.epochOpen, "rotation within epoch %d", w.epoch)
	next, err := w.spare.take(w)
	if err != nil {
		return err
	}
	w.sealed = w.seg.number
	w.seg, w.off = next, dataStart
	w.l.segmentsMu.Lock()
	w.l.segments = append(w.l.segments, next)
	w.l.segmentsMu.Unlock()
	w.l.reclaim.Store(true)
	return nil
}

// idle marks the last epoch as synced, so that damage in it can be told from a
// torn tail.
func (w *writer) idle() {
	if len(w.closed) > 0 && !w.epochOpen && w.l.err == nil && w.fits(len(w.closed)) {
		w.openEpoch()
		w.flush()
	}
}

// fits says whether a mark of that many groups fits into the file.
func (w *writer) fits(groups int) bool {
	return w.off+recordSize(markBound(groups)) <= w.seg.size
}

// finish ends the log for good.
func (w *writer) finish() {
	w.idle()
	if w.unsynced && w.l.err == nil {
		if err := w.syncEpoch(); err != nil {
			w.fail(err)
		}
	}
	if err := w.spare.close(w); err != nil {
		w.fail(errors.Join(errors.New("close next log file"), err))
	}
}
