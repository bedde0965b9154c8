package runner

import (
	"strconv"
	"time"

	"weir/internal/msg"
	"weir/internal/wire"
)

const (
	// turnBudget is how many messages one turn may deliver, or leave out, before
	// another runner gets the worker.
	turnBudget = 256
	// readRetry is when a message that could not be read is tried again.
	readRetry = time.Second
)

// outcome is what came of trying to deliver a message.
type outcome byte

const (
	moved   outcome = iota // a message was delivered or left out, or a pull ended
	nothing                // nothing may be delivered until something happens
	waits                  // there is a message, and it has to wait
	ready                  // there is a message, and it is to be delivered now
)

// deliver puts messages on the wire while somebody wants them. It reports
// whether it stopped only because its turn was over.
func (r *Runner) deliver(now time.Time) (more bool) {
	if r.retired(now) {
		return false
	}
	if r.paused(now) {
		r.endNoWait()
		return false
	}
	if r.ackRoom() == 0 {
		r.dropGone() // what a limit removes while others publish wakes nobody
	}
	for range turnBudget {
		if r.windowFull() || r.pace.holds(now) {
			return false
		}
		w, ok := r.receiver(now)
		if r.pinUnderWay() {
			return false // its commit brings another turn about
		}
		if !ok {
			r.endNoWait()
			return false
		}
		switch r.deliverOne(w, now) {
		case nothing:
			r.endNoWait()
			return false
		case waits:
			return false
		}
	}
	return true
}

func (r *Runner) paused(now time.Time) bool {
	return !r.pausedUntil.IsZero() && now.Before(r.pausedUntil)
}

// receiver finds who gets the next message: a pull request, or nil for the
// deliver subject of a push consumer.
func (r *Runner) receiver(now time.Time) (w *request, ok bool) {
	if r.push {
		return nil, r.pushReady()
	}
	w = r.nextRequest(now)
	return w, w != nil
}

// deliverOne delivers the next message that is due.
func (r *Runner) deliverOne(w *request, now time.Time) outcome {
	m := &r.scratch.m
	p, again, found := r.nextMessage(m, now)
	if found != ready {
		return found
	}
	p.deliveries++
	cseq := r.state.Delivered.Consumer + 1
	if !again {
		p.consumer = cseq
	}
	reply := r.ackReply(m, uint64(p.deliveries), cseq)
	size := len(m.Subject) + len(reply) + len(m.Header) + len(m.Data)
	if w != nil && w.limited && size > w.maxBytes {
		r.requests.remove(w)
		r.endStatus(w, 409, "Message Size Exceeds MaxBytes")
		return moved
	}
	if again {
		r.dropDue()
	}
	r.noteDelivery(m, p, cseq, now)
	r.put(w, reply, m)
	r.active = now
	r.pace.sent(r, m, size, now, again)
	if w != nil {
		r.served(w, size, now)
	} else {
		r.pushed(size, now)
	}
	return moved
}

// nextMessage reads the first message that is due again, of which p tells, or else the
// first one that was never delivered and may be now.
func (r *Runner) nextMessage(m *msg.Message, now time.Time) (p pendingMsg, again bool, found outcome) {
	seq, p, again := r.nextRedelivery()
	if again {
		return p, true, r.load(seq, p, m)
	}
	return p, false, r.nextNew(m, now)
}

// load reads a message that is due again. One that is gone from the stream is done.
func (r *Runner) load(seq uint64, p pendingMsg, m *msg.Message) outcome {
	ok, err := r.env.Store.Load(seq, m, r.scratch.buf)
	switch {
	case err != nil:
		return r.unreadable(seq, err)
	case !ok:
		r.dropDue()
		r.pending.remove(seq, p)
		r.recordGone(seq)
		return moved
	}
	r.scratch.fit()
	return ready
}

// unreadable lets the runner try again later: the store may be about to be
// closed, or repaired.
func (r *Runner) unreadable(seq uint64, err error) outcome {
	r.env.Log.Warnf("Consumer %s > %s: read message %d: %v", r.id.Stream, r.id.Consumer, seq, err)
	r.retryAt = r.now.Add(readRetry)
	return waits
}

// nextNew reads the next message that was never delivered and may be now. One that is
// to be left out is behind r.next when it returns.
func (r *Runner) nextNew(m *msg.Message, now time.Time) outcome {
	if r.ackRoom() == 0 {
		return nothing
	}
	ok, err := r.env.Store.Next(r.next, r.filter, m, r.scratch.buf)
	switch {
	case err != nil:
		return r.unreadable(r.next, err)
	case !ok:
		return nothing
	}
	r.scratch.fit()
	switch skip, err := r.skips(m); {
	case err != nil:
		return r.unreadable(m.Seq, err)
	case skip:
		r.next = m.Seq + 1
		return moved
	}
	if r.pace.holdsMsg(r, m, now) {
		return waits
	}
	r.npending.found(r, m)
	return ready
}

