package msgstore

import (
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// sealStep is the least number of subjects that a Commit seals while there are
// any to be sealed.
const sealStep = 32

// seal moves the chunks that are complete from the open area into Pebble. As a
// chunk may have thousands of subjects, that is spread over the Commits that
// follow: each seals at least twice as many subjects as it has messages, so that
// it is over before the next chunk is complete. Meanwhile the area's base stands,
// and a message is known to be sealed by the total of its subject.
func (s *Store) seal(b *pebble.Batch) error {
	next := chunkOf(s.cur.state.LastSeq) << chunkBits
	if next <= s.area.base {
		return nil
	}
	if len(s.sealing) > 0 && next > s.sealTo {
		if err := s.sealSome(b, len(s.sealing)); err != nil {
			return err
		}
	}
	if next <= s.area.base {
		return nil
	}
	if len(s.sealing) == 0 {
		s.sealTo = next
		for _, e := range s.area.subjects {
			if len(e.open) > 0 && e.open[0] < next {
				s.sealing = append(s.sealing, e)
			}
		}
	}
	fresh := s.cur.state.LastSeq - s.committed.state.LastSeq
	return s.sealSome(b, int(min(max(sealStep, 2*fresh), uint64(len(s.sealing)))))
}

// sealSome seals that many of the subjects that wait for it.
func (s *Store) sealSome(b *pebble.Batch, n int) error {
	for _, e := range s.sealing[:n] {
		k, _ := slices.BinarySearch(e.open, s.sealTo)
		if k == 0 {
			continue // deleted meanwhile, or sealed when it replaced another
		}
		if err := s.sealEntry(b, e, k); err != nil {
			return err
		}
		if err := s.writeTotal(b, e); err != nil {
			return err
		}
	}
	if s.sealing = s.sealing[n:]; len(s.sealing) > 0 {
		return nil
	}
	s.sealing = nil
	s.area.base, s.cur.openBase = s.sealTo, s.sealTo
	return s.evictEntries()
}

// sealEntry moves the first n open sequences of a subject into its total and, if
// these are not all that it has, its postings.
func (s *Store) sealEntry(b *pebble.Batch, e *entry, n int) error {
	t := &e.total
	seqs := e.open[:n]
	switch {
	case t.count == 0:
		t.first = seqs[0]
	case t.count == 1:
		seqs = append([]uint64{t.last}, seqs...)
	}
	t.count += uint64(n)
	t.last = seqs[len(seqs)-1]
	e.dirty = true
	if t.count > 1 {
		if err := s.writePostings(b, e.subject, seqs); err != nil {
			return err
		}
	}
	e.open = slices.Delete(e.open, 0, n)
	return nil
}

// writePostings persists the postings of a subject in the chunks of seqs, which
// ascend.
func (s *Store) writePostings(b *pebble.Batch, subject string, seqs []uint64) error {
	for len(seqs) > 0 {
		var p posting
		chunk, k := chunkOf(seqs[0]), 0
		for ; k < len(seqs) && chunkOf(seqs[k]) == chunk; k++ {
			p.add(seqs[k])
		}
		seqs = seqs[k:]
		s.scratch = p.encode(s.scratch[:0])
		if err := b.Set(appendPostingKey(nil, s.number, subject, chunk), s.scratch, nil); err != nil {
			return err
		}
	}
	return nil
}

// evictEntries drops the subjects that have no sequences of their own in memory.
func (s *Store) evictEntries() error {
	for name, e := range s.area.subjects {
		if len(e.open) == 0 {
			delete(s.area.subjects, name)
		}
	}
	return s.lookup.close()
}
