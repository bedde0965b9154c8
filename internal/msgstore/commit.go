package msgstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"weir/internal/base"
)

// Commit ends a step of the apply side: everything since the last Commit becomes
// visible to readers, together with the applied index, in one Pebble batch.
// Nothing is synced; see DB.Checkpoint. After an error the store is of no use
// until it is opened again.
func (s *Store) Commit(applied uint64) error {
	if err := s.db.failure(); err != nil {
		return err
	}
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.writeBuffer(); err != nil {
		return err
	}
	s.cur.applied = applied
	b := s.db.p.NewBatch()
	defer b.Close()
	life, runs := s.life, len(s.runs)
	if err := s.commit(b); err != nil {
		s.err = fmt.Errorf("committing store %s at %d: %w", s.id, applied, err)
		return s.err
	}
	if s.life != life || runs > 0 {
		s.lookup.unflushed = s.db.recent.next()
	}
	full := s.db.recent.add(s, s.written)
	clear(s.written)
	s.written = s.written[:0]
	s.db.tables.trim()
	if s.newlyDead >= s.db.opts.SegmentSize/8 {
		s.newlyDead = 0
		s.db.janitor.rewrite(s)
	}
	if full {
		if _, err := s.db.flushIndex(); err != nil {
			return fmt.Errorf("flushing index: %w", err)
		}
	}
	return nil
}

func (s *Store) commit(b *pebble.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errors.Join(
		s.writeReset(b),
		s.writeRuns(b),
		s.writeDeletes(b),
		s.seal(b),
		s.writeSegments(b),
		s.writeKeys(b),
	)
	if err != nil {
		return err
	}
	s.scratch = s.cur.encode(s.scratch[:0])
	if err := b.Set(appendPrefix(nil, s.number, kindMeta), s.scratch, nil); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	s.committed = s.cur
	return nil
}

// writeReset carries out a purge of everything.
func (s *Store) writeReset(b *pebble.Batch) (err error) {
	if s.reset == 0 {
		return nil
	}
	for _, kind := range []byte{kindPosting, kindTotal, kindDead} {
		prefix := appendPrefix(nil, s.number, kind)
		err = errors.Join(err, b.DeleteRange(prefix, upperBound(prefix), nil))
	}
	s.segs = slices.DeleteFunc(s.segs, func(g *segment) bool {
		if g.base >= s.reset {
			return false
		}
		g.dirty = false
		err = errors.Join(err, b.Delete(appendUintKey(nil, s.number, kindSegment, g.id), nil))
		s.db.garbage.addFile(s.file(g), g.size)
		return true
	})
	s.touched = slices.DeleteFunc(s.touched, func(g *segment) bool { return g.base < s.reset })
	s.open, s.reset, s.sealing = s.area, 0, nil
	s.life++
	return errors.Join(err, s.lookup.close())
}

// writeRuns deletes the totals of runs of subjects. What the same Commit writes of a
// subject that has messages again comes behind it.
func (s *Store) writeRuns(b *pebble.Batch) (err error) {
	for _, r := range s.runs {
		first := appendSubjectKey(nil, s.number, kindTotal, r.first)
		last := appendSubjectKey(nil, s.number, kindTotal, r.last)
		err = errors.Join(err, b.DeleteRange(first, append(last, 0), nil))
	}
	s.runs = s.runs[:0]
	return err
}

// victim is a message that a Commit deletes.
type victim struct {
	seq uint64
	pendingDelete
}

// writeDeletes carries out the pending deletes.
func (s *Store) writeDeletes(b *pebble.Batch) error {
	if len(s.pending) == 0 {
		return nil
	}
	victims := make([]victim, 0, len(s.pending))
	for seq, d := range s.pending {
		victims = append(victims, victim{seq, d})
	}
	slices.SortFunc(victims, func(x, y victim) int { return cmp.Compare(x.seq, y.seq) })
	for _, v := range victims {
		if err := s.kill(b, v); err != nil {
			return err
		}
	}
	slices.SortFunc(victims, func(x, y victim) int {
		return cmp.Or(strings.Compare(x.entry.subject, y.entry.subject), cmp.Compare(x.seq, y.seq))
	})
	for len(victims) > 0 {
		e := victims[0].entry
		n := slices.IndexFunc(victims, func(v victim) bool { return v.entry != e })
		if n < 0 {
			n = len(victims)
		}
		if err := s.unindex(b, e, victims[:n]); err != nil {
			return err
		}
		victims = victims[n:]
	}
	clear(s.pending)
	if len(s.area.subjects) > maxEntries {
		return s.evictEntries()
	}
	return nil
}

// kill marks the record of a message dead.
func (s *Store) kill(b *pebble.Batch, v victim) error {
	i := s.segmentFor(v.seq)
	base.Assert(i < len(s.segs) && s.segs[i].base <= v.seq, "deleted message %d has no segment", v.seq)
	g := s.segs[i]
	t, err := s.loadTable(g)
	if err != nil {
		return err
	}
	pos, ok := t.find(g.base, v.seq)
	base.Assert(ok && !t.isDead(pos), "deleted message %d is not there", v.seq)
	s.touchLocked(g)
	t.kill(pos)
	g.dead++
	g.deadBytes += int64(t.size(pos))
	s.newlyDead += int64(t.size(pos))
	if v.erase {
		x := erasure{key: s.file(g), seq: v.seq, time: v.time, off: int64(t.offs[pos]), size: t.size(pos), format: g.format}
		if err := b.Set(x.dbKey(), x.encode(), nil); err != nil {
			return err
		}
		s.db.garbage.addErasure(x)
	}
	if v.seq < s.cur.state.FirstSeq {
		return nil
	}
	g.marked = true
	s.scratch = appendUintKey(s.scratch[:0], s.number, kindDead, v.seq)
	return b.Set(s.scratch, nil, nil)
}

