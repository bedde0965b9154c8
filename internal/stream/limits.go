package stream

import (
	"math"

	"weir/internal/msg"
	"weir/internal/subject"
)

// enforceLimits removes the oldest messages until max_msgs and max_bytes hold.
func (s *Stream) enforceLimits() error {
	for {
		state := s.store.State()
		over := s.cfg.MaxMsgs > 0 && state.Msgs > uint64(s.cfg.MaxMsgs) ||
			s.cfg.MaxBytes > 0 && state.Bytes > uint64(s.cfg.MaxBytes)
		if !over || state.Msgs == 0 {
			return nil
		}
		if _, err := s.remove(state.FirstSeq, false); err != nil {
			return err
		}
	}
}

// enforcePerSubject removes the oldest messages of a subject until max_msgs_per_subject holds.
func (s *Stream) enforcePerSubject(literal string) error {
	_, err := s.keepNewest(literal, uint64(s.cfg.MaxMsgsPer))
	return err
}

// keepNewest removes the oldest messages of a literal subject until keep are left, and counts them.
func (s *Stream) keepNewest(literal string, keep uint64) (uint64, error) {
	count, err := s.store.CountFor(literal)
	if err != nil || count <= keep {
		return 0, err
	}
	if count-keep > 1 {
		return s.purgeMatching(subject.NewFilter(literal), math.MaxUint64, keep)
	}
	seq, ok, err := s.store.FirstFor(literal)
	if err == nil && ok {
		_, err = s.remove(seq, false)
	}
	return 1, err
}

// enforcePerSubjectEverywhere applies a lowered max_msgs_per_subject to all that is stored.
func (s *Stream) enforcePerSubjectEverywhere() error {
	_, err := s.purgeMatching(subject.Filter{}, math.MaxUint64, uint64(s.cfg.MaxMsgsPer))
	return err
}

// rollUp removes what a message with Nats-Rollup replaces.
func (s *Stream) rollUp(rollup string, m *msg.Message) error {
	if rollup == rollupAll {
		_, err := s.purgeBelow(m.Seq)
		return err
	}
	_, err := s.keepNewest(m.Subject, 1)
	return err
}

// lastOf is the sequence of the last message of a subject, which may have wildcards; 0 when there is none.
func (s *Stream) lastOf(pattern string) (uint64, error) {
	if !subject.Valid(pattern) || !storable(pattern) {
		return 0, nil
	}
	if !subject.HasWildcard(pattern) {
		seq, _, err := s.store.LastFor(pattern)
		return seq, err
	}
	seq, _, err := s.store.LastMatching(subject.NewFilter(pattern), math.MaxUint64)
	return seq, err
}
