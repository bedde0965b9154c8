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
//
// The checks run in this order: sealed, size, batch and counter headers, expected stream, TTL where there is none, expected last
// sequences, the subject's first, schedule, source header, duplicate, expected last id, rollup, missing increment, bad TTL, limits with
// discard new.
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
	if e := s.checkMessage(d, stored); e != nil {
		return Published{Err: e}, nil
	}
	if e, err := s.checkExpected(d, stored.Subject); e != nil || err != nil {
		return Published{Err: e}, err
	}
	if d.schedule != (scheduling{}) {
		if e, err := s.checkScheduling(d, stored); e != nil || err != nil {
			return Published{Err: e}, err
		}
	}
	if e := s.checkPermitted(d); e != nil {
		return Published{Err: e}, nil
	}
	if dup, ok, err := s.duplicate(d, now); err != nil || ok {
		return dup, err
	}
	if e := s.checkAfterDuplicate(d, stored.Subject); e != nil {
		return Published{Err: e}, nil
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
	result, err := s.store1(d, stored)
	result.Counter = counter
	if err == nil && d.schedule != (scheduling{}) {
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

// store1 stores m under its sequence if somebody wants it, and makes room behind it.
func (s *Stream) store1(d *directives, m *msg.Message) (result Published, err error) {
	result.Seq = m.Seq
	if s.cfg.RePublish != nil {
		if result.Previous, err = s.lastOf(m.Subject); err != nil {
			return result, err
		}
	}
	if d.msgID != "" && s.cfg.Duplicates > 0 {
		if err := s.addDedupeID(d.msgID, m.Seq, m.Time); err != nil {
			return result, err
		}
	}
	if d.msgID != s.lastMsgID {
		s.lastMsgID, s.lastMsgIDDirty = string([]byte(d.msgID)), true
	}
	if s.unwanted(m.Subject) {
		s.store.SetLast(m.Seq, m.Time)
		return result, nil
	}
	if err := s.unplanLast(m.Subject); err != nil {
		return result, err
	}
	ttl := s.raiseTTL(d, m)
	if d.rollup == rollupAll {
		if err := s.rollUpAll(m); err != nil {
			return result, err
		}
	}
	if err := s.store.Append(m); err != nil {
		return result, err
	}
	if s.nextAge == 0 {
		s.nextAge = m.Time + int64(s.cfg.MaxAge)
	}
	if ttl != 0 {
		if err := s.addTTL(m.Seq, m.Time, ttl); err != nil {
			return result, err
		}
	}
	if d.rollup == rollupSubject {
		if err := s.rollUp(m); err != nil {
			return result, err
		}
	}
	if s.cfg.MaxMsgsPer > 0 {
		if err := s.enforcePerSubject(m.Subject); err != nil {
			return result, err
		}
	}
	if s.cfg.MaxMsgs > 0 || s.cfg.MaxBytes > 0 {
		if err := s.enforceLimits(); err != nil {
			return result, err
		}
	}
	result.Stored = true
	return result, nil
}

// unwanted tells whether a message is not kept, as nobody is interested in it.
func (s *Stream) unwanted(literal string) bool {
	return s.cfg.Retention == api.InterestRetention && (s.Interested == nil || !s.Interested(literal))
}

// checkMessage checks m by itself against the configuration.
func (s *Stream) checkMessage(d *directives, m *msg.Message) *apierr.Error {
	if s.cfg.Sealed {
		return apierr.JSStreamSealedErr
	}
	if !storable(m.Subject) {
		return apierr.JSBadRequestErr
	}
	if s.cfg.MaxMsgSize >= 0 && len(m.Header)+len(m.Data) > int(s.cfg.MaxMsgSize) {
		return apierr.JSStreamMessageExceedsMaximumErr
	}
	if d.hasBatchHeaders { // a stream that takes batches gets them whole
		return apierr.JSAtomicPublishDisabledErr
	}
	withHeader := len(m.Header) > 0
	if withHeader || s.cfg.AllowMsgCounter {
		if e := s.checkKind(d, m); e != nil {
			return e
		}
	}
	if !withHeader {
		return nil
	}
	switch {
	case len(m.Header) > MaxHeaderSize:
		return apierr.JSStreamHeaderExceedsMaximumErr
	case s.isForOther(d):
		return apierr.JSStreamNotMatchErr
	case d.ttl != "" && !s.cfg.AllowMsgTTL && validTTL(d.ttl): // one that is not valid comes up later
		return apierr.JSMessageTTLDisabledErr
	}
	return nil
}

// isForOther tells whether a message names another stream.
func (s *Stream) isForOther(d *directives) bool {
	return d.expectedStream != "" && d.expectedStream != s.cfg.Name
}

// checkPermitted checks for headers that the stream takes from nobody.
func (s *Stream) checkPermitted(d *directives) *apierr.Error {
	if d.streamSource != "" {
		return apierr.JSMessageSourceHdrNotAllowedErr
	}
	return nil
}

// checkIncrement checks for the header without which a counter takes nothing.
func (s *Stream) checkIncrement(d *directives) *apierr.Error {
	if s.cfg.AllowMsgCounter && d.incr == "" {
		return apierr.JSMessageIncrMissingErr
	}
	return nil
}

// storable tells whether a subject can be a key of the store.
func storable(literal string) bool {
	return len(literal) <= MaxSubjectLen && strings.IndexByte(literal, 0) < 0
}

// checkKind checks whether the stream takes messages of a kind: counters or others.
func (s *Stream) checkKind(d *directives, m *msg.Message) *apierr.Error {
	switch {
	case d.incr != "" && !validIncrement(d.incr):
		return apierr.JSMessageIncrInvalidErr
	case d.incr != "" && !s.cfg.AllowMsgCounter:
		return apierr.JSMessageIncrDisabledErr
	case !s.cfg.AllowMsgCounter:
		return nil
	case d.incr == "" && s.isForOther(d):
		return apierr.JSStreamNotMatchErr
	case d.incr != "" && len(m.Data) > 0 && !d.copied:
		return apierr.JSMessageIncrPayloadErr
	case d.incr != "" && (d.expects() || d.rollup != ""):
		return apierr.JSMessageIncrInvalidErr
	case d.ttl != "" && !s.cfg.AllowMsgTTL && validTTL(d.ttl):
		return apierr.JSMessageTTLDisabledErr
	}
	return nil // that there is no increment is for checkIncrement
}

// checkAfterDuplicate checks what a repeated message is not checked for.
func (s *Stream) checkAfterDuplicate(d *directives, literal string) *apierr.Error {
	if d.expectedMsgID != "" && d.expectedMsgID != s.lastMsgID {
		return apierr.JSStreamWrongLastMsgIDErrF(s.lastMsgID)
	}
	if e := s.checkRollup(d); e != nil {
		return e
	}
	if e := s.checkIncrement(d); e != nil {
		return e
	}
	if d.ttl != "" && !validTTL(d.ttl) && !s.unwanted(literal) {
		return apierr.JSMessageTTLInvalidErr
	}
	return nil
}

// checkRollup checks a Nats-Rollup header.
func (s *Stream) checkRollup(d *directives) *apierr.Error {
	switch {
	case d.rollup == "":
		return nil
	case !s.cfg.AllowRollup || s.cfg.DenyPurge:
		return apierr.JSStreamRollupFailedF("rollup not permitted")
	case d.rollup != rollupSubject && d.rollup != rollupAll:
		return apierr.JSStreamRollupFailedF("rollup value invalid: \"" + d.rollup + "\"")
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

// checkExpected compares the sequences that the message expects.
func (s *Stream) checkExpected(d *directives, literal string) (*apierr.Error, error) {
	if e, err := s.checkExpectedOfSubject(d, literal); e != nil || err != nil {
		return e, err
	}
	if last := s.store.State().LastSeq; d.hasExpectedLastSeq && (d.badExpectedLastSeq || d.expectedLastSeq != last) {
		return apierr.JSStreamWrongLastSequenceErrF(last), nil
	}
	return nil, nil
}

// checkExpectedOfSubject compares the last sequence that the message expects of a subject, its own unless it names one.
func (s *Stream) checkExpectedOfSubject(d *directives, literal string) (*apierr.Error, error) {
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
	replaced, err := s.replacedBy(m)
	if err != nil {
		return nil, err
	}
	state := s.store.State()
	switch {
	case replaced > 0 && s.cfg.DiscardNewPer:
		return apierr.JSStreamStoreFailedF("maximum messages per subject exceeded"), nil
	case s.cfg.MaxMsgs > 0 && state.Msgs >= uint64(s.cfg.MaxMsgs) && replaced == 0:
		return apierr.JSStreamStoreFailedF("maximum messages exceeded"), nil
	case s.cfg.MaxBytes > 0 && state.Bytes+uint64(s.sizeOf(m)) > uint64(s.cfg.MaxBytes)+uint64(replaced):
		return apierr.JSStreamStoreFailedF("maximum bytes exceeded"), nil
	}
	return nil, nil
}

// replacedBy is the size of the message that m pushes out under max_msgs_per_subject, 0 when there is none.
func (s *Stream) replacedBy(m *msg.Message) (int, error) {
	if s.cfg.MaxMsgsPer <= 0 {
		return 0, nil
	}
	n, err := s.store.CountFor(m.Subject)
	if err != nil || n < uint64(s.cfg.MaxMsgsPer) {
		return 0, err
	}
	first, _, err := s.store.FirstFor(m.Subject)
	if err != nil {
		return 0, err
	}
	info, _, err := s.store.Info(first)
	return info.Size, err
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
