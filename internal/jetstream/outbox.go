package jetstream

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/runner"
)

// resendAfter is how long deltas may go without a verdict before they are sent
// again. A repeated delta is recognised by its ticket, so this is safe. Where
// verdicts take longer, as very many consumers are at work, it is twice as long as
// the latest took, within maxResend: repeats would only make it worse.
const (
	resendAfter = time.Second
	maxResend   = 30 * time.Second
)

// outbox carries the deltas of this node's runners of one stream to the group's
// leader until their verdict was applied here. Deltas of many consumers travel
// together.
type outbox struct {
	s *Stream

	// sending is held while frames go out: a later delta must not overtake.
	sending sync.Mutex

	mu      sync.Mutex
	waiting map[uint64]*unsettled // by consumer ID; none of them is empty
	unsent  []machine.Delta
	queued  bool
	took    atomic.Int64 // from sending to verdict, lately, ns
	// settledAt is when a verdict came last, settledSent when the latest sent of what
	// has one was sent.
	settledAt, settledSent time.Time
}

// unsettled are the deltas of one runner that have no verdict yet.
type unsettled struct {
	epoch uint64
	list  []machine.Delta // in ticket order
	moved time.Time       // when one was last sent again or settled, or the first was sent
	// repeated is the last ticket of those that were sent again: that they came
	// too early the first time is no news.
	repeated uint64
}

func (o *outbox) init(s *Stream) {
	o.s = s
	o.waiting = make(map[uint64]*unsettled)
}

// send takes a delta of a runner. One whose epoch is over may still be in its
// last turn: what it says then is worth nothing.
func (o *outbox) send(d *runner.Delta) {
	md := machine.Delta{Consumer: d.Consumer, Epoch: d.Epoch, Ticket: d.Ticket, Ops: d.Ops}
	o.mu.Lock()
	u := o.waiting[d.Consumer]
	if u != nil && u.epoch > d.Epoch {
		o.mu.Unlock()
		o.s.passOnAcks(d.Consumer, []machine.Delta{md})
		return
	}
	var lapsed []machine.Delta
	if u == nil || u.epoch < d.Epoch {
		if u != nil {
			lapsed = u.list
		}
		u = &unsettled{epoch: d.Epoch, moved: o.s.node.cfg.Clock.Now()}
		o.waiting[d.Consumer] = u
	}
	u.list = append(u.list, md)
	o.unsent = append(o.unsent, md)
	wake := o.queueLocked()
	o.mu.Unlock()
	o.s.passOnAcks(d.Consumer, lapsed)
	if wake {
		o.s.node.flushSoon(o.s)
	}
}

// queueLocked tells whether a flush has to be asked for.
func (o *outbox) queueLocked() bool {
	wake := len(o.unsent) > 0 && !o.queued
	o.queued = o.queued || wake
	return wake
}

// flush sends what is unsent to the leader, if there is one.
func (o *outbox) flush() {
	o.sending.Lock()
	defer o.sending.Unlock()
	lead := o.s.lead.Load()
	o.mu.Lock()
	o.queued = false
	if lead.Leader == 0 || len(o.unsent) == 0 {
		o.mu.Unlock()
		return
	}
	list := o.unsent
	o.unsent = nil
	o.mu.Unlock()
	o.s.node.watchOutbox(o.s)
	if lead.Self {
		o.s.deltas.add(list)
		return
	}
	for len(list) > 0 {
		frame := binary.AppendUvarint(nil, uint64(o.s.id))
		for len(list) > 0 && len(frame) < maxDeltaFrame {
			frame, list = machine.AppendDelta(frame, list[0]), list[1:]
		}
		// A frame that is lost is made good by the resend.
		_ = o.s.node.cfg.Links.SendRequest(lead.LeaderNode, frameDeltas, frame)
	}
}

// maxDeltaFrame bounds one frame of deltas, but for the last delta in it.
const maxDeltaFrame = 1 << 20

