package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nuid"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/router"
	"weir/internal/wire"
)

// What a feed asks of its origin's API.

// connect has the origin deliver what is behind the origin's sequence copied, through a consumer that this makes or one
// that was made beforehand.
func (f *feed) connect(deliver string, copied uint64) (originAnswer, error) {
	if c := f.src.Consumer; c != nil {
		// The consumer goes on behind what was confirmed to it: a stream without limits
		// keeps what nobody confirms.
		origin, err := f.ask("CONSUMER.RESET."+f.src.Name+"."+c.Name, api.ConsumerResetRequest{})
		if err == nil && origin.Config.AckPolicy != api.AckFlowControl {
			err = f.needsFlowControl()
		}
		return origin, err
	}
	return f.makeConsumer(deliver, copied)
}

func (f *feed) needsFlowControl() *apierr.Error {
	if f.mirror {
		return apierr.JSMirrorConsumerRequiresAckFCErr
	}
	return apierr.JSSourceConsumerRequiresAckFCErr
}

// makeConsumer makes the consumer that delivers. The origin makes it a durable one that it keeps if it drops what was
// delivered (ADR-60).
func (f *feed) makeConsumer(deliver string, copied uint64) (originAnswer, error) {
	cfg := f.consumer(deliver, copied)
	request := "CONSUMER.CREATE." + f.src.Name
	if cfg.FilterSubject != "" {
		request += "." + cfg.Name + "." + cfg.FilterSubject
	}
	return f.ask(request, api.ConsumerCreateRequest{Stream: f.src.Name, Config: cfg})
}

// replaceConsumer drops the consumer that was read through before. It was left until there is another one, as an origin whose retention
// changes meanwhile knows by it what is still to be copied.
func (f *feed) replaceConsumer(origin *originAnswer) {
	if f.unkept != origin.Name {
		f.dropConsumer(f.unkept)
	}
	if f.kept, f.unkept = origin.Config.Durable, ""; f.kept == "" {
		f.unkept = origin.Name
	}
}

// dropConsumer deletes a consumer that was made here.
func (f *feed) dropConsumer(name string) {
	if name != "" {
		f.send("CONSUMER.DELETE."+f.src.Name+"."+name, newInbox(), nil, nil)
	}
}

func newInbox() string { return "_INBOX." + nuid.Next() }

// send sends an API request; one without a reply subject nobody would answer.
func (f *feed) send(request, reply string, header, body []byte) {
	f.s.node.publish(f.s.acc, &router.Msg{Subject: []byte(f.apiPrefix() + request), Reply: []byte(reply), Header: header, Payload: body})
}

// confirm answers a flow control request: everything up to the origin's message last is stored. If the origin belongs to another
// account whose API is imported, but not its flow control, that account gets the answer all the same: who may make a
// consumer there may confirm what it sends.
func (f *feed) confirm(flow string, last *arrival) {
	acc, rt := f.s.acc, f.s.node.cfg.Router
	if strings.HasPrefix(flow, "$JS.FC.") && !rt.Imports(acc, flow) {
		acc, _ = rt.Service(acc, f.apiPrefix()+"CONSUMER.CREATE."+f.src.Name)
	}
	var header []byte
	if last.seq > 0 {
		header = wire.HeaderBlock(lastStreamHeader, strconv.FormatUint(last.seq, 10), lastConsumerHeader, strconv.FormatUint(last.consumerSeq, 10))
	}
	f.s.node.publish(acc, &router.Msg{Subject: []byte(flow), Header: header})
}

const (
	identityHeader     = "Nats-Stream-Identity"
	lastStreamHeader   = "Nats-Last-Stream"
	lastConsumerHeader = "Nats-Last-Consumer"
)

// originAnswer is what the answer to a request about a consumer tells.
type originAnswer struct {
	identity  string             // of the origin, if it tells
	Name      string             `json:"name"` // of the consumer
	Config    api.ConsumerConfig `json:"config"`
	Delivered api.SequenceInfo   `json:"delivered"`
	Pending   uint64             `json:"num_pending"` // messages that the consumer will deliver
}

// start is a sequence of the origin up to which there is nothing to be copied, 0 if that is not known.
func (o *originAnswer) start() uint64 {
	if o.Delivered.Consumer > 0 {
		return 0
	}
	return o.Delivered.Stream
}

// ask sends an API request about a consumer and waits for its answer.
func (f *feed) ask(request string, doc any) (originAnswer, error) {
	body, err := json.Marshal(doc)
	if err != nil {
		return originAnswer{}, err
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
		return originAnswer{}, err
	}
	defer f.s.node.cfg.Router.Unsubscribe(sub)
	known := f.identity
	if f.mirror {
		known = "" // it goes on, as its sequences are the origin's
	}
	f.send(request, inbox, wire.HeaderBlock(identityHeader, known), body)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	defer f.s.node.cfg.Clock.AfterFunc(feedTimeout, cancel).Stop()
	select {
	case m := <-answers:
		return readAnswer(request, &m)
	case <-ctx.Done():
		return originAnswer{}, fmt.Errorf("no answer to %s", request)
	}
}

func readAnswer(request string, m *router.Msg) (origin originAnswer, err error) {
	var answer struct {
		Error *apierr.Error `json:"error"`
		originAnswer
	}
	if err := json.Unmarshal(m.Payload, &answer); err != nil {
		return origin, fmt.Errorf("answer to %s: %w", request, err)
	}
	origin = answer.originAnswer
	identity, _ := wire.GetHeader(m.Header, identityHeader)
	origin.identity = string(identity)
	if answer.Error != nil {
		return origin, answer.Error
	}
	return origin, nil
}
