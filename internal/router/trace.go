package router

import (
	"bytes"
	"strconv"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/subject"
	"weir/internal/wire"
)

// # Traces
//
// A message with a Nats-Trace-Dest header is followed on its way (ADR-41): each server
// that it passes sends one document to that subject, in the account of the publisher,
// with an event for everything that happened to the message there. Between servers the
// message carries the header Nats-Trace-Hop: "1", "2" to the peers of the first server,
// which says how many there are, so that documents can be put together.
//
// A document is sent when the message has been routed and every stream that took it has
// said what became of it. The trace of a message that a stream loses with its leader is
// lost as well.
//
// With Nats-Trace-Only the events say what would have happened: nobody gets the message
// but peers, and streams, which are told by Trace.Only.
//
// A trace ends where a message leaves its account.

// Headers of traced messages.
const (
	traceDestHeader = "Nats-Trace-Dest"
	traceOnlyHeader = "Nats-Trace-Only"
	traceHopHeader  = "Nats-Trace-Hop"
	// traceDisabled in the place of a destination is no subject.
	traceDisabled = "trace disabled"
)

var traceDest = []byte(traceDestHeader)

// TraceEnv is what traces need of the server.
type TraceEnv struct {
	Clock base.Clock
	// Peer is the number of the connection to a peer, and its name.
	Peer func(Remote) (id uint64, name string)
	// Send publishes a document on a subject of an account.
	Send func(account, dest string, doc *TraceDocument)
}

// TraceDocument is what one server tells of a message.
type TraceDocument struct {
	Request TraceRequest `json:"request"`
	// Hops is the number of peers that the message was forwarded to.
	Hops   int   `json:"hops,omitempty"`
	Events []any `json:"events"`
}

// TraceRequest is the message as it came. Size is of header and payload in bytes.
type TraceRequest struct {
	Header map[string][]string `json:"header"`
	Size   int                 `json:"msgsize"`
}

// The kinds of connections in events.
const (
	traceClient = 0
	traceRouter = 1
)

type traceEvent struct {
	Type string    `json:"type"`
	Time time.Time `json:"ts"`
}

type ingressEvent struct {
	traceEvent
	Kind    int    `json:"kind"`
	CID     uint64 `json:"cid"`
	Name    string `json:"name,omitempty"`
	Account string `json:"acc"`
	Subject string `json:"subj"`
	Error   string `json:"error,omitempty"`
}

// mappedEvent is a mapping ("sm"), or a stream that another account imports ("se").
type mappedEvent struct {
	traceEvent
	Account string `json:"acc,omitempty"`
	To      string `json:"to"`
}

type serviceEvent struct {
	traceEvent
	Account string `json:"acc"`
	From    string `json:"from"`
	To      string `json:"to"`
}

type streamEvent struct {
	traceEvent
	Stream     string `json:"stream"`
	Subject    string `json:"subject,omitempty"`
	NoInterest bool   `json:"nointerest,omitempty"`
	Error      string `json:"error,omitempty"`
}

type egressEvent struct {
	traceEvent
	Kind  int    `json:"kind"`
	CID   uint64 `json:"cid"`
	Name  string `json:"name,omitempty"`
	Hop   string `json:"hop,omitempty"`
	Sub   string `json:"sub,omitempty"`
	Queue string `json:"queue,omitempty"`
	Error string `json:"error,omitempty"`
}

// Trace is the document of one message in the making. A nil Trace is that of a message
// that is not traced.
type Trace struct {
	env     *TraceEnv
	account string
	dest    string
	hop     string // of this server; empty for the first one
	only    bool
	ingress *ingressEvent

	mu      sync.Mutex
	doc     TraceDocument
	pending int // the way of the message itself, and streams that have not said yet
}

// ServeTraces has messages traced that ask for it. Call it once, before anybody
// publishes.
func (r *Router) ServeTraces(env TraceEnv) { r.tracing = &env }

// BeginTrace returns the trace of a message that a client or a peer sent, or nil if it
// does not ask for one. End has to be called when it has been routed.
func (r *Router) BeginTrace(account string, from *Source, m *Msg) *Trace {
	if r.tracing == nil || !HasTrace(m.Header) {
		return nil
	}
	dest, _ := wire.GetHeader(m.Header, traceDestHeader)
	if !subject.ValidLiteral(string(dest)) {
		return nil
	}
	t := &Trace{env: r.tracing, account: account, dest: string(dest), pending: 1}
	t.doc.Request = TraceRequest{Header: map[string][]string{}, Size: len(m.Header) + len(m.Payload)}
	wire.VisitHeaders(m.Header, func(key, value []byte) bool {
		t.doc.Request.Header[string(key)] = append(t.doc.Request.Header[string(key)], string(value))
		return true
	})
	if only, ok := wire.GetHeader(m.Header, traceOnlyHeader); ok {
		switch string(bytes.ToLower(only)) {
		case "1", "true", "on":
			t.only = true
		}
	}
	t.ingress = &ingressEvent{traceEvent: t.event("in"), Account: account, Subject: string(m.Route())}
	if from.kind == KindRoute {
		hop, _ := wire.GetHeader(m.Header, traceHopHeader)
		t.hop, t.ingress.Kind = string(hop), traceRouter
		t.ingress.CID, t.ingress.Name = t.env.Peer(from.remote)
	} else if c := from.Client(); c != nil {
		t.ingress.CID, t.ingress.Name = c.ID, c.Name
	}
	t.doc.Events = append(t.doc.Events, t.ingress)
	return t
}