// settled takes the verdict on a delta, as it was applied on this replica.
func (o *outbox) settled(d machine.DeltaResult) {
	o.mu.Lock()
	u := o.waiting[d.ID]
	if u == nil || u.epoch != d.Epoch {
		o.mu.Unlock()
		return
	}
	var done uint64
	var lapsed []machine.Delta
	wake := false
	switch d.Verdict {
	case consumer.Stale:
		lapsed = u.list
		delete(o.waiting, d.ID)
	case consumer.Premature:
		if d.Ticket > u.repeated {
			o.repeatLocked(u)
			wake = o.queueLocked()
		}
	default:
		for len(u.list) > 0 && u.list[0].Ticket <= d.Ticket {
			done, u.list = u.list[0].Ticket, u.list[1:]
		}
		if now := o.s.node.cfg.Clock.Now(); done > 0 {
			o.took.Store(int64(now.Sub(u.moved)))
			if o.settledAt = now; u.moved.After(o.settledSent) {
				o.settledSent = u.moved
			}
			u.moved = now
		}
		if len(u.list) == 0 {
			delete(o.waiting, d.ID)
		}
	}
	o.mu.Unlock()
	o.s.passOnAcks(d.ID, lapsed)
	if wake {
		o.s.node.flushSoon(o.s)
	}
	if r := o.s.runner(d.ID); r != nil && done > 0 {
		r.Committed(done)
	}
}

// Deliveries wait for their acks at least for minPatience, and as long as verdicts
// take, as all that is delivered is unknown to the others for that long anyway.
const (
	minPatience = 20 * time.Millisecond
	maxPatience = time.Second
)

// patience is how long a runner's deliveries may wait for their acks.
func (o *outbox) patience() time.Duration {
	return min(max(time.Duration(o.took.Load()), minPatience), maxPatience)
}

// repeatLocked puts all of u among the unsent again.
func (o *outbox) repeatLocked(u *unsettled) {
	o.unsent = append(o.unsent, u.list...)
	u.repeated, u.moved = u.list[len(u.list)-1].Ticket, o.s.node.cfg.Clock.Now()
}

// lapse drops what a consumer's runner had under way, as another one was
// appointed, who gets the acks in it.
func (o *outbox) lapse(id uint64) {
	o.mu.Lock()
	u := o.waiting[id]
	delete(o.waiting, id)
	o.mu.Unlock()
	if u != nil {
		o.s.passOnAcks(id, u.list)
	}
}

// forget drops what a consumer's runner had under way, as it is no more.
func (o *outbox) forget(id uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.waiting, id)
}

// resend makes everything without a verdict go out again, in order: the leader
// is a new one.
func (o *outbox) resend() {
	o.mu.Lock()
	o.unsent = nil
	for _, u := range o.waiting {
		o.repeatLocked(u)
	}
	wake := o.queueLocked()
	o.mu.Unlock()
	if wake {
		o.s.node.flushSoon(o.s)
	}
}

// resendLate sends the deltas of those consumers again of which nothing was heard
// for too long.
func (o *outbox) resendLate(now time.Time) {
	o.mu.Lock()
	patience := min(max(resendAfter, 2*time.Duration(o.took.Load())), maxResend)
	for _, u := range o.waiting {
		if o.lateLocked(u, now, patience) {
			o.repeatLocked(u)
		}
	}
	wake := o.queueLocked()
	o.mu.Unlock()
	if wake {
		o.s.node.flushSoon(o.s)
	}
}

// lateLocked tells that deltas are likely to be lost: others that were sent after them
// have their verdict, as the leader takes them in order, or none has had one for as long
// as patience. Where all wait for the leader, repeats would only add to its work.
func (o *outbox) lateLocked(u *unsettled, now time.Time, patience time.Duration) bool {
	if now.Sub(u.moved) < resendAfter {
		return false
	}
	return o.settledSent.Sub(u.moved) >= resendAfter || now.Sub(u.moved) >= patience && now.Sub(o.settledAt) >= patience
}

// waits tells whether deltas wait for their verdict.
func (o *outbox) waits() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) > 0
}

