package jetstream

import (
	"bytes"
	"time"

	"weir/internal/apierr"
	"weir/internal/machine"
	"weir/internal/stream"
	"weir/internal/wire"
)

// Time zones differ between machines and versions, so they are no part of the
// replicated state: the leader alone computes with them.

var zoneHeader = []byte(stream.ScheduleZoneHeader + ":")

// checkZone refuses a message whose schedule has a time zone that is not known
// here.
func (s *Stream) checkZone(hdr []byte) *apierr.Error {
	if !bytes.Contains(hdr, zoneHeader) {
		return nil
	}
	zone, ok := wire.GetHeader(hdr, stream.ScheduleZoneHeader)
	if !ok {
		return nil
	}
	if _, err := time.LoadLocation(string(zone)); err == nil {
		return nil
	}
	enabled := false
	s.View(func(m *machine.Machine) { enabled = m.Stream().Config().AllowMsgSchedules })
	if !enabled {
		return apierr.JSMessageSchedulesDisabledErr
	}
	return apierr.JSMessageSchedulesTimeZoneInvalidErr
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
