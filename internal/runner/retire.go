package runner

import "time"

// retireTime is how long a runner that retires waits for its successor. After
// that it goes on: whoever was to appoint one is gone.
const retireTime = time.Second

// Retire has another runner take over without a message coming twice: this one
// delivers nothing more, and done is called once all that it did is part of the
// replicated state. Acks are taken until the end. A runner that is closed first does
// not call done.
func (r *Runner) Retire(done func()) {
	r.post(func(r *Runner) {
		r.retiredUntil = r.now.Add(retireTime)
		r.lazyAt = r.now // a position that may wait is sent in this turn
		r.afterCommit(func(*Runner) { done() })
	})
}

func (r *Runner) retired(now time.Time) bool { return now.Before(r.retiredUntil) }

// lastWord hands over what was recorded in the last turn. It comes too late to
// count, but its acks are for the next runner.
func (r *Runner) lastWord() {
	if !r.rec.empty() {
		r.send()
	}
}
