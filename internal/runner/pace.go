package runner

import (
	"time"

	"weir/internal/api"
	"weir/internal/msg"
)

// rateBurst is how far a rate limited consumer may run ahead of its rate, so that
// it needs no wake-up for every message.
const rateBurst = 10 * time.Millisecond

// pacing holds deliveries back: rate limit and replay at the original speed.
type pacing struct {
	until   time.Time // nothing is delivered before
	free    time.Time // when the line is through with what was sent at the limited rate
	lastMsg int64     // time of the message delivered last, unix ns
	lastAt  time.Time // when it was delivered
}

func (p *pacing) holds(now time.Time) bool { return p != nil && now.Before(p.until) }

// holdsMsg tells that m has to wait, and sets until when.
func (p *pacing) holdsMsg(r *Runner, m *msg.Message, now time.Time) bool {
	if p == nil || r.cfg.ReplayPolicy != api.ReplayOriginal || p.lastMsg == 0 {
		return false
	}
	due := p.lastAt.Add(time.Duration(m.Time - p.lastMsg))
	if !now.Before(due) {
		return false
	}
	p.until = due
	return true
}

// sent accounts for a delivery.
func (p *pacing) sent(r *Runner, m *msg.Message, size int, now time.Time, again bool) {
	if p == nil {
		return
	}
	if r.cfg.ReplayPolicy == api.ReplayOriginal && !again {
		p.lastMsg, p.lastAt = m.Time, now
	}
	if rate := r.cfg.RateLimit; rate > 0 {
		if p.free.Before(now) {
			p.free = now
		}
		bits := float64(size) * 8
		p.free = p.free.Add(time.Duration(bits / float64(rate) * float64(time.Second)))
		p.until = p.free.Add(-rateBurst)
	}
}
