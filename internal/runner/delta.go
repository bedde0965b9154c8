package runner

import (
	"slices"
	"time"

	"weir/internal/consumer"
)

// Limits of what may be under way to the group's leader.
const (
	maxUncommittedOps = 8192
	maxDeltaOps       = 1024
	// Beyond this many, touches are not recorded: they only move redeliveries after
	// a change of runner, and a client may send any number of them.
	maxUncommittedTouches = 2 * maxUncommittedOps
	// Confirmations and statuses wait for a commit while less than this does. Beyond
	// it they are dropped: a client that hears nothing asks again.
	maxAwaited = maxInboxAcks
	// An ack-none consumer's position is replicated lazily.
	lazyPositionInterval = 250 * time.Millisecond
	lazyPositionMsgs     = 1024
)

// Delta is a step of a consumer's work, numbered by tickets from 1 within its
// runner's epoch. The group applies each exactly once, in order.
type Delta struct {
	Consumer uint64 // consumer.Consumer.ID
	Epoch    uint64
	Ticket   uint64
	Ops      []byte // encoded consumer.Ops
}

// commitAction is what waits for a delta's commit: the answer to a double ack, a
// gated delivery, a status behind it, or just the count of its operations.
type commitAction struct {
	ticket uint64
	ops    int           // that are no longer uncommitted
	do     func(*Runner) // may be nil
	ack    *Ack          // to be confirmed
	pull   *request      // that a delivery is held back for
}

// recorder gathers operations into deltas, in the worker's scratch memory.
// Neighbours of one kind are kept as a run until another kind follows or the turn
// ends, so that a batch encodes as one operation.
type recorder struct {
	kept   []byte // operations of earlier turns that wait to be sent
	count  int    // messages concerned by all operations and the open run
	first  uint64 // consumer sequence of the open run's first delivery
	urgent bool   // they are not just first deliveries
}

func (c *recorder) empty() bool { return c.count == 0 }

// closeRun encodes the open run.
func (r *Runner) closeRun() {
	first, s, now := r.rec.first, r.scratch, r.now.UnixNano()
	switch {
	case len(s.deliveries) > 0:
		s.ops.Deliver(now, first, s.deliveries)
		s.deliveries = s.deliveries[:0]
	case len(s.again) > 0:
		s.ops.Redeliver(now, first, s.again)
		s.again = s.again[:0]
	case len(s.acks) > 0:
		s.ops.Ack(s.acks...)
		s.acks = s.acks[:0]
	}
}

// recorded counts a message and hands the delta over when it is large.
func (r *Runner) recorded() {
	if r.rec.count++; r.rec.count >= maxDeltaOps {
		r.send()
	}
}

func (r *Runner) recordDelivery(cseq, seq uint64, deliveries uint32) {
	c, s := &r.rec, r.scratch
	if deliveries == 1 {
		if len(s.deliveries) == 0 {
			r.closeRun()
			c.first = cseq
		}
		s.deliveries = append(s.deliveries, seq)
	} else {
		if len(s.again) == 0 {
			r.closeRun()
			c.first = cseq
		}
		s.again = append(s.again, consumer.Redelivery{Seq: seq, Deliveries: deliveries})
		c.urgent = true
	}
	r.recorded()
}

func (r *Runner) recordAck(seq uint64) {
	s := r.scratch
	if len(s.acks) == 0 {
		r.closeRun()
	}
	s.acks = append(s.acks, seq)
	r.rec.urgent = true
	r.recorded()
}

// recordTouch moves the time from which a message's ack wait counts.
func (r *Runner) recordTouch(seq uint64, time int64) {
	if r.uncommitted < maxUncommittedTouches {
		r.record(func(o *consumer.Ops) { o.Touch(seq, time) })
	}
}

// recordGone notes that a message needs no ack any more and got none.
func (r *Runner) recordGone(seq uint64) {
	r.record(func(o *consumer.Ops) { o.Exceeded(seq) })
}

// record adds any other operation.
func (r *Runner) record(add func(*consumer.Ops)) {
	r.closeRun()
	add(&r.scratch.ops)
	r.rec.urgent = true
	r.recorded()
}

// afterCommit runs do once everything recorded so far is committed.
func (r *Runner) afterCommit(do func(*Runner)) { r.whenCommitted(commitAction{do: do}) }

func (r *Runner) whenCommitted(a commitAction) {
	a.ticket = r.sentTicket
	if !r.rec.empty() {
		a.ticket++
	}
	if a.ticket <= r.committed {
		r.act(&a)
		return
	}
	r.onCommit = append(r.onCommit, a)
}

func (r *Runner) act(a *commitAction) {
	r.uncommitted -= a.ops
	if a.do != nil {
		a.do(r)
	}
	if a.ack != nil {
		r.env.Publish(a.ack.Reply, "", nil, nil)
	}
}

// send hands over what was recorded.
func (r *Runner) send() {
	r.closeRun()
	r.sentTicket++
	d := &Delta{Consumer: r.id.ID, Epoch: r.id.Epoch, Ticket: r.sentTicket, Ops: slices.Concat(r.rec.kept, r.scratch.ops.Bytes())}
	r.uncommitted += r.rec.count
	r.onCommit = append(r.onCommit, commitAction{ticket: d.Ticket, ops: r.rec.count})
	r.scratch.ops.Reset()
	r.rec = recorder{}
	r.lazyAt = time.Time{}
	r.env.Send(d)
}

// flush hands over what was recorded in this turn, or keeps it for a later one.
func (r *Runner) flush(now time.Time) {
	if r.rec.empty() {
		r.lazyAt = time.Time{}
		return
	}
	r.closeRun()
	if wait := r.mayWait(); wait > 0 {
		if r.lazyAt.IsZero() {
			r.lazyAt = now.Add(wait)
		}
		if now.Before(r.lazyAt) {
			r.rec.kept = append(r.rec.kept, r.scratch.ops.Bytes()...)
			r.scratch.ops.Reset()
			return
		}
	}
	r.send()
}

// mayWait is for how long what was recorded need not be sent: positions of an
// ack-none consumer, and first deliveries, whose acks mostly come soon, so that both
// are one delta. A delivery that is lost with its node is known from its ack, or
// happens again.
func (r *Runner) mayWait() time.Duration {
	switch awaited := len(r.onCommit) > 0 && r.onCommit[len(r.onCommit)-1].ticket > r.sentTicket; {
	case r.ackNone && r.rec.count < lazyPositionMsgs:
		return lazyPositionInterval
	case r.ackNone, r.gated, r.rec.urgent, awaited:
		return 0
	}
	return r.env.Patience()
}

// commitTo notes the commit of deltas and does what waited for them.
func (r *Runner) commitTo(ticket uint64) {
	if ticket <= r.committed {
		return
	}
	r.committed = ticket
	due := 0
	for due < len(r.onCommit) && r.onCommit[due].ticket <= ticket {
		r.act(&r.onCommit[due])
		due++
	}
	left := copy(r.onCommit, r.onCommit[due:])
	clear(r.onCommit[left:])
	r.onCommit = r.onCommit[:left]
}

// windowFull tells that deliveries must wait for commits. The turn that a commit
// brings about goes on with them.
func (r *Runner) windowFull() bool { return r.uncommitted >= maxUncommittedOps }
