package stream

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"weir/internal/base"
	"weir/internal/msg"
)

// fireBatch bounds the messages that schedules make in one entry.
const fireBatch = 1024

// firing is a schedule that came due.
type firing struct {
	seq   uint64
	due   int64 // unix ns
	now   int64 // unix ns
	zoned *ZonedNext
}

// Fire makes the messages of the schedules that are due at now (unix ns). zoned says when those with a time zone are due next; one that it
// leaves out stays due. visit sees each message and the sequence before it on its subject, as Publish tells.
func (s *Stream) Fire(now int64, zoned []ZonedNext, visit func(m *msg.Message, previous uint64)) error {
	if !s.scheduled || s.nextSchedule > now || s.cfg.Sealed {
		return nil
	}
	var due []firing
	bad := false
	err := s.store.ScanKeys([]byte{keyPlan}, func(key, _ []byte) bool {
		at, seq, ok := splitPlanKey(key)
		bad = !ok
		if ok && at <= now {
			due = append(due, firing{seq: seq, due: at, now: now})
		}
		return ok && at <= now && len(due) < fireBatch
	})
	if bad {
		err = base.Corruptf("key of a schedule")
	}
	for i := range due {
		if err != nil {
			return err
		}
		f := &due[i]
		if at := slices.IndexFunc(zoned, func(n ZonedNext) bool { return n.Seq == f.seq }); at >= 0 {
			f.zoned = &zoned[at]
		}
		err = s.fire(f, visit)
	}
	return err
}

func (s *Stream) fire(f *firing, visit func(*msg.Message, uint64)) error {
	planned, ok, err := s.dueOf(f.seq)
	if err != nil || !ok || planned != f.due {
		return err // ended, or made anew, by what another one made
	}
	if z := s.zoned[f.seq]; z != nil {
		switch {
		case f.zoned == nil:
			return nil
		case f.due == 0:
			return s.replan(f, f.zoned.Due)
		}
	}
	var held msg.Message
	found, err := s.store.Load(f.seq, &held, nil)
	if err != nil {
		return err
	}
	base.Assert(found, "message %d, which holds a schedule, is not stored", f.seq)
	var d directives
	d.parse(held.Header)
	table, ok := parseTimetable(d.schedule.pattern)
	base.Assert(ok, "schedule %q of message %d was checked", d.schedule.pattern, f.seq)
	next, more := s.nextTime(f, &table)
	made, err := s.makeScheduled(&d, &held, next, more)
	if err != nil {
		return err
	}
	made.Time = f.now
	due := int64(0)
	if more {
		due = dueTime(next)
	}
	// Before the message is stored, which may push out the schedule itself.
	if err := s.replan(f, due); err != nil {
		return err
	}
	made.Seq = s.store.State().LastSeq + 1
	out := directives{ttl: d.schedule.ttl, rollup: d.schedule.rollup}
	result, err := s.keep(&out, &made)
	if err != nil {
		return err
	}
	if result.Stored {
		visit(&made, result.Previous)
	}
	if !more {
		_, err = s.remove(f.seq, false)
	}
	return err
}

// replan has a schedule come due again; 0 is never.
func (s *Stream) replan(f *firing, due int64) error {
	z := s.zoned[f.seq]
	if err := s.unplan(f.seq); err != nil || due == 0 {
		return err
	}
	if z == nil {
		return s.plan(f.seq, due)
	}
	since := cmp.Or(f.due, z.since)
	return s.planZoned(f.seq, &Zoned{Zone: z.Zone, Pattern: z.Pattern, since: since, due: due})
}

// nextTime is when a schedule that came due is due again; false when it is over.
func (s *Stream) nextTime(f *firing, table *timetable) (time.Time, bool) {
	switch {
	case f.zoned != nil && s.zoned[f.seq] != nil:
		return time.Unix(0, f.zoned.Due).In(time.FixedZone("", f.zoned.Offset)), f.zoned.Due != 0
	case table.once():
		return time.Time{}, false
	}
	return table.nextBehind(time.Unix(0, f.due).UTC(), time.Unix(0, f.now).UTC())
}

// makeScheduled is the message that a schedule, held by another one, makes: that one's, or the last of the subject that it names.
func (s *Stream) makeScheduled(d *directives, held *msg.Message, next time.Time, more bool) (msg.Message, error) {
	sched := &d.schedule
	from := held
	if sched.source != "" {
		seq, ok, err := s.store.LastFor(sched.source)
		var source msg.Message
		if err == nil && ok {
			ok, err = s.store.Load(seq, &source, nil)
		}
		if err != nil {
			return source, err
		}
		if ok {
			from = &source
		}
	}
	when := nextPurge
	if more {
		when = next.Format(time.RFC3339Nano)
	}
	hdr := appendHeader(ownHeaders(from.Header), headerScheduler, held.Subject)
	hdr = appendHeader(hdr, headerScheduleNext, when)
	if sched.ttl != "" {
		hdr = appendHeader(hdr, headerTTL, sched.ttl)
	}
	if sched.rollup != "" {
		hdr = appendHeader(hdr, headerRollup, sched.rollup)
	}
	return msg.Message{Subject: sched.target, Header: hdr, Data: from.Data}, nil
}

// ownHeaders is a header block without what was asked of the stream about the one message that has it.
func ownHeaders(block []byte) []byte {
	out := []byte(emptyHeader)
	_, rest, ok := bytes.Cut(block, crlf)
	for ok {
		var line []byte
		line, rest, ok = bytes.Cut(rest, crlf)
		name, value, isHeader := strings.Cut(string(line), ":")
		if isHeader && !isDirective(name) {
			out = appendHeader(out, name, strings.TrimSpace(value))
		}
	}
	return out
}

func isDirective(name string) bool {
	switch name {
	case headerMsgID, headerTTL, headerRollup:
		return true
	}
	return strings.HasPrefix(name, schedulePrefix) || strings.HasPrefix(name, expectedPrefix)
}
