package msgstore

import (
	"slices"

	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

// PurgeMatching removes the messages below a sequence whose subject the filter
// matches, but for the newest keep of each subject, and counts them. removed is
// told of each: subject by subject, alphabetically, and ascending. It goes by the
// subject index, so that what it costs depends on what it removes and on how many
// subjects match.
func (s *Store) PurgeMatching(f subject.Filter, below, keep uint64, removed func(msg.Info)) (n uint64, err error) {
	if err := s.usable(); err != nil {
		return 0, err
	}
	v := s.applyView()
	err = v.subjects(f, func(subj string, total subjectTotal, open []uint64) (bool, error) {
		if total.count+uint64(len(open)) <= keep {
			return true, nil
		}
		seqs, err := v.sequences(subj, total, open)
		if err != nil {
			return false, err
		}
		for i, seq := range seqs {
			if seq >= below || uint64(len(seqs)-i) <= keep {
				break
			}
			info, ok, err := s.Delete(seq, false)
			if err != nil {
				return false, err
			}
			base.Assert(ok, "message %d of %q is indexed and not there", seq, subj)
			removed(info)
			n++
		}
		return true, nil
	})
	return n, err
}

// sequences lists the messages of a subject, given its lookup.
func (v view) sequences(subj string, total subjectTotal, open []uint64) (seqs []uint64, err error) {
	if total.count == 1 {
		seqs = append(seqs, total.last)
	} else if total.count > 1 {
		err = v.sealed(subj, chunkOf(total.first), chunkOf(total.last), false, func(chunk uint64, p *posting) bool {
			for off := p.next(0); off >= 0; off = p.next(off + 1) {
				seqs = append(seqs, chunk<<chunkBits+uint64(off))
			}
			return true
		})
	}
	return slices.DeleteFunc(append(seqs, open...), v.isPending), err
}
