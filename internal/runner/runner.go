// Package runner delivers the messages of consumers on the node that runs them.
//
// A consumer's replicated state says what was delivered and what was
// acknowledged; its runner is the working set around it: waiting pull requests,
// redelivery timers, flow control windows. A runner reads messages from the
// replica of the stream on its own node, puts them on the wire and hands what
// it did to the group's leader as numbered deltas. Whatever it knows beyond the
// replicated state may be lost with it: the guarantee is at-least-once, and
// nothing that a committed ack covers is delivered again.
package runner

import (
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

// Store is the read side of the stream's replica on this node.
type Store interface {
	Load(seq uint64, m *msg.Message) (bool, error)
	Next(from uint64, f subject.Filter, m *msg.Message) (bool, error)
	NumPending(from uint64, f subject.Filter) (uint64, error)
	LastOfSubject(subject string, upTo uint64) (uint64, error)
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
	// addressed to a client's inbox or deliver subject.
	Deliver func(to, subject, reply string, header, payload []byte)
	// HasInterest tells whether anybody would get a message on subject; with a
	// queue, whether that group has a member.
	HasInterest func(subject, queue string) bool
	// Send hands a delta to the group's leader, reliably and in order. Its
	// commit is told by Runner.Committed with the delta's ticket.
	Send func(d *Delta)
	// Live is false while this node has lost contact with the group: nothing may
	// be delivered then.
	Live func() bool
	// Expire asks the group to delete the consumer, as nobody used it for its
	// inactive threshold.
	Expire func(id Identity)
	// Advise publishes an advisory or metric on the consumer's event subject.
	Advise func(id Identity, e Event)
}

// Identity names a consumer and the incarnation of its runner.
type Identity struct {
	Stream, Consumer string
	ID               uint64 // the consumer's, within its stream
	Epoch            uint64
	Domain           string
}

// State is the part of a consumer's replicated state that a runner starts from.
type State struct {
	Delivered, AckFloor SeqPair
	Pending             []PendingMsg // by ascending stream sequence
	Ticket              uint64       // of the last delta applied in the runner's epoch
	// LastPerSubject bounds a last_per_subject start: up to this sequence, only
	// messages that are the last of their subject are delivered. 0: no bound.
	LastPerSubject uint64
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
	// ackPrefix is "$JS.ACK.<stream>.<consumer>."
	ackPrefix string

	mu     sync.Mutex
	inbox  []func(*Runner) // events not yet handled, in order of arrival
	acks   []Ack           // acknowledgements not yet handled, in order of arrival
	stored bool            // messages came or went since the last turn
	status Status          // what Info reports; copied out after each run
	// closed: no event is taken any more.
	closed bool

	run runState // guarded by Scheduler.mu

	cfg      api.ConsumerConfig
	filter   subject.Filter
	state    State
	push     bool
	ackNone  bool
	gated    bool // deliveries wait for their commit: a max_deliver limit holds across failovers
	pausedAt time.Time

	next      uint64 // stream sequence to look for new messages from
	pending   map[uint64]pendingMsg
	redeliver []uint64 // sequences due again, in order; entries may be stale
	deadlines deadlineHeap
	npending  pendingCount

	requests requestQueue
	pushing  pushState
	pace     pacing

	rec         recorder
	sentTicket  uint64         // of the last delta handed to Send
	committed   uint64         // ticket of the last delta known to be committed
	onCommit    []commitAction // by ascending ticket
	uncommitted int            // operations handed to Send and not known to be committed
	lazyAt      time.Time      // when a position of an ack-none consumer must be sent

	now    time.Time // of this turn
	active time.Time // of the last sign of use, for the inactive threshold
	timer  time.Time // the wake-up that was last asked of the scheduler
}

// Status is what a runner tells about itself.
type Status struct {
	Waiting     int // pull requests
	PushBound   bool
	AckPending  int
	Redelivered int
	Uncommitted int
}

// pendingMsg is a delivered message and when its ack wait ends.
type pendingMsg struct {
	consumer   uint64
	deliveries uint64
	deadline   int64 // unix ns; 0 while it stands in the redeliver queue
	sent       int64 // of the last delivery, unix ns
}

// New returns a runner for a consumer as of its replicated state. It does
// nothing until it is woken.
func New(env *Env, sched *Scheduler, id Identity, cfg api.ConsumerConfig, st State) *Runner {
	r := &Runner{
		env: env, sched: sched, id: id, state: st,
		ackPrefix:  "$JS.ACK." + id.Stream + "." + id.Consumer + ".",
		sentTicket: st.Ticket, committed: st.Ticket,
		next: st.Delivered.Stream + 1,
		now:  env.Clock.Now(), active: env.Clock.Now(),
	}
	r.configure(cfg)
	r.adopt(st.Pending)
	return r
}

func (r *Runner) configure(cfg api.ConsumerConfig) {
	r.cfg = cfg
	r.filter = subject.NewFilter(cfg.Filters()...)
	r.push = cfg.DeliverSubject != ""
	r.ackNone = cfg.AckPolicy == api.AckNone
	r.gated = cfg.MaxDeliver > 0 && !r.ackNone
	r.npending.invalidate()
	r.pausedAt = time.Time{}
	if cfg.PauseUntil != nil {
		r.pausedAt = *cfg.PauseUntil
	}
}

// adopt takes over what an earlier runner had delivered. Its waiting time goes on
// from its last delivery.
func (r *Runner) adopt(pending []PendingMsg) {
	if len(pending) == 0 {
		return
	}
	r.pending = make(map[uint64]pendingMsg, len(pending))
	for _, p := range pending {
		at := p.Time + int64(r.ackWait(p.Deliveries))
		r.pending[p.Stream] = pendingMsg{consumer: p.Consumer, deliveries: p.Deliveries, deadline: at, sent: p.Time}
		r.deadlines.add(at, p.Stream)
	}
}

// post queues an event and asks for a worker.
func (r *Runner) post(event func(*Runner)) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.inbox = append(r.inbox, event)
	r.mu.Unlock()
	r.sched.wake(r)
}

