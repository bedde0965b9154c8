// Package jsapi answers the requests of the JetStream API: one file a subject
// that says what is supported. Requests come from jetstream.Node, which takes
// them off this node's clients or gets them forwarded; each is decoded,
// authorised, sent on to the node that answers it, or answered here. The
// package also dresses what happens in JetStream as advisories.
package jsapi

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/router"
)

// Config is what the API needs of the server. All fields but Cluster and Domain
// are required.
type Config struct {
	Name     string // of the server
	ServerID string // that clients see
	Cluster  string // empty: not clustered
	Domain   string
	Limits   Limits

	Router   *router.Router
	Accounts *account.Registry
	Logger   base.Logger
	Clock    base.Clock
}

// Limits are the server's for every account; 0 is none, or the default.
type Limits struct {
	MaxAckPending, MaxRequestBatch int           // of a consumer
	DuplicateWindow                time.Duration // of a stream
	// RequestQueue is how many requests that change something wait at most, by
	// default 10,000; InfoQueue is the same for those that only read, by default as many.
	RequestQueue, InfoQueue int
}

func (l *Limits) requestQueue() int { return cmp.Or(l.RequestQueue, 10_000) }

func (l *Limits) infoQueue() int { return cmp.Or(l.InfoQueue, l.requestQueue()) }

// locator says where requests are answered; *jetstream.Node is one.
type locator interface {
	MetaLeader() jetstream.Place
	CatchUpMeta()
	StreamLeader(account, stream string) jetstream.Place
	ConsumerRunner(account, stream, consumer string) jetstream.Place
	KnowsRunner(account, stream, consumer string) bool
	FindRunner(account, stream, consumer string, done func())
	DirectReader(account, stream string, originOnly bool) jetstream.Place
	Stream(account, stream string) *jetstream.Stream
	Peers() []base.NodeID
	Forward(to base.NodeID, r *jetstream.Request) error
}

// Service answers API requests on one node.
//
// A request passes: Handle, on the goroutine of the client or link that it came
// by → a queue → a worker, which looks where it belongs and answers, forwards or
// holds it. What changes something goes through one worker per stream name, so
// that a client's requests about a stream are proposed in the order in which it
// sent them; what only reads may overtake, and what waits for other nodes has
// workers of its own. Pulls, acks and flow control replies
// skip the queues. Nobody known to answer: the request is held and tried again.
type Service struct {
	cfg  Config
	node *jetstream.Node
	at   locator // node, but for tests

	writers []chan func() // by hash of the stream
	readers chan func()
	waiting chan func() // calls that wait for other nodes
	held    *holder
	lines   lines
	creates turns // of push consumers
	limits  limitAdvisor
	stats   stats

	snapshots atomic.Int32 // backups being sent

	stop     chan struct{}
	wg       sync.WaitGroup
	stopping sync.Mutex // held while stop is closed or wg grows
}

var _ jetstream.Events = (*Service)(nil)

// The workers of the queues behind the network. Limits bounds those of writers and
// readers.
const (
	numWriters  = 4
	numReaders  = 4
	numWaiters  = 16
	waitBacklog = 1000
)

// New returns the API of a node, at work, and makes it the one that gets the
// node's requests and events. Call it before the node starts; Stop ends it.
func New(node *jetstream.Node, cfg Config) *Service {
	s := newService(node, cfg)
	s.node = node
	node.SetRequestHandler(s.Handle)
	node.SetEvents(s)
	s.start()
	return s
}

func newService(at locator, cfg Config) *Service {
	s := &Service{cfg: cfg, at: at, readers: make(chan func(), cfg.Limits.infoQueue()), waiting: make(chan func(), waitBacklog), stop: make(chan struct{})}
	perWriter := (cfg.Limits.requestQueue() + numWriters - 1) / numWriters
	for range numWriters {
		s.writers = append(s.writers, make(chan func(), perWriter))
	}
	s.creates.limit = perWriter
	s.held = &holder{svc: s}
	s.lines.svc = s
	return s
}

func (s *Service) start() {
	for _, q := range s.writers {
		s.wg.Go(func() { s.work(q) })
	}
	for range numReaders {
		s.wg.Go(func() { s.work(s.readers) })
	}
	for range numWaiters {
		s.wg.Go(func() { s.work(s.waiting) })
	}
}

// Stop ends all work; requests that wait are dropped.
func (s *Service) Stop() {
	s.stopping.Lock()
	close(s.stop)
	s.stopping.Unlock()
	s.held.stop()
	s.wg.Wait()
}

func (s *Service) work(q <-chan func()) {
	for {
		select {
		case <-s.stop:
			return
		case f := <-q:
			f()
		}
	}
}

// Handle takes a request that arrived at this node. It does not block.
func (s *Service) Handle(r *jetstream.Request) {
	if r.Since.IsZero() {
		r.Since = s.cfg.Clock.Now()
	}
	if r.Origin != 0 && r.Hops == 0 {
		stripMarker(r)
	}
	s.dispatch(r, false)
}

// dispatch sends a request on its way. waited: it was held since it was last
// tried.
func (s *Service) dispatch(r *jetstream.Request, waited bool) {
	if h, ok := parseHot(r.Subject); ok {
		s.hot(r, h, waited)
		return
	}
	c := s.newCall(r)
	if c == nil {
		return
	}
	c.waited = waited
	if !s.enqueue(c.endpoint.queue(s, c), c.route) {
		s.limits.dropped(s)
	}
}

// enqueue hands work to a queue; false when it is full.
func (s *Service) enqueue(q chan<- func(), f func()) bool {
	select {
	case q <- f:
		return true
	default:
		return false
	}
}

// later runs f on a reader, for work that does not belong on the goroutine of a
// Raft group. With all of them behind it runs here.
func (s *Service) later(f func()) {
	if !s.enqueue(s.readers, f) {
		f()
	}
}

// spawn runs f on a goroutine of its own, which Stop waits for; f ends when stop
// is closed. After Stop it does nothing and returns false.
func (s *Service) spawn(f func()) bool {
	s.stopping.Lock()
	defer s.stopping.Unlock()
	select {
	case <-s.stop:
		return false
	default:
		s.wg.Go(f)
		return true
	}
}

// lifetime is a context that ends when the service stops; the caller cancels it.
func (s *Service) lifetime() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s.spawn(func() {
		select {
		case <-s.stop:
			cancel(errStopped)
		case <-ctx.Done():
		}
	})
	return ctx, func() { cancel(nil) }
}
