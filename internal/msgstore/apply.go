package msgstore

import (
	"weir/internal/msg"
	"weir/internal/subject"
)

// Info describes the message under seq as the apply side sees it; false when
// there is none.
func (s *Store) Info(seq uint64) (msg.Info, bool, error) {
	if err := s.usable(); err != nil {
		return msg.Info{}, false, err
	}
	if seq > 0 && seq == s.firstMsg.Seq && seq == s.cur.state.FirstSeq {
		return s.firstMsg, true, nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.applyView()
	at, ok, err := v.find(seq)
	if err != nil || !ok {
		return msg.Info{}, false, err
	}
	return v.info(at)
}

// NextInfo describes the first message from a sequence on.
func (s *Store) NextInfo(from uint64) (msg.Info, bool, error) {
	if err := s.usable(); err != nil {
		return msg.Info{}, false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.applyView()
	at, ok, err := v.nextLive(from)
	if err != nil || !ok {
		return msg.Info{}, false, err
	}
	return v.info(at)
}

func (v view) info(at place) (msg.Info, bool, error) {
	h, err := v.handleFor(at)
	if err != nil {
		return msg.Info{}, false, err
	}
	defer v.s.releaseHandle(h)
	rec, err := v.s.readHead(h, at)
	if err != nil {
		return msg.Info{}, false, err
	}
	return rec.info(v.s.db.opts.Memory), true, nil
}

// Load reads the message under seq as the apply side sees it; false when there
// is none. Header and Data of m point into buf, if it is large enough, or are
// fresh.
func (s *Store) Load(seq uint64, m *msg.Message, buf []byte) (bool, error) {
	if err := s.usable(); err != nil {
		return false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.applyView()
	at, ok, err := v.find(seq)
	if err != nil || !ok {
		return false, err
	}
	h, err := v.handleFor(at)
	if err != nil {
		return false, err
	}
	defer s.releaseHandle(h)
	b := sized(buf, at.size)
	if h == nil {
		off := at.off - s.bufStart
		copy(b, s.buf[off:])
	} else if err := s.db.files.read(h, b, at.off); err != nil {
		return false, err
	}
	return true, s.decode(b, at, m)
}

// sized is buf cut to n bytes, or a fresh buffer.
func sized(buf []byte, n int) []byte {
	if cap(buf) < n {
		return make([]byte, n)
	}
	return buf[:n]
}

// decode fills m from the bytes of a whole record.
func (s *Store) decode(b []byte, at place, m *msg.Message) error {
	rec, need, err := parseHead(at.seg.format, b)
	if err == nil && need > 0 {
		err = errRecordCut
	}
	if err == nil {
		err = s.checkPlace(rec, at)
	}
	if err == nil {
		err = rec.message(m)
	}
	if err != nil {
		return s.damaged(at, err)
	}
	return nil
}

// FirstFor is the first message of a literal subject.
func (s *Store) FirstFor(literal string) (uint64, bool, error) {
	if err := s.usable(); err != nil {
		return 0, false, err
	}
	return s.applyView().firstFor(literal, 0)
}

// LastFor is the last message of a literal subject.
func (s *Store) LastFor(literal string) (uint64, bool, error) {
	if err := s.usable(); err != nil {
		return 0, false, err
	}
	return s.applyView().lastFor(literal, s.cur.state.LastSeq)
}

// CountFor counts the messages of a literal subject.
func (s *Store) CountFor(literal string) (uint64, error) {
	if err := s.usable(); err != nil {
		return 0, err
	}
	e, err := s.entry(literal)
	if err != nil {
		return 0, err
	}
	return s.live(e), nil
}

// LastMatching is the last message up to a sequence whose subject the filter
// matches.
func (s *Store) LastMatching(f subject.Filter, upTo uint64) (uint64, bool, error) {
	if err := s.usable(); err != nil {
		return 0, false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.applyView()
	last, ok, more, err := v.lastNear(f, upTo)
	if !more {
		return last, ok, err
	}
	return v.lastIndexed(f, upTo)
}

// SeqAtTime is the first sequence whose message was stored at or after t (unix
// ns); LastSeq+1 when there is none.
func (s *Store) SeqAtTime(t int64) (uint64, error) {
	if err := s.usable(); err != nil {
		return 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applyView().seqAtTime(t)
}
