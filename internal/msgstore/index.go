package msgstore

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"weir/internal/base"
	"weir/internal/subject"
)

const (
	maxSubject = 1<<16 - 1
	// maxEntries is the number of subjects in memory from which those without
	// sequences of their own there are dropped.
	maxEntries = 4 * chunkSize
)

// openArea is the subject index of the newest sequences: those from base on. It
// is in memory only and is rebuilt from the segments when a store is opened. When
// a chunk is complete it moves into Pebble, see seal.
type openArea struct {
	base     uint64
	subjects map[string]*entry
}

// entry is what is in memory of one subject.
type entry struct {
	subject string
	total   subjectTotal // of the sealed messages; what Pebble has but for dirty
	open    []uint64     // live sequences that are not sealed, ascending and above total.last
	removed int          // pending deletes, sealed or open
	dirty   bool         // total differs from Pebble's
	inRun   bool         // a run has it, see Store.runs
}

func newOpenArea(base uint64) *openArea {
	return &openArea{base: base, subjects: map[string]*entry{}}
}

// entry finds or loads the entry of a subject, for the apply side.
func (s *Store) entry(subj string) (*entry, error) {
	if e := s.area.subjects[subj]; e != nil {
		return e, nil
	}
	base.Assert(strings.IndexByte(subj, 0) < 0, "subject %q has a zero byte", subj)
	var total subjectTotal
	if s.reset == 0 {
		var err error
		if total, err = s.lookup.total(s, subj); err != nil {
			return nil, err
		}
	}
	return s.addEntry(subj, total), nil
}

// addEntry makes the entry of a subject that has none, given its total.
func (s *Store) addEntry(subj string, total subjectTotal) *entry {
	e := &entry{subject: strings.Clone(subj), total: total}
	s.mu.Lock()
	s.area.subjects[e.subject] = e
	s.mu.Unlock()
	return e
}

// live counts the messages of a subject as the apply side sees them.
func (s *Store) live(e *entry) uint64 {
	return e.total.count + uint64(len(e.open)) - uint64(e.removed)
}

// total reads the persisted total of a subject.
func (v view) total(subj string) (subjectTotal, error) {
	var buf [128]byte
	value, closer, err := v.index.Get(appendSubjectKey(buf[:0], v.number, kindTotal, subj))
	if err == pebble.ErrNotFound {
		return subjectTotal{}, nil
	}
	if err != nil {
		return subjectTotal{}, indexError("reading subject", err)
	}
	defer closer.Close()
	return decodeTotal(value)
}

// loadArea rebuilds the open area from the segments, once.
func (s *Store) loadArea() error {
	if s.areaLoaded.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.areaLoaded.Load() {
		return nil
	}
	area := newOpenArea(s.committed.openBase)
	v := s.readView()
	for seq := area.base; ; seq++ {
		at, ok, err := v.nextLive(seq)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		seq = at.seq
		if err := v.collect(area, at); err != nil {
			return err
		}
	}
	s.open.subjects = area.subjects
	s.areaLoaded.Store(true)
	return nil
}

// collect adds one message to an area that is being rebuilt.
func (v view) collect(area *openArea, at place) error {
	s := v.s
	h, err := s.db.files.acquire(s.file(at.seg))
	if err != nil {
		return err
	}
	defer s.db.files.release(h)
	rec, err := s.readHead(h, at)
	if err != nil {
		return err
	}
	e := area.subjects[rec.subject()]
	if e == nil {
		e = &entry{subject: strings.Clone(rec.subject())}
		if e.total, err = v.total(e.subject); err != nil {
			return err
		}
		area.subjects[e.subject] = e
	}
	if e.total.count == 0 || at.seq > e.total.last {
		e.open = append(e.open, at.seq)
	}
	return nil
}

// sealed visits the postings of a subject in the chunks from..to, upwards or
// downwards, until visit returns false. A subject with a single sealed message has
// none.
func (v view) sealed(subj string, from, to uint64, down bool, visit func(chunk uint64, p *posting) bool) error {
	if from > to || v.s.reset != 0 && v.apply {
		return nil
	}
	it, err := v.index.NewIter(&pebble.IterOptions{
		LowerBound: appendPostingKey(nil, v.number, subj, from),
		UpperBound: appendPostingKey(nil, v.number, subj, to+1),
	})
	if err != nil {
		return indexError("reading subject index", err)
	}
	defer it.Close()
	step, ok := it.Next, it.First()
	if down {
		step, ok = it.Prev, it.Last()
	}
	var p posting
	for ; ok; ok = step() {
		value, err := it.ValueAndErr()
		if err != nil {
			return indexError("reading subject index", err)
		}
		if err := p.decode(value); err != nil {
			return err
		}
		if key := it.Key(); !visit(binary.BigEndian.Uint64(key[len(key)-8:]), &p) {
			break
		}
	}
	if err := it.Error(); err != nil {
		return indexError("reading subject index", err)
	}
	return nil
}

// lookup is the entry of a subject as the view sees it, without keeping it.
func (v view) lookup(subj string) (subjectTotal, []uint64, error) {
	if e := v.area.subjects[subj]; e != nil {
		return e.total, v.visibleOpen(e), nil
	}
	if v.apply && v.s.reset != 0 {
		return subjectTotal{}, nil, nil
	}
	total, err := v.total(subj)
	return total, nil, err
}

