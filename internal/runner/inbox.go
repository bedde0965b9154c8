package runner

import (
	"math"
	"strconv"
	"sync"

	"weir/internal/api"
	"weir/internal/consumer"
	"weir/internal/msg"
	"weir/internal/wire"
)

// What a runner's inbox holds at most of what clients send. Beyond it that is dropped,
// as a slow subscriber's messages are: an ack that is lost means a redelivery.
const (
	maxInboxEvents = 64 << 10
	maxInboxAcks   = 256 << 10
)

// inbox is what came in for a runner since its last turn.
type inbox struct {
	events    []func(*Runner) // in order of arrival
	acks      *ackList        // nil: none
	stored    bool            // messages came or went
	committed uint64          // highest ticket told of
}

// ackList is acknowledgements in order of arrival, in memory that runners share.
type ackList struct{ list []Ack }

var ackLists = sync.Pool{New: func() any { return new(ackList) }}

// maxPooledAcks bounds the memory of a list that is kept.
const maxPooledAcks = 8 << 10

func (l *ackList) release() {
	if cap(l.list) <= maxPooledAcks {
		clear(l.list)
		l.list = l.list[:0]
		ackLists.Put(l)
	}
}

// scratch is a worker's memory, lent to the runner that it runs.
type scratch struct {
	m           msg.Message
	buf         []byte // Header and Data of m point into it
	reply, subj []byte

	// The operations of this turn and the recorder's open run; empty between turns.
	ops        consumer.Ops
	deliveries []uint64
	again      []consumer.Redelivery
	acks       []uint64
}

// readBuf is the size of a worker's read buffer at first, and how far it grows.
const (
	minReadBuf = 64 << 10
	maxReadBuf = 1 << 20
)

func newScratch() *scratch { return &scratch{buf: make([]byte, minReadBuf)} }

// fit makes the read buffer large enough for messages like the one just read.
func (s *scratch) fit() {
	if n := len(s.m.Header) + len(s.m.Data); n > len(s.buf)-len(s.buf)/8 && len(s.buf) < maxReadBuf {
		s.buf = make([]byte, min(2*n, maxReadBuf))
	}
}

// takeInbox empties the inbox. False: the runner is closed.
func (r *Runner) takeInbox() (in inbox, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in, r.in = r.in, inbox{}
	return in, !r.closed
}

// post queues an event and asks for a worker.
func (r *Runner) post(event func(*Runner)) { r.postWithin(math.MaxInt, event) }

// offer is post for what a client brought about: dropped when too much waits.
func (r *Runner) offer(event func(*Runner)) { r.postWithin(maxInboxEvents, event) }

func (r *Runner) postWithin(bound int, event func(*Runner)) {
	r.mu.Lock()
	if r.closed || len(r.in.events) >= bound {
		r.mu.Unlock()
		return
	}
	r.in.events = append(r.in.events, event)
	r.mu.Unlock()
	r.sched.wake(r)
}

// Pull takes a pull request.
func (r *Runner) Pull(req PullRequest) {
	r.offer(func(r *Runner) { r.pull(req, r.now) })
}

// Ack takes an acknowledgement. Payload is owned by the runner from here on.
func (r *Runner) Ack(a Ack) {
	r.mu.Lock()
	told := r.in.acks != nil
	if r.closed || told && len(r.in.acks.list) >= maxInboxAcks {
		r.mu.Unlock()
		return
	}
	if !told {
		r.in.acks = ackLists.Get().(*ackList)
	}
	r.in.acks.list = append(r.in.acks.list, a)
	r.mu.Unlock()
	if !told {
		r.sched.wake(r)
	}
}

// Stored tells that messages were added to the stream or removed from it. The
// store shows the change already.
func (r *Runner) Stored() {
	r.mu.Lock()
	told := r.in.stored || r.closed
	r.in.stored = true
	r.mu.Unlock()
	if !told {
		r.sched.wake(r)
	}
}

// Committed tells that all deltas up to ticket are part of the replicated state.
func (r *Runner) Committed(ticket uint64) {
	r.mu.Lock()
	told := r.in.committed > 0 || r.closed
	r.in.committed = max(r.in.committed, ticket)
	r.mu.Unlock()
	if !told {
		r.sched.wake(r)
	}
}

// Wake makes the runner look at its situation again, as interest or the link to
// the group changed.
func (r *Runner) Wake() { r.sched.wake(r) }

// FlowReply takes a client's answer to a flow control request. With that ack policy its header says
// what the client has stored.
func (r *Runner) FlowReply(subj string, header []byte) {
	var stored uint64
	if v, ok := wire.GetHeader(header, "Nats-Last-Stream"); ok {
		stored, _ = strconv.ParseUint(string(v), 10, 64) // what is no number says nothing
	}
	r.offer(func(r *Runner) { r.flowReply(subj, stored) })
}

// Update changes the configuration.
func (r *Runner) Update(cfg *api.ConsumerConfig) {
	r.post(func(r *Runner) { r.configure(cfg) })
}

// Unpin takes the pin from the pinned client of a priority group, if there is one; the advisory
// tells of it in any case.
func (r *Runner) Unpin(group string) {
	r.post(func(r *Runner) {
		if group == r.group() {
			r.unpin("admin")
		}
	})
}

// Close ends the runner after it told waiting clients why. With no reason it
// ends in silence.
func (r *Runner) Close(reason CloseReason) {
	r.post(func(r *Runner) {
		r.endRequests(reason)
		r.endCopier(reason)
		r.done = true
	})
}

// HandOver ends the runner in favour of the next one on this node, which goes on
// with the pulls that wait and the acks that were not confirmed yet.
func (r *Runner) HandOver(to *Runner) {
	r.post(func(r *Runner) {
		var acks []*Ack
		for _, a := range r.onCommit {
			if a.ack != nil {
				acks = append(acks, a.ack)
			}
			if a.pull != nil {
				r.giveBack(a.pull)
			}
		}
		pulls, pin := r.requests.list, r.pin
		r.done = true
		to.post(func(r *Runner) { r.takeOver(pulls, acks, pin) })
	})
}

// takeOver goes on with what the runner before had not finished.
func (r *Runner) takeOver(pulls []*request, acks []*Ack, pin pinState) {
	for _, a := range acks {
		r.handleAck(a, r.now)
	}
	if r.push {
		return
	}
	r.inheritPin(pin)
	for _, w := range pulls {
		w.seenTurn = 0
		r.requests.add(w)
	}
}
