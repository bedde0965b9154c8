package rafthost

import (
	"encoding/binary"

	"weir/internal/base"

	pb "go.etcd.io/raft/v3/raftpb"
)

// A frame is what goes over the link to a peer: a version byte, then records for
// any number of groups:
//
//	kind byte | length uvarint | body
//
// Every body starts with the group id and the addressed replica id (uvarints).
// Integers are uvarints, byte strings have a length in front.
const frameVersion = 1

type recordKind byte

const (
	recordMessage   recordKind = 1 // a Raft message
	recordQuiesce   recordKind = 2 // leader: stop ticking at (term, index)
	recordGone      recordKind = 3 // a replica was stopped on a node that is up
	recordSnapBegin recordKind = 4
	recordSnapChunk recordKind = 5
	recordSnapAck   recordKind = 6
)

// maxRecordBytes bounds one record, and with it what a peer can make us allocate.
const maxRecordBytes = 256 << 20

const flagReject = 1

// appendRecord appends one record whose body is written by fill.
func appendRecord(dst []byte, kind recordKind, fill func([]byte) []byte) []byte {
	if len(dst) == 0 {
		dst = append(dst, frameVersion)
	}
	dst = append(dst, byte(kind))
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = fill(dst)
	putFixedUvarint(dst[start:start+4], uint64(len(dst)-start-4))
	return dst
}

// putFixedUvarint writes v < 2^28 as a uvarint that fills b, so that a length
// can be patched in after its body.
func putFixedUvarint(b []byte, v uint64) {
	base.Assert(v < maxRecordBytes, "record of %d bytes", v)
	for i := range b {
		b[i] = byte(v) | 0x80
		v >>= 7
	}
	b[len(b)-1] &^= 0x80
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// messageBound is at least the size of m as a record.
func messageBound(m *pb.Message) int {
	n := 96 + len(m.GetContext())
	for _, e := range m.GetEntries() {
		n += 32 + len(e.GetData())
	}
	return n
}

// appendMessage appends m as a record's body.
func appendMessage(dst []byte, group base.GroupID, m *pb.Message) []byte {
	dst = binary.AppendUvarint(dst, uint64(group))
	dst = binary.AppendUvarint(dst, m.GetTo())
	dst = binary.AppendUvarint(dst, m.GetFrom())
	dst = append(dst, byte(m.GetType()))
	var flags byte
	if m.GetReject() {
		flags |= flagReject
	}
	dst = append(dst, flags)
	for _, v := range [...]uint64{m.GetTerm(), m.GetLogTerm(), m.GetIndex(), m.GetCommit(), m.GetRejectHint()} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = appendBytes(dst, m.GetContext())
	dst = binary.AppendUvarint(dst, uint64(len(m.GetEntries())))
	for _, e := range m.GetEntries() {
		dst = append(dst, byte(e.GetType()))
		dst = binary.AppendUvarint(dst, e.GetTerm())
		dst = binary.AppendUvarint(dst, e.GetIndex())
		dst = appendBytes(dst, e.GetData())
	}
	return dst
}

// message holds a decoded pb.Message and what its fields point to: one
// allocation instead of ten.
type message struct {
	pb.Message
	typ                                                pb.MessageType
	to, from, term, logTerm, index, commit, rejectHint uint64
	reject                                             bool
}

type entry struct {
	pb.Entry
	typ         pb.EntryType
	term, index uint64
}

// decodeMessage decodes the body after group and addressee. It copies what it keeps.
func decodeMessage(d *decoder, to uint64) *pb.Message {
	m := &message{to: to}
	m.from = d.uvarint()
	m.typ = pb.MessageType(d.byte())
	m.reject = d.byte()&flagReject != 0
	for _, p := range [...]*uint64{&m.term, &m.logTerm, &m.index, &m.commit, &m.rejectHint} {
		*p = d.uvarint()
	}
	if c := d.bytes(); len(c) > 0 {
		m.Message.Context = append([]byte(nil), c...)
	}
	m.Message.Type, m.Message.To, m.Message.From = &m.typ, &m.to, &m.from
	m.Message.Term, m.Message.LogTerm, m.Message.Index = &m.term, &m.logTerm, &m.index
	m.Message.Commit, m.Message.RejectHint, m.Message.Reject = &m.commit, &m.rejectHint, &m.reject
	m.Message.Entries = decodeEntries(d)
	return &m.Message
}

// decodeEntries gives the entries of one message one allocation for their data,
// which is not shared with other messages of the frame: entries live long.
func decodeEntries(d *decoder) []*pb.Entry {
	n := d.uvarint()
	// An entry takes at least four bytes.
	if n == 0 || n > uint64(len(d.b))/4 {
		d.failIf(n != 0, "impossible number of entries")
		return nil
	}
	data := make([]byte, 0, len(d.b))
	slab := make([]entry, n)
	entries := make([]*pb.Entry, n)
	for i := range slab {
		e := &slab[i]
		e.typ = pb.EntryType(d.byte())
		e.term, e.index = d.uvarint(), d.uvarint()
		if b := d.bytes(); len(b) > 0 {
			at := len(data)
			data = append(data, b...)
			e.Entry.Data = data[at:len(data):len(data)]
		}
		e.Entry.Type, e.Entry.Term, e.Entry.Index = &e.typ, &e.term, &e.index
		entries[i] = &e.Entry
	}
	return entries
}

// decoder reads a body; the first fault sticks and later reads return zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) failIf(bad bool, what string) {
	if bad && d.err == nil {
		d.err = base.Corruptf("raft frame: %s", what)
		d.b = nil
	}
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.failIf(true, "bad integer")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.failIf(true, "cut short")
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

// bytes returns a slice of the input.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.failIf(true, "cut short")
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

// decodeFrame calls visit for every record, with a decoder after the group and
// the addressed replica. It stops at the first fault, which it returns.
func decodeFrame(frame []byte, visit func(kind recordKind, group base.GroupID, to base.ReplicaID, d *decoder)) error {
	if len(frame) == 0 || frame[0] != frameVersion {
		return base.Corruptf("raft frame: unknown version")
	}
	d := decoder{b: frame[1:]}
	for len(d.b) > 0 {
		kind := recordKind(d.byte())
		body := decoder{b: d.bytes()}
		if d.err != nil {
			return d.err
		}
		group := base.GroupID(body.uvarint())
		to := base.ReplicaID(body.uvarint())
		if body.err != nil {
			return body.err
		}
		visit(kind, group, to, &body)
		if body.err != nil {
			return body.err
		}
	}
	return nil
}
