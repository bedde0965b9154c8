package stream

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/msg"
)

// batchCheck is what the messages of an atomic batch before the one that is looked at would have done.
type batchCheck struct {
	count, bytes uint64
	subjects     map[string]uint64 // messages by subject
	ids          map[string]struct{}
}

// PublishBatch stores the messages of an atomic batch (ADR-50), taken at now (unix ns), or none of them. Every check is made
// against the stream as it was before the batch. stored is filled for each message that is kept, then each is told the sequence
// that its subject had before. Seq of the result is that of the last message.
//
// The checks of each message run in this order: headers that no batch may have, sealed, size, counter headers, expected stream,
// source header, schedule, TTL, duplicate, expected last sequence, that of the subject, rollup, limits with discard new.
func (s *Stream) PublishBatch(now int64, pubs []Pub, stored *msg.Message, each func(previous uint64)) (Published, error) {
	if !s.cfg.AllowAtomic {
		return Published{Err: apierr.JSAtomicPublishDisabledErr}, nil
	}
	if err := s.forgetDedupeIDs(now); err != nil {
		return Published{}, err
	}
	b := batchCheck{subjects: map[string]uint64{}, ids: map[string]struct{}{}}
	for i := range pubs {
		s.prepare(now, &pubs[i], stored)
		if e, err := s.checkInBatch(&b, stored); e != nil || err != nil {
			return Published{Err: e}, err
		}
	}
	var last Published
	for i := range pubs {
		s.prepare(now, &pubs[i], stored)
		p, err := s.storeOfBatch(stored)
		if err != nil {
			return Published{}, err
		}
		if p.Stored {
			each(p.Previous)
		}
		last.Seq = p.Seq
	}
	return last, nil
}

// storeOfBatch stores a message of a batch that was checked as a whole; its headers were read into the stream's directives.
func (s *Stream) storeOfBatch(m *msg.Message) (Published, error) {
	d := &s.directives
	if _, err := s.checkScheduling(d, m); err != nil { // gives it a rollup; what it checks was checked
		return Published{}, err
	}
	if s.cfg.AllowMsgCounter {
		_, e, err := s.count(d, m)
		if err != nil {
			return Published{}, err
		}
		base.Assert(e == nil, "counter %q of a batch that was checked: %v", m.Subject, e)
	}
	m.Seq = s.store.State().LastSeq + 1
	p, err := s.keep(d, m)
	if err == nil {
		err = s.followSchedule(d, m, p.Stored)
	}
	return p, err
}

// prepare reads what p asks for into the stream's directives, and p into stored.
func (s *Stream) prepare(now int64, p *Pub, stored *msg.Message) {
	d := &s.directives
	d.parse(p.Header)
	d.hasBatchHeaders = false
	*stored = msg.Message{Time: now, Subject: s.subjectOf(p.Subject), Header: p.Header, Data: p.Data}
}

// checkInBatch checks the next message of a batch, whose headers were read into the stream's directives, and counts it in.
func (s *Stream) checkInBatch(b *batchCheck, m *msg.Message) (*apierr.Error, error) {
	d := &s.directives
	if d.expectedMsgID != "" {
		return apierr.JSAtomicPublishUnsupportedHeaderBatchErr(headerExpectedMsgID), nil
	}
	if e := s.checkMessage(d, m); e != nil {
		return e, nil
	}
	if e := s.checkIncrement(d); e != nil {
		return e, nil
	}
	if e := s.checkPermitted(d); e != nil {
		return e, nil
	}
	if e, err := s.checkScheduling(d, m); e != nil || err != nil {
		return e, err
	}
	if e := s.checkTTL(d); e != nil {
		return e, nil
	}
	if d.msgID != "" && s.cfg.Duplicates > 0 {
		_, seen := s.dedupe.lookup(d.msgID)
		if _, again := b.ids[d.msgID]; seen || again {
			return apierr.JSAtomicPublishContainsDuplicateMessageErr, nil
		}
		b.ids[d.msgID] = struct{}{}
	}
	if e, err := s.checkExpectedInBatch(b, d, m.Subject); e != nil || err != nil {
		return e, err
	}
	if e := s.checkRollupInBatch(b, d, m.Subject); e != nil {
		return e, nil
	}
	size := uint64(s.sizeOf(m))
	if e, err := s.checkRoomInBatch(b, m.Subject, size); e != nil || err != nil {
		return e, err
	}
	if s.cfg.AllowMsgCounter && b.subjects[m.Subject] == 0 {
		changed := *m
		if _, e, err := s.count(d, &changed); e != nil || err != nil {
			return e, err
		}
	}
	b.count++
	b.bytes += size
	b.subjects[m.Subject]++
	return nil, nil
}

// checkExpectedInBatch compares the sequences that a message expects. Only the first one can expect one of the stream, and
// nobody one of a subject that the batch has written to.
func (s *Stream) checkExpectedInBatch(b *batchCheck, d *directives, literal string) (*apierr.Error, error) {
	if d.hasExpectedLastSeq {
		last := s.store.State().LastSeq + b.count
		switch {
		case d.badExpectedLastSeq || d.expectedLastSeq != last:
			return apierr.JSStreamWrongLastSequenceErrF(last), nil
		case b.count > 0:
			return apierr.JSStreamWrongLastSequenceConstantErr, nil
		}
	}
	if d.hasExpectedSubjSeq {
		of := literal
		if d.expectedSubject != "" {
			of = d.expectedSubject
		}
		if b.subjects[of] > 0 {
			return apierr.JSStreamWrongLastSequenceConstantErr, nil
		}
	}
	return s.checkExpectedOfSubject(d, literal)
}

// checkRollupInBatch checks a rollup: it must not take away what the batch itself has written.
func (s *Stream) checkRollupInBatch(b *batchCheck, d *directives, literal string) *apierr.Error {
	if e := s.checkRollup(d); e != nil {
		return e
	}
	switch {
	case d.rollup == rollupSubject && b.subjects[literal] > 0:
		return apierr.JSStreamRollupFailedF("batch rollup sub invalid")
	case d.rollup == rollupAll && b.count > 0:
		return apierr.JSStreamRollupFailedF("batch rollup all invalid")
	}
	return nil
}

// checkRoomInBatch evaluates the limits of a stream that discards new messages. What a message would push out makes no room.
func (s *Stream) checkRoomInBatch(b *batchCheck, literal string, size uint64) (*apierr.Error, error) {
	if s.cfg.Discard != api.DiscardNew {
		return nil, nil
	}
	state := s.store.State()
	switch {
	case s.cfg.MaxMsgs > 0 && state.Msgs+b.count >= uint64(s.cfg.MaxMsgs):
		return apierr.JSStreamStoreFailedF("maximum messages exceeded"), nil
	case s.cfg.MaxBytes > 0 && state.Bytes+b.bytes+size > uint64(s.cfg.MaxBytes):
		return apierr.JSStreamStoreFailedF("maximum bytes exceeded"), nil
	case !s.cfg.DiscardNewPer:
		return nil, nil
	}
	n, err := s.store.CountFor(literal)
	if err == nil && n+b.subjects[literal] >= uint64(s.cfg.MaxMsgsPer) {
		return apierr.JSStreamStoreFailedF("maximum messages per subject exceeded"), nil
	}
	return nil, err
}
