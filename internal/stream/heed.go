package stream

import (
	"weir/internal/api"
	"weir/internal/msg"
)

// heedBytes bounds the messages that one entry reads for what they ask for.
const heedBytes = 8 << 20

// heedFrom has stored messages' times to live and schedules begin with an update that permits them. Such messages are copies:
// publishers were refused.
func (s *Stream) heedFrom(old, cfg *api.StreamConfig) error {
	w := &sweep{
		Below:     s.store.State().LastSeq + 1,
		Lifetimes: cfg.AllowMsgTTL && !old.AllowMsgTTL,
		Schedules: cfg.AllowMsgSchedules && !old.AllowMsgSchedules,
	}
	if !w.Lifetimes && !w.Schedules {
		return nil
	}
	_, err := s.beginSweep(w)
	return err
}

// heed looks at some messages of a sweep. done: none is left.
func (s *Stream) heed(w *sweep) (done bool, err error) {
	for n, size := 0, 0; n < s.StepMost && size < heedBytes; n++ {
		info, ok, err := s.store.NextInfo(w.Next)
		if err != nil || !ok || info.Seq >= w.Below {
			return true, err
		}
		w.Next = info.Seq + 1
		size += info.Size
		if err := s.heedOne(w, info.Seq); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (s *Stream) heedOne(w *sweep, seq uint64) error {
	var m msg.Message
	if ok, err := s.store.Load(seq, &m, nil); err != nil || !ok {
		return err
	}
	var d directives
	d.parse(m.Header)
	if ttl, ok := parseTTL(d.ttl); ok && w.Lifetimes {
		if err := s.addTTL(m.Seq, m.Time, ttl); err != nil {
			return err
		}
	}
	if !w.Schedules || d.schedule.pattern == "" || s.checkSchedule(&d, &m) != nil {
		return nil
	}
	if last, _, err := s.store.LastFor(m.Subject); err != nil || last != seq {
		return err
	}
	return s.begin(&d.schedule, &m)
}
