package consumer

import (
	"encoding/binary"
	"slices"
	"sort"

	"weir/internal/base"
)

// Pending is a message that was delivered and waits for its ack.
type Pending struct {
	Seq         uint64 // in the stream
	ConsumerSeq uint64 // of its first delivery; of its last where an ack is for all before it
	Time        int64  // ack wait counts from here, unix ns
	Deliveries  uint32 // from 1
}

// Spans counts, for each span of stream sequences, the consumers that may have something pending there. A stream has one, so
// that the removal of a message that nobody waits for costs one look.
type Spans struct{ users map[uint64]int }

// NewSpans returns an empty count.
func NewSpans() *Spans { return &Spans{users: map[uint64]int{}} }

// Used tells whether a consumer may wait for the ack of a message.
func (s *Spans) Used(seq uint64) bool { return s.users[chunkBase(seq)] > 0 }

func (s *Spans) add(base uint64) { s.users[base]++ }

func (s *Spans) drop(base uint64) {
	if s.users[base]--; s.users[base] == 0 {
		delete(s.users, base)
	}
}

// chunkSpan is the number of stream sequences that share a chunk, and so a key.
const chunkSpan = 64

// pendingSet holds the pending messages in order of stream sequence, in chunks of neighbouring sequences. A chunk is stored
// under one key, so a batch of deliveries or acks rewrites a few keys. Chunks that become empty stay until flush.
type pendingSet struct {
	shared *Spans
	chunks []*chunk // by base
	head   int      // chunks before it are empty
	n      int
	dirty  []uint64 // bases of chunks that changed since the last flush
}

type chunk struct {
	base    uint64    // first sequence of the span, a multiple of chunkSpan
	entries []Pending // by Seq
	dirty   bool
	stored  bool // there is a key
}

func chunkBase(seq uint64) uint64 { return seq - seq%chunkSpan }

// position is where the chunk with a base is or belongs.
func (s *pendingSet) position(b uint64) (int, bool) {
	if last := len(s.chunks) - 1; last >= 0 && s.chunks[last].base == b {
		return last, true
	}
	i := sort.Search(len(s.chunks), func(i int) bool { return s.chunks[i].base >= b })
	return i, i < len(s.chunks) && s.chunks[i].base == b
}

func (c *chunk) find(seq uint64) (int, bool) {
	for i := len(c.entries) - 1; i >= 0; i-- {
		if c.entries[i].Seq <= seq {
			if c.entries[i].Seq == seq {
				return i, true
			}
			return i + 1, false
		}
	}
	return 0, false
}

func (s *pendingSet) get(seq uint64) *Pending {
	if s.n == 0 {
		return nil
	}
	i, ok := s.position(chunkBase(seq))
	if !ok {
		return nil
	}
	j, ok := s.chunks[i].find(seq)
	if !ok {
		return nil
	}
	return &s.chunks[i].entries[j]
}

// touch is get for an entry that the caller is about to change.
func (s *pendingSet) touch(seq uint64) *Pending {
	p := s.get(seq)
	if p != nil {
		i, _ := s.position(chunkBase(seq))
		s.mark(s.chunks[i])
	}
	return p
}

func (s *pendingSet) mark(c *chunk) {
	if !c.dirty {
		c.dirty = true
		s.dirty = append(s.dirty, c.base)
	}
}

// put adds p or replaces the entry of its sequence.
func (s *pendingSet) put(p Pending) {
	b := chunkBase(p.Seq)
	i, ok := s.position(b)
	if !ok {
		s.chunks = slices.Insert(s.chunks, i, &chunk{base: b})
		s.shared.add(b)
	}
	s.head = min(s.head, i)
	c := s.chunks[i]
	s.mark(c)
	j, ok := c.find(p.Seq)
	if ok {
		c.entries[j] = p
		return
	}
	c.entries = slices.Insert(c.entries, j, p)
	s.n++
}

func (s *pendingSet) remove(seq uint64) (Pending, bool) {
	i, ok := s.position(chunkBase(seq))
	if !ok {
		return Pending{}, false
	}
	c := s.chunks[i]
	j, ok := c.find(seq)
	if !ok {
		return Pending{}, false
	}
	p := c.entries[j]
	c.entries = slices.Delete(c.entries, j, j+1)
	s.mark(c)
	s.n--
	return p, true
}

// first is the entry with the lowest sequence, nil when the set is empty.
func (s *pendingSet) first() *Pending {
	if s.n == 0 {
		return nil
	}
	for len(s.chunks[s.head].entries) == 0 {
		s.head++
	}
	return &s.chunks[s.head].entries[0]
}

// removeBelow drops the entries with a sequence less than below and shows each to visit.
func (s *pendingSet) removeBelow(below uint64, visit func(Pending)) {
	for p := s.first(); p != nil && p.Seq < below; p = s.first() {
		removed, _ := s.remove(p.Seq)
		visit(removed)
	}
}

// ascend visits the entries from a sequence on until visit returns false.
func (s *pendingSet) ascend(from uint64, visit func(Pending) bool) {
	i, _ := s.position(chunkBase(from))
	for _, c := range s.chunks[i:] {
		for _, p := range c.entries {
			if p.Seq >= from && !visit(p) {
				return
			}
		}
	}
}

// flush hands every changed chunk to save, empty ones with nil entries, and drops the empty ones.
func (s *pendingSet) flush(save func(base uint64, entries []Pending) error) error {
	emptied := false
	for _, b := range s.dirty {
		i, ok := s.position(b)
		base.Assert(ok, "dirty chunk %d is not in the set", b)
		c := s.chunks[i]
		c.dirty = false
		if len(c.entries) > 0 {
			c.stored = true
			if err := save(b, c.entries); err != nil {
				return err
			}
			continue
		}
		emptied = true
		if c.stored {
			if err := save(b, nil); err != nil {
				return err
			}
		}
	}
	s.dirty = s.dirty[:0]
	if emptied {
		s.chunks = slices.DeleteFunc(s.chunks, func(c *chunk) bool {
			if len(c.entries) == 0 {
				s.shared.drop(c.base)
			}
			return len(c.entries) == 0
		})
		s.head = 0
	}
	return nil
}

// appendChunk encodes entries: count, then per entry offset in the chunk, consumer sequence, time (first absolute, then
// differences) and deliveries.
func appendChunk(dst []byte, b uint64, entries []Pending) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	last := int64(0)
	for _, p := range entries {
		dst = binary.AppendUvarint(dst, p.Seq-b)
		dst = binary.AppendUvarint(dst, p.ConsumerSeq)
		dst = binary.AppendVarint(dst, p.Time-last)
		dst = binary.AppendUvarint(dst, uint64(p.Deliveries))
		last = p.Time
	}
	return dst
}

func decodeChunk(b uint64, value []byte) (*chunk, error) {
	r := base.Decoder{Rest: value}
	n := r.Uvarint()
	if n == 0 || n > chunkSpan {
		return nil, base.Corruptf("pending chunk of %d entries", n)
	}
	c := &chunk{base: b, stored: true, entries: make([]Pending, n)}
	time := int64(0)
	for i := range c.entries {
		offset, consumerSeq := r.Uvarint(), r.Uvarint()
		time += r.Varint()
		c.entries[i] = Pending{b + offset, consumerSeq, time, uint32(r.Uvarint())}
		if offset >= chunkSpan || i > 0 && c.entries[i-1].Seq >= c.entries[i].Seq {
			return nil, base.Corruptf("pending chunk out of order")
		}
	}
	if !r.Done() {
		return nil, base.Corruptf("pending chunk of %d bytes", len(value))
	}
	return c, nil
}
