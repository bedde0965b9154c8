// Package consumer is the state machine of a consumer: how far it has delivered, what waits for an ack, and who runs it. It
// is a function of its keys and of the operations that its runner has had replicated. See DESIGN.md.
package consumer

import (
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/subject"
)

// Pair is a position: a consumer sequence and the stream sequence that belongs to it.
type Pair struct{ Consumer, Stream uint64 }

// Consumer is one consumer's replicated state.
//
// Deliveries are numbered by consumer sequences, redeliveries too. Delivered is the last of both. A message is pending from
// its first delivery to its ack, its term or its last permitted delivery. AckFloor is the position up to which nothing is
// pending.
//
// A runner is the replica that serves the consumer. It has the epoch of its appointment, and numbers its deltas from 1 in
// each epoch. A delta is applied if it is of the epoch in force and the next by number: so a runner sends one again,
// when it does not know what became of it, and none is applied twice, out of order, or after its runner was replaced.
type Consumer struct {
	ID      uint64 // never reused within its stream
	Name    string
	Created time.Time
	Config  *api.ConsumerConfig // as applied, defaults filled in; never changed, only replaced
	Filter  subject.Filter

	// LastPerSubject, for that deliver policy, is the stream's last sequence when the consumer was made: of the messages
	// up to it only the last of each subject are delivered.
	LastPerSubject uint64
	// GivenBefore is the stream's last sequence when the consumer was made, or started over for the last time: clients may have been
	// given messages up to there before, perhaps by another consumer of its name, and may acknowledge those deliveries yet.
	GivenBefore uint64

	state
	pending     pendingSet
	redelivered int // pending messages with more than one delivery
	// abandoned has the messages that were delivered as often as they may be, while the stream keeps them for an ack that may
	// still come. nil: none.
	abandoned   *pendingSet
	headerDirty bool

	stream Stream // during Apply
	now    int64
}

// Stream is what follows from a delta in the consumer's stream.
type Stream interface {
	// Released: the consumer is through with a message, as it was acked or termed, or delivered where no ack is asked for.
	Released(seq uint64)
	// Keeps tells whether a message stays that the consumer has given up.
	Keeps(seq uint64) bool
}

// state is the part of a consumer that changes with its work.
type state struct {
	Delivered Pair
	AckFloor  Pair
	// Skipped: up to this stream sequence there is nothing more to deliver, though it is above Delivered.Stream.
	Skipped uint64
	// LastDelivered and LastAcked are the times of the last activity, unix ns; 0 is never.
	LastDelivered int64
	LastAcked     int64
	Runner        base.ReplicaID // 0 is none
	Epoch         uint64
	Ticket        uint64 // number of the last delta applied in Epoch
	Pin           *Pin   // nil: nobody is pinned
}

// Pin says which client of a priority group gets the messages (ADR-42).
type Pin struct {
	Group, ID string
	Since     int64 // unix ns
}

// New makes a consumer that starts with the message start. cfg has passed Check; spans is the stream's.
func New(id uint64, cfg api.ConsumerConfig, created int64, start uint64, spans *Spans) *Consumer {
	base.Assert(cfg.Name != "" && start > 0, "consumer %q starts at %d", cfg.Name, start)
	c := &Consumer{ID: id, Created: time.Unix(0, created).UTC(), pending: pendingSet{shared: spans}}
	c.setConfig(cfg)
	c.Delivered.Stream = start - 1
	c.AckFloor.Stream = start - 1
	c.headerDirty = true
	return c
}

// Resume puts a new consumer where a backup had it. It begins without a runner.
func (c *Consumer) Resume(delivered, floor Pair) {
	c.Delivered, c.AckFloor = delivered, floor
	if !c.Acks() {
		c.AckFloor = delivered
	}
}

// ResumePending adds a message that waited for its ack when the backup was made. One that can not have is left out.
func (c *Consumer) ResumePending(p Pending) {
	if !c.Acks() || p.Seq == 0 || p.Seq > c.Delivered.Stream || p.Deliveries == 0 || c.pending.get(p.Seq) != nil {
		return
	}
	c.pending.put(p)
	if p.Deliveries > 1 {
		c.redelivered++
	}
}

func (c *Consumer) setConfig(cfg api.ConsumerConfig) {
	c.Name, c.Config = cfg.Name, &cfg
	c.Filter = subject.NewFilter(cfg.Filters()...)
}

