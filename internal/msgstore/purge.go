package msgstore

import (
	"errors"
	"slices"
	"strings"

	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

// purgeVisits bounds the subjects that one PurgeMatching looks at.
const purgeVisits = 64 << 10

// PurgeMatching removes the messages below a sequence whose subject the pattern
// matches ("" is all), but for the newest keep of each subject, and tells removed
// of each: subject by subject, alphabetically, and ascending. It begins with the
// subject from and ends after most messages, or when it has looked at very many
// subjects; next is where to go on, "" when nothing is left. What it does depends on
// the messages alone, not on where the index has them: replicas stop at the same
// place.
func (s *Store) PurgeMatching(pattern, from string, below, keep uint64, most int, removed func(msg.Info)) (next string, err error) {
	if err := s.usable(); err != nil {
		return "", err
	}
	if pattern == "" {
		pattern = ">"
	}
	w, err := s.applyView().walk(pattern, from)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	undone := len(s.pending) > 0 // some subjects may have nothing left but what is pending
	var inRun []*entry
	defer func() { s.addRun(inRun) }()
	var seqs []uint64
	for visits := 0; ; {
		ok, err := w.next()
		if err != nil || !ok {
			return "", err
		}
		if w.total.count == 0 && len(w.open) == 0 || undone && w.entry != nil && s.live(w.entry) == 0 {
			continue
		}
		if visits++; visits > purgeVisits {
			return strings.Clone(w.name), nil
		}
		seqs = seqs[:0]
		if w.matches() && w.total.count+uint64(len(w.open)) > keep {
			if seqs, err = w.oldest(seqs, below, keep, most+1); err != nil {
				return "", err
			}
		}
		if len(seqs) > most {
			seqs, next = seqs[:most], strings.Clone(w.name)
		}
		most -= len(seqs)
		e, err := s.deleteAll(w, seqs, removed)
		if err != nil || next != "" {
			return next, err
		}
		if e == nil || s.live(e) > 0 {
			s.addRun(inRun)
			inRun = inRun[:0]
			continue
		}
		inRun = append(inRun, e)
	}
}

// run is subjects next to each other whose totals the next Commit deletes by a range.
type run struct{ first, last string }

// leastRun is the least number of subjects that make a run. A range in the index costs
// those who read there, until it is compacted.
const leastRun = 1024

// addRun notes subjects between which no other one has a total in the index, and which
// have nothing left but pending deletes.
func (s *Store) addRun(entries []*entry) {
	if len(entries) < s.db.leastRun || len(entries) == 0 {
		return
	}
	s.runs = append(s.runs, run{entries[0].subject, entries[len(entries)-1].subject})
	for _, e := range entries {
		e.inRun = true
	}
}

// deleteAll removes messages of the subject that a walk stands on; nil when there are
// none.
func (s *Store) deleteAll(w *walk, seqs []uint64, removed func(msg.Info)) (*entry, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	e := w.entry
	if e == nil {
		e = s.addEntry(w.name, w.total)
	}
	for _, seq := range seqs {
		info, ok, err := s.deleteOf(e, seq)
		if err != nil {
			return nil, err
		}
		base.Assert(ok, "message %d of %q is indexed and not there", seq, e.subject)
		removed(info)
	}
	return e, nil
}

// oldest appends up to most messages of the subject that the walk stands on: those
// below a sequence but for the newest keep of all.
func (w *walk) oldest(seqs []uint64, below, keep uint64, most int) ([]uint64, error) {
	v, total := w.v, w.total
	live := total.count + uint64(len(w.open))
	if w.entry != nil {
		live -= uint64(w.entry.removed)
	}
	if live <= keep {
		return seqs, nil
	}
	most = int(min(uint64(most), live-keep))
	// take notes a message and tells whether to go on.
	take := func(seq uint64) bool {
		if seq >= below || len(seqs) == most {
			return false
		}
		if !v.isPending(seq) {
			seqs = append(seqs, seq)
		}
		return true
	}
	more := true
	if total.count == 1 {
		more = take(total.last)
	} else if total.count > 1 {
		err := v.sealed(w.name, chunkOf(total.first), chunkOf(total.last), false, func(chunk uint64, p *posting) bool {
			for off := p.next(0); more && off >= 0; off = p.next(off + 1) {
				more = take(chunk<<chunkBits + uint64(off))
			}
			return more
		})
		if err != nil {
			return nil, err
		}
	}
	for i := 0; more && i < len(w.open); i++ {
		more = take(w.open[i])
	}
	return seqs, nil
}

// NthLast is the message up to a sequence that the filter matches with n-1 newer
// ones, n at least 1; false when there are fewer than n. It reads the index once
// however large n is, and not at all when all n are near.
func (s *Store) NthLast(f subject.Filter, upTo, n uint64) (uint64, bool, error) {
	if err := s.usable(); err != nil {
		return 0, false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.applyView()
	upTo = min(upTo, v.last)
	if f.All() {
		return v.nthLastOfAll(upTo, n)
	}
	seq, found, more, err := v.nthLastNear(f, upTo, n, wildcardBudget)
	if !more {
		return seq, found, err
	}
	counts, err := v.chunkCounts(f, upTo)
	if err != nil {
		return 0, false, err
	}
	return v.nthLastCounted(f, counts, upTo, n)
}

// NthLast is the message up to a sequence that the filter matches with n-1 newer
// ones, as Store.NthLast; messages that are deleted meanwhile may count or not.
func (r Reader) NthLast(f subject.Filter, upTo, n uint64) (uint64, bool, error) {
	defer r.s.db.tables.trim()
	v, err := r.view()
	if err != nil {
		return 0, false, err
	}
	if upTo = min(upTo, v.last); f.All() {
		defer r.s.mu.RUnlock()
		return v.nthLastOfAll(upTo, n)
	}
	seq, found, more, err := v.nthLastNear(f, upTo, n, wildcardBudget)
	r.s.mu.RUnlock()
	if !more {
		return seq, found, err
	}
	scan, done, err := r.scanView(f)
	if err != nil {
		return 0, false, err
	}
	counts, err := scan.chunkCounts(f, upTo)
	if e := done(); err == nil {
		err = e
	}
	if err != nil {
		return 0, false, err
	}
	if v, err = r.view(); err != nil {
		return 0, false, err
	}
	defer r.s.mu.RUnlock()
	return v.nthLastCounted(f, counts, upTo, n)
}

// nthLastOfAll looks for the highest sequence from which on there are n messages.
func (v view) nthLastOfAll(upTo, n uint64) (uint64, bool, error) {
	behind, err := v.countAll(upTo + 1)
	if err != nil {
		return 0, false, err
	}
	low, high := v.first, upTo+1 // no answer above high; low is one if there is any
	for first := true; first || low+1 < high; first = false {
		seq := low
		if !first {
			seq = low + (high-low)/2
		}
		count, err := v.countAll(seq)
		if err != nil {
			return 0, false, err
		}
		switch {
		case count-behind >= n:
			low = seq
		case first:
			return 0, false, nil
		default:
			high = seq
		}
	}
	return low, true, nil
}

// nthLastNear looks at up to budget messages from a sequence down. more tells
// whether the answer may be further down.
func (v view) nthLastNear(f subject.Filter, upTo, n uint64, budget int) (seq uint64, found, more bool, err error) {
	for range budget {
		at, ok, err := v.prevLive(upTo)
		if err != nil || !ok {
			return 0, false, false, err
		}
		info, _, err := v.info(at)
		if err != nil {
			return 0, false, false, err
		}
		if f.Match(info.Subject) {
			if n--; n == 0 {
				return at.seq, true, false, nil
			}
		}
		if upTo = at.seq - 1; upTo == 0 {
			return 0, false, false, nil
		}
	}
	return 0, false, true, nil
}

// chunkCounts counts the messages up to a sequence that the filter matches by
// chunk.
func (v view) chunkCounts(f subject.Filter, upTo uint64) (map[uint64]uint64, error) {
	counts := map[uint64]uint64{}
	note := func(seq uint64) {
		if seq <= upTo && !v.isPending(seq) {
			counts[chunkOf(seq)]++
		}
	}
	err := v.subjects(f, func(subj string, total subjectTotal, open []uint64) (bool, error) {
		for _, seq := range open {
			note(seq)
		}
		if total.count == 1 {
			note(total.last)
		}
		if total.count <= 1 {
			return true, nil
		}
		return true, v.sealed(subj, chunkOf(total.first), chunkOf(min(total.last, upTo)), false, func(chunk uint64, p *posting) bool {
			if len(v.s.pending) == 0 && chunk < chunkOf(upTo) {
				counts[chunk] += uint64(p.count(0))
				return true
			}
			for off := p.next(0); off >= 0; off = p.next(off + 1) {
				note(chunk<<chunkBits + uint64(off))
			}
			return true
		})
	})
	return counts, err
}

// nthLastCounted finds the message in the chunk that the counts say it is in.
func (v view) nthLastCounted(f subject.Filter, counts map[uint64]uint64, upTo, n uint64) (uint64, bool, error) {
	chunks := make([]uint64, 0, len(counts))
	for chunk := range counts {
		chunks = append(chunks, chunk)
	}
	slices.Sort(chunks)
	for _, chunk := range slices.Backward(chunks) {
		if counts[chunk] < n {
			n -= counts[chunk]
			continue
		}
		seq, found, more, err := v.nthLastNear(f, min(upTo, chunk<<chunkBits+chunkMask), n, chunkSize)
		if more { // some were deleted since they were counted
			seq, found = chunk<<chunkBits, true
		}
		return seq, found, err
	}
	return 0, false, nil
}
