package runner

import (
	"strconv"
	"time"

	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/wire"
)

// turnBudget is how many messages one turn may deliver before another runner
// gets the worker.
const turnBudget = 256

// deliver puts messages on the wire while somebody wants them. It reports
// whether it stopped only because its turn was over.
func (r *Runner) deliver(now time.Time) (more bool) {
	if r.paused(now) {
		return false
	}
	for range turnBudget {
		if r.windowFull() || r.pace.holds(now) {
			return false
		}
		to, w, ok := r.receiver(now)
		if !ok {
			return false
		}
		if !r.deliverOne(to, w, now) {
			return false
		}
	}
	return true
}

func (r *Runner) paused(now time.Time) bool {
	return !r.pausedAt.IsZero() && now.Before(r.pausedAt)
}

// receiver says where the next message would go; w is nil for a push consumer.
func (r *Runner) receiver(now time.Time) (to string, w *request, ok bool) {
	if r.push {
		return r.cfg.DeliverSubject, nil, r.pushReady(now)
	}
	w = r.nextRequest()
	if w == nil {
		return "", nil, false
	}
	return w.reply, w, true
}

// deliverOne delivers the next message that is due. False: there is none, or it
// must wait.
func (r *Runner) deliverOne(to string, w *request, now time.Time) bool {
	var m msg.Message
	seq, p, again := r.nextRedelivery()
	if again {
		ok, err := r.load(seq, &m)
		if !ok {
			return err == nil
		}
	} else if ok := r.nextNew(&m, now); !ok {
		return false
	}
	p.deliveries++
	cseq := r.state.Delivered.Consumer + 1
	if !again {
		p.consumer = cseq
	}
	reply := r.ackReply(&m, p.deliveries, cseq)
	size := len(m.Subject) + len(reply) + len(m.Header) + len(m.Data)
	if w != nil && w.limited && size > w.maxBytes {
		r.requests.remove(w)
		r.endStatus(w, 409, "Message Size Exceeds MaxBytes")
		r.npending.invalidate()
		return true
	}
	if again {
		r.dropDue()
	}
	r.noteDelivery(&m, p, cseq, now)
	r.put(to, reply, &m, now)
	if w != nil {
		r.served(w, size, now)
	} else {
		r.pushed(size, now)
	}
	return true
}

// load reads a message that is due again. A message that is gone from the stream
// is done.
func (r *Runner) load(seq uint64, m *msg.Message) (ok bool, err error) {
	ok, err = r.env.Store.Load(seq, m)
	switch {
	case err != nil:
		r.env.Log.Errorf("Consumer %s > %s: read message %d: %v", r.id.Stream, r.id.Consumer, seq, err)
	case !ok:
		r.dropDue()
		delete(r.pending, seq)
		r.recordAck(seq)
	}
	return ok, err
}

// nextNew finds the next message that was never delivered and may be now.
func (r *Runner) nextNew(m *msg.Message, now time.Time) bool {
	if r.ackRoom() == 0 {
		return false
	}
	for {
		ok, err := r.env.Store.Next(r.next, r.filter, m)
		if err != nil {
			if !base.IsCorrupt(err) {
				r.env.Log.Warnf("Consumer %s > %s: read from %d: %v", r.id.Stream, r.id.Consumer, r.next, err)
			}
			return false
		}
		if !ok {
			r.endNoWait()
			return false
		}
		if r.skips(m) {
			r.next = m.Seq + 1
			continue
		}
		return !r.pace.holdsMsg(r, m, now)
	}
}

// skips tells that a last_per_subject start leaves m out.
func (r *Runner) skips(m *msg.Message) bool {
	if m.Seq > r.state.LastPerSubject {
		return false
	}
	last, err := r.env.Store.LastOfSubject(m.Subject, r.state.LastPerSubject)
	return err == nil && last != m.Seq
}

// noteDelivery records a delivery in the working set and in the delta. Every
// delivery has a consumer sequence of its own; a pending message keeps its first.
func (r *Runner) noteDelivery(m *msg.Message, p pendingMsg, cseq uint64, now time.Time) {
	r.state.Delivered.Consumer = cseq
	if p.deliveries == 1 {
		r.next = m.Seq + 1
		r.state.Delivered.Stream = m.Seq
		r.npending.delivered()
	}
	r.recordDelivery(cseq, m.Seq, p.deliveries)
	if r.ackNone {
		return
	}
	p.sent = now.UnixNano()
	p.deadline = now.Add(r.ackWait(p.deliveries)).UnixNano()
	if r.pending == nil {
		r.pending = make(map[uint64]pendingMsg)
	}
	r.pending[m.Seq] = p
	r.deadlines.add(p.deadline, m.Seq)
}

// put sends m, now or, when a delivery limit must hold across failovers, once
// its delivery is committed.
func (r *Runner) put(to, reply string, m *msg.Message, now time.Time) {
	hdr, data := m.Header, m.Data
	if r.cfg.HeadersOnly {
		hdr, data = wire.SetHeader(hdr, "Nats-Msg-Size", strconv.Itoa(len(data))), nil
	}
	r.active = now
	if !r.gated {
		r.env.Deliver(to, m.Subject, reply, hdr, data)
		return
	}
	subj := m.Subject
	hdr, data = append([]byte(nil), hdr...), append([]byte(nil), data...)
	r.afterCommit(func(r *Runner) { r.env.Deliver(to, subj, reply, hdr, data) })
}

// ackReply is the subject that acknowledges this delivery of m.
func (r *Runner) ackReply(m *msg.Message, deliveries, cseq uint64) string {
	pending := r.pendingCount()
	if deliveries == 1 && pending > 0 {
		pending--
	}
	b := make([]byte, 0, len(r.ackPrefix)+84)
	b = append(b, r.ackPrefix...)
	b = append(strconv.AppendUint(b, deliveries, 10), '.')
	b = append(strconv.AppendUint(b, m.Seq, 10), '.')
	b = append(strconv.AppendUint(b, cseq, 10), '.')
	b = append(strconv.AppendInt(b, m.Time, 10), '.')
	return string(strconv.AppendUint(b, pending, 10))
}

// pendingCount caches how many messages from next on match. Asking the store for
// each message would cost more than delivering it.
type pendingCount struct {
	n     uint64
	known bool
}

func (c *pendingCount) invalidate() { c.known = false }

func (c *pendingCount) delivered() {
	if c.n > 0 {
		c.n--
	}
}

func (r *Runner) pendingCount() uint64 {
	if r.npending.known {
		return r.npending.n
	}
	n, err := r.countPending()
	if err != nil {
		return 0
	}
	r.npending = pendingCount{n: n, known: true}
	return n
}

// countPending counts what is to come. Within the bound of a last_per_subject
// start only messages that will be delivered count.
func (r *Runner) countPending() (uint64, error) {
	bound := r.state.LastPerSubject
	if r.next > bound {
		return r.env.Store.NumPending(r.next, r.filter)
	}
	n, err := r.env.Store.NumPending(bound+1, r.filter)
	var m msg.Message
	for from := r.next; err == nil; from = m.Seq + 1 {
		var ok bool
		ok, err = r.env.Store.Next(from, r.filter, &m)
		if !ok || m.Seq > bound {
			break
		}
		if !r.skips(&m) {
			n++
		}
	}
	return n, err
}
