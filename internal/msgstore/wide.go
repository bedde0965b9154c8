package msgstore

import (
	"encoding/binary"
	"hash/crc32"

	"weir/internal/base"
	"weir/internal/msg"
)

// Records of the first format are read, and erased, but no new ones are written. Their
// head begins with fields of fixed lengths, little endian:
//
//	 0 uint32 CRC32C of the head: bytes 4 to the end of the subject
//	 4 uint32 CRC32C of the body: header and data
//	 8 uint32 length of the record
//	12 uint32 length of the header
//	16 uint64 sequence
//	24 int64  time, unix ns
//	32 uint16 length of the subject
//	34 uint16 version, 1
//	36 subject, header, data
const wideHead = 36

// parseWide is parseCompact for a record of the first format.
func (r *record) parseWide() (need int, err error) {
	b, le := r.b, binary.LittleEndian
	if len(b) < wideHead {
		return wideHead, nil
	}
	r.size, r.headerLen = int(le.Uint32(b[8:])), int(le.Uint32(b[12:]))
	r.seq, r.time = le.Uint64(b[16:]), int64(le.Uint64(b[24:]))
	r.subjectAt = wideHead
	r.bodyAt = wideHead + int(le.Uint16(b[32:]))
	if v := le.Uint16(b[34:]); v != 1 || r.size < r.bodyAt+r.headerLen {
		return 0, base.Corruptf("record %d: version %d, %d bytes", r.seq, v, r.size)
	}
	return 0, nil
}

// appendWide encodes m at the end of dst.
func appendWide(dst []byte, m *msg.Message) []byte {
	le, start := binary.LittleEndian, len(dst)
	body := wideHead + len(m.Subject)
	dst = append(dst, make([]byte, wideHead)...)
	dst = append(append(append(dst, m.Subject...), m.Header...), m.Data...)
	rec := dst[start:]
	le.PutUint32(rec[8:], uint32(len(rec)))
	le.PutUint32(rec[12:], uint32(len(m.Header)))
	le.PutUint64(rec[16:], m.Seq)
	le.PutUint64(rec[24:], uint64(m.Time))
	le.PutUint16(rec[32:], uint16(len(m.Subject)))
	le.PutUint16(rec[34:], 1)
	le.PutUint32(rec[4:], crc32.Checksum(rec[body:], castagnoli))
	le.PutUint32(rec, crc32.Checksum(rec[4:body], castagnoli))
	return dst
}
