// Package router takes a message from whoever publishes it to everybody who
// subscribed: clients of this node, internal handlers, and other nodes of the
// cluster. It has no sockets and no goroutines: everything runs on the
// publisher's goroutine, and receivers only queue.
//
// A message goes to every plain subscription of this node, once to each
// interested peer, and to one member of each queue group. Members on this node
// are preferred; without any, a peer is picked at random, weighted by its
// number of members.
package router

import (
	"maps"
	"sync"
	"sync/atomic"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/subject"
	"weir/internal/wire"
)

// Msg is one message on its way. Slices are borrowed: they are valid only
// during the call that passes the message.
type Msg = wire.Msg

// Router knows every subscription of this node and the interest of its peers.
// All methods are safe for concurrent use.
type Router struct {
	// spaces is replaced as a whole under mu, so that publishers look up
	// without a lock. Two pointers of one account name share one space.
	spaces  atomic.Pointer[map[*account.Account]*space]
	random  base.Random // chooses members of queue groups
	watcher atomic.Pointer[func(account, subject string)]
	// importing is nil unless ServeImports was called.
	importing *importing
	// tracing is nil unless ServeTraces was called.
	tracing *TraceEnv

	mu     sync.Mutex
	byName map[string]*space

	// interestMu orders changes of interest with what the listener hears.
	// It is taken before mu, never after.
	interestMu sync.Mutex
	listener   InterestListener
	interest   map[interestKey]int

	remoteMu sync.Mutex
	remotes  map[Remote]map[interestKey]*remoteInterest
}

// space is the subscriptions within one account.
type space struct {
	name   string
	local  subject.Index[*Sub]
	remote subject.Index[*remoteInterest]
	// services are the subjects under which the account imports services; set
	// before anybody publishes.
	services []string
}

type interestKey struct{ account, subject, queue string }

// New returns a router without subscriptions. The seed makes the choice of
// queue group members reproducible.
func New(seed uint64) *Router {
	r := &Router{
		byName:   make(map[string]*space),
		interest: make(map[interestKey]int),
		remotes:  make(map[Remote]map[interestKey]*remoteInterest),
	}
	r.random.Seed(seed)
	r.spaces.Store(&map[*account.Account]*space{})
	return r
}

func (r *Router) space(acc *account.Account) *space {
	if s := (*r.spaces.Load())[acc]; s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.namedLocked(acc.Name())
	spaces := maps.Clone(*r.spaces.Load())
	spaces[acc] = s
	r.spaces.Store(&spaces)
	return s
}

// named is the space of an account that a peer names.
func (r *Router) named(name string) *space {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.namedLocked(name)
}

func (r *Router) namedLocked(name string) *space {
	s := r.byName[name]
	if s == nil {
		s = &space{name: name}
		r.byName[name] = s
	}
	return s
}

// Publish routes m within acc and returns the number of receivers: local
// subscriptions plus peers that it was forwarded to. Without a batch in from,
// receivers are flushed before it returns.
func (r *Router) Publish(acc *account.Account, from Source, m *Msg) (delivered int) {
	return r.route(r.space(acc), &from, m)
}

// HasInterest tells whether a message on the literal subject would reach a
// subscription, here or on a peer.
func (r *Router) HasInterest(acc *account.Account, literal string) bool {
	s := r.space(acc)
	return s.local.HasInterest(literal) || s.remote.HasInterest(literal)
}

// HasGroup tells whether a queue group has a member for the literal subject, here
// or on a peer.
func (r *Router) HasGroup(acc *account.Account, literal, queue string) bool {
	s := r.space(acc)
	return hasGroup(s.local.Match(literal), queue) || hasGroup(s.remote.Match(literal), queue)
}

// NumSubscriptions is the number of subscriptions on this node, internal ones
// included.
func (r *Router) NumSubscriptions() int {
	n := 0
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.byName {
		n += s.local.Len()
	}
	return n
}
