package router

import (
	"sync/atomic"

	"weir/internal/account"
)

// Handler takes a message for an internal subscription. It runs on the
// publisher's goroutine, must not block, and must copy what it keeps of m.
type Handler func(sub *Sub, from Source, m *Msg)

// SubOptions are the options of an internal subscription.
type SubOptions struct {
	// Local subscriptions get only what clients of this node or the node
	// itself publish, and are not made known to other nodes.
	Local bool
	// Traces subscriptions look after the traces of what they get, and get what is only
	// to be traced, too.
	Traces bool
}

// Sub is one subscription: of a client, or internal with a handler.
type Sub struct {
	// Subject, Queue and SID are as subscribed; Queue is empty for a plain
	// subscription, SID for an internal one. They never change.
	Subject, Queue, SID string
	// Filtered is the client's own note that it has to check each message.
	Filtered bool

	sid     []byte // SID as written in each message
	acc     *account.Account
	space   *space
	client  Client  // nil for an internal subscription
	handler Handler // nil for a client's subscription
	local   bool
	traces  bool

	// A shadow listens in the account that exports a stream for the subscription
	// that it is of, which has it among its shadows.
	of      *Sub
	stream  *account.StreamImport
	shadows []*Sub // guarded by the router's interestMu
	// service takes messages into another account.
	service *account.ServiceImport

	// delivered counts messages handed over; limit is the count after which
	// the subscription ends, 0 for none.
	delivered atomic.Int64
	limit     atomic.Int64
	closed    atomic.Bool
}

// Account is the account that the subscription listens in.
func (s *Sub) Account() *account.Account { return s.acc }

// WireSID is SID for encoding; not to be changed.
func (s *Sub) WireSID() []byte { return s.sid }

// Delivered is the number of messages that the subscription got.
func (s *Sub) Delivered() int64 { return s.delivered.Load() }

// Limit is the number of messages after which the subscription ends; 0: none.
func (s *Sub) Limit() int64 { return s.limit.Load() }

// Closed tells whether the subscription was removed.
func (s *Sub) Closed() bool { return s.closed.Load() }
