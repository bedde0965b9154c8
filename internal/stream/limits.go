package stream

import (
	"math"
	"slices"

	"weir/internal/msg"
	"weir/internal/subject"
)

// enforce makes room behind a message that was stored: first on its subject, then in the stream.
func (s *Stream) enforce(literal string) error {
	if s.cfg.MaxMsgsPer > 0 {
		if err := s.enforcePerSubject(literal); err != nil {
			return err
		}
	}
	if s.cfg.MaxMsgs > 0 || s.cfg.MaxBytes > 0 {
		return s.enforceLimits()
	}
	return nil
}

// enforceLimits removes the oldest messages until max_msgs and max_bytes hold. After an update they may be too many for one
// entry: then Sweep goes on.
func (s *Stream) enforceLimits() error {
	for n := 0; n < s.StepMost && s.overLimits(); n++ {
		if _, err := s.remove(s.store.State().FirstSeq, false); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stream) overLimits() bool {
	state := s.store.State()
	return state.Msgs > 0 && (s.cfg.MaxMsgs > 0 && state.Msgs > uint64(s.cfg.MaxMsgs) ||
		s.cfg.MaxBytes > 0 && state.Bytes > uint64(s.cfg.MaxBytes))
}

// enforcePerSubject removes the oldest messages of a subject until max_msgs_per_subject holds.
func (s *Stream) enforcePerSubject(literal string) error {
	over, err := s.keepNewest(literal, uint64(s.cfg.MaxMsgsPer))
	if err != nil || !over {
		return err
	}
	// The limit was higher before: what is left is for the sweep that the update began.
	_, err = s.purgeMatching(literal, "", math.MaxUint64, uint64(s.cfg.MaxMsgsPer))
	return err
}

// keepNewest removes the oldest message of a literal subject if that leaves keep. over: there are more than one to be removed.
func (s *Stream) keepNewest(literal string, keep uint64) (over bool, err error) {
	count, err := s.store.CountFor(literal)
	if err != nil || count <= keep {
		return false, err
	}
	if count-keep > 1 {
		return true, nil
	}
	seq, ok, err := s.store.FirstFor(literal)
	if err == nil && ok {
		_, err = s.removed(s.store.DeleteOf(literal, seq))
	}
	return false, err
}

// enforcePerSubjectEverywhere applies a lowered max_msgs_per_subject to all that is stored.
func (s *Stream) enforcePerSubjectEverywhere() error {
	end := s.store.State().LastSeq + 1
	if i := slices.IndexFunc(s.sweeps, func(w *sweep) bool { return w.Limit }); i >= 0 {
		w := s.sweeps[i]
		w.Below, w.From = end, ""
		return s.saveSweep(w)
	}
	_, err := s.beginSweep(&sweep{Below: end, Limit: true})
	return err
}

// rollUpAll removes everything for m, which is about to follow with a Nats-Rollup for all.
func (s *Stream) rollUpAll(m *msg.Message) error {
	s.store.SetLast(m.Seq-1, 0)
	_, err := s.purgeBelow(m.Seq, math.MaxInt) // everything is cheap
	return err
}

// rollUp removes what m, which has a Nats-Rollup for its subject, replaces.
func (s *Stream) rollUp(m *msg.Message) error {
	over, err := s.keepNewest(m.Subject, 1)
	if err != nil || !over {
		return err
	}
	i := slices.IndexFunc(s.sweeps, func(w *sweep) bool { return w.Filter == m.Subject && w.Proposer == 0 })
	if i >= 0 {
		s.sweeps[i].Below = m.Seq
		return s.saveSweep(s.sweeps[i])
	}
	_, err = s.beginSweep(&sweep{Filter: m.Subject, Below: m.Seq})
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
