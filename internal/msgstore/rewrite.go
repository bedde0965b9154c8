package msgstore

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"weir/internal/base"
)

// janitor gives space back in the background: it rewrites segments with many
// dead records and makes a checkpoint when much is waiting to be unlinked. One
// goroutine per DB; stop ends it.
type janitor struct {
	db   *DB
	kick chan struct{}
	quit chan struct{}
	done chan struct{}

	mu     sync.Mutex
	stores map[*Store]struct{}
}

func startJanitor(db *DB) *janitor {
	j := &janitor{
		db: db, kick: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		stores: map[*Store]struct{}{},
	}
	go j.run()
	return j
}

func (j *janitor) stop() {
	close(j.quit)
	<-j.done
}

// rewrite asks for the store to be looked at.
func (j *janitor) rewrite(s *Store) {
	j.mu.Lock()
	j.stores[s] = struct{}{}
	j.mu.Unlock()
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

func (j *janitor) run() {
	defer close(j.done)
	for {
		select {
		case <-j.quit:
			return
		case <-j.kick:
		}
		for s := j.next(); s != nil; s = j.next() {
			j.clean(s)
		}
	}
}

// next takes a store from those that asked; nil when there is none or the janitor
// is to stop.
func (j *janitor) next() *Store {
	select {
	case <-j.quit:
		return nil
	default:
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for s := range j.stores {
		delete(j.stores, s)
		return s
	}
	return nil
}

func (j *janitor) clean(s *Store) {
	more, err := s.rewriteSome()
	if err == nil && j.db.garbage.large() {
		_, err = j.db.Checkpoint()
	}
	switch {
	case errors.Is(err, ErrClosed):
	case err != nil:
		// The damage, if it is one, shows to whoever reads the message.
		j.db.opts.Logger.Warnf("giving back space of store %s: %v", s.id, err)
	case more:
		j.rewrite(s)
	}
}

// rewriteSome copies the live records of some neighbouring segments into a new one
// and puts it in their place. more tells whether there may be more to do.
func (s *Store) rewriteSome() (more bool, err error) {
	if s.closed.Load() {
		return false, ErrClosed
	}
	s.mu.RLock()
	number, run := s.number, s.rewritable()
	s.mu.RUnlock()
	if len(run) == 0 {
		return false, nil
	}
	fresh, err := s.copyLive(number, run)
	if err != nil {
		return false, err
	}
	return true, s.replace(number, run, fresh)
}

// thresholds say when a store is rewritten: when its dead records take more than one
// part in wasteParts of what its live ones do. The segment with the largest dead share
// comes first, so that what is copied is little for the space that comes back. Segments
// with less than minShare are left alone.
type thresholds struct {
	wasteParts int64
	minShare   float64
}

// While messages come and go, more is left dead than when the store is calm: what dies
// together is copied around once.
var (
	whileBusy = thresholds{wasteParts: 6, minShare: 0.1}
	whenCalm  = thresholds{wasteParts: 12, minShare: 0.04}
)

// Tidy has stores rewritten further whose messages are the same as at the call before.
func (db *DB) Tidy() {
	db.mu.Lock()
	stores := slices.Collect(maps.Values(db.open))
	db.mu.Unlock()
	for _, s := range stores {
		if s.settle() {
			db.janitor.rewrite(s)
		}
	}
}

// settle notes the state for the next call, and tells whether there is something to do
// about a calm store.
func (s *Store) settle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calm = s.settled == s.committed.state
	s.settled = s.committed.state
	return s.calm && !s.closed.Load() && len(s.rewritable()) > 0
}

// rewritable picks neighbouring segments to be rewritten into one; none if there is
// little to be gained. The tail is left alone, and so is what an uncommitted change
// has touched.
func (s *Store) rewritable() []*segment {
	limits := whileBusy
	if s.calm && s.settled == s.committed.state {
		limits = whenCalm
	}
	var live, dead int64
	worst := -1
	for i, g := range s.segs[:max(len(s.segs)-1, 0)] {
		live += g.liveBytes()
		dead += g.deadBytes
		if !g.dirty && g.deadShare() >= limits.minShare && (worst < 0 || g.deadShare() > s.segs[worst].deadShare()) {
			worst = i
		}
	}
	if worst < 0 || dead*limits.wasteParts <= live {
		return nil
	}
	first, end, bytes := worst, worst+1, s.segs[worst].liveBytes()
	joins := func(g *segment) bool {
		return !g.dirty && bytes+g.liveBytes() <= s.db.opts.SegmentSize &&
			(g.deadShare() >= limits.minShare || g.liveBytes() <= s.db.opts.SegmentSize/4)
	}
	for first > 0 && joins(s.segs[first-1]) && s.segs[end-1].last-s.segs[first-1].base < 1<<31 {
		first--
		bytes += s.segs[first].liveBytes()
	}
	for end < len(s.segs)-1 && joins(s.segs[end]) && s.segs[end].last-s.segs[first].base < 1<<31 {
		bytes += s.segs[end].liveBytes()
		end++
	}
	return slices.Clone(s.segs[first:end])
}

// copyLive writes a segment file with the records of the run that are live now.
func (s *Store) copyLive(number uint32, run []*segment) (*segment, error) {
	c := copier{s: s, number: number, t: newTable()}
	c.fresh = &segment{id: s.nextFile(), size: segmentHead, format: compactFormat}
	c.fresh.tab.Store(c.t)
	c.start = c.fresh.size
	key := fileKey{number, c.fresh.id}
	var err error
	if c.h, err = s.createFile(key); err != nil {
		return nil, err
	}
	defer s.db.files.release(c.h)
	for _, g := range run {
		if err == nil {
			err = c.copy(g)
		}
	}
	if err == nil {
		err = c.flush()
	}
	if err == nil {
		err = s.writeTable(c.h, c.fresh, c.t)
	}
	if err != nil {
		s.db.garbage.addFile(key, 0)
		return nil, err
	}
	return c.fresh, nil
}

// copier writes records into a new segment.
type copier struct {
	s      *Store
	number uint32 // of the store
	fresh  *segment
	t      *table // of fresh
	h      *handle
	buf    []byte // records that are not in the file yet
	start  int64  // offset of buf in the file
}

// copy takes over the live records of a segment.
func (c *copier) copy(g *segment) error {
	dead, err := c.s.deadNow(g)
	if err != nil {
		return err
	}
	pos := -1
	return c.s.walk(fileKey{c.number, g.id}, g, func(_ int64, rec record) error {
		if pos++; dead.isDead(pos) {
			return nil
		}
		if err := rec.checkBody(); err != nil {
			return err
		}
		rec, err := rec.renewed()
		if err != nil {
			return err
		}
		c.fresh.add(c.t, rec)
		if c.buf = append(c.buf, rec.bytes()...); len(c.buf) < scanWindow {
			return nil
		}
		return c.flush()
	})
}

func (c *copier) flush() error {
	err := c.s.db.files.writeTo(c.h, c.buf, c.start)
	c.start, c.buf = c.fresh.size, c.buf[:0]
	return err
}

// deadNow is a copy of the dead bits of a segment.
func (s *Store) deadNow(g *segment) (*table, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, err := s.loadTable(g)
	if err != nil {
		return nil, err
	}
	return &table{dead: append([]uint64{}, t.dead...)}, nil
}

// add counts a record as the segment's next.
func (g *segment) add(t *table, rec record) {
	if g.count == 0 {
		g.base, g.firstTime = rec.seq, rec.time
	}
	t.push(g.base, rec.seq, rec.size, rec.headerLen > 0)
	g.last, g.lastTime = rec.seq, rec.time
	g.size += int64(rec.size)
	g.count++
}

// replace puts a segment in the place of a run of others, unless they changed in
// a way that makes it useless. Nothing that can be seen changes.
func (s *Store) replace(number uint32, run []*segment, fresh *segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.indexOfRun(run)
	if s.closed.Load() || s.number != number || at < 0 || fresh.count == 0 {
		s.db.garbage.addFile(fileKey{number, fresh.id}, fresh.size)
		return nil
	}
	b := s.db.p.NewBatch()
	defer b.Close()
	lower := appendUintKey(nil, number, kindDead, run[0].base)
	upper := appendUintKey(nil, number, kindDead, run[len(run)-1].last+1)
	err := b.DeleteRange(lower, upper, nil)
	for _, g := range run {
		err = errors.Join(err, b.Delete(appendUintKey(nil, number, kindSegment, g.id), nil))
	}
	if err = errors.Join(err, s.carryDeletes(b, run, fresh)); err != nil {
		return err
	}
	if err := b.Set(appendUintKey(nil, number, kindSegment, fresh.id), fresh.encode(nil), nil); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return indexError("replacing segments", err)
	}
	for _, g := range run {
		s.db.garbage.addFile(fileKey{number, g.id}, g.size)
	}
	s.segs = append(append(append([]*segment{}, s.segs[:at]...), fresh), s.segs[at+len(run):]...)
	s.db.tables.add(s, fresh, fresh.tab.Load())
	return nil
}

