package jetstream

import (
	"encoding/binary"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/runner"
)

// resendAfter is how long deltas may go without a verdict before they are sent
// again. A repeated delta is recognised by its ticket, so this is safe.
const resendAfter = time.Second

// outbox carries the deltas of this node's runners of one stream to the group's
// leader until their verdict was applied here. Deltas of many consumers travel
// together.
type outbox struct {
	s *Stream

	mu sync.Mutex
	// waiting is, by consumer ID and in ticket order, what has no verdict yet; of one
	// epoch each.
	waiting map[uint64][]machine.Delta
	unsent  []machine.Delta
	queued  bool
	moved   time.Time // when something was last sent or settled
}

func (o *outbox) init(s *Stream) {
	o.s = s
	o.waiting = make(map[uint64][]machine.Delta)
}

// send takes a delta of a runner. A runner that was replaced may be in the middle of
// its last turn: what it sends is dropped, or goes when the next runner sends.
func (o *outbox) send(d *runner.Delta) {
	md := machine.Delta{Consumer: d.Consumer, Epoch: d.Epoch, Ticket: d.Ticket, Ops: d.Ops}
	o.mu.Lock()
	if list := o.waiting[d.Consumer]; len(list) > 0 && list[0].Epoch != d.Epoch {
		if list[0].Epoch > d.Epoch {
			o.mu.Unlock()
			return
		}
		delete(o.waiting, d.Consumer)
	}
	o.waiting[d.Consumer] = append(o.waiting[d.Consumer], md)
	o.unsent = append(o.unsent, md)
	wake := !o.queued
	o.queued = true
	o.mu.Unlock()
	if wake {
		o.s.node.flushSoon(o.s)
	}
}

// flush sends what is unsent to the leader, if there is one.
func (o *outbox) flush() {
	lead := o.s.lead.Load()
	o.mu.Lock()
	o.queued = false
	if lead.Leader == 0 || len(o.unsent) == 0 {
		o.mu.Unlock()
		return
	}
	list := o.unsent
	o.unsent = nil
	o.moved = o.s.node.cfg.Clock.Now()
	o.mu.Unlock()
	o.s.node.watchOutbox(o.s)
	if lead.Self {
		o.s.deltas.add(list)
		return
	}
	frame := binary.AppendUvarint(nil, uint64(o.s.id))
	for _, d := range list {
		frame = machine.AppendDelta(frame, d)
	}
	// A frame that is lost is made good by the resend.
	_ = o.s.node.cfg.Links.SendRequest(lead.LeaderNode, frameDeltas, frame)
}

// settled takes the verdict on a delta, as it was applied on this replica.
func (o *outbox) settled(d machine.DeltaResult) {
	o.mu.Lock()
	list := o.waiting[d.ID]
	if len(list) == 0 || list[0].Epoch != d.Epoch {
		if d.Verdict == consumer.Stale {
			o.dropLocked(d.ID, d.Epoch)
		}
		o.mu.Unlock()
		return
	}
	o.moved = o.s.node.cfg.Clock.Now()
	var done uint64
	for len(list) > 0 && list[0].Ticket <= d.Ticket && (d.Verdict == consumer.Applied || d.Verdict == consumer.Repeated) {
		done = list[0].Ticket
		list = list[1:]
	}
	if len(list) == 0 || d.Verdict == consumer.Stale {
		delete(o.waiting, d.ID)
	} else {
		o.waiting[d.ID] = list
	}
	o.mu.Unlock()
	if d.Verdict == consumer.Premature {
		o.resend()
	}
	if r := o.s.runner(d.ID); r != nil && done > 0 {
		r.Committed(done)
	}
}

// dropLocked forgets deltas of an epoch that is over. The caller holds mu.
func (o *outbox) dropLocked(id, epoch uint64) {
	if list := o.waiting[id]; len(list) > 0 && list[0].Epoch == epoch {
		delete(o.waiting, id)
	}
}

// forget drops what a consumer's runner had under way, as it is no more.
func (o *outbox) forget(id uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.waiting, id)
}

// resend makes everything without a verdict go out again, in order: the leader
// is a new one, or did not answer.
func (o *outbox) resend() {
	o.mu.Lock()
	o.unsent = o.unsent[:0:0]
	for _, list := range o.waiting {
		o.unsent = append(o.unsent, list...)
	}
	wake := len(o.unsent) > 0 && !o.queued
	o.queued = o.queued || wake
	o.mu.Unlock()
	if wake {
		o.s.node.flushSoon(o.s)
	}
}

// stuck tells whether deltas wait for their verdict, and since when nothing moved.
func (o *outbox) stuck() (since time.Time, waits bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.moved, len(o.waiting) > 0
}

// deltaQueue gathers deltas of all nodes' runners into commands while this
// replica leads; one command is under way at a time.
type deltaQueue struct {
	s *Stream

	mu       sync.Mutex
	waiting  []machine.Delta
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
		q.waiting = append(q.waiting, d)
		q.size += len(d.Ops) + 32
	}
	q.mu.Unlock()
	q.propose()
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
	q.waiting = append(q.waiting[:0:0], q.waiting[n:]...)
	q.size = max(q.size-size, 0)
	q.inflight, q.since = true, now
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
	q.waiting, q.size, q.inflight = nil, 0, false
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
