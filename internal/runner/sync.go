package runner

// Sync calls done once everything that the runner has done and was told so far is
// part of the replicated state. A runner that is closed first does not call it.
func (r *Runner) Sync(done func()) {
	r.post(func(r *Runner) {
		r.storeChanged()
		r.lazyAt = r.now // a position that may wait is sent in this turn
		r.afterCommit(func(*Runner) { done() })
	})
}
