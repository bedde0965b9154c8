package stream

import (
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"weir/internal/base"
)

// timetable is what a Nats-Schedule header asks for (ADR-51): a time, an interval, or six fields as in crontab, seconds first, or one of
// the names that stand for such.
type timetable struct {
	at    time.Time
	every time.Duration
	cron  cron.Schedule
}

const minEvery = time.Second

// sixFields has no location of its own: times are in that of the time asked about.
var sixFields = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

func parseTimetable(pattern string) (t timetable, ok bool) {
	if value, is := strings.CutPrefix(pattern, "@at "); is {
		at, err := time.Parse(time.RFC3339, value)
		t.at = at.UTC()
		return t, err == nil
	}
	if value, is := strings.CutPrefix(pattern, "@every "); is {
		every, err := time.ParseDuration(value)
		t.every = every
		return t, err == nil && every >= minEvery
	}
	if strings.Contains(pattern, "TZ=") { // which the parser would take as a zone
		return t, false
	}
	fields, err := sixFields.Parse(pattern)
	t.cron = fields
	return t, err == nil && hasValues(fields)
}

// hasValues tells whether every field names a value. The parser takes a comma for a list of none, and the search for a time that fits
// would go through each second of five years.
func hasValues(fields cron.Schedule) bool {
	f, ok := fields.(*cron.SpecSchedule)
	return ok && !slices.Contains([]uint64{f.Second, f.Minute, f.Hour, f.Dom, f.Month, f.Dow}, 0)
}

// once tells whether the schedule is over after its first message.
func (t *timetable) once() bool { return t.every == 0 && t.cron == nil }

// next is the first time that is due after another one; false when there is none. Intervals begin at full seconds.
func (t *timetable) next(after time.Time) (time.Time, bool) {
	switch {
	case t.cron != nil:
		due := t.cron.Next(after)
		return due, !due.IsZero()
	case t.every > 0:
		return after.Round(time.Second).Add(t.every), true
	}
	return t.at, true
}

// nextBehind is the first time that is due after another one and not before now: what was missed is left out.
func (t *timetable) nextBehind(due, now time.Time) (time.Time, bool) {
	if next, ok := t.next(due); !ok || next.After(now) {
		return next, ok
	}
	return t.next(now)
}

// dueTime is t in unix ns, within what a plan can hold: after 0.
func dueTime(t time.Time) int64 { return max(base.UnixNano(t), 1) }
