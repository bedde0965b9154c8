package stream

import (
	"encoding/binary"
	"strconv"
	"time"

	"weir/internal/base"
	"weir/internal/msg"
)

// NextExpiry is when the next message is due to expire (unix ns); 0 is never, and Now while a removal goes on. It may be early;
// the Expire that follows then corrects it. It stays in the past while more is due than one Expire removes.
func (s *Stream) NextExpiry() int64 {
	if s.loading {
		return 0
	}
	if len(s.sweeps) > 0 || s.overLimits() {
		return Now
	}
	var next int64
	if !s.cfg.Sealed {
		next = s.nextTTL
		if s.scheduled {
			next = earlier(next, max(s.nextSchedule, 1))
		}
	}
	if state := s.store.State(); s.cfg.MaxAge > 0 && state.Msgs > 0 && s.nextAge != 0 {
		next = earlier(next, max(s.nextAge, state.FirstTime+int64(s.cfg.MaxAge)))
	}
	if d := &s.dedupe; d.head < len(d.order) {
		// Publishing drops single ids in time; this clears the window of a stream that fell idle.
		next = earlier(next, d.order[len(d.order)-1].time+int64(s.cfg.Duplicates))
	}
	return next
}

func earlier(a, b int64) int64 {
	if a == 0 || b < a {
		return b
	}
	return a
}

// Expire removes messages whose time is over at now, by max_age or their own TTL, and message ids out of the duplicate
// window. visit sees each delete marker that takes the place of a subject's last message.
func (s *Stream) Expire(now int64, visit func(*msg.Message)) error {
	if s.cfg.Duplicates > 0 {
		if err := s.forgetDedupeIDs(now); err != nil {
			return err
		}
	}
	if s.cfg.Sealed {
		return nil
	}
	if err := s.expireTTLs(now, visit); err != nil {
		return err
	}
	return s.expireByAge(now, visit)
}

// age has max_age end for a message that was stored.
func (s *Stream) age(m *msg.Message) {
	if s.nextAge == 0 {
		s.nextAge = m.Time + int64(s.cfg.MaxAge)
	}
}

func (s *Stream) expireByAge(now int64, visit func(*msg.Message)) error {
	if s.cfg.MaxAge <= 0 {
		return nil
	}
	from, onlySpared := max(s.spared+1, s.store.State().FirstSeq), true
	for removed := 0; removed < s.StepMost; {
		info, ok, err := s.store.NextInfo(from)
		if err != nil {
			return err
		}
		if !ok {
			s.nextAge = 0
			return nil
		}
		if due := info.Time + int64(s.cfg.MaxAge); due > now {
			s.nextAge = due
			return nil
		}
		from = info.Seq + 1
		spared, err := s.livesForever(info.Seq)
		if err != nil {
			return err
		}
		onlySpared = onlySpared && spared
		if spared {
			if onlySpared {
				s.spared = info.Seq
			}
			continue
		}
		removed++
		if err := s.expireOne(info, now, visit); err != nil {
			return err
		}
	}
	s.nextAge = now
	return nil
}

// expireOne removes a message and, if configured and it was the last of its subject, leaves a marker.
func (s *Stream) expireOne(info msg.Info, now int64, visit func(*msg.Message)) error {
	marks := s.cfg.SubjectDeleteMarkerTTL > 0
	if marks {
		isMarker, err := s.isMarker(info.Seq)
		if err != nil {
			return err
		}
		marks = !isMarker
	}
	if _, err := s.remove(info.Seq, false); err != nil || !marks {
		return err
	}
	n, err := s.store.CountFor(info.Subject)
	if err != nil || n > 0 {
		return err
	}
	return s.leaveMarker(info.Subject, now, visit)
}

// isMarker tells whether a message says that its subject has no value: a delete marker, or the purge of a key, as key-value
// stores write it.
func (s *Stream) isMarker(seq uint64) (bool, error) {
	var m msg.Message
	if ok, err := s.store.Load(seq, &m, nil); err != nil || !ok {
		return false, err
	}
	return len(headerValue(m.Header, headerMarkerReason)) > 0 || string(headerValue(m.Header, headerKeyOperation)) == keyPurge, nil
}

