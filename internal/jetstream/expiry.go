package jetstream

import (
	"time"

	"weir/internal/machine"
	"weir/internal/stream"
)

// scheduleExpiry sets a timer for when messages, ids or schedules of the stream
// fall due, on the leader.
func (s *Stream) scheduleExpiry() {
	if !s.lead.Load().Self {
		return
	}
	var due int64
	s.View(func(m *machine.Machine) { due = m.NextExpiry() })
	d := &s.duty
	d.mu.Lock()
	defer d.mu.Unlock()
	at, now := time.Unix(0, due), s.node.cfg.Clock.Now()
	if due == 0 || d.over || at.Equal(d.expire) {
		return
	}
	wait := max(at.Sub(now), minExpiryPause)
	if due == stream.Now || !at.After(d.upTo) {
		// There is more than one entry takes: the next step when this one is applied,
		// or if it never is.
		pause := minSweepPause
		if d.used {
			pause = turnPause
		}
		wait = max(d.asked.Add(expireAgain).Sub(now), pause)
	}
	d.expire = at
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer = s.node.cfg.Clock.AfterFunc(wait, s.expire)
}

// minExpiryPause keeps expiry commands apart, so that messages that fall due
// together go together.
const minExpiryPause = 50 * time.Millisecond

// minSweepPause keeps the steps of what takes more than one entry apart. turnPause
// does while something else goes on in the stream, so that it gets its turn.
const (
	minSweepPause = 200 * time.Microsecond
	turnPause     = 5 * time.Millisecond
)

// expireAgain is how long a step may be under way until another one is
// proposed.
const expireAgain = 5 * time.Second

func (s *Stream) expire() {
	s.duty.mu.Lock()
	s.duty.expire = time.Time{}
	s.duty.mu.Unlock()
	if !s.Leads() {
		return
	}
	now := s.node.cfg.Clock.Now()
	s.duty.mu.Lock()
	s.duty.asked, s.duty.upTo, s.duty.used = now, now, false
	s.duty.mu.Unlock()
	cmd := machine.Append(nil, machine.Origin{Proposer: s.replica}, &machine.Expire{Time: now.UnixNano(), Zoned: s.zonedNext(now)})
	if err := s.group.Propose(cmd); err != nil {
		s.node.cfg.Logger.Debugf("Expire messages of %s: %v", s.name, err)
		s.duty.mu.Lock()
		s.duty.upTo = time.Time{}
		s.duty.mu.Unlock()
		s.scheduleExpiry()
	}
}

// applied notes what was applied: an Expire, something else, or both.
func (d *duty) applied(expire, other bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used = d.used || other
	if expire {
		d.asked, d.expire = time.Time{}, time.Time{}
	}
}
