package msgstore

import (
	"encoding/binary"
	"hash/crc32"

	"weir/internal/base"
	"weir/internal/msg"
)

// A record is one message in a segment file, little endian:
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
//
// The head has a checksum of its own so that walks over subjects and deletes
// need not read payloads.
const (
	recordHead    = 36
	recordVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func recordSize(m *msg.Message) int {
	return recordHead + len(m.Subject) + len(m.Header) + len(m.Data)
}

// appendRecord encodes m at the end of dst.
func appendRecord(dst []byte, m *msg.Message) []byte {
	size, start := recordSize(m), len(dst)
	var head [recordHead]byte
	le := binary.LittleEndian
	le.PutUint32(head[8:], uint32(size))
	le.PutUint32(head[12:], uint32(len(m.Header)))
	le.PutUint64(head[16:], m.Seq)
	le.PutUint64(head[24:], uint64(m.Time))
	le.PutUint16(head[32:], uint16(len(m.Subject)))
	le.PutUint16(head[34:], recordVersion)
	dst = append(dst, head[:]...)
	dst = append(dst, m.Subject...)
	dst = append(dst, m.Header...)
	dst = append(dst, m.Data...)
	rec := dst[start:]
	body := recordHead + len(m.Subject)
	le.PutUint32(rec[4:], crc32.Checksum(rec[body:], castagnoli))
	le.PutUint32(rec, crc32.Checksum(rec[4:body], castagnoli))
	return dst
}

// record is a view of an encoded record; its head has been checked.
type record []byte

func (r record) size() int       { return int(binary.LittleEndian.Uint32(r[8:])) }
func (r record) seq() uint64     { return binary.LittleEndian.Uint64(r[16:]) }
func (r record) time() int64     { return int64(binary.LittleEndian.Uint64(r[24:])) }
func (r record) headerLen() int  { return int(binary.LittleEndian.Uint32(r[12:])) }
func (r record) subjectLen() int { return int(binary.LittleEndian.Uint16(r[32:])) }

// subject is valid as long as the bytes of the record are.
func (r record) subject() string {
	b := r[recordHead : recordHead+r.subjectLen()]
	return base.View(b)
}

func (r record) dataLen() int { return r.size() - recordHead - r.subjectLen() - r.headerLen() }

// parseHead checks the head of the record that b starts with. need is the number
// of bytes that b must have before anything can be told; it is 0 when the head
// is good. A bad head is a corruption.
func parseHead(b []byte) (r record, need int, err error) {
	if len(b) < recordHead {
		return nil, recordHead, nil
	}
	r = record(b)
	end := recordHead + r.subjectLen()
	if len(b) < end {
		return nil, end, nil
	}
	if crc32.Checksum(b[4:end], castagnoli) != binary.LittleEndian.Uint32(b) {
		return nil, 0, base.Corruptf("record head: checksum differs")
	}
	if v := binary.LittleEndian.Uint16(b[34:]); v != recordVersion || r.size() < end+r.headerLen() {
		return nil, 0, base.Corruptf("record %d: version %d, %d bytes", r.seq(), v, r.size())
	}
	return r, 0, nil
}

func (r record) body() []byte { return r[recordHead+r.subjectLen() : r.size()] }

// checkBody checks header and data, whose bytes must be there.
func (r record) checkBody() error {
	if crc32.Checksum(r.body(), castagnoli) != binary.LittleEndian.Uint32(r[4:]) {
		return base.Corruptf("record %d: checksum differs", r.seq())
	}
	return nil
}

// message fills m with the record, whose bytes must all be there; the slices of
// m point into it. A subject equal to m's is not allocated again.
func (r record) message(m *msg.Message) error {
	if err := r.checkBody(); err != nil {
		return err
	}
	body := r.body()
	m.Seq, m.Time = r.seq(), r.time()
	if s := r.subject(); m.Subject != s {
		m.Subject = string([]byte(s))
	}
	h := r.headerLen()
	m.Header, m.Data = nil, body[h:]
	if h > 0 {
		m.Header = body[:h:h]
	}
	return nil
}

// info describes the record.
func (r record) info(memory bool) msg.Info {
	return msg.Info{
		Seq: r.seq(), Time: r.time(), Subject: string([]byte(r.subject())),
		Size: messageSize(memory, r.subjectLen(), r.headerLen(), r.dataLen()),
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
