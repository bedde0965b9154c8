package runner

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"weir/internal/api"
	"weir/internal/consumer"
)

// Ack is a client's word on a delivered message, as it came in on
// $JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<ts>.<pending>.
type Ack struct {
	Stream, Consumer uint64 // sequences
	Deliveries       uint64
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
	return Ack{Deliveries: n[0], Stream: n[1], Consumer: n[2]}, true
}

// Ack takes an acknowledgement. Payload is owned by the runner from here on.
func (r *Runner) Ack(a Ack) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.acks = append(r.acks, a)
	r.mu.Unlock()
	r.sched.wake(r)
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
	switch {
	case len(a.Payload) == 0, bytes.Equal(a.Payload, ackWord), bytes.Equal(a.Payload, okWord):
		r.ackMsg(a, now)
		r.confirm(a.Reply)
	case bytes.HasPrefix(a.Payload, nextWord):
		r.ackMsg(a, now)
		r.pull(PullRequest{Reply: a.Reply, Body: bytes.TrimSpace(a.Payload[len(nextWord):])}, now)
	case bytes.HasPrefix(a.Payload, nakWord):
		r.nak(a, now)
		r.confirm(a.Reply)
	case bytes.Equal(a.Payload, progressWord):
		r.progress(a, now)
		r.confirm(a.Reply)
	case bytes.HasPrefix(a.Payload, termWord):
		r.term(a, now)
		r.confirm(a.Reply)
	}
}

// confirm answers an ack that asked for it, once it is committed.
func (r *Runner) confirm(reply string) {
	if reply != "" {
		r.afterCommit(func(r *Runner) { r.env.Publish(reply, "", nil, nil) })
	}
}

func (r *Runner) ackMsg(a *Ack, now time.Time) {
	if r.cfg.AckPolicy == api.AckAll || r.cfg.AckPolicy == api.AckFlowControl {
		r.ackAll(a)
		return
	}
	p, ok := r.pending[a.Stream]
	if !ok {
		return
	}
	r.sample(a, p, now)
	delete(r.pending, a.Stream)
	r.recordAck(a.Stream)
}

func (r *Runner) ackAll(a *Ack) {
	if _, ok := r.pending[a.Stream]; !ok {
		return
	}
	for seq := range r.pending {
		if seq <= a.Stream {
			delete(r.pending, seq)
		}
	}
	r.record(func(o *consumer.Ops) { o.AckAll(a.Stream) })
}

func (r *Runner) nak(a *Ack, now time.Time) {
	p, ok := r.pending[a.Stream]
	if !ok {
		return
	}
	r.env.Advise(r.id, Event{Kind: EventNak, Stream: a.Stream, Consumer: p.consumer, Deliveries: p.deliveries})
	delay := nakDelay(a.Payload[len(nakWord):])
	// What is replicated is when it is due again, for a runner that takes over.
	dueAt := now.Add(delay)
	r.record(func(o *consumer.Ops) { o.Touch(a.Stream, dueAt.Add(-r.ackWait(p.deliveries)).UnixNano()) })
	if delay <= 0 {
		r.due(a.Stream, p)
		return
	}
	p.deadline = dueAt.UnixNano()
	r.pending[a.Stream] = p
	r.deadlines.add(p.deadline, a.Stream)
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
	p, ok := r.pending[a.Stream]
	if !ok {
		return
	}
	p.deadline = now.Add(r.ackWait(p.deliveries)).UnixNano()
	r.pending[a.Stream] = p
	r.deadlines.add(p.deadline, a.Stream)
	r.record(func(o *consumer.Ops) { o.Touch(a.Stream, now.UnixNano()) })
}

func (r *Runner) term(a *Ack, now time.Time) {
	p, ok := r.pending[a.Stream]
	if !ok {
		return
	}
	reason := string(bytes.TrimSpace(a.Payload[len(termWord):]))
	delete(r.pending, a.Stream)
	r.record(func(o *consumer.Ops) { o.Term(a.Stream) })
	r.env.Advise(r.id, Event{Kind: EventTerminated, Stream: a.Stream, Consumer: p.consumer, Deliveries: p.deliveries, Reason: reason})
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
	r.env.Advise(r.id, Event{Kind: EventAckSample, Stream: a.Stream, Consumer: p.consumer, Deliveries: p.deliveries, Delay: now.UnixNano() - p.sent})
}
