package msgstore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

// view is one side's sight of a store. It is valid while mu is held or, for the
// apply side, until the next change.
type view struct {
	s           *Store
	apply       bool
	first, last uint64 // sequences outside are not there
	area        *openArea
	index       pebble.Reader
	number      uint32 // of the store, in the keys of index
}

func (s *Store) applyView() view {
	return view{s: s, apply: true, first: s.cur.state.FirstSeq, last: s.cur.state.LastSeq, area: s.area, index: s.db.p, number: s.number}
}

// readView needs mu.
func (s *Store) readView() view {
	return view{s: s, first: s.committed.state.FirstSeq, last: s.committed.state.LastSeq, area: s.open, index: s.db.p, number: s.number}
}

// scanView is for scans of the subject index with a filter, which may take long: it
// is valid without mu until done is called, but sees only the index, and of the
// subjects only those that match.
func (r Reader) scanView(f subject.Filter) (v view, done func() error, err error) {
	if v, err = r.view(); err != nil {
		return v, nil, err
	}
	unlock := func() error { r.s.mu.RUnlock(); return nil }
	if literals(f) { // cheap enough to be done with the lock
		return v, unlock, nil
	}
	defer unlock()
	area := newOpenArea(v.area.base)
	for name, e := range v.area.subjects {
		if f.Match(name) {
			area.subjects[name] = &entry{subject: name, total: e.total, open: slices.Clone(v.visibleOpen(e))}
		}
	}
	snapshot := r.s.db.p.NewSnapshot()
	v.area, v.index = area, snapshot
	return v, snapshot.Close, nil
}

// isPending tells whether the view sees a message as deleted that the tables
// still have.
func (v view) isPending(seq uint64) bool {
	if !v.apply {
		return false
	}
	_, ok := v.s.pending[seq]
	return ok
}

// place is where a record is.
type place struct {
	seg  *segment
	pos  int
	seq  uint64
	off  int64
	size int
}

func placeAt(g *segment, t *table, pos int) place {
	return place{seg: g, pos: pos, seq: t.seq(g.base, pos), off: int64(t.offs[pos]), size: t.size(pos)}
}

// segmentFor is the index of the first segment whose last sequence is at least
// seq.
func (s *Store) segmentFor(seq uint64) int {
	return sort.Search(len(s.segs), func(i int) bool { return s.segs[i].last >= seq })
}

// nextLive is the first live message from seq on.
func (v view) nextLive(seq uint64) (place, bool, error) {
	seq = max(seq, v.first)
	for i := v.s.segmentFor(seq); i < len(v.s.segs); i++ {
		g := v.s.segs[i]
		if g.live() == 0 {
			continue
		}
		t, err := v.s.loadTable(g)
		if err != nil {
			return place{}, false, err
		}
		for pos := t.nextLive(t.seek(g.base, seq)); pos < t.len(); pos = t.nextLive(pos + 1) {
			at := placeAt(g, t, pos)
			if at.seq > v.last {
				return place{}, false, nil
			}
			if !v.isPending(at.seq) {
				return at, true, nil
			}
		}
	}
	return place{}, false, nil
}

// prevLive is the last live message up to seq.
func (v view) prevLive(seq uint64) (place, bool, error) {
	seq = min(seq, v.last)
	i := min(v.s.segmentFor(seq), len(v.s.segs)-1)
	for ; i >= 0; i-- {
		g := v.s.segs[i]
		if g.live() == 0 || g.base > seq {
			continue
		}
		t, err := v.s.loadTable(g)
		if err != nil {
			return place{}, false, err
		}
		pos, exact := t.find(g.base, seq)
		if !exact {
			pos--
		}
		for pos = t.prevLive(pos); pos >= 0; pos = t.prevLive(pos - 1) {
			at := placeAt(g, t, pos)
			if at.seq < v.first {
				return place{}, false, nil
			}
			if !v.isPending(at.seq) {
				return at, true, nil
			}
		}
	}
	return place{}, false, nil
}

// find is where the message under seq is, if it is there.
func (v view) find(seq uint64) (place, bool, error) {
	if seq < v.first || seq > v.last || v.isPending(seq) {
		return place{}, false, nil
	}
	i := v.s.segmentFor(seq)
	if i == len(v.s.segs) || v.s.segs[i].base > seq {
		return place{}, false, nil
	}
	g := v.s.segs[i]
	if at, ok, done, err := v.findInFile(g, seq); done {
		return at, ok, err
	}
	t, err := v.s.loadTable(g)
	if err != nil {
		return place{}, false, err
	}
	pos, ok := t.find(g.base, seq)
	if !ok || t.isDead(pos) {
		return place{}, false, nil
	}
	return placeAt(g, t, pos), true, nil
}

