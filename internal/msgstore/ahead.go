package msgstore

import "sync/atomic"

// readAhead keeps pieces of segment files for those who read on where a read ended,
// or read the same again: a runner that delivers one message after the other, and
// many runners that deliver the same one. There are few slots for all stores of a DB;
// who finds another's piece in its slot reads the file.
type readAhead [8]aheadSlot

type aheadSlot struct {
	piece atomic.Pointer[piece]
	// begun and ended are where the last read was.
	begun, ended atomic.Int64
}

// piece is bytes of a segment file from an offset on, all of them of committed
// records. It is never changed, nor are records in their place, but for erased ones,
// which are no longer looked for.
type piece struct {
	seg *segment
	off int64
	b   []byte
}

// aheadBytes is the size of a piece.
const aheadBytes = 64 << 10

func (a *readAhead) slot(store uint32, g *segment) *aheadSlot {
	return &a[(uint64(store)+g.id)%uint64(len(a))]
}

// held returns the bytes that are there from a record on, at least the whole record;
// nil when it is not there.
func (a *aheadSlot) held(at place) []byte {
	p := a.piece.Load()
	if p == nil || p.seg != at.seg || at.off < p.off || at.off+int64(at.size) > p.off+int64(len(p.b)) {
		return nil
	}
	a.note(at)
	return p.b[at.off-p.off:]
}

// note remembers a read and tells whether it goes on from the last one, or repeats it.
func (a *aheadSlot) note(at place) (follows bool) {
	begun, ended := a.begun.Swap(at.off), a.ended.Swap(at.off+int64(at.size))
	return at.off == begun || at.off == ended
}

// committedEnd is the offset behind the last record of a segment that the view sees;
// 0 if that is not known without reading.
func (v view) committedEnd(g *segment) int64 {
	t := g.tab.Load()
	if t == nil {
		return 0
	}
	return int64(t.offs[t.seek(g.base, v.last+1)])
}

// readRecord fills b with the record at a place, whose file is open. What follows it,
// up to end, is read with it if that is likely to be wanted.
func (s *Store) readRecord(slot *aheadSlot, h *handle, at place, end int64, b []byte) error {
	if !slot.note(at) || end-at.off <= int64(at.size) {
		return s.db.files.read(h, b, at.off)
	}
	p := &piece{at.seg, at.off, make([]byte, max(min(end-at.off, aheadBytes), int64(at.size)))}
	if err := s.db.files.read(h, p.b, at.off); err != nil {
		return err
	}
	slot.piece.Store(p)
	copy(b, p.b)
	return nil
}
