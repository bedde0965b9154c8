package runner

import "time"

// nextWake is when the runner has to look at its situation without being told.
func (r *Runner) nextWake(now time.Time) time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if d := r.pending.nextDeadline(); d != 0 {
		sooner(time.Unix(0, d))
	}
	sooner(r.requests.wakeAt)
	if s := r.pushing; s != nil {
		sooner(s.checkAt)
		if s.bound && r.cfg.Heartbeat > 0 {
			sooner(s.beatAt)
		}
	}
	if r.pace.holds(now) {
		sooner(r.pace.until)
	}
	sooner(r.lazyAt)
	sooner(r.retryAt)
	sooner(r.shrinkAt)
	if r.paused(now) {
		sooner(r.pausedUntil)
	}
	if r.retired(now) {
		sooner(r.retiredUntil)
	}
	sooner(r.pin.expiresAt(r))
	sooner(r.inactiveAt())
	return at
}

// inactiveAt is when the consumer has been unused for its inactive threshold.
func (r *Runner) inactiveAt() time.Time {
	if r.cfg.InactiveThreshold <= 0 || r.pushing.isBound() {
		return time.Time{}
	}
	return r.active.Add(r.cfg.InactiveThreshold)
}

// checkInactive asks for the end of a consumer that nobody uses. A pull that
// waits is use as long as its client is there.
func (r *Runner) checkInactive(now time.Time) {
	at := r.inactiveAt()
	if at.IsZero() || now.Before(at) {
		return
	}
	// Should the request be lost, it is made again.
	r.active = now
	r.dropUninterested()
	if r.requests.len() == 0 {
		r.env.Expire(r.id)
	}
}
