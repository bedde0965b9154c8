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
	return s.keepNewest(literal, uint64(s.cfg.MaxMsgsPer), nil)
}

// keepNewest removes the oldest messages of a literal subject until keep are left. n, if given, counts them.
func (s *Stream) keepNewest(literal string, keep uint64, n *uint64) error {
	count, err := s.store.CountFor(literal)
	for ; err == nil && count > keep; count-- {
		seq, ok, ferr := s.store.FirstFor(literal)
		if ferr != nil || !ok {
			return ferr
		}
		if _, err = s.remove(seq, false); err == nil && n != nil {
			*n++
		}
	}
	return err
}

// enforcePerSubjectEverywhere applies a lowered max_msgs_per_subject to all that is stored.
func (s *Stream) enforcePerSubjectEverywhere() error {
	return s.scan(0, math.MaxUint64, subject.Filter{}, func(info msg.Info) error {
		return s.enforcePerSubject(info.Subject)
	})
}

// rollUp removes what a message with Nats-Rollup replaces.
func (s *Stream) rollUp(rollup string, m *msg.Message) error {
	if rollup == rollupAll {
		_, err := s.purgeBelow(m.Seq)
		return err
	}
	return s.keepNewest(m.Subject, 1, nil)
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

// scan visits the messages from ≤ sequence < below that match f.
func (s *Stream) scan(from, below uint64, f subject.Filter, visit func(msg.Info) error) error {
	for {
		info, ok, err := s.store.NextInfo(from)
		if err != nil || !ok || info.Seq >= below {
			return err
		}
		if f.Match(info.Subject) {
			if err := visit(info); err != nil {
				return err
			}
		}
		from = info.Seq + 1
	}
}