func (s *Stream) leaveMarker(literal string, now int64, visit func(*msg.Message)) error {
	if s.unwanted(literal) {
		return nil
	}
	seconds := strconv.FormatInt(int64(s.cfg.SubjectDeleteMarkerTTL/time.Second), 10)
	m := msg.Message{
		Seq:     s.store.State().LastSeq + 1,
		Time:    now,
		Subject: literal,
		Header: []byte("NATS/1.0\r\n" + headerMarkerReason + ": MaxAge\r\n" + headerTTL + ": " + seconds + "s\r\n" +
			headerRollup + ": " + rollupSubject + "\r\n\r\n"),
	}
	if err := s.store.Append(&m); err != nil {
		return err
	}
	s.lastMsgIDDirty = s.lastMsgIDDirty || s.lastMsgID != ""
	s.lastMsgID = ""
	visit(&m)
	return s.addTTL(m.Seq, now, s.cfg.SubjectDeleteMarkerTTL)
}

// addTTL notes that a message expires ttl after now, or never.
func (s *Stream) addTTL(seq uint64, now int64, ttl time.Duration) error {
	if ttl == 0 {
		return nil
	}
	if ttl == neverExpires {
		s.keyBuf = appendUint64(append(s.keyBuf[:0], keyForever), seq)
		return s.store.Set(s.keyBuf, nil)
	}
	due := now + int64(ttl)
	if due < now {
		return nil // beyond the end of time
	}
	if s.nextTTL == 0 || due < s.nextTTL {
		s.nextTTL = due
	}
	s.keyBuf = expiryKey(s.keyBuf, due, seq)
	return s.store.Set(s.keyBuf, nil)
}

func expiryKey(dst []byte, due int64, seq uint64) []byte {
	return appendUint64(appendUint64(append(dst[:0], keyExpiry), uint64(due)), seq)
}

func appendUint64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

func (s *Stream) livesForever(seq uint64) (bool, error) {
	if !s.cfg.AllowMsgTTL {
		return false, nil
	}
	s.keyBuf = appendUint64(append(s.keyBuf[:0], keyForever), seq)
	_, ok, err := s.store.Get(s.keyBuf)
	return ok, err
}

// expireTTLs removes the messages whose own TTL is over.
func (s *Stream) expireTTLs(now int64, visit func(*msg.Message)) error {
	if s.nextTTL == 0 || s.nextTTL > now {
		return nil
	}
	type due struct {
		at  int64
		seq uint64
	}
	var over []due
	bad := false
	err := s.store.ScanKeys([]byte{keyExpiry}, func(key, _ []byte) bool {
		at, seq, ok := splitExpiryKey(key)
		bad = !ok
		if bad || at > now || len(over) == s.StepMost {
			return false
		}
		over = append(over, due{at, seq})
		return true
	})
	if bad {
		err = base.Corruptf("expiry key")
	}
	if err != nil {
		return err
	}
	for _, o := range over {
		info, ok, err := s.store.Info(o.seq)
		if err == nil && ok {
			err = s.expireOne(info, now, visit)
		}
		if err != nil {
			return err
		}
		s.keyBuf = expiryKey(s.keyBuf, o.at, o.seq)
		if err := s.store.Unset(s.keyBuf); err != nil {
			return err
		}
	}
	return s.findNextTTL()
}

// findNextTTL reads the first TTL key.
func (s *Stream) findNextTTL() error {
	s.nextTTL = 0
	bad := false
	err := s.store.ScanKeys([]byte{keyExpiry}, func(key, _ []byte) bool {
		at, _, ok := splitExpiryKey(key)
		s.nextTTL, bad = at, !ok
		return false
	})
	if bad {
		return base.Corruptf("expiry key")
	}
	return err
}

func splitExpiryKey(key []byte) (at int64, seq uint64, ok bool) {
	if len(key) != 17 || key[0] != keyExpiry {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(key[1:])), binary.BigEndian.Uint64(key[9:]), true
}