// Update replaces the configuration. New filters may match what was skipped.
func (c *Consumer) Update(cfg api.ConsumerConfig) {
	c.setConfig(cfg)
	if c.Pin != nil && !cfg.Pins(c.Pin.Group) {
		c.Pin = nil
	}
	c.Skipped = 0
	c.headerDirty = true
}

// Position is the stream sequence up to which there is nothing new to deliver.
func (c *Consumer) Position() uint64 { return max(c.Delivered.Stream, c.Skipped) }

// Acks tells whether deliveries wait for an ack.
func (c *Consumer) Acks() bool { return c.Config.AckPolicy != api.AckNone }

// Paused tells whether delivery is suspended at now.
func (c *Consumer) Paused(now time.Time) bool {
	return c.Config.PauseUntil != nil && now.Before(*c.Config.PauseUntil)
}

// NumAckPending is the number of messages that wait for an ack, NumRedelivered that of those among them delivered more than once.
func (c *Consumer) NumAckPending() int  { return c.pending.n }
func (c *Consumer) NumRedelivered() int { return c.redelivered }

// PendingOf is the pending delivery of a message.
func (c *Consumer) PendingOf(seq uint64) (Pending, bool) {
	if p := c.pending.get(seq); p != nil {
		return *p, true
	}
	return Pending{}, false
}

// AscendPending visits the pending messages from a stream sequence on, in order, until visit returns false.
func (c *Consumer) AscendPending(from uint64, visit func(Pending) bool) {
	c.pending.ascend(from, visit)
}

// Needs tells whether the message with a sequence, whose subject the filter matches, is still to be delivered or acked.
func (c *Consumer) Needs(seq uint64) bool {
	return seq > c.Delivered.Stream || c.pending.get(seq) != nil || c.Abandoned(seq)
}

// SetRunner appoints a runner and begins an epoch.
func (c *Consumer) SetRunner(r base.ReplicaID) {
	c.Runner, c.Ticket = r, 0
	c.Epoch++
	c.headerDirty = true
}

// Pause suspends delivery until a time; nil resumes.
func (c *Consumer) Pause(until *time.Time) {
	cfg := *c.Config
	cfg.PauseUntil = until
	cfg.Metadata = storedMetadata(cfg.Metadata, requiredLevel(&cfg))
	c.Config = &cfg
}

// Verdict is what came of a delta.
type Verdict byte

// The verdicts. Only Applied changed anything.
const (
	Applied   Verdict = iota
	Repeated          // its number was applied before
	Premature         // one with a lower number is missing
	Stale             // its epoch is over
)

// Apply does the operations of a delta that reached the log at now (unix ns). ops has passed CheckOps. stream hears what becomes
// of messages.
func (c *Consumer) Apply(now int64, epoch, ticket uint64, ops []byte, stream Stream) (Verdict, error) {
	switch {
	case epoch != c.Epoch:
		return Stale, nil
	case ticket <= c.Ticket:
		return Repeated, nil
	case ticket > c.Ticket+1:
		return Premature, nil
	}
	c.Ticket, c.now, c.stream = ticket, now, stream
	c.headerDirty = true
	return Applied, decodeOps(ops, (*opApplier)(c))
}

// opApplier is a Consumer as the visitor of its operations.
type opApplier Consumer

func (a *opApplier) deliver(time int64, consumerSeq, seq uint64) {
	a.LastDelivered = time
	a.Delivered.Consumer = max(a.Delivered.Consumer, consumerSeq)
	if seq <= a.Delivered.Stream {
		return
	}
	a.Delivered.Stream = seq
	if a.Config.AckPolicy == api.AckNone {
		a.AckFloor = a.Delivered
		a.stream.Released(seq)
		return
	}
	a.pending.put(Pending{Seq: seq, ConsumerSeq: consumerSeq, Time: time, Deliveries: 1})
}

func (a *opApplier) redeliver(time int64, consumerSeq, seq uint64, deliveries uint32) {
	a.LastDelivered = time
	a.Delivered.Consumer = max(a.Delivered.Consumer, consumerSeq)
	p := a.pending.touch(seq)
	if p == nil {
		return
	}
	if p.Deliveries == 1 && deliveries > 1 {
		a.redelivered++
	}
	p.Deliveries, p.Time = max(p.Deliveries, deliveries), time
	if a.Config.AckPolicy == api.AckAll {
		p.ConsumerSeq = consumerSeq
	}
}

