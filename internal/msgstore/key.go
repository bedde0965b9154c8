package msgstore

import (
	"encoding/binary"

	"weir/internal/base"
	"weir/internal/msg"
)

// Keys in Pebble. Every key starts with the number of its store (uint32, big
// endian; 0 is the catalog's), then one byte for its kind. Numbers are never
// used again, so what a removed store left behind can never be taken for
// another's.
const (
	kindCatalog    = 'c' // catalog only: group, replica → number of the store
	kindNextNumber = 'n' // catalog only: number of the next store
	kindMeta       = 'm' // one: applied index, state, counters
	kindSegment    = 's' // + file id → descriptor
	kindDead       = 'd' // + sequence: deleted, though its segment has it
	kindErase      = 'x' // + sequence: deleted, and its bytes are to be overwritten → file id, offset, length
	kindPosting    = 'i' // + subject, 0, chunk → live sequences of the subject in the chunk; none if it is the only one
	kindTotal      = 't' // + subject → count, first, last of what is sealed
	kindUser       = 'k' // + key → value
)

// metaVersion is the version of every value that this file encodes.
const metaVersion = 1

func appendPrefix(dst []byte, store uint32, kind byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, store), kind)
}

func appendUintKey(dst []byte, store uint32, kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPrefix(dst, store, kind), n)
}

func appendSubjectKey(dst []byte, store uint32, kind byte, subject string) []byte {
	return append(appendPrefix(dst, store, kind), subject...)
}

func appendPostingKey(dst []byte, store uint32, subject string, chunk uint64) []byte {
	dst = appendSubjectKey(dst, store, kindPosting, subject)
	return binary.BigEndian.AppendUint64(append(dst, 0), chunk)
}

// upperBound is the first key after all those that start with prefix; nil when
// there is none.
func upperBound(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// decodeRecord starts to read a record of the store: its version, then what appendUints wrote.
func decodeRecord(b []byte) *base.Decoder {
	d := &base.Decoder{Rest: b}
	if d.Byte() != metaVersion {
		d.Fail()
	}
	return d
}

func appendUints(dst []byte, values ...uint64) []byte {
	for _, v := range values {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

// meta is what a store knows about itself besides its segments and its index.
type meta struct {
	applied  uint64 // last index whose changes are all in
	openBase uint64 // first sequence that the subject index does not cover
	state    msg.State
}

func (m *meta) encode(dst []byte) []byte {
	st := &m.state
	return appendUints(append(dst, metaVersion), m.applied, m.openBase, st.Msgs, st.Bytes, st.FirstSeq, st.LastSeq,
		uint64(st.FirstTime), uint64(st.LastTime), uint64(st.NumSubjects))
}

func decodeMeta(b []byte) (m meta, err error) {
	d := decodeRecord(b)
	m.applied, m.openBase = d.Uvarint(), d.Uvarint()
	m.state.Msgs, m.state.Bytes, m.state.FirstSeq, m.state.LastSeq = d.Uvarint(), d.Uvarint(), d.Uvarint(), d.Uvarint()
	m.state.FirstTime, m.state.LastTime, m.state.NumSubjects = int64(d.Uvarint()), int64(d.Uvarint()), int(d.Uvarint())
	if d.Bad {
		return m, base.Corruptf("store record of %d bytes does not decode", len(b))
	}
	return m, nil
}

// subjectTotal sums up the sealed messages of a subject.
type subjectTotal struct {
	count uint64
	first uint64 // no message of the subject is below; the first may be above; last, when count == 1
	last  uint64 // exact, when count > 0
}

func (t subjectTotal) encode(dst []byte) []byte {
	return appendUints(append(dst, metaVersion), t.count, t.first, t.last-t.first)
}

func decodeTotal(b []byte) (t subjectTotal, err error) {
	d := decodeRecord(b)
	t.count, t.first = d.Uvarint(), d.Uvarint()
	t.last = t.first + d.Uvarint()
	if d.Bad {
		return t, base.Corruptf("subject record of %d bytes does not decode", len(b))
	}
	return t, nil
}