// deltaQueue gathers deltas of all nodes' runners into commands while this
// replica leads; one command is under way at a time.
type deltaQueue struct {
	s *Stream

	mu       sync.Mutex
	waiting  []machine.Delta
	known    map[uint64]ticketRun // by consumer ID: what waits, so that repeats do not
	size     int
	inflight bool
	since    time.Time // of the command under way
}

// maxDeltaBytes bounds one deltas command, maxDeltaQueue what waits; beyond it
// deltas are dropped and sent again by their runners.
const (
	maxDeltaBytes = 512 << 10
	maxDeltaQueue = 16 << 20
)

func (q *deltaQueue) add(list []machine.Delta) {
	q.mu.Lock()
	for _, d := range list {
		if q.size+len(d.Ops) > maxDeltaQueue {
			break
		}
		if !q.isNewLocked(d) {
			continue
		}
		q.waiting = append(q.waiting, d)
		q.size += len(d.Ops) + 32
	}
	q.mu.Unlock()
	q.propose()
}

// ticketRun is neighbouring tickets of one epoch.
type ticketRun struct{ epoch, first, last uint64 }

// isNewLocked tells whether d does not wait yet, and notes that it does now.
func (q *deltaQueue) isNewLocked(d machine.Delta) bool {
	run, ok := q.known[d.Consumer]
	switch {
	case ok && run.epoch == d.Epoch && run.first <= d.Ticket && d.Ticket <= run.last:
		return false
	case ok && run.epoch == d.Epoch && d.Ticket == run.last+1:
		run.last = d.Ticket
	default:
		run = ticketRun{d.Epoch, d.Ticket, d.Ticket}
	}
	if q.known == nil {
		q.known = make(map[uint64]ticketRun)
	}
	q.known[d.Consumer] = run
	return true
}

func (q *deltaQueue) propose() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.s.node.cfg.Clock.Now()
	if q.inflight && now.Sub(q.since) < resendAfter {
		return
	}
	if len(q.waiting) == 0 || !q.s.Leads() {
		return
	}
	n, size := 0, 0
	for n < len(q.waiting) && size < maxDeltaBytes {
		size += len(q.waiting[n].Ops) + 32
		n++
	}
	cmd := machine.Append(nil, machine.Origin{Proposer: q.s.replica}, &machine.Deltas{Time: now.UnixNano(), List: q.waiting[:n]})
	if err := q.s.group.Propose(cmd); err != nil {
		return // the runners send again
	}
	q.proposedLocked(n, size)
	q.inflight, q.since = true, now
}

// proposedLocked takes the first n deltas, of size bytes, out of the queue.
func (q *deltaQueue) proposedLocked(n, size int) {
	for _, d := range q.waiting[:n] {
		if run := q.known[d.Consumer]; run.epoch != d.Epoch {
			continue
		} else if run.first = max(run.first, d.Ticket+1); run.first <= run.last {
			q.known[d.Consumer] = run
		} else {
			delete(q.known, d.Consumer)
		}
	}
	clear(q.waiting[:n])
	q.waiting = q.waiting[n:]
	q.size = max(q.size-size, 0)
	if len(q.waiting) == 0 {
		q.waiting, q.known = nil, nil
	}
}

// applied notes that a deltas command was applied; the next one may go out.
func (q *deltaQueue) applied(deltas bool) {
	if !deltas {
		return
	}
	q.mu.Lock()
	q.inflight = false
	q.mu.Unlock()
	q.propose()
}

func (q *deltaQueue) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting, q.known, q.size, q.inflight = nil, nil, 0, false
}

// takeDeltas handles a frame of deltas from another node.
func (n *Node) takeDeltas(_ base.NodeID, frame []byte) {
	id, used := binary.Uvarint(frame)
	if used <= 0 {
		return
	}
	s := n.streamByGroup(base.GroupID(id))
	if s == nil || !s.lead.Load().Self {
		return
	}
	var list []machine.Delta
	rest := append([]byte(nil), frame[used:]...)
	for len(rest) > 0 {
		d, next, err := machine.DecodeDelta(rest)
		if err != nil {
			n.cfg.Logger.Errorf("Deltas of stream %s: %v", s.name, err)
			return
		}
		list, rest = append(list, d), next
	}
	s.deltas.add(list)
}
