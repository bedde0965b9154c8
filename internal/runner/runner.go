// Package runner delivers the messages of consumers on the node that runs them.
//
// A consumer's replicated state says what was delivered and what was
// acknowledged; its runner is the working set around it: waiting pull requests,
// redelivery timers, flow control windows. A runner reads messages from the
// replica of the stream on its own node, puts them on the wire and hands what
// it did to the group's leader as numbered deltas. Whatever it knows beyond the
// replicated state may be lost with it: the guarantee is at-least-once, and
// nothing that a committed ack covers is delivered again. See DESIGN.md.
package runner

import (
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

// Store is the read side of the stream's replica on this node. Header and Data
// of a message that is read point into buf, or are fresh when it is too small.
type Store interface {
	Load(seq uint64, m *msg.Message, buf []byte) (bool, error)
	Next(from uint64, f subject.Filter, m *msg.Message, buf []byte) (bool, error)
	NumPending(from uint64, f subject.Filter) (uint64, error)
	LastOfSubject(subject string, upTo uint64) (uint64, error)
	State() msg.State
}

// Env is what a runner needs of the node that it lives on. Functions may be
// called from any worker, never while a lock of the runner is held.
type Env struct {
	Clock base.Clock
	Log   base.Logger
	Store Store
	// Publish puts a message on the wire in the consumer's account.
	Publish func(subject, reply string, header, payload []byte)
	// Deliver is Publish for a stored message that keeps its own subject but is
	// addressed to a client's inbox or deliver subject. All of it is borrowed for
	// the call.
	Deliver func(to, subject, reply, header, payload []byte)
	// HasInterest tells whether anybody would get a message on subject; with a
	// queue, whether that group has a member.
	HasInterest func(subject, queue string) bool
	// Send hands a delta to the group's leader, reliably and in order. Its
	// commit is told by Runner.Committed with the delta's ticket.
	Send func(d *Delta)
	// Patience is how long a delivery may wait to be recorded together with its ack.
	Patience func() time.Duration
	// Live is false while this node has lost contact with the group: nothing may
	// be delivered then.
	Live func() bool
	// Expire asks the group to delete the consumer, as nobody used it for its
	// inactive threshold.
	Expire func(id Identity)
	// Advise publishes an advisory or metric on the consumer's event subject.
	Advise func(id Identity, e Event)
	// NewPin makes a unique id for a client that becomes pinned.
	NewPin func() string
}

// Identity names a consumer and the incarnation of its runner.
type Identity struct {
	Stream, Consumer string
	ID               uint64 // the consumer's, within its stream
	Epoch            uint64
	// Scope is what its subjects for acks and flow control name before the stream, as
	// Scope makes it; empty: they are of version 1.
	Scope string
}

// State is the part of a consumer's replicated state that a runner starts from.
type State struct {
	Delivered, AckFloor SeqPair
	Pending             []PendingMsg // by ascending stream sequence
	Ticket              uint64       // of the last delta applied in the runner's epoch
	// LastPerSubject bounds a last_per_subject start: up to this sequence, only
	// messages that are the last of their subject are delivered. 0: no bound.
	LastPerSubject uint64
	// Inherits: messages up to this sequence may have been delivered by a runner
	// before, who was lost with what it had not committed.
	Inherits uint64
	// GivenBefore: messages up to this sequence may have been delivered before the
	// consumer was made, by one of its name, or started over. Acks of them prove nothing about a runner since.
	GivenBefore uint64
	Pin         Pin
}

// Pin is who is pinned in a consumer's priority group; the zero value is nobody.
type Pin struct {
	ID    string
	Since time.Time
}

// SeqPair is a consumer sequence and the stream sequence it stands for.
type SeqPair struct{ Consumer, Stream uint64 }

// PendingMsg is a message that was delivered and not yet acknowledged.
type PendingMsg struct {
	Stream, Consumer uint64
	Deliveries       uint64
	Time             int64 // of the last delivery, unix ns
}

// Runner is one consumer's working set.
//
// Events (pulls, acks, wake-ups, commits) come in from any goroutine and go to
// the inbox under mu. Everything else belongs to the worker of the Scheduler
// that runs it; no two workers run one runner at a time.
type Runner struct {
	env   *Env
	sched *Scheduler
	id    Identity
	// ackPrefix is "$JS.ACK.[<scope>]<stream>.<consumer>."
	ackPrefix string

	mu     sync.Mutex
	in     inbox
	status Status // what Status reports; copied out after each turn
	// closed: no event is taken any more.
	closed bool

	run runState // guarded by Scheduler.mu

	cfg         *api.ConsumerConfig // shared with the replicated state; never changed
	filter      subject.Filter
	state       State // Pending is not kept
	push        bool
	ackNone     bool
	gated       bool // deliveries wait for their commit: a max_deliver limit holds across failovers
	pausedUntil time.Time
	watched     string // deliver subject whose interest the scheduler watches

	next      uint64 // stream sequence to look for new messages from
	pending   pendingSet
	redeliver []place // of messages due again, in order; entries may be stale
	turns     uint32
	npending  pendingCount
	retryAt   time.Time // when to read again after the store failed

	requests requestQueue
	pushing  *pushState // nil for a consumer that is pulled from
	pace     *pacing    // nil where nothing is held back
	pin      pinState

	rec         recorder
	sentTicket  uint64         // of the last delta handed to Send
	committed   uint64         // ticket of the last delta known to be committed
	onCommit    []commitAction // by ascending ticket
	uncommitted int            // operations handed to Send and not known to be committed
	held        int            // gated deliveries not on the wire yet
	lazyAt      time.Time      // when what was recorded and may wait must be sent

	// retiredUntil: nothing is delivered before, as another runner is to take over.
	retiredUntil time.Time

	now    time.Time // of this turn
	turn   uint64    // counts turns
	active time.Time // of the last sign of use, for the inactive threshold
	done   bool      // closed during this turn
	// shrinkAt is when an idle runner gives its memory back.
	shrinkAt time.Time
	// scratch is the worker's, during a turn.
	scratch *scratch
}

// Status is what a runner tells about itself.
type Status struct {
	Waiting     int // pull requests
	PushBound   bool
	AckPending  int
	Redelivered int // of those, delivered more than once
}

// New returns a runner for a consumer as of its replicated state. It does
// nothing until it is woken.
func New(env *Env, sched *Scheduler, id Identity, cfg *api.ConsumerConfig, st State) *Runner {
	r := &Runner{
		env: env, sched: sched, id: id,
		ackPrefix:  ackPrefix + id.Scope + id.Stream + "." + id.Consumer + ".",
		sentTicket: st.Ticket, committed: st.Ticket,
		next: st.Delivered.Stream + 1,
		now:  env.Clock.Now(),
	}
	r.active = r.now
	r.configure(cfg)
	r.adopt(st.Pending)
	if st.Pin.ID != "" {
		r.pin = pinState{id: st.Pin.ID, since: st.Pin.Since, seen: r.now}
	}
	st.Pending = nil
	r.state = st
	return r
}

func (r *Runner) configure(cfg *api.ConsumerConfig) {
	switch {
	case cfg.DeliverSubject == "":
		r.pushing = nil
	case cfg.DeliverSubject != r.watched:
		r.pushing = new(pushState)
	}
	switch paced := cfg.RateLimit > 0 || cfg.ReplayPolicy == api.ReplayOriginal; {
	case !paced:
		r.pace = nil
	case r.pace == nil:
		r.pace = new(pacing)
	}
	group := ""
	if r.cfg != nil {
		group = r.group()
	}
	r.cfg = cfg
	r.filter = subject.NewFilter(cfg.Filters()...)
	r.push = cfg.DeliverSubject != ""
	r.ackNone = cfg.AckPolicy == api.AckNone
	r.gated = cfg.MaxDeliver > 0 && !r.ackNone
	r.npending.known = false
	r.pausedUntil = time.Time{}
	if cfg.PauseUntil != nil {
		r.pausedUntil = *cfg.PauseUntil
	}
	r.watch(cfg.DeliverSubject)
	if !cfg.Pins(group) {
		r.pin = pinState{} // as the replicated state does
	}
}

// watch makes the scheduler wake the runner when interest in subj changes.
func (r *Runner) watch(subj string) {
	if r.watched == subj {
		return
	}
	if r.watched != "" {
		r.sched.interest.Remove(r.watched, "", r)
	}
	if r.watched = subj; subj != "" {
		r.sched.interest.Insert(subj, "", r)
	}
}

// adopt takes over what an earlier runner had delivered. Its waiting time goes on
// from its last delivery.
func (r *Runner) adopt(pending []PendingMsg) {
	for _, p := range pending {
		at := r.deadline(p.Time, p.Deliveries)
		r.pending.add(p.Stream)
		r.pending.set(p.Stream, pendingMsg{consumer: p.Consumer, deliveries: uint32(p.Deliveries), deadline: at, sent: p.Time})
	}
}

// Epoch is the one that the runner was appointed with.
func (r *Runner) Epoch() uint64 { return r.id.Epoch }

// Status returns the figures of the last turn.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// step does one turn: handle events, deliver, hand over deltas. It reports
// whether more could be delivered at once, and otherwise when to wake the runner
// without being told: the zero time is never.
func (r *Runner) step(s *scratch) (more bool, wake time.Time) {
	in, ok := r.takeInbox()
	if !ok {
		return false, time.Time{}
	}
	now := r.env.Clock.Now()
	r.now, r.scratch = now, s
	r.retryAt = time.Time{}
	r.turn++
	r.handle(&in)
	if r.done {
		r.lastWord()
		r.closeNow()
		return false, time.Time{}
	}
	r.expireAckWaits(now)
	r.expireRequests(now)
	r.checkPin(now)
	r.lookAtInterest(now)
	if r.env.Live() {
		more = r.deliver(now)
	}
	r.heartbeats(now)
	r.flush(now)
	r.checkInactive(now)
	r.publishStatus()
	r.scratch = nil
	if more {
		return true, time.Time{}
	}
	r.shrink(now)
	return false, r.nextWake(now)
}

// shrink gives memory back when a consumer that had much pending was idle for a
// while.
func (r *Runner) shrink(now time.Time) {
	switch {
	case !r.pending.large():
		r.shrinkAt = time.Time{}
	case r.shrinkAt.IsZero() || r.active.Equal(now):
		r.shrinkAt = now.Add(idleShrink)
	case !now.Before(r.shrinkAt):
		r.pending, r.onCommit, r.shrinkAt = pendingSet{}, append([]commitAction(nil), r.onCommit...), time.Time{}
	}
}

// idleShrink is how long an idle runner keeps its memory.
const idleShrink = 10 * time.Second

// handle does what came in.
func (r *Runner) handle(in *inbox) {
	r.commitTo(in.committed)
	if in.stored {
		r.storeChanged()
	}
	if in.acks != nil {
		for i := range in.acks.list {
			r.handleAck(&in.acks.list[i], r.now)
		}
		in.acks.release()
	}
	for _, e := range in.events {
		if r.done {
			return
		}
		e(r)
	}
}

// closeNow ends the runner. What it recorded and did not send is lost, as what
// it sent and was not committed may be.
func (r *Runner) closeNow() {
	r.watch("")
	r.requests, r.onCommit, r.pending, r.redeliver = requestQueue{}, nil, pendingSet{}, nil
	r.scratch = nil
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.in, r.status = true, inbox{}, Status{}
}

func (r *Runner) publishStatus() {
	s := Status{
		Waiting: r.requests.len(), PushBound: r.pushing.isBound(), AckPending: r.pending.len(), Redelivered: r.pending.redelivered,
	}
	r.mu.Lock()
	r.status = s
	r.mu.Unlock()
}
