package jsapi

import (
	"bytes"
	"strings"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/machine"
	"weir/internal/router"
	"weir/internal/runner"
	"weir/internal/wire"
)

// hotKind is a kind of request that skips the queues.
type hotKind byte

const (
	pull hotKind = iota + 1
	ack
	flowReply
)

// hotRequest is what the subject of a pull, ack or flow control reply says.
type hotRequest struct {
	kind             hotKind
	scope            string // of acks and flow control replies in their second version
	stream, consumer string
	numbers          string // of an ack, behind the consumer
}

// parseHot reads the subject of a request; false for those of the API proper.
func parseHot(subj string) (h hotRequest, ok bool) {
	if rest, ok := strings.CutPrefix(subj, nextPrefix); ok {
		h.kind = pull
		h.stream, rest, _ = strings.Cut(rest, ".")
		h.consumer, h.numbers, _ = strings.Cut(rest, ".")
		return h, true
	}
	s, ok := runner.ReadSubject(subj)
	if !ok {
		return h, false
	}
	h = hotRequest{kind: ack, scope: s.Scope, stream: s.Stream, consumer: s.Consumer, numbers: s.Rest}
	if s.Flow {
		h.kind = flowReply
	}
	return h, true
}

// hot hands a pull, ack or flow control reply to the consumer's runner, here or
// on another node. It runs on the goroutine of a client or link.
func (s *Service) hot(r *jetstream.Request, h hotRequest, waited bool) {
	switch {
	case h.consumer == "":
	case !s.mine(r, h):
		s.noResponders(r)
	case !h.pulls(r):
		if !s.tryHot(r, h, waited) {
			s.hold(r)
		}
	case waited:
		s.advance(r, h)
	case s.lines.join(r, h), s.locate(r, h), s.tryHot(r, h, false):
	case s.lines.begin(r, h) && !s.held.add(r):
		s.behind(r, h)
	}
}

// mine tells whether a subject of the second version names this domain and the
// account of the request. Those of other nodes' clients were looked at there.
func (s *Service) mine(r *jetstream.Request, h hotRequest) bool {
	if h.scope == "" || r.Hops > 0 {
		return true
	}
	acc := s.cfg.Accounts.Account(r.Account)
	return acc != nil && h.scope == runner.Scope(s.cfg.Domain, acc.Hash())
}

// pulls tells whether a request is for messages, so that its place among others
// matters: a pull, or an ack that asks for the next message.
func (h hotRequest) pulls(r *jetstream.Request) bool {
	return h.kind == pull || h.kind == ack && r.Reply != "" && bytes.HasPrefix(r.Body, nextWord)
}

var nextWord = []byte("+NXT")

// locate has the first pull of a client here find out where the consumer runs before
// it is sent. If it were sent to somebody who knows, it would come back with the
// answer, and a pull that comes meanwhile would overtake it. False: that is known.
func (s *Service) locate(r *jetstream.Request, h hotRequest) bool {
	if r.Hops > 0 || s.at.KnowsRunner(r.Account, h.stream, h.consumer) {
		return false
	}
	if s.lines.begin(r, h) {
		s.at.FindRunner(r.Account, h.stream, h.consumer, func() { s.advance(r, h) })
	}
	return true
}

// advance tries a pull again that was held, then those behind it until one has to be
// held.
func (s *Service) advance(r *jetstream.Request, h hotRequest) {
	now := s.cfg.Clock.Now()
	for r != nil {
		switch {
		case s.tryHot(r, h, true):
		case s.timeLeft(r, now) <= 0:
			s.noResponders(r)
		case s.held.add(r):
			return
		}
		if r = s.lines.next(r, h); r != nil {
			h, _ = parseHot(r.Subject) // those behind may be of the other kind
		}
	}
}

// behind goes on with the pulls behind one that is no longer held.
func (s *Service) behind(r *jetstream.Request, h hotRequest) {
	if next := s.lines.next(r, h); next != nil {
		h, _ = parseHot(next.Subject)
		s.advance(next, h)
	}
}

// tryHot hands a request on; false when it has to be held.
func (s *Service) tryHot(r *jetstream.Request, h hotRequest, waited bool) bool {
	place := s.finally(r.Account, h.stream, s.at.ConsumerRunner(r.Account, h.stream, h.consumer))
	switch {
	case place.Here:
		st := s.at.Stream(r.Account, h.stream)
		return st != nil && s.run(st, r, h)
	case place.Missing:
		if h.kind != flowReply {
			s.noResponders(r)
		}
	default:
		return s.sent(r, place.Node, waited)
	}
	return true
}

// run gives a request to the runner on this node; false when there is none yet.
func (s *Service) run(st *jetstream.Stream, r *jetstream.Request, h hotRequest) bool {
	run := st.Runner(h.consumer)
	if run == nil {
		return false
	}
	switch h.kind {
	case pull:
		if levelTooHigh(r) {
			s.status(r, wire.StatusBlock(412, "Required Api Level"))
		} else {
			run.Pull(runner.PullRequest{Reply: r.Reply, Body: r.Body})
		}
	case ack:
		if r.Reply != "" && !takesAcks(st, h.consumer) {
			s.noResponders(r)
			return true
		}
		a, ok := runner.ParseAckTokens(h.numbers)
		if !ok {
			return true // not an ack: nobody's
		}
		a.Reply, a.Payload = r.Reply, r.Body
		run.Ack(a)
	case flowReply:
		run.FlowReply(r.Subject, r.Header)
	}
	return true
}

// takesAcks tells whether a consumer listens to acks at all: one with ack policy none does not.
func takesAcks(st *jetstream.Stream, name string) (ok bool) {
	st.View(func(m *machine.Machine) {
		c := m.Consumer(name)
		ok = c == nil || c.Config.AckPolicy != api.AckNone
	})
	return ok
}

// noResponders tells a client that nobody answers its request, as the protocol
// does for a subject without subscriptions.
func (s *Service) noResponders(r *jetstream.Request) {
	s.status(r, wire.StatusBlock(503, "", "Nats-Subject", r.Subject))
}

// status answers with a header and nothing else.
func (s *Service) status(r *jetstream.Request, header []byte) {
	acc := s.cfg.Accounts.Account(r.Account)
	if acc == nil || r.Reply == "" {
		return
	}
	s.cfg.Router.Publish(acc, router.Internal, &router.Msg{Subject: []byte(r.Reply), Header: header})
}
