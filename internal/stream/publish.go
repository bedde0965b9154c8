package stream

import (
	"math"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/msg"
)

// MaxHeaderSize is the largest header block that is stored.
const MaxHeaderSize = math.MaxUint16

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
	// Err refuses the message; the other fields are zero.
	Err *apierr.Error
}

// Publish stores one message taken at now (unix ns), or says why not. stored is filled for a message that was stored and
// shares memory with p. The error is the store's.
//
// The checks run in this order: sealed, headers of features that are off, expected stream, rollup, TTL, size, duplicate,
// expected last sequence, expected last id, expected last sequence of the subject, limits with discard new.
func (s *Stream) Publish(now int64, p *Pub, stored *msg.Message) (Published, error) {
	d := &s.directives
	if len(p.Header) > 0 {
		d.parse(p.Header)
	} else if *d != (directives{}) {
		*d = directives{}
	}
	*stored = msg.Message{Time: now, Subject: p.Subject, Header: p.Header, Data: p.Data}
	if s.transform != nil {
		if to, ok := s.transform.Apply(p.Subject); ok {
			stored.Subject = to
		}
	}
	if e := s.checkMessage(d, stored); e != nil {
		return Published{Err: e}, nil
	}
	if dup, ok, err := s.duplicate(d, now); err != nil || ok {
		return dup, err
	}
	if e, err := s.checkExpected(d, stored.Subject); e != nil || err != nil {
		return Published{Err: e}, err
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
	kept, err := s.store1(d, stored)
	return Published{Seq: stored.Seq, Stored: kept, Counter: counter}, err
}

// store1 gives m its sequence, stores it if somebody wants it, and makes room behind it.
func (s *Stream) store1(d *directives, m *msg.Message) (kept bool, err error) {
	m.Seq = s.store.State().LastSeq + 1
	if d.msgID != "" && s.cfg.Duplicates > 0 {
		if err := s.addDedupeID(d.msgID, m.Seq, m.Time); err != nil {
			return false, err
		}
	}
	if d.msgID != s.lastMsgID {
		s.lastMsgID, s.lastMsgIDDirty = string([]byte(d.msgID)), true
	}
	if s.cfg.Retention == api.InterestRetention && (s.Interested == nil || !s.Interested(m.Subject)) {
		s.store.SetLast(m.Seq)
		return false, nil
	}
	if err := s.store.Append(m); err != nil {
		return false, err
	}
	if s.nextAge == 0 {
		s.nextAge = m.Time + int64(s.cfg.MaxAge)
	}
	if d.ttl != "" {
		ttl, _ := parseTTL(d.ttl)
		if err := s.addTTL(m.Seq, m.Time, s.effectiveTTL(ttl)); err != nil {
			return false, err
		}
	}
	if d.rollup != "" {
		if err := s.rollUp(d.rollup, m); err != nil {
			return false, err
		}
	}
	if s.cfg.MaxMsgsPer > 0 {
		if err := s.enforcePerSubject(m.Subject); err != nil {
			return false, err
		}
	}
	if s.cfg.MaxMsgs > 0 || s.cfg.MaxBytes > 0 {
		if err := s.enforceLimits(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// checkMessage checks m by itself against the configuration.
func (s *Stream) checkMessage(d *directives, m *msg.Message) *apierr.Error {
	if s.cfg.Sealed {
		return apierr.JSStreamSealedErr
	}
	if len(m.Header) > 0 {
		if e := s.checkHeaders(d); e != nil {
			return e
		}
		if len(m.Header) > MaxHeaderSize {
			return apierr.JSStreamHeaderExceedsMaximumErr
		}
	}
	if s.cfg.MaxMsgSize >= 0 && len(m.Header)+len(m.Data) > int(s.cfg.MaxMsgSize) {
		return apierr.JSStreamMessageExceedsMaximumErr
	}
	return nil
}

func (s *Stream) checkHeaders(d *directives) *apierr.Error {
	switch {
	case d.hasStreamSourceInfo:
		return apierr.JSMessageSourceHdrNotAllowedErr
	case d.hasBatchHeaders && !s.cfg.AllowAtomic:
		return apierr.JSAtomicPublishDisabledErr
	case d.hasIncr && !s.cfg.AllowMsgCounter:
		return apierr.JSMessageIncrDisabledErr
	case d.hasScheduleHeaders && !s.cfg.AllowMsgSchedules:
		return apierr.JSMessageSchedulesDisabledErr
	case d.expectedStream != "" && d.expectedStream != s.cfg.Name:
		return apierr.JSStreamNotMatchErr
	}
	if d.rollup != "" {
		if !s.cfg.AllowRollup || s.cfg.DenyPurge {
			return apierr.JSStreamRollupFailedF("rollup not permitted")
		}
		if d.rollup != rollupSubject && d.rollup != rollupAll {
			return apierr.JSStreamRollupFailedF("rollup value invalid: \"" + d.rollup + "\"")
		}
	}
	if d.ttl != "" {
		if !s.cfg.AllowMsgTTL {
			return apierr.JSMessageTTLDisabledErr
		}
		if _, ok := parseTTL(d.ttl); !ok {
			return apierr.JSMessageTTLInvalidErr
		}
	}
	return nil
}

// duplicate finds the message's id in the window.
func (s *Stream) duplicate(d *directives, now int64) (Published, bool, error) {
	if s.cfg.Duplicates <= 0 {
		return Published{}, false, nil
	}
	if err := s.forgetDedupeIDs(now); err != nil || d.msgID == "" {
		return Published{}, false, err
	}
	seq, ok := s.dedupe.lookup(d.msgID)
	return Published{Seq: seq, Duplicate: ok}, ok, nil
}

// checkExpected evaluates the Nats-Expected-… headers.
func (s *Stream) checkExpected(d *directives, literal string) (*apierr.Error, error) {
	if d.hasExpectedLastSeq {
		last := s.store.State().LastSeq
		if d.badExpectedLastSeq || d.expectedLastSeq != last {
			return apierr.JSStreamWrongLastSequenceErrF(last), nil
		}
	}
	if d.hasExpectedMsgID && d.expectedMsgID != s.lastMsgID {
		return apierr.JSStreamWrongLastMsgIDErrF(s.lastMsgID), nil
	}
	if !d.hasExpectedSubjSeq {
		if d.expectedSubject != "" {
			return apierr.JSStreamExpectedLastSeqPerSubjectInvalid, nil
		}
		return nil, nil
	}
	of := literal
	if d.expectedSubject != "" {
		of = d.expectedSubject
	}
	last, err := s.lastOf(of)
	if err != nil {
		return nil, err
	}
	if d.badExpectedSubjSeq || d.expectedSubjectSeq != last {
		return apierr.JSStreamWrongLastSequenceErrF(last), nil
	}
	return nil, nil
}

// checkRoom evaluates the limits of a stream that discards new messages.
func (s *Stream) checkRoom(m *msg.Message) (*apierr.Error, error) {
	if s.cfg.Discard != api.DiscardNew {
		return nil, nil
	}
	perSubjectFull := false
	if s.cfg.MaxMsgsPer > 0 {
		n, err := s.store.CountFor(m.Subject)
		if err != nil {
			return nil, err
		}
		perSubjectFull = n >= uint64(s.cfg.MaxMsgsPer)
		if perSubjectFull && s.cfg.DiscardNewPer {
			return apierr.JSStreamStoreFailedF("maximum messages per subject exceeded"), nil
		}
	}
	state := s.store.State()
	if s.cfg.MaxMsgs > 0 && state.Msgs >= uint64(s.cfg.MaxMsgs) && !perSubjectFull {
		return apierr.JSStreamStoreFailedF("maximum messages exceeded"), nil
	}
	if s.cfg.MaxBytes > 0 && state.Bytes+uint64(s.sizeOf(m)) > uint64(s.cfg.MaxBytes) && !perSubjectFull {
		return apierr.JSStreamStoreFailedF("maximum bytes exceeded"), nil
	}
	return nil, nil
}

func (s *Stream) sizeOf(m *msg.Message) int {
	return msg.Size(s.cfg.Storage == api.MemoryStorage, len(m.Subject), len(m.Header), len(m.Data))
}

// effectiveTTL raises a TTL to the floor that delete markers set.
func (s *Stream) effectiveTTL(ttl time.Duration) time.Duration {
	if ttl > 0 && s.cfg.MaxMsgsPer != 1 {
		return max(ttl, s.cfg.SubjectDeleteMarkerTTL)
	}
	return ttl
}
