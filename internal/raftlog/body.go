package raftlog

import (
	"encoding/binary"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"weir/internal/base"
)

// The body of a batch record is a byte that says which parts follow, then the
// parts in this order, all numbers as uvarints:
//
//	hard state: term, vote, commit
//	snapshot:   index, term                      (the log restarts behind it)
//	conf:       length, then index, length and ConfState, length and members
//	entries:    first index, count; per entry: term, type, length and data
//	anchor:     compacted index and term, last index and term
//
// An anchor says what holds after the record. The part damaged is empty: it says
// that the replica was found damaged, so that this is known still when the
// damaged file is gone.
const (
	partHard     = 1 << 0
	partSnapshot = 1 << 1
	partConf     = 1 << 2
	partEntries  = 1 << 3
	partAnchor   = 1 << 4
	partDamaged  = 1 << 5
	partsKnown   = 1<<6 - 1
)

type hardState struct{ term, vote, commit uint64 }

// position is an index of the log and the term of the entry there.
type position struct{ index, term uint64 }

type anchor struct{ base, last position }

// contents is a decoded batch body. conf and entries alias it.
type contents struct {
	parts    byte
	hard     hardState
	snapshot position
	conf     []byte
	first    uint64
	count    uint64
	entries  []byte
	anchor   anchor
}

func (c *contents) has(part byte) bool { return c.parts&part != 0 }

// sizeBound is at least the length of the body that appendBatch makes.
func sizeBound(b *Batch, conf []byte) int {
	n := 128 + len(conf)
	for _, e := range b.Entries {
		n += 2*binary.MaxVarintLen64 + 1 + len(e.Data)
	}
	return n
}

// appendBatch encodes b; conf is its encoded conf part, nil without.
func appendBatch(dst []byte, b *Batch, conf []byte) []byte {
	at := len(dst)
	dst = append(dst, 0)
	var parts byte
	if b.HardState != nil {
		parts |= partHard
		dst = appendHard(dst, hardOf(b.HardState))
	}
	if b.Snapshot != nil {
		parts |= partSnapshot
		dst = appendPosition(dst, position{b.Snapshot.Index, b.Snapshot.Term})
	}
	if conf != nil {
		parts |= partConf
		dst = appendBytes(dst, conf)
	}
	if len(b.Entries) > 0 {
		parts |= partEntries
		dst = binary.AppendUvarint(dst, b.Entries[0].GetIndex())
		dst = binary.AppendUvarint(dst, uint64(len(b.Entries)))
		for _, e := range b.Entries {
			dst = binary.AppendUvarint(dst, e.GetTerm())
			dst = append(dst, byte(e.GetType()))
			dst = appendBytes(dst, e.Data)
		}
	}
	dst[at] = parts
	return dst
}

// appendAnchor encodes a record that a replica can be recovered from.
func appendAnchor(dst []byte, hard hardState, conf []byte, a anchor) []byte {
	at := len(dst)
	dst = append(dst, partHard|partAnchor)
	dst = appendHard(dst, hard)
	if conf != nil {
		dst[at] |= partConf
		dst = appendBytes(dst, conf)
	}
	return appendPosition(appendPosition(dst, a.base), a.last)
}

func appendHard(dst []byte, h hardState) []byte {
	dst = binary.AppendUvarint(dst, h.term)
	dst = binary.AppendUvarint(dst, h.vote)
	return binary.AppendUvarint(dst, h.commit)
}

func appendPosition(dst []byte, p position) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, p.index), p.term)
}

func appendBytes(dst, p []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(p))), p...)
}

func hardOf(hs *pb.HardState) hardState {
	return hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
}

func (h hardState) proto() *pb.HardState {
	return &pb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}
}

// encodeConf returns the conf part of a batch: its ConfState, or that of its
// snapshot; nil if there is neither.
func encodeConf(b *Batch) ([]byte, error) {
	var m ConfMark
	switch {
	case b.ConfState != nil:
		m = *b.ConfState
	case b.Snapshot != nil && b.Snapshot.ConfState != nil:
		m = ConfMark{b.Snapshot.Index, b.Snapshot.ConfState, b.Snapshot.Members}
	default:
		return nil, nil
	}
	cs, err := proto.Marshal(m.ConfState)
	if err != nil {
		return nil, err
	}
	dst := make([]byte, 0, len(cs)+len(m.Members)+16)
	return appendBytes(appendBytes(binary.AppendUvarint(dst, m.Index), cs), m.Members), nil
}

func decodeConf(p []byte) (ConfMark, error) {
	if p == nil {
		return ConfMark{ConfState: pb.EnsureConfState(nil)}, nil
	}
	d := base.Decoder{Rest: p}
	m := ConfMark{Index: d.Uvarint(), ConfState: &pb.ConfState{}}
	cs := d.Block()
	if members := d.Block(); len(members) > 0 {
		m.Members = append([]byte(nil), members...)
	}
	if !d.Done() {
		return ConfMark{}, base.Corruptf("conf state of %d bytes does not parse", len(p))
	}
	if err := proto.Unmarshal(cs, m.ConfState); err != nil {
		return ConfMark{}, base.Corruptf("conf state: %w", err)
	}
	m.ConfState = pb.EnsureConfState(m.ConfState)
	return m, nil
}

// decodeBatch parses a batch body up to the single entries.
func decodeBatch(body []byte) (contents, error) {
	d := base.Decoder{Rest: body}
	c := contents{parts: d.Byte()}
	if c.has(partHard) {
		c.hard = hardState{d.Uvarint(), d.Uvarint(), d.Uvarint()}
	}
	if c.has(partSnapshot) {
		c.snapshot = decodePosition(&d)
	}
	if c.has(partConf) {
		c.conf = d.Block()
	}
	if c.has(partEntries) {
		c.first, c.count = d.Uvarint(), d.Uvarint()
		start := d.Rest
		for i := uint64(0); i < c.count && !d.Bad; i++ {
			decodeEntry(&d)
		}
		c.entries = start[:len(start)-len(d.Rest)]
	}
	if c.has(partAnchor) {
		c.anchor = anchor{decodePosition(&d), decodePosition(&d)}
	}
	if !d.Done() || c.parts&^partsKnown != 0 || c.has(partEntries) && (c.count == 0 || c.first == 0) {
		return contents{}, base.Corruptf("record body of %d bytes does not parse", len(body))
	}
	return c, nil
}

// last is the index of the last entry.
func (c *contents) last() uint64 { return c.first + c.count - 1 }

// visitEntries calls visit for each entry, until it returns false.
func (c *contents) visitEntries(visit func(index, term uint64, typ pb.EntryType, data []byte) bool) {
	d := base.Decoder{Rest: c.entries}
	for i := range c.count {
		term, typ, data := decodeEntry(&d)
		if !visit(c.first+i, term, typ, data) {
			return
		}
	}
}

// visitTerms calls visit with the index and term of each entry.
func (c *contents) visitTerms(visit func(index, term uint64)) {
	c.visitEntries(func(index, term uint64, _ pb.EntryType, _ []byte) bool {
		visit(index, term)
		return true
	})
}

func decodePosition(d *base.Decoder) position { return position{d.Uvarint(), d.Uvarint()} }

func decodeEntry(d *base.Decoder) (term uint64, typ pb.EntryType, data []byte) {
	term = d.Uvarint()
	typ = pb.EntryType(d.Byte())
	return term, typ, d.Block()
}
