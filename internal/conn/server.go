// Package conn is the clients' way in: the TCP listener, and for each client a
// reader that parses and routes and a writer that sends what others queued.
package conn

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/router"
)

// ErrServerClosed is returned for what a server that was shut down cannot do.
var ErrServerClosed = errors.New("server closed")

// Server accepts clients. Start listens; Shutdown ends everything that Start and
// the clients have begun.
type Server struct {
	config   atomic.Pointer[Config] // replaced as a whole under mu
	registry *account.Registry
	router   *router.Router
	logger   base.Logger
	clock    base.Clock
	start    time.Time
	lastID   atomic.Uint64

	mu          sync.Mutex
	listener    net.Listener
	clients     map[uint64]*client
	closed      closedRing
	connectURLs []string
	lameDuck    bool
	shutdown    bool
	accounts    map[*account.Account]*accountStats
	userInfo    map[*account.Account]*router.Sub

	// telling is held from making INFO until it is queued, so that what a client hears
	// last is what holds. It is taken before mu.
	telling sync.Mutex

	// running is the accept loop and both goroutines of each client.
	running sync.WaitGroup

	inMsgs, inBytes   atomic.Int64
	goneOutMsgs       atomic.Int64 // of connections that have ended
	goneOutBytes      atomic.Int64
	totalConnections  atomic.Int64
	subscriptions     atomic.Int64
	slowConsumers     atomic.Int64
	staleConnections  atomic.Int64
	stalledClients    atomic.Int64
	userInfoSequences atomic.Uint64
}

// NewServer returns a server that does not listen yet. In-process connections
// work at once.
func NewServer(config Config, registry *account.Registry, r *router.Router, logger base.Logger, clock base.Clock) *Server {
	s := &Server{
		registry: registry, router: r, logger: logger, clock: clock,
		start:    clock.Now(),
		clients:  make(map[uint64]*client),
		accounts: make(map[*account.Account]*accountStats),
		userInfo: make(map[*account.Account]*router.Sub),
	}
	config = config.withDefaults()
	s.config.Store(&config)
	s.closed.limit = s.cfg().Limits.MaxClosedClients
	return s
}

func (s *Server) cfg() *Config { return s.config.Load() }

// Start listens and accepts clients until Shutdown.
func (s *Server) Start() error {
	at := net.JoinHostPort(s.cfg().Host, strconv.Itoa(max(s.cfg().Port, 0)))
	listener, err := net.Listen("tcp", at)
	if err != nil {
		return fmt.Errorf("listening for clients: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shutdown {
		listener.Close()
		return ErrServerClosed
	}
	s.listener = listener
	s.running.Add(1)
	go s.accept(listener)
	s.logger.Noticef("Listening for client connections on %s", listener.Addr())
	return nil
}

// Addr is where the server listens; nil before Start.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// accept takes connections until the listener is closed. Other errors, such as
// too many open files, are waited out.
func (s *Server) accept(listener net.Listener) {
	defer s.running.Done()
	for {
		nc, err := listener.Accept()
		if err == nil {
			s.serve(nc, account.ConnectionStandard)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.logger.Errorf("Error accepting a client: %v", err)
		pause := s.clock.NewTicker(acceptPause)
		<-pause.C()
		pause.Stop()
	}
}

// acceptPause is the time between attempts while accepting fails.
const acceptPause = 50 * time.Millisecond

// InProcessConn returns the client's end of a connection within the process.
func (s *Server) InProcessConn() (net.Conn, error) {
	ours, theirs := net.Pipe()
	if !s.serve(ours, account.ConnectionInProcess) {
		return nil, ErrServerClosed
	}
	return theirs, nil
}

// serve runs a new client. False: the server is closing.
func (s *Server) serve(nc net.Conn, kind string) bool {
	c := newClient(s, nc, s.lastID.Add(1), kind)
	if s.registry.NonceRequired() {
		c.nonce = newNonce()
	}
	s.totalConnections.Add(1)
	s.mu.Lock()
	if s.shutdown || s.lameDuck {
		s.mu.Unlock()
		nc.Close()
		return false
	}
	limit := s.cfg().Limits.MaxConnections
	full := limit > 0 && len(s.clients) >= limit
	s.clients[c.id] = c
	s.running.Add(2)
	s.mu.Unlock()

	c.sendNow(s.infoFor(c))
	go func() {
		defer s.running.Done()
		c.write()
	}()
	if full {
		c.errorf("%s", errMaxConnections)
		c.end(ReasonMaxConnections, errMaxConnections)
	} else {
		c.waitForConnect()
	}
	go func() {
		defer s.running.Done()
		c.read()
	}()
	return true
}

const nonceBytes = 11

func newNonce() []byte {
	raw := make([]byte, nonceBytes)
	rand.Read(raw)
	return base64.RawURLEncoding.AppendEncode(nil, raw)
}

// remove forgets a client that is gone.
func (s *Server) remove(c *client, subs map[string]*router.Sub) {
	if c.stats != nil {
		c.stats.conns.Add(-1)
		c.out.mu.Lock()
		c.stats.goneOutMsgs.Add(c.out.msgs)
		c.stats.goneOutBytes.Add(c.out.bytes)
		c.out.mu.Unlock()
		c.countSubs(-len(subs))
	}
	facts := c.facts(s.clock.Now(), subs)
	s.goneOutMsgs.Add(facts.OutMsgs)
	s.goneOutBytes.Add(facts.OutBytes)
	s.mu.Lock()
	delete(s.clients, c.id)
	s.closed.add(facts)
	s.mu.Unlock()
	c.debugf("Client connection closed: %s", facts.Reason)
	// Also of a client that its account had no room for, as the established server tells.
	if s.cfg().Observer != nil && c.user != nil {
		s.cfg().Observer.Disconnected(facts)
	}
}

func (s *Server) observeConnected(c *client) {
	if s.cfg().Observer != nil {
		s.cfg().Observer.Connected(c.facts(s.clock.Now(), nil))
	}
}

// snapshot is all clients, by id.
func (s *Server) snapshot() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*client, 0, len(s.clients))
	for _, c := range s.clients {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *client) int { return int(a.id) - int(b.id) })
	return all
}

// Kick ends the connection of one client. False: there is none of that id.
func (s *Server) Kick(id uint64) bool {
	s.mu.Lock()
	c := s.clients[id]
	s.mu.Unlock()
	if c == nil {
		return false
	}
	c.end(ReasonKicked, "")
	return true
}

// Reauthenticate sends away clients whose user changed with an update of the
// registry. They come back with what they have.
func (s *Server) Reauthenticate() {
	for _, c := range s.snapshot() {
		c.mu.Lock()
		gone := c.connected && !s.registry.Valid(c.user)
		c.mu.Unlock()
		if gone {
			c.end(ReasonCredentialsRevoked, errAuthViolation)
		}
	}
}

// Shutdown stops listening, sends every client what is queued for it, closes
// all connections and waits for their goroutines.
func (s *Server) Shutdown() {
	s.mu.Lock()
	s.shutdown = true
	listener := s.listener
	s.mu.Unlock()
	if listener != nil {
		listener.Close()
	}
	for _, c := range s.snapshot() {
		c.end(ReasonServerShutdown, "")
	}
	s.running.Wait()
	s.mu.Lock()
	subs := s.userInfo
	s.userInfo = nil
	s.mu.Unlock()
	for _, sub := range subs {
		s.router.Unsubscribe(sub)
	}
}
