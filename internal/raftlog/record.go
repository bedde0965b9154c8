package raftlog

import (
	"encoding/binary"
	"hash/crc32"

	"weir/internal/base"
)

// A record is a header of headerSize bytes, a body, and zeros up to the next
// multiple of recordAlign:
//
//	 0 u32 CRC32C of header bytes 4..64
//	 4 u32 CRC32C of the body
//	 8 u64 stamp of the file
//	16 u32 length of the body
//	20 u32 offset of this record in the file, in units of recordAlign
//	24 u32 offset of the first record of this epoch, in the same unit
//	28 u8  kind, u8 zero, u16 zero
//	32 u64 group
//	40 u64 replica
//	48 u64 number of this record among the replica's, from 1
//	56 u64 epoch
const (
	headerSize  = 64
	recordAlign = 8
	// maxBody keeps a damaged length from being believed.
	maxBody = 1 << 30
)

type recordKind byte

const (
	kindBatch     recordKind = 1
	kindTombstone recordKind = 2
	kindMark      recordKind = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type groupKey struct {
	group   base.GroupID
	replica base.ReplicaID
}

type header struct {
	bodyCRC uint32
	bodyLen uint32
	// at and epochStart are byte offsets.
	at         int64
	epochStart int64
	kind       recordKind
	key        groupKey
	seq        uint64
	epoch      uint64
}

// size is how many bytes the whole record takes in the file.
func (h *header) size() int64 { return recordSize(int(h.bodyLen)) }

func recordSize(bodyLen int) int64 {
	return (int64(headerSize) + int64(bodyLen) + recordAlign - 1) &^ (recordAlign - 1)
}

// put encodes h into p[:headerSize].
func (h *header) put(p []byte, stamp uint64) {
	le := binary.LittleEndian
	le.PutUint32(p[4:], h.bodyCRC)
	le.PutUint64(p[8:], stamp)
	le.PutUint32(p[16:], h.bodyLen)
	le.PutUint32(p[20:], uint32(h.at/recordAlign))
	le.PutUint32(p[24:], uint32(h.epochStart/recordAlign))
	le.PutUint32(p[28:], uint32(h.kind))
	le.PutUint64(p[32:], uint64(h.key.group))
	le.PutUint64(p[40:], uint64(h.key.replica))
	le.PutUint64(p[48:], h.seq)
	le.PutUint64(p[56:], h.epoch)
	le.PutUint32(p, crc32.Checksum(p[4:headerSize], castagnoli))
}

// parseHeader decodes the header of a record that stands at offset at of the
// file with that stamp. ok is false if there is none.
func parseHeader(p []byte, stamp uint64, at int64) (h header, ok bool) {
	le := binary.LittleEndian
	if len(p) < headerSize || le.Uint64(p[8:]) != stamp || le.Uint32(p[20:]) != uint32(at/recordAlign) {
		return header{}, false
	}
	if crc32.Checksum(p[4:headerSize], castagnoli) != le.Uint32(p) {
		return header{}, false
	}
	h = header{
		bodyCRC:    le.Uint32(p[4:]),
		bodyLen:    le.Uint32(p[16:]),
		at:         at,
		epochStart: int64(le.Uint32(p[24:])) * recordAlign,
		kind:       recordKind(p[28]),
		key: groupKey{
			group:   base.GroupID(le.Uint64(p[32:])),
			replica: base.ReplicaID(le.Uint64(p[40:])),
		},
		seq:   le.Uint64(p[48:]),
		epoch: le.Uint64(p[56:]),
	}
	return h, h.kind >= kindBatch && h.kind <= kindMark && h.bodyLen <= maxBody && h.epochStart <= at
}

// parseFlippedHeader is parseHeader of a header in which one bit is wrong. It
// tells whose the record is; the record counts as damaged all the same.
func parseFlippedHeader(p []byte, stamp uint64, at int64) (header, bool) {
	if len(p) < headerSize {
		return header{}, false
	}
	var buf [headerSize]byte
	copy(buf[:], p)
	for bit := range headerSize * 8 {
		buf[bit/8] ^= 1 << (bit % 8)
		if h, ok := parseHeader(buf[:], stamp, at); ok {
			return h, true
		}
		buf[bit/8] ^= 1 << (bit % 8)
	}
	return header{}, false
}

// bodyOf returns the body of the record that starts p, or false if it is cut
// short or its checksum is wrong.
func (h *header) bodyOf(p []byte) ([]byte, bool) {
	if int64(len(p)) < int64(headerSize)+int64(h.bodyLen) {
		return nil, false
	}
	body := p[headerSize : headerSize+int(h.bodyLen)]
	return body, h.matches(body)
}

// matches verifies the checksum of the body.
func (h *header) matches(body []byte) bool {
	return crc32.Checksum(body, castagnoli) == h.bodyCRC
}

// seal writes the header into p, which holds room for it and then the body.
func (h *header) seal(p []byte, stamp uint64) {
	body := p[headerSize:]
	h.bodyLen = uint32(len(body))
	h.bodyCRC = crc32.Checksum(body, castagnoli)
	h.put(p, stamp)
}
