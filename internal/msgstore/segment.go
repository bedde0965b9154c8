package msgstore

import (
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"weir/internal/base"
)

// segmentMagic starts every segment file, followed by zeros up to segmentHead.
const (
	segmentMagic = "WEIRSEG1"
	segmentHead  = 16
	maxRecord    = 1 << 30
)

// segment is one append-only file of records in the order of their sequences.
// Counters are guarded by the store's mu and include uncommitted changes of
// appends but not of deletes.
type segment struct {
	id        uint64
	base      uint64 // sequence of the first record
	last      uint64 // sequence of the last record
	firstTime int64
	lastTime  int64
	size      int64 // bytes of the file that count; what is behind them is to be overwritten
	count     int   // records in the file
	dead      int   // of them deleted
	deadBytes int64
	marked    bool   // some kindDead keys fall into [base, last]
	dirty     bool   // the descriptor in Pebble is to be written at the next Commit
	tabled    byte   // kind of the table that the file has behind the records
	format    format // of the records

	// tab is nil while the table is not in memory. It is dropped only with the
	// store's mu held for writing, and never the tail's.
	tab     atomic.Pointer[table]
	loading sync.Mutex
}

func (g *segment) live() int { return g.count - g.dead }

func (g *segment) liveBytes() int64 { return g.size - segmentHead - g.deadBytes }

// deadShare is the part of the records' bytes that is dead.
func (g *segment) deadShare() float64 { return float64(g.deadBytes) / float64(g.size-segmentHead) }

func (g *segment) encode(dst []byte) []byte {
	marked := uint64(0)
	if g.marked {
		marked = 1
	}
	return appendUints(append(dst, metaVersion), g.base, g.last, uint64(g.firstTime), uint64(g.lastTime),
		uint64(g.size), uint64(g.count), uint64(g.dead), uint64(g.deadBytes), marked, uint64(g.tabled), uint64(g.format))
}

func decodeSegment(id uint64, b []byte) (*segment, error) {
	d := decodeRecord(b)
	g := &segment{id: id, base: d.Uvarint(), last: d.Uvarint(), firstTime: int64(d.Uvarint()), lastTime: int64(d.Uvarint())}
	g.size, g.count, g.dead, g.deadBytes = int64(d.Uvarint()), int(d.Uvarint()), int(d.Uvarint()), int64(d.Uvarint())
	g.marked = d.Uvarint() == 1
	if len(d.Rest) > 0 { // segments had no tables at first
		g.tabled = byte(d.Uvarint())
	}
	g.format = wideFormat
	if len(d.Rest) > 0 { // there was one format at first
		g.format = format(d.Uvarint())
	}
	if d.Bad || g.tabled > sparseHeaders || g.format < wideFormat || g.format > compactFormat || g.size < segmentHead || g.last < g.base || g.dead > g.count {
		return nil, base.Corruptf("descriptor of segment %d: %d bytes do not decode", id, len(b))
	}
	return g, nil
}

// table tells where the records of a segment are, by position.
type table struct {
	seqs []uint32 // sequence minus base by position; nil when it is the position
	offs []uint32 // offset in the file by position, and the end of the last
	dead []uint64 // bitmap by position
	hdrs []uint64 // bitmap by position: the record has a header; nil when that is not known
}

func newTable() *table { return &table{offs: []uint32{segmentHead}} }

func (t *table) len() int { return len(t.offs) - 1 }

func (t *table) bytes() int64 {
	return int64(4*cap(t.seqs) + 4*cap(t.offs) + 8*cap(t.dead) + 8*cap(t.hdrs))
}

// fits tells whether a record of n bytes can follow in the table of g.
func (t *table) fits(g *segment, seq uint64, n int) bool {
	return seq-g.base < math.MaxUint32 && g.size+int64(n) < math.MaxUint32
}

// push adds a record of n bytes, with a header or without.
func (t *table) push(base, seq uint64, n int, header bool) {
	pos := t.len()
	rel := uint32(seq - base)
	if t.seqs == nil && rel != uint32(pos) {
		t.seqs = make([]uint32, pos, pos+16)
		for i := range t.seqs {
			t.seqs[i] = uint32(i)
		}
	}
	if t.seqs != nil {
		t.seqs = append(t.seqs, rel)
	}
	t.offs = append(t.offs, t.offs[pos]+uint32(n))
	if pos/64 == len(t.dead) {
		t.dead = append(t.dead, 0)
		if pos == 0 || t.hdrs != nil {
			t.hdrs = append(t.hdrs, 0)
		}
	}
	if header && t.hdrs != nil {
		t.hdrs[pos/64] |= 1 << (pos % 64)
	}
}

// seek is the first position whose sequence is at least seq.
func (t *table) seek(base, seq uint64) int {
	if seq <= base {
		return 0
	}
	rel := seq - base
	if t.seqs == nil {
		return int(min(rel, uint64(t.len())))
	}
	if rel > math.MaxUint32 {
		return t.len()
	}
	pos, _ := slices.BinarySearch(t.seqs, uint32(rel))
	return pos
}

func (t *table) seq(base uint64, pos int) uint64 {
	if t.seqs == nil {
		return base + uint64(pos)
	}
	return base + uint64(t.seqs[pos])
}

// find is the position of seq.
func (t *table) find(base, seq uint64) (pos int, ok bool) {
	pos = t.seek(base, seq)
	return pos, pos < t.len() && t.seq(base, pos) == seq
}

func (t *table) isDead(pos int) bool { return t.dead[pos/64]&(1<<(pos%64)) != 0 }
func (t *table) kill(pos int)        { t.dead[pos/64] |= 1 << (pos % 64) }
func (t *table) header(pos int) bool { return t.hdrs[pos/64]&(1<<(pos%64)) != 0 }
func (t *table) size(pos int) int    { return int(t.offs[pos+1] - t.offs[pos]) }

// nextLive is the first live position from pos; len() when there is none.
func (t *table) nextLive(pos int) int {
	for pos < t.len() {
		word := ^t.dead[pos/64] >> (pos % 64)
		if word != 0 {
			return min(pos+bits.TrailingZeros64(word), t.len())
		}
		pos = (pos/64 + 1) * 64
	}
	return t.len()
}

// prevLive is the last live position up to pos; -1 when there is none.
func (t *table) prevLive(pos int) int {
	for pos >= 0 {
		word := ^t.dead[pos/64] << (63 - pos%64)
		if word != 0 {
			return pos - bits.LeadingZeros64(word)
		}
		pos = pos/64*64 - 1
	}
	return -1
}

// countLive counts the live positions in [from, to).
func (t *table) countLive(from, to int) int {
	n := 0
	for i := from / 64; i*64 < to; i++ {
		word := ^t.dead[i]
		if i == from/64 {
			word &= ^uint64(0) << (from % 64)
		}
		if to < (i+1)*64 {
			word &= 1<<(to%64) - 1
		}
		n += bits.OnesCount64(word)
	}
	return n
}
