package stream

import (
	"slices"
	"strings"
	"time"

	"weir/internal/apierr"
	"weir/internal/msg"
	"weir/internal/subject"
)

// Headers of a message that holds a schedule, and of those that it makes.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	headerScheduleSource = "Nats-Schedule-Source"
	headerScheduleTTL    = "Nats-Schedule-TTL"
	headerScheduleRollup = "Nats-Schedule-Rollup"
	headerScheduler      = "Nats-Scheduler"
	headerScheduleNext   = "Nats-Schedule-Next"
	schedulePrefix       = "Nats-Schedule" // of all of them
	// ScheduleZoneHeader names the time zone of a schedule. Which zones there are is not the stream's to know: whoever proposes
	// a message has checked it.
	ScheduleZoneHeader = "Nats-Schedule-Time-Zone"

	nextPurge = "purge"
)

// scheduling is what a message's headers say of schedules: that it holds one, or, by scheduler and next, that it ends one.
type scheduling struct {
	pattern, target, source, ttl, rollup string

	zone    string
	hasZone bool

	scheduler, next string
}

func (d *scheduling) set(name, value string) {
	switch name {
	case headerSchedule:
		setOnce(&d.pattern, value)
	case headerScheduleTarget:
		setOnce(&d.target, value)
	case headerScheduleSource:
		setOnce(&d.source, value)
	case headerScheduleTTL:
		setOnce(&d.ttl, value)
	case headerScheduleRollup:
		setOnce(&d.rollup, value)
	case headerScheduler:
		setOnce(&d.scheduler, value)
	case headerScheduleNext:
		setOnce(&d.next, value)
	case ScheduleZoneHeader:
		if !d.hasZone {
			d.hasZone, d.zone = true, value
		}
	}
}

// zoned tells whether the times depend on a time zone.
func (d *scheduling) zoned() bool { return d.hasZone && d.zone != "UTC" }

// checkScheduling checks what the headers of m say of schedules. A schedule replaces what is stored on its subject.
func (s *Stream) checkScheduling(d *directives, m *msg.Message) (*apierr.Error, error) {
	if d.schedule == (scheduling{}) {
		return nil, nil
	}
	sched := &d.schedule
	if sched.hasZone && sched.zone == "" {
		if !s.cfg.AllowMsgSchedules {
			return apierr.JSMessageSchedulesDisabledErr, nil
		}
		return apierr.JSMessageSchedulesTimeZoneInvalidErr, nil
	}
	if sched.pattern != "" {
		if e := s.checkSchedule(d, m); e != nil {
			return e, nil
		}
		if d.rollup == "" {
			m.Header = appendHeader(m.Header, headerRollup, rollupSubject)
		}
		d.rollup = rollupSubject
		return nil, nil
	}
	if sched.scheduler == "" && sched.next == "" {
		return nil, nil
	}
	return s.checkEnd(sched, m.Subject)
}

func (s *Stream) checkSchedule(d *directives, m *msg.Message) *apierr.Error {
	sched := &d.schedule
	if !s.cfg.AllowMsgSchedules {
		return apierr.JSMessageSchedulesDisabledErr
	}
	table, ok := parseTimetable(sched.pattern)
	if ok {
		_, ok = table.next(time.Unix(0, m.Time).UTC())
	}
	if !ok || sched.hasZone && table.cron == nil {
		return apierr.JSMessageSchedulesPatternInvalidErr
	}
	if sched.ttl != "" {
		if _, ok := parseTTL(sched.ttl); !ok {
			return apierr.JSMessageSchedulesTTLInvalidErr
		}
		if !s.cfg.AllowMsgTTL {
			return apierr.JSMessageTTLDisabledErr
		}
	}
	switch {
	case sched.rollup != "" && sched.rollup != rollupSubject:
		return apierr.JSMessageSchedulesRollupInvalidErr
	case !subject.ValidLiteral(sched.target) || sched.target == m.Subject:
		return apierr.JSMessageSchedulesTargetInvalidErr
	case sched.source != "" && (!s.takes(sched.source) || sched.source == m.Subject || sched.source == sched.target):
		return apierr.JSMessageSchedulesSourceInvalidErr
	case !s.takes(sched.target):
		return apierr.JSMessageSchedulesTargetInvalidErr
	case d.rollup != "" && d.rollup != rollupSubject:
		return apierr.JSMessageSchedulesRollupInvalidErr
	case sched.scheduler != "" || sched.next != "":
		return apierr.JSMessageSchedulesSchedulerInvalidErr
	}
	return nil
}

// takes tells whether a subject is a literal one of the stream's.
func (s *Stream) takes(literal string) bool {
	return subject.ValidLiteral(literal) && storable(literal) &&
		slices.ContainsFunc(s.cfg.Subjects, func(pattern string) bool { return subject.Match(literal, pattern) })
}

// checkEnd checks a message published to a subject that is to end a schedule. There may be none; what else is stored on its subject must
// not go.
func (s *Stream) checkEnd(d *scheduling, literal string) (*apierr.Error, error) {
	switch {
	case d.next != nextPurge || !subject.ValidLiteral(d.scheduler) || !storable(d.scheduler) || d.scheduler == literal:
		return apierr.JSMessageSchedulesSchedulerInvalidErr, nil
	case !s.cfg.AllowMsgSchedules:
		return apierr.JSMessageSchedulesDisabledErr, nil
	}
	seq, ok, err := s.store.LastFor(d.scheduler)
	if err != nil || !ok {
		return nil, err
	}
	if planned, err := s.isPlanned(seq); err != nil || planned {
		return nil, err
	}
	return apierr.JSMessageSchedulesSchedulerInvalidErr, nil
}

// followSchedule has the schedule that a message holds begin, or the one that it names end. stored is whether it is in the store.
func (s *Stream) followSchedule(d *directives, m *msg.Message, stored bool) error {
	sched := &d.schedule
	switch {
	case sched.pattern != "" && stored:
		if _, ok, err := s.store.Info(m.Seq); err != nil || !ok { // the limits may have taken it away at once
			return err
		}
		return s.begin(sched, m)
	case sched.pattern == "" && sched.next == nextPurge:
		seq, ok, err := s.store.LastFor(sched.scheduler)
		if err == nil && ok {
			_, err = s.remove(seq, false)
		}
		return err
	}
	return nil
}

// begin plans the first message of a schedule.
func (s *Stream) begin(d *scheduling, m *msg.Message) error {
	if d.zoned() {
		return s.planZoned(m.Seq, &Zoned{Zone: strings.Clone(d.zone), Pattern: strings.Clone(d.pattern), since: m.Time})
	}
	table, ok := parseTimetable(d.pattern)
	if !ok {
		return nil // it was checked
	}
	due, ok := table.next(time.Unix(0, m.Time).UTC())
	if !ok {
		return nil
	}
	return s.plan(m.Seq, dueTime(due))
}
