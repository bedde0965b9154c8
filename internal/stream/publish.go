package stream

import (
	"math"
	"strconv"
	"strings"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/msg"
)

// Limits of every message.
const (
	MaxHeaderSize = math.MaxUint16
	MaxSubjectLen = 1 << 15
)

// Pub is a message to be stored. It is borrowed.
type Pub struct {
	Subject      string
	Header, Data []byte
}

// Published is what came of a publish.
type Published struct {
	Seq uint64
	// Duplicate: Seq is that of the earlier message with the same id.
	Duplicate bool
	// Stored: the message is in the store. An acknowledged message is not stored when it is a duplicate or when no
	// consumer is interested.
	Stored bool
	// Counter is the new value of a message counter, "" for other messages.
	Counter string
	// Previous is the last sequence of the message's subject before it. It is known only in a stream that republishes.
	Previous uint64
	// Err refuses the message; the other fields are zero.
	Err *apierr.Error
}

// Publish stores one message taken at now (unix ns), or says why not. stored is filled for a message that was stored and
// shares memory with p. The error is the store's.
func (s *Stream) Publish(now int64, p *Pub, stored *msg.Message) (Published, error) {
	return s.publish(now, p, stored, alone)
}

// manner is how a message comes to a stream.
type manner byte

const (
	alone       manner = iota
	copied             // from another stream
	inFastBatch        // headers of atomic batches say nothing
)

// publish is Publish for a message that comes in some manner.
func (s *Stream) publish(now int64, p *Pub, stored *msg.Message, how manner) (Published, error) {
	d := &s.directives
	if len(p.Header) > 0 {
		d.parse(p.Header)
	} else if *d != (directives{}) {
		*d = directives{}
	}
	switch how {
	case copied:
		d.forCopy(&s.cfg)
	case inFastBatch:
		d.hasBatchHeaders = false
	}
	*stored = msg.Message{Time: now, Subject: s.subjectOf(p.Subject), Header: p.Header, Data: p.Data}
	if answer, ok, err := s.check(now, d, stored); err != nil || !ok {
		return answer, err
	}
	var counter string
	if s.cfg.AllowMsgCounter {
		value, e, err := s.count(d, stored)
		if e != nil || err != nil {
			return Published{Err: e}, err
		}
		counter = value
	}
	if e, err := s.checkRoom(stored); e != nil || err != nil {
		return Published{Err: e}, err
	}
	stored.Seq = s.store.State().LastSeq + 1
	result, err := s.keep(d, stored)
	result.Counter = counter
	if err == nil {
		err = s.followSchedule(d, stored, result.Stored)
	}
	return result, err
}

// subjectOf is the subject under which what was published to literal is stored.
func (s *Stream) subjectOf(literal string) string {
	if s.transform != nil {
		if to, ok := s.transform.Apply(literal); ok {
			return to
		}
	}
	return literal
}

// keep stores m under its sequence if somebody wants it, and makes room behind it.
func (s *Stream) keep(d *directives, m *msg.Message) (result Published, err error) {
	result.Seq = m.Seq
	if s.cfg.RePublish != nil {
		if result.Previous, err = s.lastOf(m.Subject); err != nil {
			return result, err
		}
	}
	if err := s.noteMsgID(d.msgID, m); err != nil {
		return result, err
	}
	if s.unwanted(m.Subject) {
		s.store.SetLast(m.Seq, m.Time)
		return result, nil
	}
	if err := s.unplanLast(m.Subject); err != nil {
		return result, err
	}
	if err := s.add(d, m); err != nil {
		return result, err
	}
	if d.rollup == rollupSubject {
		if err := s.rollUp(m); err != nil {
			return result, err
		}
	}
	result.Stored = true
	return result, s.enforce(m.Subject)
}

// noteMsgID remembers the id of m, "" for none.
func (s *Stream) noteMsgID(id string, m *msg.Message) error {
	if id != s.lastMsgID {
		s.lastMsgID, s.lastMsgIDDirty = strings.Clone(id), true
	}
	if id == "" || s.cfg.Duplicates <= 0 {
		return nil
	}
	return s.addDedupeID(id, m.Seq, m.Time)
}

// add puts m behind the others, in the place of all of them if it is a rollup, and lets its time to live begin.
func (s *Stream) add(d *directives, m *msg.Message) error {
	ttl := s.raiseTTL(d, m)
	if d.rollup == rollupAll {
		if err := s.rollUpAll(m); err != nil {
			return err
		}
	}
	if err := s.store.Append(m); err != nil {
		return err
	}
	s.age(m)
	if ttl == 0 {
		return nil
	}
	return s.addTTL(m.Seq, m.Time, ttl)
}

// unwanted tells whether a message is not kept, as nobody is interested in it.
func (s *Stream) unwanted(literal string) bool {
	return s.cfg.Retention == api.InterestRetention && (s.Interested == nil || !s.Interested(literal))
}

func (s *Stream) sizeOf(m *msg.Message) int {
	return msg.Size(s.cfg.Storage == api.MemoryStorage, len(m.Subject), len(m.Header), len(m.Data))
}

// raiseTTL returns the message's TTL, 0 for none. One below that of delete markers is raised to it, in the header as well.
func (s *Stream) raiseTTL(d *directives, m *msg.Message) time.Duration {
	if d.ttl == "" {
		return 0
	}
	ttl, _ := parseTTL(d.ttl)
	floor := s.cfg.SubjectDeleteMarkerTTL
	if ttl == neverExpires || ttl >= floor || s.cfg.MaxMsgsPer == 1 {
		return ttl
	}
	m.Header = withHeader(m.Header, headerTTL, strconv.FormatInt(int64(floor/time.Second), 10))
	return floor
}
