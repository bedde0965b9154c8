package router

import (
	"time"
)

// Kind says where a message entered this node.
type Kind uint8

// The ways in.
const (
	// KindInternal is the server itself: JetStream, monitoring, events.
	KindInternal Kind = iota
	// KindClient is a client connected to this node.
	KindClient
	// KindRoute is another node of the cluster.
	KindRoute
)

func (k Kind) String() string {
	switch k {
	case KindInternal:
		return "Internal"
	case KindClient:
		return "Client"
	case KindRoute:
		return "Router"
	}
	return "Unknown"
}

// ClientInfo is what audit advisories and monitoring say about a client. It
// does not change after the client's CONNECT was accepted.
type ClientInfo struct {
	Start      time.Time // when the connection was accepted
	Host       string    // the client's address without port
	Port       int       // the client's port
	ID         uint64    // connection id, unique on this server
	Account    string
	User       string // user name, public nkey or "[REDACTED]" of a token; empty without authentication
	Name       string // as given in CONNECT
	Lang       string
	Version    string
	Kind       string // "Client"
	ClientType string // "nats"
	// RTT is how long the client took from the greeting to its CONNECT.
	RTT time.Duration
	// Service is the account that an imported request came through, if Account
	// imports from one that imports itself.
	Service string
}

// Client is the receiving end of a connected client's subscriptions.
type Client interface {
	Flusher
	// Receive queues m for the client as a message on sub and registers the
	// client with b so that it is flushed when the batch ends. It must not
	// block and must copy what it keeps of m. False: the client does not take
	// it (it is closing, or may not receive this subject).
	Receive(sub *Sub, b *Batch, m *Msg) bool
	// Ended tells that the router removed sub because it reached its limit.
	Ended(sub *Sub)
	// Describe says who the client is.
	Describe() *ClientInfo
}

// Source is where a message comes from. The zero value is the server itself.
type Source struct {
	kind   Kind
	noEcho bool
	client Client
	remote Remote
	batch  *Batch
	// info, if set, is all that may be known of the client: the message comes out
	// of another account. crossings counts the accounts that it left.
	info      *ClientInfo
	crossings uint8
	trace     *Trace // nil: not traced
}

// Internal is the source of messages that the server itself publishes.
var Internal = Source{}

// FromClient is the source of a client's messages. With noEcho its own
// subscriptions do not get them. The batch may be nil.
func FromClient(c Client, noEcho bool, b *Batch) Source {
	return Source{kind: KindClient, client: c, noEcho: noEcho, batch: b}
}

// FromRoute is the source of messages that another node forwarded.
func FromRoute(r Remote, b *Batch) Source {
	return Source{kind: KindRoute, remote: r, batch: b}
}

// InBatch is s with its receivers flushed when b ends instead of at once.
func (s Source) InBatch(b *Batch) Source {
	s.batch = b
	return s
}

// Traced is s for a message that is traced; nil for one that is not.
func (s Source) Traced(t *Trace) Source {
	s.trace = t
	return s
}

// Trace is the trace of the message; nil for one that is not traced.
func (s Source) Trace() *Trace { return s.trace }

// Kind says how the message entered this node.
func (s Source) Kind() Kind { return s.kind }

// Client describes the publishing client; nil when the message was not
// published by a client of this node. Of a request out of another account it may
// say no more than which.
func (s Source) Client() *ClientInfo {
	if s.info != nil {
		return s.info
	}
	if s.client == nil {
		return nil
	}
	return s.client.Describe()
}

// Crossed tells that the message comes out of another account.
func (s Source) Crossed() bool { return s.crossings > 0 }

// Remote is the peer that forwarded the message; nil for other kinds.
func (s Source) Remote() Remote { return s.remote }

// Batch is what the publisher flushes later; nil when receivers are flushed at
// once. A handler that publishes an answer on the same goroutine may pass it on.
func (s Source) Batch() *Batch { return s.batch }