// skips tells that a last_per_subject start leaves m out.
func (r *Runner) skips(m *msg.Message) (bool, error) {
	if m.Seq > r.state.LastPerSubject {
		return false, nil
	}
	last, err := r.env.Store.LastOfSubject(m.Subject, r.state.LastPerSubject)
	return last != m.Seq, err
}

// noteDelivery records a delivery in the working set and in the delta. Every
// delivery has a consumer sequence of its own; a pending message keeps its first.
func (r *Runner) noteDelivery(m *msg.Message, p pendingMsg, cseq uint64, now time.Time) {
	r.state.Delivered.Consumer = cseq
	if p.deliveries == 1 {
		r.next = m.Seq + 1
		r.state.Delivered.Stream = m.Seq
		r.npending.delivered()
		if !r.ackNone {
			r.pending.add(m.Seq)
		}
	}
	if !r.ackNone {
		p.sent = now.UnixNano()
		p.deadline = r.deadline(p.sent, uint64(p.deliveries))
		if r.gated {
			p.deadline = heldBack
		}
		r.pending.set(m.Seq, p)
	}
	r.recordDelivery(cseq, m.Seq, p.deliveries)
}

// put sends m, now or, when a delivery limit must hold across failovers, once
// its delivery is committed.
func (r *Runner) put(w *request, reply []byte, m *msg.Message) {
	hdr, data := m.Header, m.Data
	if r.cfg.HeadersOnly {
		hdr, data = wire.SetHeader(hdr, "Nats-Msg-Size", strconv.Itoa(len(data))), nil
	}
	var to []byte
	if w == nil {
		to = r.pushing.to
	} else {
		to = w.to
		if w.pinned {
			hdr = wire.SetHeader(hdr, "Nats-Pin-Id", w.id)
		}
	}
	s := r.scratch
	s.subj = append(s.subj[:0], m.Subject...)
	if !r.gated {
		r.env.Deliver(to, s.subj, reply, hdr, data)
		return
	}
	r.hold(w, m.Seq, to, hdr, data)
}

// hold keeps a message back until everything recorded so far is committed. The
// reply subject is the one in the worker's memory.
func (r *Runner) hold(w *request, seq uint64, to, hdr, data []byte) {
	s := r.scratch
	all := make([]byte, 0, len(s.subj)+len(s.reply)+len(hdr)+len(data))
	keep := func(b []byte) []byte {
		at := len(all)
		all = append(all, b...)
		return all[at:len(all):len(all)]
	}
	subj, reply, hdr, data := keep(s.subj), keep(s.reply), keep(hdr), keep(data)
	r.held++
	r.whenCommitted(commitAction{pull: w, do: func(r *Runner) {
		r.held--
		if r.unhold(seq) {
			r.env.Deliver(to, subj, reply, hdr, data)
		} else if w != nil {
			r.giveBack(w)
		}
	}})
}

// unhold begins the ack wait of a message that goes out now. False: it was
// acknowledged by an earlier delivery while it was held back.
func (r *Runner) unhold(seq uint64) bool {
	p, ok := r.pending.get(seq)
	if !ok {
		return false
	}
	p.sent = r.now.UnixNano()
	p.deadline = r.deadline(p.sent, uint64(p.deliveries))
	r.pending.set(seq, p)
	return true
}

// say publishes a status behind the messages that are held back.
func (r *Runner) say(to string, hdr []byte) {
	switch {
	case r.held == 0:
		r.env.Publish(to, "", hdr, nil)
	case len(r.onCommit) < maxAwaited:
		r.afterCommit(func(r *Runner) { r.env.Publish(to, "", hdr, nil) })
	}
}

// ackReply is the subject that acknowledges this delivery of m, in the worker's
// memory.
func (r *Runner) ackReply(m *msg.Message, deliveries, cseq uint64) []byte {
	pending := r.pendingCount()
	if deliveries == 1 && pending > 0 {
		pending--
	}
	b := append(r.scratch.reply[:0], r.ackPrefix...)
	b = append(strconv.AppendUint(b, deliveries, 10), '.')
	b = append(strconv.AppendUint(b, m.Seq, 10), '.')
	b = append(strconv.AppendUint(b, cseq, 10), '.')
	b = append(strconv.AppendInt(b, m.Time, 10), '.')
	b = strconv.AppendUint(b, pending, 10)
	r.scratch.reply = b
	return b
}