// HasTrace tells whether a header block may ask for a trace.
func HasTrace(header []byte) bool { return bytes.Contains(header, traceDest) }

// WithoutTrace is a header block under which nobody traces a message any more: for
// messages that are kept, or leave their account.
func WithoutTrace(header []byte) []byte {
	if !HasTrace(header) {
		return header
	}
	return wire.SetHeader(wire.DelHeader(header, traceHopHeader), traceDestHeader, traceDisabled)
}

// Dest is the subject that documents go to.
func (t *Trace) Dest() string { return t.dest }

// Only tells that the message is to be traced and not to be delivered.
func (t *Trace) Only() bool { return t != nil && t.only }

func (t *Trace) event(kind string) traceEvent { return traceEvent{kind, t.env.Clock.Now().UTC()} }

func (t *Trace) add(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doc.Events = append(t.doc.Events, event)
}

// Refused notes that the publisher may not publish the message.
func (t *Trace) Refused(text string) {
	if t != nil {
		t.ingress.Error = text
	}
}

// Mapped notes that the message goes to another subject than it was published on.
func (t *Trace) Mapped(to string) {
	if t != nil {
		t.add(&mappedEvent{traceEvent: t.event("sm"), To: to})
	}
}

// exported notes that the message left its account for subscriptions of another one.
func (t *Trace) exported(account, to string) {
	t.add(&mappedEvent{traceEvent: t.event("se"), Account: account, To: to})
}

// requested notes that the message left its account for a service of another one.
func (t *Trace) requested(account, from, to string) {
	t.add(&serviceEvent{traceEvent: t.event("si"), Account: account, From: from, To: to})
}

// delivered notes that a client got the message, or why it did not.
func (t *Trace) delivered(s *Sub, failure string) {
	e := &egressEvent{traceEvent: t.event("eg"), Kind: traceClient, Sub: s.Subject, Queue: s.Queue, Error: failure}
	if c := s.client.Describe(); c != nil {
		e.CID, e.Name = c.ID, c.Name
	}
	t.add(e)
}

// forward notes that the message goes to a peer, and returns it as that has to get it.
func (t *Trace) forward(peer Remote, m *Msg) *Msg {
	id, name := t.env.Peer(peer)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doc.Hops++
	hop := strconv.Itoa(t.doc.Hops)
	if t.hop != "" {
		hop = t.hop + "." + hop
	}
	t.doc.Events = append(t.doc.Events, &egressEvent{traceEvent: t.event("eg"), Kind: traceRouter, CID: id, Name: name, Hop: hop})
	out := *m
	out.Header = wire.SetHeader(m.Header, traceHopHeader, hop)
	return &out
}

// End tells that the message has been routed.
func (t *Trace) End() { t.done(nil) }

// done takes one of the pending off, with its event if it has one. The last one sends
// the document.
func (t *Trace) done(event any) {
	t.mu.Lock()
	if event != nil {
		t.doc.Events = append(t.doc.Events, event)
	}
	t.pending--
	last := t.pending == 0
	t.mu.Unlock()
	if last {
		t.env.Send(t.account, t.dest, &t.doc)
	}
}

// StreamTrace is a stream's part of a trace. A nil one is that of a message that is not
// traced.
type StreamTrace struct {
	trace *Trace
	name  string
}

// Stream says that a stream takes the message: it has to call one of the methods of
// what it gets, from any goroutine, without holding what publishing needs.
func (t *Trace) Stream(name string) *StreamTrace {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending++
	return &StreamTrace{t, name}
}

// Stored tells under which subject the stream has the message, or that nobody was
// interested in it.
func (s *StreamTrace) Stored(subject string, interest bool) {
	if s != nil {
		s.trace.done(&streamEvent{traceEvent: s.trace.event("js"), Stream: s.name, Subject: subject, NoInterest: !interest})
	}
}

// Failed tells why the stream does not have it.
func (s *StreamTrace) Failed(text string) {
	if s != nil {
		s.trace.done(&streamEvent{traceEvent: s.trace.event("js"), Stream: s.name, Error: text})
	}
}
