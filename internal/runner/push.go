package runner

import (
	"strconv"
	"time"

	"weir/internal/api"
	"weir/internal/msg"
	"weir/internal/wire"
)

// Flow control: how much a push consumer may have on the wire beyond what its
// client has confirmed. The window starts small and doubles with each
// confirmation.
const (
	minFlowWindow = 64 << 10
	maxFlowWindow = 32 << 20
	// interestPoll is how often a push consumer without interest looks again.
	interestPoll = 250 * time.Millisecond
)

// pushState is a push consumer's connection to its deliver subject.
type pushState struct {
	bound    bool      // somebody listened when it was last looked at
	checkAt  time.Time // when to look again
	beatAt   time.Time // when the next heartbeat is due
	window   int       // bytes that may be unconfirmed
	unacked  int       // bytes sent since the last confirmed flow control request
	asked    string    // reply subject of the request under way; empty: none
	askedAt  int       // unacked when it was sent
	nextFlow uint64
}

// pushReady tells whether the deliver subject takes another message.
func (r *Runner) pushReady(now time.Time) bool {
	s := &r.pushing
	s.bound = r.env.HasInterest(r.cfg.DeliverSubject, r.cfg.DeliverGroup)
	if !s.bound {
		s.checkAt = now.Add(interestPoll)
		s.asked, s.unacked, s.window = "", 0, 0
		return false
	}
	s.checkAt = time.Time{}
	r.active = now
	if s.beatAt.IsZero() && r.cfg.Heartbeat > 0 {
		s.beatAt = now.Add(r.cfg.Heartbeat)
	}
	return !r.cfg.FlowControl || s.asked == "" || s.unacked < s.window
}

// pushed accounts for a delivered message of size bytes.
func (r *Runner) pushed(size int, now time.Time) {
	s := &r.pushing
	if r.cfg.Heartbeat > 0 {
		s.beatAt = now.Add(r.cfg.Heartbeat)
	}
	if !r.cfg.FlowControl {
		return
	}
	s.window = max(s.window, minFlowWindow)
	s.unacked += size
	if s.asked == "" && s.unacked >= s.window/2 {
		r.askFlow()
	}
}

func (r *Runner) askFlow() {
	s := &r.pushing
	s.nextFlow++
	s.asked = "$JS.FC." + r.id.Stream + "." + r.id.Consumer + "." + strconv.FormatUint(s.nextFlow, 36)
	s.askedAt = s.unacked
	r.env.Publish(r.cfg.DeliverSubject, s.asked, wire.StatusBlock(100, "FlowControl Request"), nil)
}

// FlowReply takes a client's answer to a flow control request.
func (r *Runner) FlowReply(subj string) {
	r.post(func(r *Runner) {
		s := &r.pushing
		r.active = r.env.Clock.Now()
		if s.asked != subj {
			return
		}
		s.unacked -= s.askedAt
		s.asked = ""
		s.window = min(s.window*2, maxFlowWindow)
	})
}

// heartbeats tells idle clients that the consumer is alive.
func (r *Runner) heartbeats(now time.Time) {
	for _, w := range r.requests.list {
		if w.heartbeat > 0 && !now.Before(w.beatAt) {
			w.beatAt = now.Add(w.heartbeat)
			r.env.Publish(w.reply, "", r.beat(), nil)
		}
	}
	s := &r.pushing
	if !r.push || r.cfg.Heartbeat <= 0 {
		return
	}
	if s.checkAt.IsZero() && !s.bound {
		r.pushReady(now)
	}
	if s.bound && !now.Before(s.beatAt) {
		s.beatAt = now.Add(r.cfg.Heartbeat)
		r.env.Publish(r.cfg.DeliverSubject, "", r.beat(), nil)
	}
}

func (r *Runner) beat() []byte {
	d := r.state.Delivered
	hdr := wire.StatusBlock(100, "Idle Heartbeat",
		"Nats-Last-Consumer", strconv.FormatUint(d.Consumer, 10),
		"Nats-Last-Stream", strconv.FormatUint(d.Stream, 10))
	if r.pushing.asked != "" {
		hdr = wire.SetHeader(hdr, "Nats-Consumer-Stalled", r.pushing.asked)
	}
	return hdr
}

// pacing holds deliveries back: rate limit and replay at the original speed.
type pacing struct {
	until   time.Time // nothing is delivered before
	lastMsg int64     // time of the message delivered last, unix ns
	lastAt  time.Time // when it was delivered
}

func (p *pacing) holds(now time.Time) bool { return now.Before(p.until) }

// holdsMsg tells that m has to wait, and sets until when.
func (p *pacing) holdsMsg(r *Runner, m *msg.Message, now time.Time) bool {
	if r.cfg.ReplayPolicy == api.ReplayOriginal && p.lastMsg != 0 {
		due := p.lastAt.Add(time.Duration(m.Time - p.lastMsg))
		if now.Before(due) {
			p.until = due
			return true
		}
	}
	p.lastMsg, p.lastAt = m.Time, now
	if rate := r.cfg.RateLimit; rate > 0 {
		bits := uint64(len(m.Subject)+len(m.Header)+len(m.Data)) * 8
		p.until = now.Add(time.Duration(bits * uint64(time.Second) / rate))
	}
	return false
}

// nextWake is when the runner has to look at its situation without being told.
func (r *Runner) nextWake(now time.Time) time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if len(r.deadlines) > 0 {
		sooner(time.Unix(0, r.deadlines[0].at))
	}
	for _, w := range r.requests.list {
		sooner(w.expires)
		sooner(w.beatAt)
	}
	sooner(r.pushing.checkAt)
	if r.pushing.bound {
		sooner(r.pushing.beatAt)
	}
	if r.pace.holds(now) {
		sooner(r.pace.until)
	}
	sooner(r.lazyAt)
	if r.paused(now) {
		sooner(r.pausedAt)
	}
	sooner(r.inactiveAt())
	if !at.IsZero() && !at.After(now) {
		at = now.Add(time.Millisecond)
	}
	return at
}

// inactiveAt is when the consumer has been unused for its inactive threshold.
func (r *Runner) inactiveAt() time.Time {
	if r.cfg.InactiveThreshold <= 0 || r.pushing.bound || r.requests.len() > 0 {
		return time.Time{}
	}
	return r.active.Add(r.cfg.InactiveThreshold)
}

func (r *Runner) checkInactive(now time.Time) {
	if r.push && r.pushing.bound {
		r.pushing.bound = r.env.HasInterest(r.cfg.DeliverSubject, r.cfg.DeliverGroup)
		r.active = now
	}
	at := r.inactiveAt()
	if at.IsZero() || now.Before(at) {
		return
	}
	r.active = now
	r.env.Expire(r.id)
}