// countAll counts the live messages from seq on. Segments wholly above seq cost
// nothing but an addition.
func (v view) countAll(seq uint64) (n uint64, err error) {
	seq = max(seq, v.first)
	if v.apply {
		for pending := range v.s.pending {
			if pending >= seq {
				n--
			}
		}
	}
	for i := v.s.segmentFor(seq); i < len(v.s.segs); i++ {
		g := v.s.segs[i]
		if seq <= g.base && g.last <= v.last {
			n += uint64(g.live())
			continue
		}
		t, err := v.s.loadTable(g)
		if err != nil {
			return 0, err
		}
		from, to := t.seek(g.base, seq), t.len()
		if g.last > v.last {
			to = t.seek(g.base, v.last+1)
		}
		if from < to {
			n += uint64(t.countLive(from, to))
		}
	}
	return n, nil
}

// seqAtTime is the first sequence whose message has at least the given time, in unix ns; last+1
// when there is none. Times are taken to ascend.
func (v view) seqAtTime(time int64) (uint64, error) {
	segs := v.s.segs
	i := sort.Search(len(segs), func(i int) bool { return segs[i].lastTime >= time })
	for ; i < len(segs); i++ {
		g := segs[i]
		t, err := v.s.loadTable(g)
		if err != nil {
			return 0, err
		}
		pos, err := v.positionAtTime(g, t, time)
		if err != nil {
			return 0, err
		}
		if pos == t.len() {
			continue
		}
		at, ok, err := v.nextLive(t.seq(g.base, pos))
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		return at.seq, nil
	}
	return v.last + 1, nil
}

func (v view) positionAtTime(g *segment, t *table, time int64) (int, error) {
	h, err := v.s.db.files.acquire(v.s.file(g))
	if err != nil {
		return 0, err
	}
	defer v.s.db.files.release(h)
	var failed error
	pos := sort.Search(t.len(), func(pos int) bool {
		if failed != nil {
			return true
		}
		if t.seq(g.base, pos) > v.last {
			return true
		}
		rec, err := v.s.readHead(h, placeAt(g, t, pos))
		if err != nil {
			failed = err
			return true
		}
		return rec.time >= time
	})
	return pos, failed
}

// headGuess is how much of a record is read to get its head in one go.
const headGuess = 128

// readHead reads the head of a record. Records that are still in the buffer of
// the apply side are taken from there, so h may be nil for them.
func (s *Store) readHead(h *handle, at place) (record, error) {
	want := min(at.size, headGuess)
	for {
		b, err := s.readBytes(h, at, want)
		if err != nil {
			return record{}, err
		}
		rec, need, err := parseHead(at.seg.format, b)
		if err == nil && need > at.size {
			err = base.Corruptf("record does not fit its place")
		}
		if err != nil {
			return record{}, s.damaged(at, err)
		}
		if need == 0 {
			return rec, s.checkPlace(rec, at)
		}
		want = need
	}
}

func (s *Store) checkPlace(rec record, at place) error {
	if rec.seq != at.seq || rec.size != at.size {
		return s.damaged(at, base.Corruptf("record %d of %d bytes found", rec.seq, rec.size))
	}
	return nil
}

// damaged says where an error was met.
func (s *Store) damaged(at place, err error) error {
	return fmt.Errorf("store %s, segment %d, message %d at offset %d: %w", s.id, at.seg.id, at.seq, at.off, err)
}

func (s *Store) readBytes(h *handle, at place, n int) ([]byte, error) {
	if h == nil {
		off := at.off - s.bufStart
		return s.buf[off : off+int64(n)], nil
	}
	b := make([]byte, n)
	return b, s.db.files.read(h, b, at.off)
}

// buffered tells whether the apply side has the record in its buffer only.
func (v view) buffered(at place) bool {
	return v.apply && at.seg == v.s.tail && at.off >= v.s.bufStart
}

// handleFor opens the file of a record; nil when the record is buffered.
func (v view) handleFor(at place) (*handle, error) {
	if v.buffered(at) {
		return nil, nil
	}
	return v.s.db.files.acquire(v.s.file(at.seg))
}

func (s *Store) releaseHandle(h *handle) {
	if h != nil {
		s.db.files.release(h)
	}
}

