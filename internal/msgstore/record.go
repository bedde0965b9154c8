package msgstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"weir/internal/base"
	"weir/internal/msg"
)

// A record is one message in a segment file. Its head, which ends with the subject,
// has a checksum of its own, so that walks over subjects and deletes need not read
// payloads. Little endian:
//
//	 0 uint32  CRC32C of the head: bytes 4 to the end of the subject
//	 4 uint32  CRC32C of the body: header and data
//	 8 int64   time, unix ns
//	16 uvarint sequence
//	   uvarint length of the subject, times two; plus one if there is a header
//	   uvarint length of the body
//	   uint32  length of the header, if there is one
//	   subject, header, data
const (
	compactFixed = 16
	compactLeast = compactFixed + 3
)

// format is the one of all records of a segment.
type format byte

const (
	wideFormat    format = 1
	compactFormat format = 2
)

// least is the size of the shortest record.
func (f format) least() int {
	if f == wideFormat {
		return wideHead
	}
	return compactLeast
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func recordSize(m *msg.Message) int {
	body := len(m.Header) + len(m.Data)
	return compactHead(m.Seq, len(m.Subject), len(m.Header) > 0) + uvarintSize(uint64(body)) + body
}

// compactHead is the length of what is before the body, but for the body's length.
func compactHead(seq uint64, subject int, header bool) int {
	n := compactFixed + uvarintSize(seq) + uvarintSize(2*uint64(subject)) + subject
	if header {
		n += 4
	}
	return n
}

func uvarintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// bodyLen is the length of a body that takes n bytes with its length before it;
// false when there is none.
func bodyLen(n int) (int, bool) {
	for size := 1; size <= n && size <= 5; size++ {
		if uvarintSize(uint64(n-size)) == size {
			return n - size, true
		}
	}
	return 0, false
}

// appendRecord encodes m at the end of dst.
func appendRecord(dst []byte, m *msg.Message) []byte {
	le, start := binary.LittleEndian, len(dst)
	dst = append(dst, make([]byte, compactFixed)...)
	dst = binary.AppendUvarint(dst, m.Seq)
	subject := 2 * uint64(len(m.Subject))
	if len(m.Header) > 0 {
		subject++
	}
	dst = binary.AppendUvarint(dst, subject)
	dst = binary.AppendUvarint(dst, uint64(len(m.Header)+len(m.Data)))
	if len(m.Header) > 0 {
		dst = le.AppendUint32(dst, uint32(len(m.Header)))
	}
	dst = append(dst, m.Subject...)
	body := len(dst) - start
	dst = append(dst, m.Header...)
	dst = append(dst, m.Data...)
	rec := dst[start:]
	le.PutUint64(rec[8:], uint64(m.Time))
	le.PutUint32(rec[4:], crc32.Checksum(rec[body:], castagnoli))
	le.PutUint32(rec, crc32.Checksum(rec[4:body], castagnoli))
	return dst
}

// record is a view of an encoded record; its head has been checked.
type record struct {
	b         []byte // from the first byte of the record on; the body need not be there
	format    format
	seq       uint64
	time      int64
	subjectAt int
	bodyAt    int
	headerLen int
	size      int // of the whole
}

// subject is valid as long as the bytes of the record are.
func (r *record) subject() string {
	return base.View(r.b[r.subjectAt:r.bodyAt])
}

func (r *record) dataLen() int { return r.size - r.bodyAt - r.headerLen }

// bytes are those of the whole record, which must all be there.
func (r *record) bytes() []byte { return r.b[:r.size] }

// parseHead checks the head of the record that b starts with. need is the number
// of bytes that b must have before anything can be told; it is 0 when the head
// is good. A bad head is a corruption.
func parseHead(f format, b []byte) (r record, need int, err error) {
	r.b, r.format = b, f
	if f == wideFormat {
		need, err = r.parseWide()
	} else {
		need, err = r.parseCompact()
	}
	if err != nil || need > 0 {
		return r, need, err
	}
	if len(b) < r.bodyAt {
		return r, r.bodyAt, nil
	}
	if crc32.Checksum(b[4:r.bodyAt], castagnoli) != binary.LittleEndian.Uint32(b) {
		return r, 0, base.Corruptf("record head: checksum differs")
	}
	return r, 0, nil
}

// parseCompact reads the fields of the head, unchecked; need as in parseHead.
func (r *record) parseCompact() (need int, err error) {
	b := r.b
	if len(b) < compactLeast {
		return compactLeast, nil
	}
	r.time = int64(binary.LittleEndian.Uint64(b[8:]))
	at := compactFixed
	var fields [3]uint64
	for i := range fields {
		v, n := binary.Uvarint(b[at:])
		if n == 0 {
			return len(b) + 1, nil
		}
		if n < 0 || i > 0 && v > maxRecord {
			return 0, base.Corruptf("record head: length out of bounds")
		}
		fields[i], at = v, at+n
	}
	r.seq = fields[0]
	if fields[1]&1 == 1 {
		if len(b) < at+4 {
			return at + 4, nil
		}
		r.headerLen = int(binary.LittleEndian.Uint32(b[at:]))
		at += 4
	}
	if fields[1]/2 > maxSubject || uint64(r.headerLen) > fields[2] {
		return 0, base.Corruptf("record head: length out of bounds")
	}
	r.subjectAt, r.bodyAt = at, at+int(fields[1]/2)
	r.size = r.bodyAt + int(fields[2])
	return 0, nil
}

func (r *record) body() []byte { return r.b[r.bodyAt:r.size] }

// checkBody checks header and data, whose bytes must be there.
func (r *record) checkBody() error {
	if crc32.Checksum(r.body(), castagnoli) != binary.LittleEndian.Uint32(r.b[4:]) {
		return base.Corruptf("record %d: checksum differs", r.seq)
	}
	return nil
}

// message fills m with the record, whose bytes must all be there; the slices of
// m point into it. A subject equal to m's is not allocated again.
func (r *record) message(m *msg.Message) error {
	if err := r.checkBody(); err != nil {
		return err
	}
	m.Seq, m.Time = r.seq, r.time
	if s := r.subject(); m.Subject != s {
		m.Subject = string([]byte(s))
	}
	body, h := r.body(), r.headerLen
	m.Header, m.Data = nil, body[h:]
	if h > 0 {
		m.Header = body[:h:h]
	}
	return nil
}

// renewed is the record, whose bytes must all be there, in the format of today.
func (r *record) renewed() (record, error) {
	if r.format == compactFormat {
		return *r, nil
	}
	var m msg.Message
	if err := r.message(&m); err != nil {
		return record{}, err
	}
	fresh, _, err := parseHead(compactFormat, appendRecord(nil, &m))
	if err != nil {
		return record{}, fmt.Errorf("record %d written anew: %w", r.seq, err)
	}
	return fresh, nil
}

// info describes the record.
func (r *record) info(memory bool) msg.Info {
	return msg.Info{
		Seq: r.seq, Time: r.time, Subject: string([]byte(r.subject())),
		Size: messageSize(memory, r.bodyAt-r.subjectAt, r.headerLen, r.dataLen()),
	}
}

// messageSize is what a message counts for in State.Bytes: the established
// server's accounting, which differs between its file and its memory storage.
func messageSize(memory bool, subject, header, data int) int {
	size := subject + header + data
	switch {
	case memory:
		return size + 16
	case header > 0:
		return size + 34
	}
	return size + 30
}