// indexOfRun is where the run is among the segments; -1 when it is not any more.
func (s *Store) indexOfRun(run []*segment) int {
	for i, g := range s.segs {
		if g != run[0] {
			continue
		}
		for k := range run {
			if i+k >= len(s.segs)-1 || s.segs[i+k] != run[k] {
				return -1
			}
		}
		return i
	}
	return -1
}

// carryDeletes marks those messages dead in fresh that were deleted while it was
// written.
func (s *Store) carryDeletes(b *pebble.Batch, run []*segment, fresh *segment) error {
	t := fresh.tab.Load()
	for _, g := range run {
		old, err := s.loadTable(g)
		if err != nil {
			return err
		}
		for pos := t.seek(fresh.base, g.base); pos < t.len() && t.seq(fresh.base, pos) <= g.last; pos++ {
			seq := t.seq(fresh.base, pos)
			was, ok := old.find(g.base, seq)
			base.Assert(ok, "message %d was copied from segment %d, which has it not", seq, g.id)
			if !old.isDead(was) {
				continue
			}
			t.kill(pos)
			fresh.dead++
			fresh.deadBytes += int64(t.size(pos))
			if seq < s.committed.state.FirstSeq {
				continue
			}
			fresh.marked = true
			if err := b.Set(appendUintKey(nil, s.number, kindDead, seq), nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
