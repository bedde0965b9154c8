package jetstream

import (
	"bytes"
	"time"

	"weir/internal/machine"
	"weir/internal/router"
	"weir/internal/stream"
	"weir/internal/wire"
)

// Time zones differ between machines and versions, so they are no part of the
// replicated state: the leader alone computes with them.

var zoneHeader = []byte(stream.ScheduleZoneHeader + ":")

// withKnownZone is a message as it is proposed: a time zone that is not known here
// is left empty, which the stream refuses where it looks at the schedule.
func withKnownZone(m *router.Msg) *router.Msg {
	if !bytes.Contains(m.Header, zoneHeader) {
		return m
	}
	zone, ok := wire.GetHeader(m.Header, stream.ScheduleZoneHeader)
	if !ok {
		return m
	}
	if _, err := time.LoadLocation(string(zone)); err == nil {
		return m
	}
	changed := *m
	changed.Header = wire.SetHeader(m.Header, stream.ScheduleZoneHeader, "")
	return &changed
}

// zonedNext says when the schedules with a time zone that are due at now are due
// next.
func (s *Stream) zonedNext(now time.Time) (next []stream.ZonedNext) {
	var due []stream.Zoned
	s.View(func(m *machine.Machine) { due = m.Stream().ZonedDue(now.UnixNano()) })
	for i := range due {
		z := &due[i]
		zone, err := time.LoadLocation(z.Zone)
		if err != nil { // it was known to an earlier leader
			s.node.cfg.Logger.Errorf("Stream %s > %s: the schedule of message %d ends: %v", s.account, s.name, z.Seq, err)
			next = append(next, stream.ZonedNext{Seq: z.Seq})
			continue
		}
		next = append(next, z.Next(now, zone))
	}
	return next
}
