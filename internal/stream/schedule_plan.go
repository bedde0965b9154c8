package stream

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"weir/internal/base"
)

// A schedule in force has its message's sequence under keyPlan, ordered by when it is due, and when it is due under keyDue, for those who
// know the message. Both go when the message goes or is no longer the last of its subject.
//
// Time zones are not the same everywhere, so a replica does not compute with them: it plans a schedule with a zone for time 0, and whoever
// proposes the next Expire says when it is really due. keyZoned has what it needs for that.

// Zoned is a schedule whose times depend on a time zone.
type Zoned struct {
	Seq           uint64 // of the message that holds it
	Zone, Pattern string
	since, due    int64 // unix ns: after which time it is due next, and when; 0 is not known yet
}

// ZonedNext is when a schedule with a time zone is due next.
type ZonedNext struct {
	Seq    uint64
	Due    int64 // unix ns; 0 is never
	Offset int   // of the zone from UTC at that time, in seconds
}

// Next is when the schedule is due after its time that came at now.
func (z *Zoned) Next(now time.Time, zone *time.Location) ZonedNext {
	next := ZonedNext{Seq: z.Seq}
	table, ok := parseTimetable(z.Pattern)
	if !ok {
		return next
	}
	due, ok := table.nextBehind(time.Unix(0, z.since).In(zone), now.In(zone))
	if z.due == 0 { // its first time may be over already, and comes nevertheless
		due, ok = table.next(time.Unix(0, z.since).In(zone))
	}
	if ok {
		_, next.Offset = due.Zone()
		next.Due = dueTime(due)
	}
	return next
}

// ZonedDue lists the schedules with a time zone whose next time an Expire at now has to say. Only the leader asks, who is kept apart from
// those who apply.
func (s *Stream) ZonedDue(now int64) (list []Zoned) {
	for _, seq := range slices.Sorted(maps.Keys(s.zoned)) {
		if z := s.zoned[seq]; z.due <= now {
			list = append(list, *z)
		}
	}
	return list
}

func planKey(dst []byte, due int64, seq uint64) []byte {
	return appendUint64(appendUint64(append(dst[:0], keyPlan), uint64(due)), seq)
}

func dueKey(dst []byte, seq uint64) []byte { return appendUint64(append(dst[:0], keyDue), seq) }

func zonedKey(dst []byte, seq uint64) []byte { return appendUint64(append(dst[:0], keyZoned), seq) }

// plan has the schedule of a message come due at a time (unix ns) after 0, or be told when.
func (s *Stream) plan(seq uint64, due int64) error {
	if !s.scheduled || due < s.nextSchedule {
		s.scheduled, s.nextSchedule = true, due
	}
	s.keyBuf = planKey(s.keyBuf, due, seq)
	if err := s.store.Set(s.keyBuf, nil); err != nil {
		return err
	}
	s.keyBuf = dueKey(s.keyBuf, seq)
	return s.store.Set(s.keyBuf, appendUint64(nil, uint64(due)))
}

func (s *Stream) planZoned(seq uint64, z *Zoned) error {
	z.Seq = seq
	s.zoned[seq] = z
	s.keyBuf = zonedKey(s.keyBuf, seq)
	value := binary.AppendVarint(nil, z.since)
	value = append(append(append(value, z.Zone...), 0), z.Pattern...)
	if err := s.store.Set(s.keyBuf, value); err != nil {
		return err
	}
	return s.plan(seq, z.due)
}

// isPlanned tells whether a message holds a schedule in force.
func (s *Stream) isPlanned(seq uint64) (bool, error) {
	_, ok, err := s.dueOf(seq)
	return ok, err
}

func (s *Stream) dueOf(seq uint64) (int64, bool, error) {
	if !s.scheduled {
		return 0, false, nil
	}
	s.keyBuf = dueKey(s.keyBuf, seq)
	value, ok, err := s.store.Get(s.keyBuf)
	if err != nil || !ok {
		return 0, false, err
	}
	if len(value) != 8 {
		return 0, false, base.Corruptf("schedule of message %d has a value of %d bytes", seq, len(value))
	}
	return int64(binary.BigEndian.Uint64(value)), true, nil
}

// unplan ends the schedule of a message, if it holds one.
func (s *Stream) unplan(seq uint64) error {
	due, ok, err := s.dueOf(seq)
	if err != nil || !ok {
		return err
	}
	s.keyBuf = dueKey(s.keyBuf, seq)
	if err := s.store.Unset(s.keyBuf); err != nil {
		return err
	}
	if s.zoned[seq] != nil {
		delete(s.zoned, seq)
		s.keyBuf = zonedKey(s.keyBuf, seq)
		if err := s.store.Unset(s.keyBuf); err != nil {
			return err
		}
	}
	s.keyBuf = planKey(s.keyBuf, due, seq)
	s.planShrank = s.planShrank || due <= s.nextSchedule
	return s.store.Unset(s.keyBuf)
}

// unplanBelow ends the schedules of all messages below a sequence.
func (s *Stream) unplanBelow(below uint64) error {
	if !s.scheduled {
		return nil
	}
	var gone []uint64
	bad := false
	err := s.store.ScanKeys([]byte{keyDue}, func(key, _ []byte) bool {
		if bad = len(key) != 9; bad {
			return false
		}
		seq := binary.BigEndian.Uint64(key[1:])
		if seq < below {
			gone = append(gone, seq)
		}
		return seq < below
	})
	if bad {
		return base.Corruptf("key of a schedule")
	}
	for _, seq := range gone {
		if err == nil {
			err = s.unplan(seq)
		}
	}
	return err
}

// unplanLast ends the schedule that the last message of a subject holds, which another one is about to follow.
func (s *Stream) unplanLast(literal string) error {
	if !s.scheduled {
		return nil
	}
	seq, ok, err := s.store.LastFor(literal)
	if err != nil || !ok {
		return err
	}
	return s.unplan(seq)
}

// loadSchedules reads what is kept in memory.
func (s *Stream) loadSchedules() error {
	s.zoned = map[uint64]*Zoned{}
	var bad error
	err := s.store.ScanKeys([]byte{keyZoned}, func(key, value []byte) bool {
		since, n := binary.Varint(value)
		zone, pattern, ok := bytes.Cut(value[max(n, 0):], []byte{0})
		if len(key) != 9 || n <= 0 || !ok {
			bad = base.Corruptf("schedule with a time zone")
			return false
		}
		seq := binary.BigEndian.Uint64(key[1:])
		s.zoned[seq] = &Zoned{Seq: seq, Zone: string(zone), Pattern: string(pattern), since: since}
		return true
	})
	if err == nil {
		err = bad
	}
	if err == nil {
		err = s.findNextSchedule()
	}
	for seq, z := range s.zoned {
		if err == nil {
			z.due, _, err = s.dueOf(seq)
		}
	}
	return err
}

// findNextSchedule reads the first planned time.
func (s *Stream) findNextSchedule() error {
	s.scheduled, s.nextSchedule, s.planShrank = false, 0, false
	bad := false
	err := s.store.ScanKeys([]byte{keyPlan}, func(key, _ []byte) bool {
		s.nextSchedule, _, s.scheduled = splitPlanKey(key)
		bad = !s.scheduled
		return false
	})
	if bad {
		return base.Corruptf("key of a schedule")
	}
	return err
}

func splitPlanKey(key []byte) (due int64, seq uint64, ok bool) {
	if len(key) != 17 || key[0] != keyPlan {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(key[1:])), binary.BigEndian.Uint64(key[9:]), true
}
