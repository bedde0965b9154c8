package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/machine"
	"weir/internal/router"
	"weir/internal/runner"
	"weir/internal/stream"
	"weir/internal/subject"
	"weir/internal/wire"
)

// feed copies the messages of one origin into a stream.
//
// It reads through a push consumer that it makes over the origin's API like any
// client, so that the origin may be led by any node, or belong to another domain.
// The consumer starts behind what was copied. Messages are numbered by the
// consumer: after a gap, a silence or a refusal the feed starts over with a new
// consumer. Flow control requests are answered when what came before them is
// stored, which bounds what waits here.
type feed struct {
	copier
	s          *Stream
	transforms []*subject.Transform
	origin     string // as stream.SourceHeader has it
	copied     string
	ctx        context.Context
	cancel     context.CancelFunc
	wake       chan struct{}
	// The rest down to mu is run's own.
	identity string  // of the origin, "" if it does not tell
	kept     string  // the consumer that the origin keeps, "" if it forgets it by itself
	unkept   string  // the last one that it forgets by itself
	stored   arrival // the last message of the consumer that is stored

	removed atomic.Bool // nobody goes on from where this feed ends

	mu      sync.Mutex
	queue   []arrival
	bytes   int
	next    uint64 // consumer sequence that is due
	broken  error  // why the feed has to start over
	heard   time.Time
	lag     uint64
	current bool          // the lag was small once
	failure *apierr.Error // what the origin's API said
}

// arrival is a message of the origin, or a flow control request to be answered.
type arrival struct {
	seq, pending uint64
	consumerSeq  uint64
	time         int64
	subject      string
	header, data []byte
	flow         string
}

const (
	feedBeat     = time.Second
	feedTimeout  = 5 * time.Second  // of an API request
	feedSilence  = 4 * feedBeat     // after which the consumer counts as gone
	feedInactive = 10 * time.Second // after which the origin drops the consumer
	maxFeedBytes = 64 << 20
)

func newFeed(s *Stream, key string, src *api.StreamSource, mirror bool) *feed {
	f := &feed{s: s, copier: copier{s.account, s.name, s.node.cfg.Domain, key, src, mirror}, wake: make(chan struct{}, 1)}
	f.ctx, f.cancel = context.WithCancel(s.node.ctx)
	f.origin, f.copied = stream.SourceHeader(src)
	for _, t := range src.SubjectTransforms {
		if tr, err := subject.NewTransform(t.Source, t.Destination); err == nil { // checked with the configuration
			f.transforms = append(f.transforms, tr)
		}
	}
	return f
}

// follow copies until something breaks.
func (f *feed) follow() error {
	var copied uint64
	f.s.View(func(m *machine.Machine) {
		copied, f.identity = m.Stream().CopiedUpTo(f.key), m.Stream().OriginIdentity(f.key)
	})
	f.mu.Lock()
	f.queue, f.bytes, f.next, f.broken = nil, 0, 1, nil
	f.mu.Unlock()
	f.stored = arrival{}
	deliver := f.deliverSubject()
	sub, err := f.s.node.cfg.Router.Subscribe(f.s.acc, deliver, "", f.take, router.SubOptions{})
	if err != nil {
		return err
	}
	defer f.s.node.cfg.Router.Unsubscribe(sub)
	origin, err := f.connect(deliver, copied)
	f.noteAnswer(origin, err)
	if errors.Is(err, apierr.JSConsumerStreamIdentityMismatchF("")) {
		return f.forget()
	}
	if err != nil {
		return err
	}
	if f.src.Consumer == nil {
		f.replaceConsumer(&origin)
	}
	if err := f.meet(&origin); err != nil {
		return err
	}
	return f.copy()
}

// forget has the messages of a stream that has the origin's name now come from the
// first on.
func (f *feed) forget() error {
	if err := f.propose(&machine.Meet{Origin: f.key}); err != nil {
		return err
	}
	return errOriginReplaced
}

var errOriginReplaced = errors.New("a new stream has the name of the origin")

// meet notes the origin's identity. Of a new origin in the place of the one that
// was copied the messages come from the first on, which is for a new consumer. A
// mirror notes where the origin begins: what is before it has no message that will
// come.
func (f *feed) meet(origin *originAnswer) error {
	known, c := f.identity, &machine.Meet{Origin: f.key, Identity: f.identity}
	if origin.identity != "" {
		c.Identity = origin.identity
	}
	if f.mirror && f.src.Consumer == nil {
		c.Before = origin.start()
	}
	last := f.s.store.Reader().State().LastSeq
	if c.Identity == known && c.Before <= last {
		return nil
	}
	f.identity = c.Identity
	if err := f.propose(c); err != nil || known == "" || known == c.Identity || f.mirror {
		return err
	}
	return errOriginReplaced
}

// noteAnswer keeps what the origin's API refused, for info, and how much is to be copied.
func (f *feed) noteAnswer(origin originAnswer, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failure = apierr.From(err)
	if err == nil {
		f.heard = f.s.node.cfg.Clock.Now()
		f.lagsLocked(origin.Pending)
	}
}

// smallLag is how many messages a mirror may be behind when it begins to answer
// direct gets for its origin.
const smallLag = 10

// lagsLocked notes how many messages are still to be copied.
func (f *feed) lagsLocked(n uint64) {
	f.lag = n
	f.current = f.current || n <= smallLag
}