// Stored tells that messages were added to the stream or removed from it.
func (r *Runner) Stored() {
	r.mu.Lock()
	told := r.stored || r.closed
	r.stored = true
	r.mu.Unlock()
	if !told {
		r.sched.wake(r)
	}
}

// Epoch is the one that the runner was appointed with.
func (r *Runner) Epoch() uint64 { return r.id.Epoch }

// Wake makes the runner look at its situation again, as interest or the link to
// the group changed.
func (r *Runner) Wake() { r.post(func(*Runner) {}) }

// Committed tells that all deltas up to ticket are part of the replicated state.
func (r *Runner) Committed(ticket uint64) {
	r.post(func(r *Runner) { r.commitTo(ticket) })
}

// Update changes the configuration.
func (r *Runner) Update(cfg api.ConsumerConfig) {
	r.post(func(r *Runner) { r.configure(cfg) })
}

// Status returns the figures of the last run.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Close ends the runner after it told waiting clients why. With no reason it
// ends in silence.
func (r *Runner) Close(reason CloseReason) {
	r.post(func(r *Runner) {
		r.endRequests(reason)
		r.mu.Lock()
		r.closed, r.inbox, r.acks = true, nil, nil
		r.mu.Unlock()
	})
}

// step does one turn: handle events, deliver, hand over deltas. It reports
// whether more could be delivered at once.
func (r *Runner) step() (more bool) {
	r.mu.Lock()
	events, acks, stored := r.inbox, r.acks, r.stored
	r.inbox, r.acks, r.stored = nil, nil, false
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return false
	}
	now := r.env.Clock.Now()
	r.now = now
	if !r.timer.After(now) {
		r.timer = time.Time{}
	}
	if stored {
		r.npending.invalidate()
	}
	for i := range acks {
		r.handleAck(&acks[i], now)
	}
	for _, e := range events {
		e(r)
	}
	r.expireAckWaits(now)
	r.expireRequests(now)
	if r.env.Live() {
		more = r.deliver(now)
	}
	r.heartbeats(now)
	r.flush(now)
	r.checkInactive(now)
	r.publishStatus()
	r.sched.at(r, r.nextWake(now))
	return more
}

func (r *Runner) publishStatus() {
	s := Status{Waiting: r.requests.len(), PushBound: r.pushing.bound, AckPending: len(r.pending), Uncommitted: r.uncommitted}
	r.mu.Lock()
	r.status = s
	r.mu.Unlock()
}
