package runner

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
)

// Ack is a client's word on a delivered message, as it came in on a subject that
// ReadSubject reads.
type Ack struct {
	Stream, Consumer uint64 // sequences
	Deliveries       uint64
	Time             int64  // of the message, unix ns; 0 if the subject has none
	Reply            string // where a confirmation is wanted; empty: nowhere
	Payload          []byte
}

// ParseAckTokens reads the numbers of an ack subject, the part after the
// consumer's name. ok is false when they are none.
func ParseAckTokens(tokens string) (a Ack, ok bool) {
	var n [3]uint64
	for i := range n {
		tok, rest, more := strings.Cut(tokens, ".")
		v, err := strconv.ParseUint(tok, 10, 64)
		if err != nil || !more {
			return a, false
		}
		n[i], tokens = v, rest
	}
	a = Ack{Deliveries: n[0], Stream: n[1], Consumer: n[2]}
	stamp, _, _ := strings.Cut(tokens, ".")
	if at, err := strconv.ParseInt(stamp, 10, 64); err == nil {
		a.Time = at
	}
	return a, true
}

// The acknowledgements of the client protocol.
var (
	ackWord      = []byte("+ACK")
	okWord       = []byte("+OK")
	nakWord      = []byte("-NAK")
	progressWord = []byte("+WPI")
	nextWord     = []byte("+NXT")
	termWord     = []byte("+TERM")
)

func (r *Runner) handleAck(a *Ack, now time.Time) {
	r.active = now
	if a.Stream > r.state.Delivered.Stream {
		r.inherit(a, now)
	}
	word := a.Payload
	if rest, ok := bytes.CutPrefix(word, nextWord); ok {
		r.ackMsg(a, now)
		r.pull(PullRequest{Reply: a.Reply, Body: bytes.TrimSpace(rest)}, now)
		return
	}
	switch {
	case len(word) == 0, bytes.Equal(word, ackWord), bytes.Equal(word, okWord):
		r.ackMsg(a, now)
	case bytes.HasPrefix(word, nakWord):
		r.nak(a, now)
	case bytes.Equal(word, progressWord):
		r.progress(a, now)
	case bytes.HasPrefix(word, termWord):
		r.term(a)
	}
	r.confirm(a)
}

// confirm answers an ack that asked for it, once it is committed. Words that are
// not understood, and messages acked before, are confirmed as well; one that was
// never delivered is not.
func (r *Runner) confirm(a *Ack) {
	if a.Reply == "" || r.ackNone || a.Stream > r.state.Delivered.Stream || len(r.onCommit) >= maxAwaited {
		return
	}
	kept := *a
	r.whenCommitted(commitAction{ack: &kept})
}

func (r *Runner) ackMsg(a *Ack, now time.Time) {
	if r.cfg.AckPolicy == api.AckAll || r.cfg.AckPolicy == api.AckFlowControl {
		r.ackAll(a)
		return
	}
	p, ok := r.pending.get(a.Stream)
	if !ok {
		r.lateAck(a)
		return
	}
	r.sample(a, p, now)
	r.pending.remove(a.Stream, p)
	r.recordAck(a.Stream)
}

func (r *Runner) ackAll(a *Ack) {
	if a.Stream > r.state.Delivered.Stream {
		return
	}
	before := r.pending.len()
	r.pending.removeTo(a.Stream, func(uint64) {})
	if r.pending.len() < before || r.mayBeLate(a) {
		r.record(func(o *consumer.Ops) { o.AckAll(a.Stream) })
	}
}

// lateAck passes on an ack of what nobody waits for: it may be a message that was
// given up, which the stream keeps for it.
func (r *Runner) lateAck(a *Ack) {
	if r.mayBeLate(a) {
		r.recordAck(a.Stream)
	}
}

func (r *Runner) mayBeLate(a *Ack) bool {
	return r.cfg.MaxDeliver > 0 && a.Stream <= r.state.Delivered.Stream && r.uncommitted < maxUncommittedTouches
}

func (r *Runner) nak(a *Ack, now time.Time) {
	p, ok := r.pending.get(a.Stream)
	if !ok {
		return
	}
	r.env.Advise(r.id, Event{Kind: EventNak, Stream: a.Stream, Consumer: a.Consumer, Deliveries: uint64(p.deliveries)})
	delay := nakDelay(a.Payload[len(nakWord):])
	if p.deadline == heldBack || p.deadline == 0 && delay <= 0 {
		return // it is about to be delivered again
	}
	// What is replicated is when it is due again, for a runner that takes over.
	dueAt := base.UnixNano(now.Add(delay))
	r.recordTouch(a.Stream, dueAt-int64(r.ackWait(uint64(p.deliveries))))
	if delay <= 0 {
		r.due(a.Stream, p)
		return
	}
	p.deadline = dueAt
	r.pending.set(a.Stream, p)
}

// nakDelay reads the delay of a nak: {"delay": ns}, or a Go duration.
func nakDelay(arg []byte) time.Duration {
	arg = bytes.TrimSpace(arg)
	if len(arg) == 0 {
		return 0
	}
	if arg[0] == '{' {
		var body struct {
			Delay time.Duration `json:"delay"`
		}
		if json.Unmarshal(arg, &body) != nil {
			return 0
		}
		return body.Delay
	}
	d, err := time.ParseDuration(string(arg))
	if err != nil {
		return 0
	}
	return d
}

func (r *Runner) progress(a *Ack, now time.Time) {
	p, ok := r.pending.get(a.Stream)
	if !ok || p.deadline == heldBack {
		return
	}
	p.deadline = r.deadline(now.UnixNano(), uint64(p.deliveries))
	r.pending.set(a.Stream, p)
	r.recordTouch(a.Stream, now.UnixNano())
}

func (r *Runner) term(a *Ack) {
	p, ok := r.pending.get(a.Stream)
	if !ok {
		r.lateAck(a)
		return
	}
	reason := string(bytes.TrimSpace(a.Payload[len(termWord):]))
	if r.cfg.AckPolicy == api.AckAll {
		r.ackAll(a)
	} else {
		r.pending.remove(a.Stream, p)
		r.record(func(o *consumer.Ops) { o.Term(a.Stream) })
	}
	r.env.Advise(r.id, Event{Kind: EventTerminated, Stream: a.Stream, Consumer: a.Consumer, Deliveries: uint64(p.deliveries), Reason: reason})
}

// sample publishes an ack metric for the share of acks that sample_freq names.
func (r *Runner) sample(a *Ack, p pendingMsg, now time.Time) {
	if r.cfg.SampleFrequency == "" {
		return
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(r.cfg.SampleFrequency, "%"))
	if err != nil || percent <= 0 || a.Stream%100 >= uint64(percent) {
		return
	}
	r.env.Advise(r.id, Event{Kind: EventAckSample, Stream: a.Stream, Consumer: p.consumer, Deliveries: uint64(p.deliveries), Delay: now.UnixNano() - p.sent})
}
