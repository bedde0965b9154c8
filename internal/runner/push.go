package runner

import (
	"strconv"
	"time"

	"weir/internal/api"
	"weir/internal/wire"
)

// Flow control: how much a push consumer may have on the wire beyond what its
// client has confirmed. The window starts small and doubles with each
// confirmation.
const (
	minFlowWindow = 256 << 10
	maxFlowWindow = 32 << 20
	// interestPoll is how often a push consumer without interest looks again, should
	// a hint from the router have been missed.
	interestPoll = 30 * time.Second
)

// pushState is a push consumer's connection to its deliver subject.
type pushState struct {
	to       []byte    // the deliver subject
	bound    bool      // somebody listened when it was last looked at
	checkAt  time.Time // when to look again, while nobody does
	beatAt   time.Time // when the next heartbeat is due
	window   int       // bytes that may be unconfirmed
	unacked  int       // bytes sent since the last confirmed flow control request
	asked    string    // reply subject of the request under way; empty: none
	askedAt  int       // unacked when it was sent
	nextFlow uint64
}

func (s *pushState) isBound() bool { return s != nil && s.bound }

// lookAtInterest finds out, once a turn, whether anybody listens.
func (r *Runner) lookAtInterest(now time.Time) {
	if !r.push {
		return
	}
	s := r.pushing
	if s.to == nil {
		s.to = []byte(r.cfg.DeliverSubject)
	}
	was := s.bound
	s.bound = r.env.HasInterest(r.cfg.DeliverSubject, r.cfg.DeliverGroup)
	if s.bound || was {
		r.active = now
	}
	switch {
	case !s.bound:
		// A client that comes back knows of nothing that was asked before.
		s.checkAt = now.Add(interestPoll)
		s.asked, s.unacked, s.window = "", 0, 0
	case !was:
		s.checkAt = time.Time{}
		s.window = minFlowWindow
		s.beatAt = now.Add(r.cfg.Heartbeat)
	}
}

// pushReady tells whether the deliver subject takes another message.
func (r *Runner) pushReady() bool { return r.pushing.isBound() && !r.stalled() }

// stalled tells that the client has to confirm before it gets more.
func (r *Runner) stalled() bool {
	s := r.pushing
	return r.cfg.FlowControl && s.asked != "" && s.unacked >= s.window
}

// pushed accounts for a delivered message of size bytes.
func (r *Runner) pushed(size int, now time.Time) {
	s := r.pushing
	s.beatAt = now.Add(r.cfg.Heartbeat)
	if !r.cfg.FlowControl {
		return
	}
	s.unacked += size
	if s.asked == "" && (s.unacked >= s.window/2 || r.flowAcks() && r.ackRoom() == 0) {
		r.askFlow()
	}
}

// flowAcks tells that answers to flow control requests are the acks.
func (r *Runner) flowAcks() bool { return r.cfg.AckPolicy == api.AckFlowControl }

func (r *Runner) askFlow() {
	s := r.pushing
	s.nextFlow++
	s.asked = flowPrefix + r.id.Scope + r.id.Stream + "." + r.id.Consumer + "." + strconv.FormatUint(r.id.Epoch, 36) + "-" + strconv.FormatUint(s.nextFlow, 36)
	s.askedAt = s.unacked
	hdr, to, asked := wire.StatusBlock(100, "FlowControl Request"), r.cfg.DeliverSubject, s.asked
	if r.held == 0 {
		r.env.Publish(to, asked, hdr, nil)
		return
	}
	r.afterCommit(func(r *Runner) { r.env.Publish(to, asked, hdr, nil) })
}

// flowReply takes the confirmation of all that was sent before the request subj. stored is the last stream
// sequence that a client has stored, for flow control acks; 0 is none.
func (r *Runner) flowReply(subj string, stored uint64) {
	s := r.pushing
	r.active = r.now
	if s == nil || s.asked == "" || s.asked != subj {
		return
	}
	if r.flowAcks() && stored > 0 {
		r.ackAll(&Ack{Stream: stored})
	}
	s.unacked -= s.askedAt
	s.asked = ""
	s.window = min(s.window*2, maxFlowWindow)
	if s.unacked >= s.window/2 {
		r.askFlow()
	}
}

// endCopier tells a mirror or source that its consumer is gone: it asks for another one at once. Other clients of push consumers miss
// the heartbeats.
func (r *Runner) endCopier(reason CloseReason) {
	if r.push && r.cfg.Sourcing && reason == CloseDeleted {
		r.env.Publish(r.cfg.DeliverSubject, "", wire.StatusBlock(409, string(reason)), nil)
	}
}

// heartbeats tells idle clients that the consumer is alive.
func (r *Runner) heartbeats(now time.Time) {
	if r.requests.due(now) {
		r.beatRequests(now)
	}
	s := r.pushing
	if !r.push || r.cfg.Heartbeat <= 0 || !s.bound || now.Before(s.beatAt) {
		return
	}
	s.beatAt = now.Add(r.cfg.Heartbeat)
	hdr := r.beat()
	if r.stalled() || r.flowAcks() && s.asked != "" {
		hdr = wire.SetHeader(hdr, "Nats-Consumer-Stalled", s.asked)
	}
	r.say(r.cfg.DeliverSubject, hdr)
	if r.flowAcks() && s.asked == "" && r.pending.len() > 0 {
		r.askFlow()
	}
}

// beat says how far the client should be. The stream sequence is that of the last
// message that there is nothing more to come up to, whether the filter matches it or not.
func (r *Runner) beat() []byte {
	d := r.state.Delivered
	if r.pendingCount() == 0 {
		d.Stream = max(d.Stream, r.env.Store.State().LastSeq)
	}
	return wire.StatusBlock(100, "Idle Heartbeat",
		"Nats-Last-Consumer", strconv.FormatUint(d.Consumer, 10),
		"Nats-Last-Stream", strconv.FormatUint(d.Stream, 10))
}
