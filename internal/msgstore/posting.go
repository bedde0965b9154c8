package msgstore

import (
	"encoding/binary"
	"math/bits"

	"weir/internal/base"
)

// The subject index is cut into chunks of sequences. A sealed chunk has one
// posting for each of its subjects: the set of the live sequences, as a list of
// 16-bit offsets when there are few and as a bitmap when there are many.
const (
	chunkBits = 12
	chunkSize = 1 << chunkBits
	chunkMask = chunkSize - 1

	postingList   = 1
	postingBitmap = 2
)

func chunkOf(seq uint64) uint64 { return seq >> chunkBits }

// posting is the set of the sequences of one subject in one chunk.
type posting [chunkSize / 64]uint64

func (p *posting) add(seq uint64)      { p[seq&chunkMask/64] |= 1 << (seq & 63) }
func (p *posting) drop(seq uint64)     { p[seq&chunkMask/64] &^= 1 << (seq & 63) }
func (p *posting) has(seq uint64) bool { return p[seq&chunkMask/64]&(1<<(seq&63)) != 0 }

// count counts members with an offset of at least from.
func (p *posting) count(from int) (n int) {
	for i := from / 64; i < len(p); i++ {
		word := p[i]
		if i == from/64 {
			word &= ^uint64(0) << (from % 64)
		}
		n += bits.OnesCount64(word)
	}
	return n
}

// next is the first offset from on; -1 when there is none. from may be chunkSize.
func (p *posting) next(from int) int {
	for i := from / 64; i < len(p); i++ {
		word := p[i]
		if i == from/64 {
			word &= ^uint64(0) << (from % 64)
		}
		if word != 0 {
			return i*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// prev is the last offset up to upTo; -1 when there is none.
func (p *posting) prev(upTo int) int {
	for i := upTo / 64; i >= 0; i-- {
		word := p[i]
		if i == upTo/64 {
			word &= ^uint64(0) >> (63 - upTo%64)
		}
		if word != 0 {
			return i*64 + 63 - bits.LeadingZeros64(word)
		}
	}
	return -1
}

func (p *posting) encode(dst []byte) []byte {
	if n := p.count(0); n > chunkSize/16 {
		dst = append(dst, postingBitmap)
		for _, word := range p {
			dst = binary.LittleEndian.AppendUint64(dst, word)
		}
		return dst
	}
	dst = append(dst, postingList)
	for off := p.next(0); off >= 0; off = p.next(off + 1) {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(off))
	}
	return dst
}

// decode replaces p by the encoded set.
func (p *posting) decode(b []byte) error {
	*p = posting{}
	switch {
	case len(b) == 1+chunkSize/8 && b[0] == postingBitmap:
		for i := range p {
			p[i] = binary.LittleEndian.Uint64(b[1+8*i:])
		}
		return nil
	case len(b)%2 == 1 && b[0] == postingList:
		for i := 1; i < len(b); i += 2 {
			p.add(uint64(binary.LittleEndian.Uint16(b[i:]) & chunkMask))
		}
		return nil
	}
	return base.Corruptf("posting of %d bytes does not decode", len(b))
}
