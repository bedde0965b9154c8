package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/router"
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
	s          *Stream
	key        string
	src        *api.StreamSource
	mirror     bool
	transforms []*subject.Transform
	ctx        context.Context
	cancel     context.CancelFunc
	wake       chan struct{}
	identity   string // of the origin, "" if it does not tell; run's own

	mu      sync.Mutex
	queue   []arrival
	bytes   int
	next    uint64 // consumer sequence that is due; 0: any
	broken  error  // why the feed has to start over
	heard   time.Time
	lag     uint64
	current bool          // the lag was small once
	failure *apierr.Error // what the origin's API said
}

// arrival is a message of the origin, or a flow control request to be answered.
type arrival struct {
	seq, pending uint64
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
	f := &feed{s: s, key: key, src: src, mirror: mirror, wake: make(chan struct{}, 1)}
	f.ctx, f.cancel = context.WithCancel(s.node.ctx)
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
	if f.src.Consumer != nil {
		f.next = 0
	}
	f.mu.Unlock()
	deliver, name := f.deliverSubject(), nuid.Next()
	sub, err := f.s.node.cfg.Router.Subscribe(f.s.acc, deliver, "", f.take, router.SubOptions{})
	if err != nil {
		return err
	}
	defer f.s.node.cfg.Router.Unsubscribe(sub)
	var origin originAnswer
	if c := f.src.Consumer; c != nil {
		origin, err = f.restartConsumer(c.Name, copied)
	} else {
		origin, err = f.makeConsumer(name, deliver, copied)
		defer f.send("CONSUMER.DELETE."+f.src.Name+"."+name, newInbox(), nil)
	}
	f.noteAnswer(origin, err)
	if err == nil {
		err = f.meet(origin.identity)
	}
	if err != nil {
		return err
	}
	return f.copy()
}

// deliverSubject is where the origin's consumer delivers.
func (f *feed) deliverSubject() string {
	switch x := f.src.External; {
	case f.src.Consumer != nil:
		return f.src.Consumer.DeliverSubject
	case x != nil && x.DeliverPrefix != "":
		return x.DeliverPrefix + "." + nuid.Next()
	case f.mirror:
		return "$JS.M." + nuid.Next()
	}
	return "$JS.S." + nuid.Next()
}

var errOriginReplaced = errors.New("a new stream has the name of the origin")

// meet notes the origin's identity. Of a new origin in the place of the one that
// was copied the messages come from the first on, which is for a new consumer.
func (f *feed) meet(identity string) error {
	if identity == "" || identity == f.identity {
		return nil
	}
	known := f.identity
	f.identity = identity
	if err := f.propose(&machine.Meet{Origin: f.key, Identity: identity}); err != nil || known == "" || f.mirror {
		return err
	}
	return errOriginReplaced
}

// makeConsumer makes the consumer that delivers.
func (f *feed) makeConsumer(name, deliver string, copied uint64) (originAnswer, error) {
	cfg := api.ConsumerConfig{
		Name: name, DeliverSubject: deliver, AckPolicy: api.AckNone, ReplayPolicy: api.ReplayInstant,
		DeliverPolicy: api.DeliverAll, FlowControl: true, Heartbeat: feedBeat, InactiveThreshold: feedInactive,
		Direct: true, Replicas: 1, MemoryStorage: true, FilterSubject: f.src.FilterSubject,
	}
	switch {
	case copied > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = api.DeliverByStartSequence, copied+1
	case f.src.OptStartSeq > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = api.DeliverByStartSequence, f.src.OptStartSeq
	case f.src.OptStartTime != nil:
		cfg.DeliverPolicy, cfg.OptStartTime = api.DeliverByStartTime, f.src.OptStartTime
	}
	for _, t := range f.src.SubjectTransforms {
		if t.Source != "" && t.Source != ">" {
			cfg.FilterSubjects = append(cfg.FilterSubjects, t.Source)
		}
	}
	return f.ask("CONSUMER.CREATE."+f.src.Name+"."+name, api.ConsumerCreateRequest{Stream: f.src.Name, Config: cfg})
}

// restartConsumer has a consumer that was made beforehand go on behind what was copied.
func (f *feed) restartConsumer(name string, copied uint64) (originAnswer, error) {
	var req api.ConsumerResetRequest
	if copied > 0 {
		req.Seq = copied + 1
	}
	return f.ask("CONSUMER.RESET."+f.src.Name+"."+name, req)
}