// loadTable makes sure that the segment's table is in memory. The caller holds mu
// or is the apply side.
func (s *Store) loadTable(g *segment) (*table, error) {
	if t := g.tab.Load(); t != nil {
		return t, nil
	}
	g.loading.Lock()
	defer g.loading.Unlock()
	if t := g.tab.Load(); t != nil {
		return t, nil
	}
	t, err := s.tableFromFile(g)
	if err != nil {
		return nil, err
	}
	if err := s.markDead(g, t); err != nil {
		return nil, err
	}
	g.tab.Store(t)
	s.db.tables.add(s, g, t)
	return t, nil
}

// tableFromFile is the table that the file has or, if there is none or it is
// damaged, what a walk over the records gives.
func (s *Store) tableFromFile(g *segment) (*table, error) {
	if g.tabled == noTable {
		return s.scanSegment(g)
	}
	t, err := s.readTable(g)
	if base.IsCorrupt(err) {
		s.db.opts.Logger.Warnf("%v; it is made anew", err)
		return s.scanSegment(g)
	}
	return t, err
}

const scanWindow = 256 << 10

// scanSegment builds a segment's table from its file.
func (s *Store) scanSegment(g *segment) (*table, error) {
	t := &table{offs: make([]uint32, 1, g.count+1)}
	t.offs[0] = segmentHead
	err := s.walkHeads(s.file(g), g, func(off int64, rec record) error {
		if rec.seq < g.base || t.len() > 0 && rec.seq <= t.seq(g.base, t.len()-1) {
			return base.Corruptf("sequence %d is out of order", rec.seq)
		}
		t.push(g.base, rec.seq, rec.size, rec.headerLen > 0)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if t.len() != g.count {
		return nil, base.Corruptf("store %s: segment %d has %d records, %d are known", s.id, g.id, t.len(), g.count)
	}
	return t, nil
}

// walkHeads visits the heads of a segment's records; of their bodies as much as
// has been read with them.
func (s *Store) walkHeads(key fileKey, g *segment, visit func(off int64, rec record) error) error {
	return s.walkRecords(key, g, false, visit)
}

// walk visits the whole records of a segment, whose bodies are not checked.
func (s *Store) walk(key fileKey, g *segment, visit func(off int64, rec record) error) error {
	return s.walkRecords(key, g, true, visit)
}

func (s *Store) walkRecords(key fileKey, g *segment, whole bool, visit func(off int64, rec record) error) error {
	h, err := s.db.files.acquire(key)
	if err != nil {
		return err
	}
	defer s.db.files.release(h)
	buf := make([]byte, 0, min(scanWindow, g.size-segmentHead))
	start := int64(segmentHead) // offset of buf in the file
	for off := start; off < g.size; {
		at := place{seg: g, off: off}
		rec, need, err := parseHead(g.format, buf[min(off-start, int64(len(buf))):])
		if err == nil && need == 0 && whole && rec.size > len(rec.b) {
			need = rec.size
		}
		if err == nil && need > 0 {
			n := min(max(int64(need), scanWindow), g.size-off)
			if n < int64(need) {
				return s.damaged(at, errRecordCut)
			}
			buf, start = slices.Grow(buf[:0], int(n))[:n], off
			if err := s.db.files.read(h, buf, off); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			err = visit(off, rec)
		}
		if err != nil {
			return s.damaged(at, err)
		}
		off += int64(rec.size)
	}
	return nil
}

// markDead sets the dead bits of a table from the committed state.
func (s *Store) markDead(g *segment, t *table) error {
	dead := t.seek(g.base, s.committed.state.FirstSeq)
	for pos := range dead {
		t.kill(pos)
	}
	if g.marked {
		prefix := appendPrefix(nil, s.number, kindDead)
		lower := binary.BigEndian.AppendUint64(slices.Clone(prefix), g.base)
		upper := binary.BigEndian.AppendUint64(slices.Clone(prefix), g.last+1)
		err := s.db.scanRange(s.db.p, lower, upper, func(key, _ []byte) (bool, error) {
			seq, _ := uintOfKey(prefix, key)
			pos, ok := t.find(g.base, seq)
			if ok && !t.isDead(pos) {
				t.kill(pos)
				dead++
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	if dead != g.dead {
		return base.Corruptf("store %s: segment %d has %d deleted records, %d are known", s.id, g.id, dead, g.dead)
	}
	return nil
}

// uintOfKey is the number that a key has after a prefix.
func uintOfKey(prefix, key []byte) (uint64, bool) {
	if len(key) != len(prefix)+8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[len(prefix):]), true
}

// withDeleted fills in what follows from the rest.
func withDeleted(st msg.State) msg.State {
	if st.Msgs > 0 {
		st.NumDeleted = int(st.LastSeq - st.FirstSeq + 1 - st.Msgs)
	}
	return st
}
