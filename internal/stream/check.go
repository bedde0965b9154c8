package stream

import (
	"strings"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/msg"
)

// check tells what comes of a message that is not stored, as it is refused or a duplicate; ok: so far nothing is against it. What a counter
// adds up to and the limits of a stream that discards new messages are looked at afterwards.
//
// The checks run in this order: sealed, size, batch and counter headers, expected stream, TTL where there is none, expected last
// sequences, the subject's first, schedule, source header, duplicate, expected last id, rollup, missing increment, bad TTL. A
// replicated stream has an order of its own, see checkReplicated.
func (s *Stream) check(now int64, d *directives, m *msg.Message) (answer Published, ok bool, err error) {
	if e := s.checkMessage(d, m); e != nil {
		return Published{Err: e}, false, nil
	}
	if s.cfg.Replicas > 1 {
		return s.checkReplicated(now, d, m)
	}
	if e, err := s.checkExpected(d, m.Subject); e != nil || err != nil {
		return Published{Err: e}, false, err
	}
	if e, err := s.checkScheduling(d, m); e != nil || err != nil {
		return Published{Err: e}, false, err
	}
	if e := s.checkPermitted(d); e != nil {
		return Published{Err: e}, false, nil
	}
	if answer, dup, err := s.duplicate(d, now); err != nil || dup {
		return answer, false, err
	}
	e := s.checkAfterDuplicate(d, m.Subject)
	return Published{Err: e}, e == nil, nil
}

// checkReplicated is what follows checkMessage in a replicated stream, in this order: TTL, duplicate, source header, missing increment, expected
// last sequences, the stream's first, schedule, expected last id, rollup.
func (s *Stream) checkReplicated(now int64, d *directives, m *msg.Message) (answer Published, ok bool, err error) {
	if e := s.checkTTL(d); e != nil {
		return Published{Err: e}, false, nil
	}
	if answer, dup, err := s.duplicate(d, now); err != nil || dup {
		return answer, false, err
	}
	if e := s.checkPermitted(d); e != nil {
		return Published{Err: e}, false, nil
	}
	if e := s.checkIncrement(d); e != nil {
		return Published{Err: e}, false, nil
	}
	e := s.checkExpectedLast(d)
	if e == nil {
		e, err = s.checkExpectedOfSubject(d, m.Subject)
	}
	if e == nil && err == nil {
		e, err = s.checkScheduling(d, m)
	}
	if e == nil && err == nil {
		e = s.checkAfterDuplicate(d, m.Subject)
	}
	return Published{Err: e}, e == nil && err == nil, err
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

// checkTTL checks a Nats-TTL header, permission first.
func (s *Stream) checkTTL(d *directives) *apierr.Error {
	switch {
	case d.ttl == "":
		return nil
	case !s.cfg.AllowMsgTTL:
		return apierr.JSMessageTTLDisabledErr
	case !validTTL(d.ttl):
		return apierr.JSMessageTTLInvalidErr
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
	return s.checkExpectedLast(d), nil
}

// checkExpectedLast compares the last sequence that the message expects of the stream.
func (s *Stream) checkExpectedLast(d *directives) *apierr.Error {
	if last := s.store.State().LastSeq; d.hasExpectedLastSeq && (d.badExpectedLastSeq || d.expectedLastSeq != last) {
		return apierr.JSStreamWrongLastSequenceErrF(last)
	}
	return nil
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
