package stream

import (
	"fmt"
	"math"

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
	// Proposer and Request name who asked; see Swept.
	Proposer, Request uint64
}

// Purge removes messages and counts them. done is false when they are too many for one entry: Sweep goes on with them, and says
// when it is done.
func (s *Stream) Purge(r PurgeRequest) (n uint64, done bool, refused *apierr.Error, err error) {
	if e := s.checkOpen(); e != nil {
		return 0, true, e, nil
	}
	if s.cfg.DenyPurge {
		return 0, true, apierr.JSStreamPurgeFailedF("stream purge not permitted"), nil
	}
	if r.Below > 0 && r.Keep > 0 || r.Below > MaxSeq {
		return 0, true, apierr.JSBadRequestErr, nil
	}
	if len(s.sweeps) >= maxSweeps {
		return 0, true, apierr.JSStreamPurgeFailedF("too many purges are under way"), nil
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
	w := &sweep{Below: below, Proposer: r.Proposer, Request: r.Request}
	if !all {
		if !subject.Valid(r.Filter) || !storable(r.Filter) {
			return 0, true, nil, nil
		}
		w.Filter = r.Filter
	}
	if r.Keep > 0 {
		f := subject.Filter{}
		if !all {
			f = subject.NewFilter(r.Filter)
		}
		ok := false
		if w.Below, ok, err = s.store.NthLast(f, below-1, r.Keep); err != nil || !ok {
			return 0, true, nil, err
		}
	}
	done, err = s.beginSweep(w)
	return w.Removed, done, nil, err
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
	return s.removed(s.store.Delete(seq, erase))
}

// removed follows a removal by the store.
func (s *Stream) removed(info msg.Info, ok bool, err error) (bool, error) {
	if err == nil && ok {
		err = s.unplan(info.Seq)
	}
	if ok && s.Removed != nil {
		s.Removed(info)
	}
	return ok, err
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
	if _, _, err := s.store.Purge(end, math.MaxInt); err != nil {
		return err
	}
	return s.unplanBelow(end)
}
