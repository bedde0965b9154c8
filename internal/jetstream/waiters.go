package jetstream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// proposalTimeout is how long a proposal may go without being applied before
// its waiter is told that nobody knows.
const proposalTimeout = 10 * time.Second

var (
	errLostLeadership = errors.New("leadership was lost while the request was under way")
	errProposalTime   = errors.New("the group did not commit in time")
)

// waiters matches the results of applied commands to who proposed them on this
// node. Commands carry the proposer's replica and a number of its choice.
type waiters[R any] struct {
	mu   sync.Mutex
	next uint64
	wait map[uint64]waiter[R]
}

type waiter[R any] struct {
	done  func(R, error) // called once, not under the lock
	since time.Time
	// applied: the command was, and its result is to come.
	applied bool
}

func newWaiters[R any]() *waiters[R] {
	return &waiters[R]{next: firstRequest(), wait: make(map[uint64]waiter[R])}
}

// firstRequest is where the numbers of a replica's requests start when it is opened:
// anywhere, as commands of its earlier lives may still be on their way, and the
// clock may have been set back since.
func firstRequest() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:]) >> 2 // leaves room to grow
}

// add registers done and returns the number for the command.
func (w *waiters[R]) add(now time.Time, done func(R, error)) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	w.wait[w.next] = waiter[R]{done: done, since: now}
	return w.next
}

// take removes the waiter of a command; nil when there is none (any more).
func (w *waiters[R]) take(seq uint64) func(R, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.wait[seq].done
	delete(w.wait, seq)
	return d
}

// goesOn notes that a command was applied and that its result will come with a later
// one.
func (w *waiters[R]) goesOn(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x, ok := w.wait[seq]; ok {
		x.applied = true
		w.wait[seq] = x
	}
}

// fail ends all waiters that began up to now, but for those whose command was applied
// and goes on, whoever leads.
func (w *waiters[R]) fail(now time.Time, err error) {
	w.end(err, func(x waiter[R]) bool { return !x.applied && !x.since.After(now) })
}

// failAll ends all waiters.
func (w *waiters[R]) failAll(err error) {
	w.end(err, func(waiter[R]) bool { return true })
}

func (w *waiters[R]) end(err error, ends func(waiter[R]) bool) {
	var ended []func(R, error)
	w.mu.Lock()
	for seq, x := range w.wait {
		if ends(x) {
			ended = append(ended, x.done)
			delete(w.wait, seq)
		}
	}
	w.mu.Unlock()
	for _, done := range ended {
		var zero R
		done(zero, err)
	}
}

// propose registers a waiter, proposes what encode makes of its number and
// waits for the result.
func (w *waiters[R]) propose(ctx context.Context, now time.Time, propose func([]byte) error, encode func(seq uint64) []byte) (R, error) {
	type result struct {
		r   R
		err error
	}
	ch := make(chan result, 1)
	seq := w.add(now, func(r R, err error) { ch <- result{r, err} })
	if err := propose(encode(seq)); err != nil {
		w.take(seq)
		var zero R
		return zero, err
	}
	select {
	case r := <-ch:
		return r.r, r.err
	case <-ctx.Done():
		w.take(seq)
		var zero R
		return zero, errors.Join(errProposalTime, ctx.Err())
	}
}
