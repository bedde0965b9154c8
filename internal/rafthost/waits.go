package rafthost

import "slices"

// waits are the callers who wait for something of a group, guarded by its mu.
type waits struct {
	apply  []applyWait
	read   []chan readResult // not asked yet
	asked  []chan readResult // wait for the read in flight
	change *memberChange
}

type applyWait struct {
	index uint64
	done  chan error
}

type readResult struct {
	index uint64
	err   error
}

func (w *waits) applied(index uint64) {
	w.apply = slices.DeleteFunc(w.apply, func(a applyWait) bool {
		if a.index > index {
			return false
		}
		a.done <- nil
		return true
	})
}

// forget drops a caller who gave up.
func (w *waits) forget(done chan error) {
	w.apply = slices.DeleteFunc(w.apply, func(a applyWait) bool { return a.done == done })
}

func (w *waits) forgetRead(ch chan readResult) {
	for _, set := range []*[]chan readResult{&w.read, &w.asked} {
		if i := slices.Index(*set, ch); i >= 0 {
			*set = slices.Delete(*set, i, i+1)
		}
	}
}

// changed tells the caller of ChangeMembers when its change is made, out of the
// joint configuration included.
func (w *waits) changed(token uint64, m *members) {
	c := w.change
	if c == nil {
		return
	}
	if token == c.token {
		c.applied = true
	}
	if c.applied && !m.joint() {
		c.done <- nil
		w.change = nil
	}
}

func (w *waits) failChange(err error) {
	if w.change != nil {
		w.change.done <- err
		w.change = nil
	}
}

func (w *waits) fail(err error) {
	for _, a := range w.apply {
		a.done <- err
	}
	for _, set := range [][]chan readResult{w.read, w.asked} {
		for _, ch := range set {
			ch <- readResult{err: err}
		}
	}
	w.failChange(err)
	*w = waits{}
}
