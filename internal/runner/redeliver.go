package runner

import (
	"container/heap"
	"time"

	"weir/internal/consumer"
)

// ackWait is how long the deliveries'th delivery of a message may go without an
// acknowledgement.
func (r *Runner) ackWait(deliveries uint64) time.Duration {
	if n := len(r.cfg.BackOff); n > 0 {
		return r.cfg.BackOff[min(max(int(deliveries), 1), n)-1]
	}
	return r.cfg.AckWait
}

// expireAckWaits moves messages whose ack wait is over to the redeliver queue.
func (r *Runner) expireAckWaits(now time.Time) {
	for len(r.deadlines) > 0 && r.deadlines[0].at <= now.UnixNano() {
		d := heap.Pop(&r.deadlines).(deadline)
		p, ok := r.pending[d.seq]
		if ok && p.deadline == d.at {
			r.due(d.seq, p)
		}
	}
	if len(r.deadlines) > 2*len(r.pending)+1024 {
		r.rebuildDeadlines()
	}
}

// due puts a pending message into the redeliver queue.
func (r *Runner) due(seq uint64, p pendingMsg) {
	if p.deadline == 0 {
		return // it stands there already
	}
	p.deadline = 0
	r.pending[seq] = p
	r.redeliver = append(r.redeliver, seq)
}

func (r *Runner) rebuildDeadlines() {
	r.deadlines = r.deadlines[:0]
	for seq, p := range r.pending {
		if p.deadline != 0 {
			r.deadlines = append(r.deadlines, deadline{p.deadline, seq})
		}
	}
	heap.Init(&r.deadlines)
}

// nextRedelivery returns the first message that is due again and may be delivered
// again. One that reached max_deliver is dropped from pending on the way.
func (r *Runner) nextRedelivery() (seq uint64, p pendingMsg, ok bool) {
	for len(r.redeliver) > 0 {
		seq = r.redeliver[0]
		p, ok = r.pending[seq]
		if !ok || p.deadline != 0 {
			r.dropDue()
			continue
		}
		if r.cfg.MaxDeliver > 0 && p.deliveries >= uint64(r.cfg.MaxDeliver) {
			r.dropDue()
			delete(r.pending, seq)
			r.record(func(o *consumer.Ops) { o.Exceeded(seq) })
			r.env.Advise(r.id, Event{Kind: EventMaxDeliveries, Stream: seq, Consumer: p.consumer, Deliveries: p.deliveries})
			continue
		}
		return seq, p, true
	}
	r.redeliver = nil
	return 0, pendingMsg{}, false
}

func (r *Runner) dropDue() { r.redeliver = r.redeliver[1:] }

// deadline is when a message's ack wait ends. Entries are never removed early:
// one that no longer equals the pending message's deadline is stale.
type deadline struct {
	at  int64 // unix ns
	seq uint64
}

type deadlineHeap []deadline

func (h *deadlineHeap) add(at int64, seq uint64) { heap.Push(h, deadline{at, seq}) }

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h deadlineHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *deadlineHeap) Push(x any)        { *h = append(*h, x.(deadline)) }
func (h *deadlineHeap) Pop() any {
	old := *h
	d := old[len(old)-1]
	*h = old[:len(old)-1]
	return d
}