// visibleOpen is the part of e.open that the view may see.
func (v view) visibleOpen(e *entry) []uint64 {
	n := len(e.open)
	for n > 0 && e.open[n-1] > v.last {
		n--
	}
	return e.open[:n]
}

// firstFor is the first message of a subject from seq on.
func (v view) firstFor(subj string, seq uint64) (found uint64, ok bool, err error) {
	total, open, err := v.lookup(subj)
	if err != nil {
		return 0, false, err
	}
	return v.firstOf(subj, total, open, seq)
}

// firstOf is firstFor, given the subject's lookup.
func (v view) firstOf(subj string, total subjectTotal, open []uint64, seq uint64) (found uint64, ok bool, err error) {
	if total.count == 1 && seq <= total.last && !v.isPending(total.last) {
		return total.last, true, nil
	}
	if total.count > 1 && seq <= total.last {
		seq := max(seq, total.first)
		err = v.sealed(subj, chunkOf(seq), chunkOf(total.last), false, func(chunk uint64, p *posting) bool {
			found, ok = v.firstIn(p, chunk, seq)
			return !ok
		})
		if err != nil || ok {
			return found, ok, err
		}
	}
	i, _ := slices.BinarySearch(open, seq)
	for ; i < len(open); i++ {
		if !v.isPending(open[i]) {
			return open[i], true, nil
		}
	}
	return 0, false, nil
}

// firstIn is the first sequence of the posting from seq on.
func (v view) firstIn(p *posting, chunk, seq uint64) (uint64, bool) {
	from := 0
	if chunkOf(seq) == chunk {
		from = int(seq & chunkMask)
	}
	for off := p.next(from); off >= 0; {
		if found := chunk<<chunkBits + uint64(off); !v.isPending(found) {
			return found, true
		}
		if off++; off == chunkSize {
			break
		}
		off = p.next(off)
	}
	return 0, false
}

// lastFor is the last message of a subject up to seq.
func (v view) lastFor(subj string, seq uint64) (found uint64, ok bool, err error) {
	total, open, err := v.lookup(subj)
	if err != nil {
		return 0, false, err
	}
	return v.lastOf(subj, total, open, seq)
}

// lastOf is lastFor, given the subject's lookup.
func (v view) lastOf(subj string, total subjectTotal, open []uint64, seq uint64) (found uint64, ok bool, err error) {
	i, exact := slices.BinarySearch(open, seq)
	if !exact {
		i--
	}
	for ; i >= 0; i-- {
		if !v.isPending(open[i]) {
			return open[i], true, nil
		}
	}
	if total.count == 0 || seq < total.first {
		return 0, false, nil
	}
	if seq >= total.last && !v.isPending(total.last) {
		return total.last, true, nil
	}
	if total.count == 1 {
		return 0, false, nil
	}
	return v.lastSealed(subj, total, min(seq, total.last))
}

// lastSealed is the last message of a subject up to seq in the sealed chunks.
func (v view) lastSealed(subj string, total subjectTotal, seq uint64) (found uint64, ok bool, err error) {
	err = v.sealed(subj, chunkOf(total.first), chunkOf(seq), true, func(chunk uint64, p *posting) bool {
		upTo := chunkSize - 1
		if chunkOf(seq) == chunk {
			upTo = int(seq & chunkMask)
		}
		for off := p.prev(upTo); off >= 0; {
			if found = chunk<<chunkBits + uint64(off); !v.isPending(found) {
				ok = true
				return false
			}
			if off--; off < 0 {
				break
			}
			off = p.prev(off)
		}
		return true
	})
	return found, ok, err
}

// countFrom counts the messages of a subject from seq on, given its lookup. It
// costs one step per chunk that lies above seq.
func (v view) countFrom(subj string, total subjectTotal, open []uint64, seq uint64) (uint64, error) {
	i, _ := slices.BinarySearch(open, seq)
	n := uint64(len(open) - i)
	switch {
	case total.count == 0 || seq > total.last:
	case total.count == 1 || seq <= total.first:
		n += total.count
	default:
		err := v.sealed(subj, chunkOf(seq), chunkOf(total.last), false, func(chunk uint64, p *posting) bool {
			from := 0
			if chunk == chunkOf(seq) {
				from = int(seq & chunkMask)
			}
			n += uint64(p.count(from))
			return true
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// subjects visits the subjects that match one of the filter's, with their
// lookups, until visit returns false. The order is that of the filter's subjects,
// then alphabetical.
func (v view) subjects(f subject.Filter, visit func(subj string, total subjectTotal, open []uint64) (bool, error)) error {
	patterns := f.Subjects()
	if f.All() {
		patterns = []string{">"}
	}
	for i, pattern := range patterns {
		seen := func(subj string) bool {
			return slices.ContainsFunc(patterns[:i], func(p string) bool { return subject.Match(subj, p) })
		}
		stop := false
		err := v.matching(pattern, func(subj string, total subjectTotal, open []uint64) (bool, error) {
			if seen(subj) || total.count == 0 && len(open) == 0 {
				return true, nil
			}
			more, err := visit(subj, total, open)
			stop = !more
			return more, err
		})
		if err != nil || stop {
			return err
		}
	}
	return nil
}
