package stream

import (
	"fmt"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/msg"
	"weir/internal/subject"
)

// PurgeRequest says what to remove. The zero value is everything.
type PurgeRequest struct {
	Filter string // only subjects that match; "" is all
	Below  uint64 // only sequences less than this; 0 is no bound
	Keep   uint64 // spare that many of the newest; not together with Below
	// UpTo, unless 0, is the last sequence when the request was taken: what came later stays.
	UpTo uint64
}

// Purge removes messages and counts them.
func (s *Stream) Purge(r PurgeRequest) (n uint64, refused *apierr.Error, err error) {
	if e := s.checkOpen(); e != nil {
		return 0, e, nil
	}
	if s.cfg.DenyPurge {
		return 0, apierr.JSStreamPurgeFailedF("stream purge not permitted"), nil
	}
	if r.Below > 0 && r.Keep > 0 || r.Below > MaxSeq {
		return 0, apierr.JSBadRequestErr, nil
	}
	all := r.Filter == "" || r.Filter == ">"
	if all && r.Below > s.store.State().LastSeq+1 {
		s.store.SetLast(r.Below-1, 0)
	}
	below := s.store.State().LastSeq + 1
	if r.UpTo > 0 && r.UpTo < below {
		below = r.UpTo + 1
	}
	if r.Below > 0 {
		below = min(below, r.Below)
	}
	if all {
		n, err = s.purgeAll(below, r.Keep)
	} else {
		n, err = s.purgeFiltered(r.Filter, below, r.Keep)
	}
	return n, nil, err
}

func (s *Stream) purgeAll(below, keep uint64) (uint64, error) {
	for i := uint64(0); i < keep; i++ {
		seq, ok, err := s.store.LastMatching(subject.Filter{}, below-1)
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, nil
		}
		below = seq
	}
	return s.purgeBelow(below)
}

func (s *Stream) purgeFiltered(filter string, below, keep uint64) (n uint64, err error) {
	if !subject.Valid(filter) || !storable(filter) {
		return 0, nil
	}
	if !subject.HasWildcard(filter) && below == s.store.State().LastSeq+1 {
		return s.keepNewest(filter, keep)
	}
	f := subject.NewFilter(filter)
	if keep > 0 {
		if below, err = s.cutoff(f, below, keep); err != nil {
			return 0, err
		}
	}
	return s.purgeMatching(f, below, 0)
}

// purgeMatching takes out the messages below a sequence that match f, but for the newest keep of each subject.
func (s *Stream) purgeMatching(f subject.Filter, below, keep uint64) (uint64, error) {
	var gone []uint64
	n, err := s.store.PurgeMatching(f, below, keep, func(info msg.Info) {
		if s.scheduled {
			gone = append(gone, info.Seq)
		}
		if s.Removed != nil {
			s.Removed(info)
		}
	})
	for _, seq := range gone {
		if err == nil {
			err = s.unplan(seq)
		}
	}
	return n, err
}

// cutoff is the sequence of the keep-th newest message below a bound that matches f, 0 when there are fewer.
func (s *Stream) cutoff(f subject.Filter, below, keep uint64) (uint64, error) {
	for ; keep > 0; keep-- {
		seq, ok, err := s.store.LastMatching(f, below-1)
		if err != nil || !ok {
			return 0, err
		}
		below = seq
	}
	return below, nil
}

// DeleteMsg removes one message on a client's request.
func (s *Stream) DeleteMsg(seq uint64, noErase bool) (*apierr.Error, error) {
	if e := s.checkOpen(); e != nil {
		return e, nil
	}
	if s.cfg.DenyDelete {
		return apierr.JSStreamMsgDeleteFailedF("message delete not permitted"), nil
	}
	if s.cfg.Storage != api.MemoryStorage {
		switch state := s.store.State(); {
		case seq < max(state.FirstSeq, 1):
			return apierr.JSStreamMsgDeleteFailedF("no message found"), nil
		case seq > state.LastSeq:
			return apierr.JSStreamMsgDeleteFailedF("stream store EOF"), nil
		}
	}
	ok, err := s.remove(seq, !noErase)
	if err != nil {
		return nil, err
	}
	if !ok {
		return apierr.JSSequenceNotFoundErrF(seq), nil
	}
	return nil, nil
}

// remove takes one message out, for whatever reason but a consumer's ack.
func (s *Stream) remove(seq uint64, erase bool) (bool, error) {
	info, ok, err := s.store.Delete(seq, erase)
	if err == nil && ok {
		err = s.unplan(seq)
	}
	if ok && s.Removed != nil {
		s.Removed(info)
	}
	return ok, err
}

// purgeBelow takes out every message below a sequence.
func (s *Stream) purgeBelow(below uint64) (uint64, error) {
	n, _, err := s.store.Purge(below)
	if err == nil {
		err = s.unplanBelow(below)
	}
	if err == nil && s.Purged != nil {
		s.Purged(s.store.State().FirstSeq)
	}
	return n, err
}

// Release removes a message that every consumer is through with. It tells whether it was there.
func (s *Stream) Release(seq uint64) (bool, error) {
	_, ok, err := s.store.Delete(seq, false)
	if err == nil && ok {
		err = s.unplan(seq)
	}
	if err != nil {
		return false, fmt.Errorf("releasing message %d: %w", seq, err)
	}
	return ok, nil
}

// ReleaseAll removes every message.
func (s *Stream) ReleaseAll() error {
	end := s.store.State().LastSeq + 1
	if _, _, err := s.store.Purge(end); err != nil {
		return err
	}
	return s.unplanBelow(end)
}
