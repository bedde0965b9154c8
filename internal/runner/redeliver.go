package runner

import (
	"time"

	"weir/internal/api"
)

// ackWait is how long the deliveries'th delivery of a message may go without an
// acknowledgement.
func (r *Runner) ackWait(deliveries uint64) time.Duration {
	if n := len(r.cfg.BackOff); n > 0 {
		return r.cfg.BackOff[min(max(int(deliveries), 1), n)-1]
	}
	return r.cfg.AckWait
}

// deadline is when the deliveries'th delivery of a message, sent at a time, is over. Under flow
// control acks nothing comes again, unless the consumer is reset.
func (r *Runner) deadline(sent int64, deliveries uint64) int64 {
	if r.cfg.AckPolicy == api.AckFlowControl {
		return never
	}
	return sent + int64(r.ackWait(deliveries))
}

// expireAckWaits moves messages whose ack wait is over to the redeliver queue.
func (r *Runner) expireAckWaits(now time.Time) {
	for {
		seq, ok := r.pending.popDue(now.UnixNano())
		if !ok {
			return
		}
		if p, ok := r.pending.get(seq); ok {
			r.due(seq, p)
		}
	}
}

// due puts a pending message into the redeliver queue, unless it was delivered as
// often as it may be.
func (r *Runner) due(seq uint64, p pendingMsg) {
	if r.cfg.MaxDeliver > 0 && int(p.deliveries) >= r.cfg.MaxDeliver {
		r.exceed(seq, p)
		return
	}
	if p.deadline == 0 {
		return // it stands there already
	}
	r.turns++
	p.deadline, p.turn = 0, r.turns
	r.pending.set(seq, p)
	if len(r.redeliver) > 2*r.pending.len()+slack {
		r.compactRedeliver()
	}
	r.redeliver = append(r.redeliver, place{seq, p.turn})
}

// place is one in the redeliver queue. A message that got more time while it stood there lost its place, and has
// another one when it is due again.
type place struct {
	seq  uint64
	turn uint32
}

func (p *pendingMsg) stands(at place) bool { return p.deadline == 0 && p.turn == at.turn }

// exceed ends the wait for a message without an ack.
func (r *Runner) exceed(seq uint64, p pendingMsg) {
	r.pending.remove(seq, p)
	r.recordGone(seq)
	r.env.Advise(r.id, Event{Kind: EventMaxDeliveries, Stream: seq, Consumer: p.consumer, Deliveries: uint64(p.deliveries)})
}

// compactRedeliver drops stale entries.
func (r *Runner) compactRedeliver() {
	kept := r.redeliver[:0:0]
	for _, at := range r.redeliver {
		if p, ok := r.pending.get(at.seq); ok && p.stands(at) {
			kept = append(kept, at)
		}
	}
	r.redeliver = kept
}

// nextRedelivery returns the first message that is due again.
func (r *Runner) nextRedelivery() (seq uint64, p pendingMsg, ok bool) {
	for len(r.redeliver) > 0 {
		seq = r.redeliver[0].seq
		p, ok = r.pending.get(seq)
		if !ok || !p.stands(r.redeliver[0]) {
			r.dropDue()
			continue
		}
		// The limit may have been lowered since it was put here.
		if r.cfg.MaxDeliver > 0 && int(p.deliveries) >= r.cfg.MaxDeliver {
			r.dropDue()
			r.exceed(seq, p)
			continue
		}
		return seq, p, true
	}
	r.redeliver = nil
	return 0, pendingMsg{}, false
}

func (r *Runner) dropDue() { r.redeliver = r.redeliver[1:] }

// storeChanged follows messages that came or went.
func (r *Runner) storeChanged() {
	r.npending.changed = true
	r.dropGone()
}

// dropGone forgets the messages that went: they need no ack any more. The replicated state may have noticed before.
func (r *Runner) dropGone() {
	if r.pending.len() == 0 {
		return
	}
	first := r.env.Store.State().FirstSeq
	if first == 0 {
		return
	}
	r.pending.removeTo(first-1, r.recordGone)
}
