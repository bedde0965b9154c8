package stream

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"

	"weir/internal/base"
	"weir/internal/msg"
)

// Now is what NextExpiry says while a removal goes on: time has to pass at once, for Sweep to go on.
const Now = 1

// stepMost is the default of Stream.StepMost.
const stepMost = 4096

// maxSweeps bounds the purges that are under way at once.
const maxSweeps = 64

// sweep is a removal of more messages than one entry takes out, or a look at that many. Which they are is settled when it begins:
// messages that come later stay. It goes on with every call of Sweep; sweeps take their turns in the order in which they began.
type sweep struct {
	number uint64
	// Filter says which subjects; "" is all.
	Filter string `json:"filter,omitempty"`
	// Below: messages with a sequence less than this.
	Below uint64 `json:"below"`
	// Limit: the newest max_msgs_per_subject of each subject stay.
	Limit bool `json:"limit,omitempty"`
	// Lifetimes, Schedules: nothing is removed, but the messages' times to live begin to count, and the schedules that they hold begin.
	Lifetimes bool `json:"lifetimes,omitempty"`
	Schedules bool `json:"schedules,omitempty"`
	// From: the subjects before are done. Next: the sequences before are.
	From string `json:"from,omitempty"`
	Next uint64 `json:"next,omitempty"`
	// Removed counts the messages that are gone.
	Removed uint64 `json:"removed,omitempty"`
	// Proposer and Request say whom the count is for; 0: nobody.
	Proposer uint64 `json:"proposer,omitempty"`
	Request  uint64 `json:"request,omitempty"`
}

// Swept is what became of a purge that took more than one entry.
type Swept struct {
	Proposer, Request uint64 // as in PurgeRequest
	Removed           uint64
	Done              bool
}

// beginSweep does the first step of a removal, and leaves the rest to Sweep. done: there is no rest.
func (s *Stream) beginSweep(w *sweep) (done bool, err error) {
	if done, err = s.step(w); done || err != nil {
		return done, err
	}
	w.number = 1
	if n := len(s.sweeps); n > 0 {
		w.number = s.sweeps[n-1].number + 1
	}
	s.sweeps = append(s.sweeps, w)
	return false, s.saveSweep(w)
}

// step removes some messages. done: none is left.
func (s *Stream) step(w *sweep) (done bool, err error) {
	if w.Limit && s.cfg.MaxMsgsPer <= 0 {
		return true, nil // it has been lifted
	}
	if w.Lifetimes || w.Schedules {
		return s.heed(w)
	}
	before := s.store.State().Msgs
	if w.Filter == "" && !w.Limit {
		done, err = s.purgeBelow(w.Below, s.StepMost)
	} else {
		keep := uint64(0)
		if w.Limit {
			keep = uint64(s.cfg.MaxMsgsPer)
		}
		w.From, err = s.purgeMatching(w.Filter, w.From, w.Below, keep)
		done = w.From == ""
	}
	w.Removed += before - s.store.State().Msgs
	return done, err
}

// Sweep does one more step of the sweep that began first, or of a removal to meet the limits, and tells visit how far each
// purge is that somebody waits for.
func (s *Stream) Sweep(visit func(Swept)) error {
	if len(s.sweeps) == 0 {
		return s.enforceLimits()
	}
	w := s.sweeps[0]
	done, err := s.step(w)
	if err != nil {
		return err
	}
	if done {
		s.sweeps = s.sweeps[1:]
		err = s.store.Unset(s.sweepKey(w))
	} else {
		err = s.saveSweep(w)
	}
	if done && w.Proposer != 0 {
		visit(Swept{w.Proposer, w.Request, w.Removed, true})
	}
	for _, w := range s.sweeps {
		if w.Proposer != 0 {
			visit(Swept{w.Proposer, w.Request, w.Removed, false})
		}
	}
	return err
}

func (s *Stream) sweepKey(w *sweep) []byte {
	s.keyBuf = binary.BigEndian.AppendUint64(append(s.keyBuf[:0], keySweep), w.number)
	return s.keyBuf
}

func (s *Stream) saveSweep(w *sweep) error {
	doc, err := json.Marshal(w)
	base.Assert(err == nil, "sweep can not be encoded: %v", err)
	return s.store.Set(s.sweepKey(w), doc)
}

func (s *Stream) loadSweeps() error {
	var bad error
	err := s.store.ScanKeys([]byte{keySweep}, func(key, value []byte) bool {
		w := &sweep{}
		if len(key) != 9 {
			bad = base.Corruptf("sweep key of %d bytes", len(key))
			return false
		}
		if err := json.Unmarshal(value, w); err != nil {
			bad = base.Corruptf("sweep does not decode: %w", err)
			return false
		}
		w.number = binary.BigEndian.Uint64(key[1:])
		s.sweeps = append(s.sweeps, w)
		return true
	})
	if err == nil {
		err = bad
	}
	return err
}

func (s *Stream) hashSweeps(h hash.Hash) {
	for _, w := range s.sweeps {
		fmt.Fprint(h, w.number, w.Filter, w.Below, w.Limit, w.Lifetimes, w.Schedules, w.From, w.Next, w.Removed, w.Proposer, w.Request)
	}
}

// purgeMatching takes out messages below a sequence that a pattern matches ("" is all), but for the newest keep of each
// subject, from a subject on; next is where to go on, "" when none is left.
func (s *Stream) purgeMatching(pattern, from string, below, keep uint64) (next string, err error) {
	var gone []uint64
	next, err = s.store.PurgeMatching(pattern, from, below, keep, s.StepMost, func(info msg.Info) {
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
	return next, err
}

// purgeBelow takes out up to most messages below a sequence, the oldest first; all of them when that leaves none in the stream.
// done: none is left.
func (s *Stream) purgeBelow(below uint64, most int) (done bool, err error) {
	_, done, err = s.store.Purge(below, most)
	if err != nil {
		return false, err
	}
	first := s.store.State().FirstSeq
	if done {
		below = max(below, first)
	} else {
		below = first
	}
	if err := s.unplanBelow(below); err != nil {
		return false, err
	}
	if s.Purged != nil {
		s.Purged(first)
	}
	return done, nil
}