// unindex takes messages of one subject, ascending, from the subject index.
func (s *Store) unindex(b *pebble.Batch, e *entry, victims []victim) error {
	n := 0
	if e.total.count > 0 {
		n, _ = slices.BinarySearchFunc(victims, e.total.last+1, func(v victim, seq uint64) int { return cmp.Compare(v.seq, seq) })
	}
	if n > 0 {
		if err := s.unindexSealed(b, e, victims[:n]); err != nil {
			return err
		}
	}
	for _, v := range victims[n:] {
		i, ok := slices.BinarySearch(e.open, v.seq)
		base.Assert(ok, "message %d of %q is not indexed", v.seq, e.subject)
		e.open = slices.Delete(e.open, i, i+1)
	}
	e.removed = 0
	if e.dirty && e.total.count == 0 && len(e.open) == 1 {
		// The message has replaced the only one that was sealed: one write for both.
		if err := s.sealEntry(b, e, 1); err != nil {
			return err
		}
	}
	return s.writeTotal(b, e)
}

// unindexSealed takes sealed messages of one subject, ascending, from its postings
// and its total.
func (s *Store) unindexSealed(b *pebble.Batch, e *entry, victims []victim) error {
	t := &e.total
	last, count := t.last, t.count-uint64(len(victims))
	if count > 0 && victims[len(victims)-1].seq == last {
		// The postings in Pebble are those from before this Commit: pending deletes
		// are skipped as the apply side's view does.
		var ok bool
		var err error
		if last, ok, err = s.applyView().lastSealed(e.subject, *t, last); err != nil {
			return err
		}
		base.Assert(ok, "subject %q has %d sealed messages and no last", e.subject, count)
	}
	for rest := victims; len(rest) > 0 && t.count > 1; {
		chunk := chunkOf(rest[0].seq)
		n := slices.IndexFunc(rest, func(v victim) bool { return chunkOf(v.seq) != chunk })
		if n < 0 {
			n = len(rest)
		}
		if err := s.updatePosting(b, e, chunk, rest[:n], last); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if count == 1 && t.count > 1 { // a single message needs no posting
		t.first = last
		if err := b.Delete(appendPostingKey(nil, s.number, e.subject, chunkOf(last)), nil); err != nil {
			return err
		}
	}
	t.count, t.last = count, last
	e.dirty = true
	return nil
}

// updatePosting takes messages of one chunk from a subject's posting. last is the
// subject's last sealed message afterwards.
func (s *Store) updatePosting(b *pebble.Batch, e *entry, chunk uint64, victims []victim, last uint64) error {
	key := appendPostingKey(nil, s.number, e.subject, chunk)
	value, err := s.db.get(key)
	if err != nil {
		return err
	}
	var p posting
	if err := p.decode(value); err != nil {
		return fmt.Errorf("posting of %q in chunk %d: %w", e.subject, chunk, err)
	}
	for _, v := range victims {
		base.Assert(p.has(v.seq), "message %d of %q is not indexed", v.seq, e.subject)
		p.drop(v.seq)
	}
	if chunkOf(e.total.first) == chunk {
		if off := p.next(0); off >= 0 {
			e.total.first = chunk<<chunkBits + uint64(off)
		} else {
			e.total.first = min((chunk+1)<<chunkBits, last)
		}
	}
	if p.next(0) < 0 {
		return b.Delete(key, nil)
	}
	s.scratch = p.encode(s.scratch[:0])
	return b.Set(key, s.scratch, nil)
}

// writeTotal persists the total of an entry that changed.
func (s *Store) writeTotal(b *pebble.Batch, e *entry) error {
	inRun := e.inRun
	e.inRun = false
	if !e.dirty {
		return nil
	}
	e.dirty = false
	s.written = append(s.written, e)
	if e.total.count == 0 && inRun {
		e.total, e.inRun = subjectTotal{}, true // until recent knows
		return nil
	}
	key := appendSubjectKey(nil, s.number, kindTotal, e.subject)
	if e.total.count == 0 {
		e.total = subjectTotal{}
		return b.Delete(key, nil)
	}
	s.scratch = e.total.encode(s.scratch[:0])
	return b.Set(key, s.scratch, nil)
}

// writeSegments persists the descriptors that changed, and drops segments
// without a live message.
func (s *Store) writeSegments(b *pebble.Batch) error {
	dropped := false
	for _, g := range s.touched {
		g.dirty = false
		key := appendUintKey(nil, s.number, kindSegment, g.id)
		if g.live() > 0 || g == s.tail {
			s.scratch = g.encode(s.scratch[:0])
			if err := b.Set(key, s.scratch, nil); err != nil {
				return err
			}
			continue
		}
		dropped = true
		if err := s.dropSegment(b, g, key); err != nil {
			return err
		}
	}
	s.touched = s.touched[:0]
	if dropped {
		s.segs = slices.DeleteFunc(s.segs, func(g *segment) bool { return g.live() == 0 && g != s.tail })
	}
	return nil
}

// dropSegment deletes what Pebble has of a segment; its file goes after the next
// checkpoint.
func (s *Store) dropSegment(b *pebble.Batch, g *segment, key []byte) error {
	s.db.garbage.addFile(s.file(g), g.size)
	err := b.Delete(key, nil)
	if g.marked {
		lower := appendUintKey(nil, s.number, kindDead, g.base)
		upper := appendUintKey(nil, s.number, kindDead, g.last+1)
		err = errors.Join(err, b.DeleteRange(lower, upper, nil))
	}
	return err
}
