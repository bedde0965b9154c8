package msgstore

import (
	"encoding/binary"
	"hash/crc32"

	"weir/internal/base"
)

// The table of a segment that is complete stands in its file behind the records:
// offsets by position and the end of the last, then sequences minus base by
// position if these are not the positions, then the CRC32C of all that; all uint32,
// little endian. It has no dead bits: these are in Pebble. The kinds that say which
// records have a header have a bitmap of them, in words of 32, before the checksum.
const (
	noTable       = 0
	denseTable    = 1 // without sequences
	sparseTable   = 2
	denseHeaders  = 3
	sparseHeaders = 4
)

func (t *table) kind() byte {
	kind := byte(denseTable)
	if t.seqs != nil {
		kind = sparseTable
	}
	if t.hdrs != nil {
		kind += denseHeaders - denseTable
	}
	return kind
}

func isSparse(kind byte) bool { return kind == sparseTable || kind == sparseHeaders }

func headerWords(count int) int { return (count + 31) / 32 }

func (t *table) encode() []byte {
	b := make([]byte, 0, 4*(len(t.offs)+len(t.seqs)+1))
	for _, off := range t.offs {
		b = binary.LittleEndian.AppendUint32(b, off)
	}
	for _, seq := range t.seqs {
		b = binary.LittleEndian.AppendUint32(b, seq)
	}
	if t.hdrs != nil {
		for i := range headerWords(t.len()) {
			b = binary.LittleEndian.AppendUint32(b, uint32(t.hdrs[i/2]>>(i%2*32)))
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// tableSize is the length of the table in the segment's file.
func (g *segment) tableSize() int {
	words := g.count + 2
	switch g.tabled {
	case noTable:
		return 0
	case sparseTable, sparseHeaders:
		words += g.count
	}
	if g.tabled >= denseHeaders {
		words += headerWords(g.count)
	}
	return 4 * words
}

// writeTable puts the table of a segment that gets no more records behind them.
// The caller has the descriptor written after.
func (s *Store) writeTable(h *handle, g *segment, t *table) error {
	if err := s.db.files.writeTo(h, t.encode(), g.size); err != nil {
		return err
	}
	g.tabled = t.kind()
	return nil
}

// readTable reads the table from the segment's file, without dead bits.
func (s *Store) readTable(g *segment) (*table, error) {
	h, err := s.db.files.acquire(s.file(g))
	if err != nil {
		return nil, err
	}
	defer s.db.files.release(h)
	b := make([]byte, g.tableSize())
	if err := s.db.files.read(h, b, g.size); err != nil {
		return nil, err
	}
	n := len(b) - 4
	if crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return nil, base.Corruptf("store %s, table of segment %d: checksum differs", s.id, g.id)
	}
	t := &table{offs: make([]uint32, g.count+1), dead: make([]uint64, (g.count+63)/64)}
	for i := range t.offs {
		t.offs[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	b = b[4*len(t.offs):]
	if isSparse(g.tabled) {
		t.seqs = make([]uint32, g.count)
		for i := range t.seqs {
			t.seqs[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
		b = b[4*len(t.seqs):]
	}
	if g.tabled >= denseHeaders {
		t.hdrs = make([]uint64, len(t.dead))
		for i := range headerWords(g.count) {
			t.hdrs[i/2] |= uint64(binary.LittleEndian.Uint32(b[4*i:])) << (i % 2 * 32)
		}
	}
	return t, nil
}

// findInFile is find for a segment whose table is not in memory and should not be
// brought there: two small reads. done is false if that cannot be.
func (v view) findInFile(g *segment, seq uint64) (at place, ok, done bool, err error) {
	if g.tabled == noTable || isSparse(g.tabled) || g.tab.Load() != nil || v.s.db.tables.hasRoom() {
		return place{}, false, false, nil
	}
	pos := int(seq - g.base)
	if pos >= g.count {
		return place{}, false, true, nil
	}
	if g.marked {
		var buf [16]byte
		dead, err := v.s.db.get(appendUintKey(buf[:0], v.s.number, kindDead, seq))
		if err != nil || dead != nil {
			return place{}, false, true, err
		}
	}
	h, err := v.s.db.files.acquire(v.s.file(g))
	if err != nil {
		return place{}, false, true, err
	}
	defer v.s.db.files.release(h)
	var b [8]byte
	if err := v.s.db.files.read(h, b[:], g.size+4*int64(pos)); err != nil {
		return place{}, false, true, err
	}
	off, end := binary.LittleEndian.Uint32(b[:]), binary.LittleEndian.Uint32(b[4:])
	if off < segmentHead || end < off+compactLeast || int64(end) > g.size {
		return place{}, false, true, base.Corruptf("store %s, table of segment %d: message %d at %d to %d", v.s.id, g.id, seq, off, end)
	}
	return place{seg: g, pos: pos, seq: seq, off: int64(off), size: int(end - off)}, true, true, nil
}