func (a *opApplier) ack(seq uint64) {
	switch {
	case a.end(seq):
		a.LastAcked = a.now
		a.stream.Released(seq)
	case a.forgetAbandoned(seq):
		a.stream.Released(seq)
	}
}

// end ends the wait for a message and lets the floor follow; false when nothing waits for it.
func (a *opApplier) end(seq uint64) bool {
	first := a.pending.first()
	if first == nil {
		return false
	}
	lowest := first.Seq == seq
	if !a.drop(seq) {
		return false
	}
	if lowest {
		a.raiseFloor()
	}
	return true
}

func (a *opApplier) ackAll(seq uint64) {
	target := a.pending.get(seq)
	if seq > a.Delivered.Stream {
		return
	}
	a.endAbandoned(seq+1, a.stream.Released)
	if seq <= a.AckFloor.Stream {
		return
	}
	floor := Pair{Stream: seq}
	if target != nil {
		floor.Consumer = target.ConsumerSeq
	}
	a.LastAcked = a.now
	a.pending.removeBelow(seq+1, func(p Pending) {
		a.forget(p)
		floor.Consumer = max(floor.Consumer, p.ConsumerSeq)
		a.stream.Released(p.Seq)
	})
	a.AckFloor = Pair{max(a.AckFloor.Consumer, floor.Consumer), floor.Stream}
	if a.pending.n == 0 {
		a.AckFloor = a.Delivered
	}
}

func (a *opApplier) touch(seq uint64, time int64) {
	if p := a.pending.touch(seq); p != nil {
		p.Time = time
	}
}

func (a *opApplier) skip(seq uint64) { a.Skipped = max(a.Skipped, seq) }

func (a *opApplier) exceeded(seq uint64) {
	p, ok := (*Consumer)(a).PendingOf(seq)
	if ok && a.end(seq) && a.stream.Keeps(seq) {
		a.abandon(p)
	}
}

func (a *opApplier) pin(time int64, group, id string) {
	a.Pin = nil
	if id != "" && a.Config.Pins(group) {
		a.Pin = &Pin{group, id, time}
	}
}

// drop ends the wait for a message.
func (a *opApplier) drop(seq uint64) bool {
	p, ok := a.pending.remove(seq)
	if ok {
		a.forget(p)
	}
	return ok
}

func (a *opApplier) forget(p Pending) {
	if p.Deliveries > 1 {
		a.redelivered--
	}
}

// raiseFloor moves the floor to just below the lowest pending message.
func (a *opApplier) raiseFloor() {
	p := a.pending.first()
	if p == nil {
		a.AckFloor = a.Delivered
		return
	}
	a.AckFloor = Pair{max(a.AckFloor.Consumer, p.ConsumerSeq-1), max(a.AckFloor.Stream, p.Seq-1)}
}

// Purged follows a purge of the stream: messages below first are gone. It tells whether that changed anything.
func (c *Consumer) Purged(first uint64) bool {
	a := (*opApplier)(c)
	changed := a.endAbandoned(first, func(uint64) {})
	if c.AckFloor.Stream+1 >= first {
		return changed
	}
	a.pending.removeBelow(first, a.forget)
	c.Delivered.Stream = max(c.Delivered.Stream, first-1)
	if a.pending.n == 0 {
		c.AckFloor = c.Delivered
	} else {
		a.raiseFloor()
	}
	c.headerDirty = true
	return true
}

// Removed follows the removal of one message, which then needs no ack any more; true when it did.
func (c *Consumer) Removed(seq uint64) bool {
	a := (*opApplier)(c)
	if !a.end(seq) {
		return a.forgetAbandoned(seq)
	}
	c.headerDirty = true
	return true
}

// Reset starts over with the message start: nothing is delivered or pending, and nothing ever was. last is the stream's last sequence.
func (c *Consumer) Reset(start, last uint64) {
	c.GivenBefore = last
	a := (*opApplier)(c)
	a.pending.removeBelow(^uint64(0), a.forget)
	a.endAbandoned(^uint64(0), func(uint64) {})
	c.Delivered, c.Skipped = Pair{Stream: start - 1}, 0
	c.AckFloor = Pair{Stream: start - 1}
	c.LastDelivered, c.LastAcked = 0, 0
	c.headerDirty = true
}