// take is the handler of the deliver subject.
func (f *feed) take(_ *router.Sub, _ router.Source, m *router.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return
	}
	f.heard = f.s.node.cfg.Clock.Now()
	if code, _, ok := wire.Status(m.Header); ok && len(m.Payload) == 0 {
		f.takeStatusLocked(code, m)
	} else {
		f.takeMessageLocked(m)
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// takeStatusLocked takes a heartbeat or a flow control request.
func (f *feed) takeStatusLocked(code int, m *router.Msg) {
	switch last, isBeat := wire.GetHeader(m.Header, lastConsumerHeader); {
	case code != 100:
		f.broken = fmt.Errorf("status %d", code)
	case len(m.Reply) > 0:
		f.queue = append(f.queue, arrival{flow: string(m.Reply)})
	case isBeat:
		if stalled, ok := wire.GetHeader(m.Header, "Nats-Consumer-Stalled"); ok {
			f.queue = append(f.queue, arrival{flow: string(stalled)})
		}
		if n, err := strconv.ParseUint(string(last), 10, 64); err == nil && n+1 != f.next {
			f.broken = fmt.Errorf("the consumer is at %d, %d is due", n, f.next)
		}
	}
}

func (f *feed) takeMessageLocked(m *router.Msg) {
	a, err := parseArrival(string(m.Reply))
	switch {
	case err != nil:
		f.broken = err
	case a.consumerSeq == f.next || a.consumerSeq == 1: // a consumer that was reset starts over
		f.next = a.consumerSeq + 1
	case f.next == 1:
		return // on its way since before the consumer was reset
	default:
		f.broken = fmt.Errorf("message %d of the consumer, %d is due", a.consumerSeq, f.next)
	}
	size := len(m.Subject) + len(m.Header) + len(m.Payload) + 64
	if f.bytes += size; f.bytes > maxFeedBytes {
		f.broken = errors.New("too much waits to be stored")
	}
	if f.broken != nil {
		return
	}
	a.subject = string(m.Subject)
	a.header = append([]byte(nil), m.Header...)
	a.data = append([]byte(nil), m.Payload...)
	f.queue = append(f.queue, a)
}

// parseArrival reads the reply subject of a delivered message, in either version; behind the consumer come
// <deliveries>.<sseq>.<cseq>.<time>.<pending>[.<random>].
func parseArrival(reply string) (a arrival, err error) {
	s, ok := runner.ReadSubject(reply)
	t := strings.Split(s.Rest, ".")
	if !ok || len(t) < 5 {
		return a, fmt.Errorf("message with reply subject %q", reply)
	}
	var errs [4]error
	a.seq, errs[0] = strconv.ParseUint(t[1], 10, 64)
	a.consumerSeq, errs[1] = strconv.ParseUint(t[2], 10, 64)
	a.time, errs[2] = strconv.ParseInt(t[3], 10, 64)
	a.pending, errs[3] = strconv.ParseUint(t[4], 10, 64)
	return a, errors.Join(errs[:]...)
}

// copy stores what arrives.
func (f *feed) copy() error {
	beat := f.s.node.cfg.Clock.NewTicker(feedBeat)
	defer beat.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return f.ctx.Err()
		case <-beat.C():
		case <-f.wake:
		}
		f.mu.Lock()
		queue, broken := f.queue, f.broken
		f.queue = nil
		silent := f.s.node.cfg.Clock.Now().Sub(f.heard) > feedSilence
		f.mu.Unlock()
		if err := f.storeAll(queue); err != nil {
			return err
		}
		if broken != nil {
			return broken
		}
		if silent {
			return errors.New("nothing heard of the consumer")
		}
	}
}

// storeAll brings arrivals into the stream, a command at a time.
func (f *feed) storeAll(queue []arrival) error {
	for len(queue) > 0 {
		var body []byte
		n, bytes, last := 0, 0, f.stored
		for n < len(queue) && len(body) < maxBatchBytes {
			a := &queue[n]
			if n++; a.flow != "" {
				break
			}
			bytes += len(a.subject) + len(a.header) + len(a.data) + 64
			subj, hdr := f.rewrite(a)
			body = machine.AppendCopied(body, a.seq, a.time, subj, hdr, a.data)
			last = arrival{seq: a.seq, consumerSeq: a.consumerSeq}
		}
		if err := f.store(body); err != nil {
			return err
		}
		f.stored = last
		end := &queue[n-1]
		f.mu.Lock()
		f.bytes = max(f.bytes-bytes, 0)
		if end.flow == "" {
			f.lagsLocked(end.pending)
		}
		f.mu.Unlock()
		if end.flow != "" {
			f.confirm(end.flow, &f.stored)
		}
		queue = queue[n:]
	}
	return nil
}

func (f *feed) store(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	if e := f.s.checkRoom(0, 0, len(body)); e != nil { // it is offered again
		return e
	}
	return f.propose(&machine.Copy{Time: f.s.node.cfg.Clock.Now().UnixNano(), Origin: f.key, Body: body})
}

func (f *feed) propose(c machine.Command) error {
	ctx, cancel := context.WithTimeout(f.ctx, proposalTimeout)
	defer cancel()
	r, err := f.s.Propose(ctx, c)
	if err == nil && r.Err != nil {
		err = r.Err
	}
	return err
}

// rewrite gives a message the subject and headers that it is stored with. A
// sourced message tells where it comes from, and expects nothing of this stream.
func (f *feed) rewrite(a *arrival) (string, []byte) {
	subj := a.subject
	for _, t := range f.transforms {
		if to, ok := t.Apply(subj); ok {
			subj = to
			break
		}
	}
	hdr := a.header
	for _, name := range stream.PublisherHeaders {
		hdr = wire.DelHeader(hdr, name)
	}
	if f.mirror {
		return subj, hdr
	}
	from := f.origin + " " + strconv.FormatUint(a.seq, 10) + " " + f.copied + " " + a.subject
	if f.identity != "" {
		from += " " + f.identity
	}
	return subj, wire.SetHeader(hdr, "Nats-Stream-Source", from)
}
