package runner

import (
	"time"

	"weir/internal/consumer"
)

// Limits of what may be under way to the group's leader.
const (
	maxUncommittedOps = 8192
	maxDeltaOps       = 1024
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
// gated delivery, or just the count of its operations.
type commitAction struct {
	ticket uint64
	ops    int           // that are no longer uncommitted
	do     func(*Runner) // nil: nothing else
}

// recorder gathers operations into deltas. Neighbours of one kind are kept as a
// run until another kind follows, so that a batch encodes as one operation.
type recorder struct {
	ops   consumer.Ops
	count int // messages concerned by ops and the open run

	first      uint64 // consumer sequence of the open run's first delivery
	deliveries []uint64
	again      []consumer.Redelivery
	acks       []uint64
}

func (c *recorder) empty() bool { return c.count == 0 }

// closeRun encodes the open run.
func (r *Runner) closeRun() {
	c, now := &r.rec, r.now.UnixNano()
	switch {
	case len(c.deliveries) > 0:
		c.ops.Deliver(now, c.first, c.deliveries)
		c.deliveries = c.deliveries[:0]
	case len(c.again) > 0:
		c.ops.Redeliver(now, c.first, c.again)
		c.again = c.again[:0]
	case len(c.acks) > 0:
		c.ops.Ack(c.acks...)
		c.acks = c.acks[:0]
	}
}

// recorded counts a message and hands the delta over when it is large.
func (r *Runner) recorded() {
	if r.rec.count++; r.rec.count >= maxDeltaOps {
		r.send()
	}
}

func (r *Runner) recordDelivery(cseq, seq, deliveries uint64) {
	c := &r.rec
	if deliveries == 1 {
		if len(c.deliveries) == 0 {
			r.closeRun()
			c.first = cseq
		}
		c.deliveries = append(c.deliveries, seq)
	} else {
		if len(c.again) == 0 {
			r.closeRun()
			c.first = cseq
		}
		c.again = append(c.again, consumer.Redelivery{Seq: seq, Deliveries: uint32(deliveries)})
	}
	r.recorded()
}

func (r *Runner) recordAck(seq uint64) {
	if len(r.rec.acks) == 0 {
		r.closeRun()
	}
	r.rec.acks = append(r.rec.acks, seq)
	r.recorded()
}

// record adds any other operation.
func (r *Runner) record(add func(*consumer.Ops)) {
	r.closeRun()
	add(&r.rec.ops)
	r.recorded()
}

// afterCommit runs do once everything recorded so far is committed.
func (r *Runner) afterCommit(do func(*Runner)) {
	n := r.sentTicket
	if !r.rec.empty() {
		n++
	}
	if n <= r.committed {
		do(r)
		return
	}
	r.onCommit = append(r.onCommit, commitAction{ticket: n, do: do})
}

// send hands over what was recorded.
func (r *Runner) send() {
	r.closeRun()
	r.sentTicket++
	d := &Delta{Consumer: r.id.ID, Epoch: r.id.Epoch, Ticket: r.sentTicket, Ops: append([]byte(nil), r.rec.ops.Bytes()...)}
	r.uncommitted += r.rec.count
	r.onCommit = append(r.onCommit, commitAction{ticket: d.Ticket, ops: r.rec.count})
	r.rec.ops.Reset()
	r.rec.count = 0
	r.lazyAt = time.Time{}
	r.env.Send(d)
}

// flush hands over what was recorded in this turn. Positions of an ack-none
// consumer may wait.
func (r *Runner) flush(now time.Time) {
	if r.rec.empty() {
		return
	}
	if r.ackNone && r.rec.count < lazyPositionMsgs {
		if r.lazyAt.IsZero() {
			r.lazyAt = now.Add(lazyPositionInterval)
		}
		if now.Before(r.lazyAt) {
			return
		}
	}
	r.send()
}

// commitTo notes the commit of deltas and does what waited for them.
func (r *Runner) commitTo(ticket uint64) {
	if ticket <= r.committed {
		return
	}
	r.committed = ticket
	due := 0
	for due < len(r.onCommit) && r.onCommit[due].ticket <= ticket {
		a := r.onCommit[due]
		due++
		r.uncommitted -= a.ops
		if a.do != nil {
			a.do(r)
		}
	}
	r.onCommit = append(r.onCommit[:0], r.onCommit[due:]...)
}

// windowFull tells that deliveries must wait for commits.
func (r *Runner) windowFull() bool { return r.uncommitted >= maxUncommittedOps }
