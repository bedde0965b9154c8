package runner

import (
	"time"

	"weir/internal/msg"
)

// maxInherited bounds the deliveries that one ack can show to have happened: more
// than that can not have been under way.
const maxInherited = maxUncommittedOps + maxDeltaOps

// inherit takes an ack of a message that was never delivered as far as this runner
// knows for what it is: proof that the runner before delivered the message, whose node
// was lost before that was committed. It and what comes before it count as delivered
// from now on, as deliveries go in order, and are delivered again only if their acks do
// not come. The message's time in the ack is what tells a client that was given it.
//
// Deliveries that wait for their commit can not be lost, so a consumer with a
// max_deliver limit inherits none; nor does one inherit what clients may have been given
// before it was made or reset.
func (r *Runner) inherit(a *Ack, now time.Time) {
	if a.Stream <= r.state.GivenBefore || a.Stream > r.state.Inherits || r.gated || r.ackNone {
		return
	}
	m := &r.scratch.m
	ok, err := r.env.Store.Load(a.Stream, m, r.scratch.buf)
	if err != nil || !ok || m.Time != a.Time || !r.filter.Match(m.Subject) {
		return
	}
	if skip, err := r.skips(m); err != nil || skip || r.tooManyBefore(a.Stream) {
		return
	}
	for r.next <= a.Stream {
		ok, err := r.env.Store.Next(r.next, r.filter, m, r.scratch.buf)
		if err != nil || !ok || m.Seq > a.Stream {
			return
		}
		r.scratch.fit()
		switch skip, err := r.skips(m); {
		case err != nil:
			return
		case skip:
			r.next = m.Seq + 1
		default:
			r.inheritDelivery(m, now)
		}
	}
}

func (r *Runner) tooManyBefore(seq uint64) bool {
	all, err := r.env.Store.NumPending(r.next, r.filter)
	if err != nil {
		return true
	}
	behind, err := r.env.Store.NumPending(seq+1, r.filter)
	return err != nil || all-behind > maxInherited
}

func (r *Runner) inheritDelivery(m *msg.Message, now time.Time) {
	cseq := r.state.Delivered.Consumer + 1
	r.noteDelivery(m, pendingMsg{consumer: cseq, deliveries: 1}, cseq, now)
}
