package runner

import (
	"container/heap"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/subject"
)

// Scheduler runs runners on a few goroutines and wakes them at their deadlines.
// A runner that has nothing to do costs it nothing.
type Scheduler struct {
	clock base.Clock
	// interest holds the push consumers' runners by deliver subject.
	interest subject.Index[*Runner]

	mu     sync.Mutex
	cond   *sync.Cond
	queue  []*Runner // ready, each at most once
	busy   int       // workers that run a runner
	idle   *sync.Cond
	timers timerHeap
	timer  base.Timer
	armed  time.Time // when timer goes off; zero: not armed
	closed bool
	done   sync.WaitGroup
}

// runState says where a runner stands with its scheduler.
type runState struct {
	queued  bool // in queue
	running bool // on a worker
	again   bool // woken while running
	timer   int  // index in timers + 1; 0: none
	at      time.Time
}

// NewScheduler starts workers goroutines.
func NewScheduler(clock base.Clock, workers int) *Scheduler {
	s := &Scheduler{clock: clock}
	s.cond, s.idle = sync.NewCond(&s.mu), sync.NewCond(&s.mu)
	s.done.Add(workers)
	for range workers {
		go s.work()
	}
	return s
}

// Stop ends the workers after the turns that they are in.
func (s *Scheduler) Stop() {
	s.mu.Lock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.cond.Broadcast()
	s.idle.Broadcast()
	s.mu.Unlock()
	s.done.Wait()
}

func (s *Scheduler) wake(r *Runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeLocked(r)
}

func (s *Scheduler) wakeLocked(r *Runner) {
	switch {
	case r.run.running:
		r.run.again = true
	case !r.run.queued:
		r.run.queued = true
		s.queue = append(s.queue, r)
		s.cond.Signal()
	}
}

// InterestChanged wakes the push consumers that a change of interest in a subject
// or pattern, in whatever account, may concern.
func (s *Scheduler) InterestChanged(subj string) {
	if s.interest.Len() == 0 {
		return
	}
	s.interest.Overlapping(subj, func(_, _ string, r *Runner) bool {
		s.wake(r)
		return true
	})
}

func (s *Scheduler) work() {
	defer s.done.Done()
	scratch := newScratch()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.queue) == 0 && !s.closed {
			s.cond.Wait()
		}
		if s.closed {
			return
		}
		r := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		r.run.queued, r.run.running, r.run.again = false, true, false
		s.busy++
		s.mu.Unlock()
		more, at := r.step(scratch)
		s.mu.Lock()
		switch {
		case more:
		case r.done:
			s.forgetLocked(r)
		default:
			s.atLocked(r, at)
		}
		s.busy--
		r.run.running = false
		if more || r.run.again {
			s.wakeLocked(r)
		}
		if len(s.queue) == 0 && s.busy == 0 {
			s.idle.Broadcast()
		}
	}
}

// atLocked asks for r to be woken at t; the zero time is never. It may be woken
// earlier, as an earlier wish stays: most of them, the ends of ack waits, are taken
// back by an ack long before.
func (s *Scheduler) atLocked(r *Runner, t time.Time) {
	switch {
	case t.IsZero():
		return
	case r.run.timer == 0:
		r.run.at = t
		heap.Push(&s.timers, r)
	case t.Before(r.run.at):
		r.run.at = t
		heap.Fix(&s.timers, r.run.timer-1)
	default:
		return
	}
	s.armLocked()
}

// forgetLocked takes back the wish of a runner that has ended.
func (s *Scheduler) forgetLocked(r *Runner) {
	if r.run.timer > 0 {
		heap.Remove(&s.timers, r.run.timer-1)
	}
}

// armLocked sets the clock's timer for the earliest deadline.
func (s *Scheduler) armLocked() {
	if len(s.timers) == 0 || s.closed {
		return
	}
	first := s.timers[0].run.at
	if !s.armed.IsZero() && !first.Before(s.armed) {
		return
	}
	s.armed = first
	d := max(first.Sub(s.clock.Now()), 0)
	if s.timer == nil {
		s.timer = s.clock.AfterFunc(d, s.fire)
		return
	}
	s.timer.Reset(d)
}

func (s *Scheduler) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = time.Time{}
	now := s.clock.Now()
	for len(s.timers) > 0 && !s.timers[0].run.at.After(now) {
		r := heap.Pop(&s.timers).(*Runner)
		s.wakeLocked(r)
	}
	s.armLocked()
}

// timerHeap orders runners by their deadlines.
type timerHeap []*Runner

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].run.at.Before(h[j].run.at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].run.timer, h[j].run.timer = i+1, j+1
}
func (h *timerHeap) Push(x any) {
	r := x.(*Runner)
	*h = append(*h, r)
	r.run.timer = len(*h)
}
func (h *timerHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	r.run.timer = 0
	return r
}

// Drain returns once no runner is ready or running.
func (s *Scheduler) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && (len(s.queue) > 0 || s.busy > 0) {
		s.idle.Wait()
	}
}