// noteAnswer keeps what the origin's API refused, for info, and how much is to be copied.
func (f *feed) noteAnswer(origin originAnswer, err error) {
	var refused *apierr.Error
	errors.As(err, &refused)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failure = refused
	if err == nil {
		f.heard = f.s.node.cfg.Clock.Now()
		f.lagsLocked(origin.pending)
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

func newInbox() string { return "_INBOX." + nuid.Next() }

// send sends an API request; one without a reply subject nobody would answer.
func (f *feed) send(request, reply string, body []byte) {
	f.s.node.publish(f.s.acc, &router.Msg{Subject: []byte(f.apiPrefix() + request), Reply: []byte(reply), Header: askIdentity, Payload: body})
}

func (f *feed) apiPrefix() string {
	if x := f.src.External; x != nil && x.APIPrefix != "" {
		return x.APIPrefix + "."
	}
	return "$JS.API."
}

// confirm answers a flow control request. If the origin belongs to another account
// whose API is imported, but not its flow control, that account gets the answer
// all the same: who may make a consumer there may confirm what it sends.
func (f *feed) confirm(flow string) {
	acc, rt := f.s.acc, f.s.node.cfg.Router
	if strings.HasPrefix(flow, "$JS.FC.") && !rt.Imports(acc, flow) {
		acc = rt.ServiceAccount(acc, f.apiPrefix()+"CONSUMER.CREATE."+f.src.Name)
	}
	f.s.node.publish(acc, &router.Msg{Subject: []byte(flow)})
}

const identityHeader = "Nats-Stream-Identity"

var askIdentity = wire.HeaderBlock(identityHeader, "")

// originAnswer is what the answer to a request about a consumer tells.
type originAnswer struct {
	identity string // of the origin, if it tells
	pending  uint64 // messages that the consumer will deliver
}

// ask sends an API request about a consumer and waits for its answer.
func (f *feed) ask(request string, doc any) (origin originAnswer, err error) {
	body, err := json.Marshal(doc)
	if err != nil {
		return origin, err
	}
	answers := make(chan router.Msg, 1)
	inbox := newInbox()
	sub, err := f.s.node.cfg.Router.Subscribe(f.s.acc, inbox, "", func(_ *router.Sub, _ router.Source, m *router.Msg) {
		select {
		case answers <- router.Msg{Header: bytes.Clone(m.Header), Payload: bytes.Clone(m.Payload)}:
		default:
		}
	}, router.SubOptions{})
	if err != nil {
		return origin, err
	}
	defer f.s.node.cfg.Router.Unsubscribe(sub)
	f.send(request, inbox, body)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	defer f.s.node.cfg.Clock.AfterFunc(feedTimeout, cancel).Stop()
	select {
	case m := <-answers:
		var answer struct {
			Error   *apierr.Error `json:"error"`
			Pending uint64        `json:"num_pending"`
		}
		if err := json.Unmarshal(m.Payload, &answer); err != nil {
			return origin, fmt.Errorf("answer to %s: %w", request, err)
		}
		if answer.Error != nil {
			return origin, answer.Error
		}
		identity, _ := wire.GetHeader(m.Header, identityHeader)
		return originAnswer{identity: string(identity), pending: answer.Pending}, nil
	case <-ctx.Done():
		return origin, fmt.Errorf("no answer to %s", request)
	}
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
	switch last, isBeat := wire.GetHeader(m.Header, "Nats-Last-Consumer"); {
	case code != 100:
		f.broken = fmt.Errorf("status %d", code)
	case len(m.Reply) > 0:
		f.queue = append(f.queue, arrival{flow: string(m.Reply)})
	case isBeat:
		if stalled, ok := wire.GetHeader(m.Header, "Nats-Consumer-Stalled"); ok {
			f.queue = append(f.queue, arrival{flow: string(stalled)})
		}
		if n, err := strconv.ParseUint(string(last), 10, 64); err == nil && f.next != 0 && n+1 != f.next {
			f.broken = fmt.Errorf("the consumer is at %d, %d is due", n, f.next)
		}
	}
}

func (f *feed) takeMessageLocked(m *router.Msg) {
	a, cseq, err := parseArrival(string(m.Reply))
	switch {
	case err != nil:
		f.broken = err
	case f.next == 0 || cseq == f.next || f.src.Consumer != nil && cseq > f.next:
		f.next = cseq + 1
	default:
		f.broken = fmt.Errorf("message %d of the consumer, %d is due", cseq, f.next)
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

// parseArrival reads the reply subject of a delivered message:
// $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sseq>.<cseq>.<time>.<pending>[.<random>]
func parseArrival(reply string) (a arrival, cseq uint64, err error) {
	t := strings.Split(reply, ".")
	if len(t) >= 11 {
		t = t[2:]
	}
	if len(t) < 9 {
		return a, 0, fmt.Errorf("message with reply subject %q", reply)
	}
	var errs [4]error
	a.seq, errs[0] = strconv.ParseUint(t[5], 10, 64)
	cseq, errs[1] = strconv.ParseUint(t[6], 10, 64)
	a.time, errs[2] = strconv.ParseInt(t[7], 10, 64)
	a.pending, errs[3] = strconv.ParseUint(t[8], 10, 64)
	return a, cseq, errors.Join(errs[:]...)
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
		n, bytes := 0, 0
		for n < len(queue) && len(body) < maxBatchBytes {
			a := &queue[n]
			if n++; a.flow != "" {
				break
			}
			bytes += len(a.subject) + len(a.header) + len(a.data) + 64
			subj, hdr := f.rewrite(a)
			body = machine.AppendCopied(body, a.seq, a.time, subj, hdr, a.data)
		}
		if err := f.store(body); err != nil {
			return err
		}
		last := &queue[n-1]
		f.mu.Lock()
		f.bytes = max(f.bytes-bytes, 0)
		if last.flow == "" {
			f.lagsLocked(last.pending)
		}
		f.mu.Unlock()
		if last.flow != "" {
			f.confirm(last.flow)
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
	subj, filter, dest := a.subject, ">", ">"
	if f.src.FilterSubject != "" {
		filter = f.src.FilterSubject
	}
	for i, t := range f.transforms {
		if to, ok := t.Apply(subj); ok {
			subj, filter, dest = to, f.src.SubjectTransforms[i].Source, f.src.SubjectTransforms[i].Destination
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
	origin := f.src.Name
	if f.src.External != nil {
		origin += ":" + meta.PeerID(f.src.External.APIPrefix)
	}
	from := strings.Join([]string{origin, strconv.FormatUint(a.seq, 10), filter, dest, a.subject}, " ")
	if f.identity != "" {
		from += " " + f.identity
	}
	return subj, wire.SetHeader(hdr, "Nats-Stream-Source", from)
}
