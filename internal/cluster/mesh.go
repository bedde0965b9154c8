// Package cluster links the nodes of a cluster: it spreads interest, carries
// messages and requests between nodes, and takes Raft frames to their peers.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/base"
	"weir/internal/router"
)

// Times of the protocol.
const (
	heartbeatEvery   = time.Second
	deadAfter        = 3 * time.Second // without a byte from the peer
	handshakeTimeout = 3 * time.Second
	dialTimeout      = 2 * time.Second
	backoffMin       = 100 * time.Millisecond
	backoffMax       = time.Second
)

// Bounds of what waits for a peer, in bytes.
const (
	defaultMaxPendingData = 64 << 20
	defaultMaxPendingRaft = 32 << 20
	// largestMessages is how many messages of the largest size have room besides.
	largestMessages = 2
)

// Why something could not be sent.
var (
	ErrNoLink    = errors.New("no link to the node")
	ErrQueueFull = errors.New("too much is waiting for the node")
	ErrTooLarge  = errors.New("larger than a frame may be")
)

// Config is what a Mesh needs to know. Node, Name and Cluster are required.
type Config struct {
	Node    base.NodeID
	ID      string // server id
	Name    string // server name, unique in the cluster
	Cluster string // cluster name
	Version string

	Host      string // to listen on
	Port      int    // 0 or less: any free one
	Advertise string // host[:port] under which peers reach this node; empty: the address they see
	Routes    []*url.URL

	// User and Password are shown to peers whose route URL does not have its
	// own. Authorize judges what a peer shows; nil lets everybody in.
	User, Password string
	Authorize      func(user, password string) bool

	ClientURLs func() []string // host:port where clients of this node connect; may be nil
	JetStream  bool
	Domain     string
	Tags       []string

	Clock base.Clock  // nil: the system's
	Log   base.Logger // nil: none
	Seed  uint64      // random: identifies this run of the node and spreads retries

	// Listen and Dial replace TCP.
	Listen func(address string) (net.Listener, error)
	Dial   func(ctx context.Context, address string) (net.Conn, error)

	// MaxPayload is the largest message, in bytes of header and payload together.
	MaxPayload int
	// MaxPendingData and MaxPendingRaft bound what waits for one peer, in
	// bytes; 0 is a default that has room for the largest messages.
	MaxPendingData, MaxPendingRaft int
}

// PeerInfo describes another node.
type PeerInfo struct {
	Node       base.NodeID `json:"node"`
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	Cluster    string      `json:"cluster"`
	Version    string      `json:"version,omitempty"`
	Addr       string      `json:"addr"` // host:port of its cluster listener
	ClientURLs []string    `json:"client_urls,omitempty"`
	JetStream  bool        `json:"jetstream,omitempty"`
	Domain     string      `json:"domain,omitempty"`
	Tags       []string    `json:"tags,omitempty"`
}

// Handler takes what peers send. PeerUp, PeerUpdated and PeerDown are called one
// at a time, in order, and must not call Shutdown. Request and Raft run on the
// reader of the link, must not block long, and may not keep their slices; they
// may come before PeerUp but not after PeerDown of the same link.
type Handler interface {
	// PeerUp tells that both links stand and the peer's interest is known.
	PeerUp(PeerInfo)
	PeerUpdated(PeerInfo)
	// PeerDown tells that one of the links is gone. Requests that were sent may
	// have been lost. What the other link brings still comes.
	PeerDown(base.NodeID)
	Request(from base.NodeID, kind byte, payload []byte)
	Raft(from base.NodeID, frame []byte)
}

// Mesh holds two TCP connections to every other node of the cluster: the data
// link for interest, messages and requests, strictly in order; and the Raft
// link, so that Raft never waits behind messages. The two fail and reconnect on
// their own.
//
// # Finding each other
//
// A node dials the routes of its configuration and every address that a peer
// tells it of. Both nodes of a pair may dial at the same time, so both send a
// hello and then the one with the lower NodeID, the decider, takes the
// connection or refuses it as a duplicate; since it decides alone, the two
// never disagree about which connection is the link.
//
// # Interest
//
// A new data link first enters the list of those that hear of every change,
// then all interest that stands is sent. Counts are absolute and both happen
// under the router's interest lock, so the last word on a subject is the right
// one, whatever was sent twice. A mark at the end tells the peer that it knows
// everything.
//
// # Locks
//
// eventMu serialises changes of the set of links together with the calls of
// Handler that report them. mu guards the maps, for a moment. A link's own lock
// guards only its queue and is taken last. The router calls Interest and Deliver
// under locks of its own; those take only a link's lock.
type Mesh struct {
	cfg     Config
	router  *router.Router
	handler Handler
	boot    uint64 // differs between runs of the node

	ctx        context.Context
	cancel     context.CancelFunc
	group      sync.WaitGroup
	listener   net.Listener
	handshakes handshakes

	eventMu sync.Mutex

	mu      sync.RWMutex
	closed  bool
	peers   map[base.NodeID]*peer
	targets map[string]*target // by address
	random  *rand.Rand
	refused map[string]time.Time // when a refusal was last logged

	// data is the data links that hear of changes of interest; replaced as a
	// whole under mu.
	data atomic.Pointer[[]*link]
}

// peer is another node that has, or had, a link.
type peer struct {
	info PeerInfo
	data *link
	raft *link
	up   bool // as reported to the handler
}

// slot is the place of the peer's link of a kind.
func (p *peer) slot(kind linkKind) **link {
	if kind == linkRaft {
		return &p.raft
	}
	return &p.data
}

// New makes a mesh that is not started.
func New(cfg Config, r *router.Router, h Handler) (*Mesh, error) {
	switch {
	case cfg.Node == 0:
		return nil, errors.New("cluster: no node id")
	case cfg.Name == "":
		return nil, errors.New("cluster: no server name")
	case cfg.Cluster == "":
		return nil, errors.New("cluster: no cluster name")
	}
	if cfg.Clock == nil {
		cfg.Clock = base.SystemClock
	}
	if cfg.Log == nil {
		cfg.Log = base.NopLogger{}
	}
	if cfg.Listen == nil {
		cfg.Listen = func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	cfg.MaxPendingData = cmp.Or(cfg.MaxPendingData, defaultMaxPendingData+largestMessages*cfg.MaxPayload)
	cfg.MaxPendingRaft = cmp.Or(cfg.MaxPendingRaft, defaultMaxPendingRaft+largestMessages*cfg.MaxPayload)
	m := &Mesh{
		cfg:     cfg,
		router:  r,
		handler: h,
		peers:   make(map[base.NodeID]*peer),
		targets: make(map[string]*target),
		random:  rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Node))),
		refused: make(map[string]time.Time),
	}
	m.boot = m.random.Uint64()
	m.data.Store(new([]*link))
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m, nil
}

// Start listens and begins to dial.
func (m *Mesh) Start() error {
	address := net.JoinHostPort(m.cfg.Host, strconv.Itoa(max(m.cfg.Port, 0)))
	listener, err := m.cfg.Listen(address)
	if err != nil {
		return fmt.Errorf("listening for cluster connections on %s: %w", address, err)
	}
	m.mu.Lock()
	m.listener = listener
	m.mu.Unlock()
	m.cfg.Log.Noticef("Listening for cluster connections on %s", listener.Addr())
	m.router.SetInterestListener(m)
	m.group.Go(m.accept)
	m.group.Go(m.heartbeat)
	for _, route := range m.cfg.Routes {
		m.addRoute(route)
	}
	return nil
}

// Addr is where the mesh listens; nil before Start.
func (m *Mesh) Addr() net.Addr {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.listener == nil {
		return nil
	}
	return m.listener.Addr()
}

// Shutdown closes every link and waits until everything has ended. The handler
// hears of each peer that goes down by it.
func (m *Mesh) Shutdown() {
	m.mu.Lock()
	closed, listener := m.closed, m.listener
	m.closed = true
	links := m.linksLocked()
	m.mu.Unlock()
	if closed || listener == nil {
		return
	}
	m.cancel()
	m.router.SetInterestListener(nil)
	listener.Close()
	for _, l := range links {
		l.fail(errShutdown)
	}
	m.group.Wait()
}

// Peers describes the nodes that are up, by node id.
func (m *Mesh) Peers() []PeerInfo {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var infos []PeerInfo
	for _, p := range m.peers {
		if p.up {
			infos = append(infos, p.info)
		}
	}
	slices.SortFunc(infos, func(a, b PeerInfo) int { return cmp.Compare(a.Node, b.Node) })
	return infos
}

// SendRequest queues a request behind everything that the node has been sent on
// the data link. The error is ErrNoLink, ErrQueueFull or ErrTooLarge.
func (m *Mesh) SendRequest(to base.NodeID, kind byte, payload []byte) error {
	l := m.link(to, linkData)
	if l == nil {
		return fmt.Errorf("request to node %s: %w", to, ErrNoLink)
	}
	if err := l.sendRequest(kind, payload); err != nil {
		return fmt.Errorf("request to node %s: %w", to, err)
	}
	return nil
}

// SendRaft queues a Raft frame. False: it was dropped, because there is no link
// or too much is waiting.
func (m *Mesh) SendRaft(to base.NodeID, frame []byte) bool {
	l := m.link(to, linkRaft)
	return l != nil && l.sendRaft(frame)
}

// link is the link of a kind to a node; nil without one.
func (m *Mesh) link(node base.NodeID, kind linkKind) *link {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := m.peers[node]
	if p == nil {
		return nil
	}
	return *p.slot(kind)
}

func (m *Mesh) linksLocked() []*link {
	var links []*link
	for _, p := range m.peers {
		for _, l := range [...]*link{p.data, p.raft} {
			if l != nil {
				links = append(links, l)
			}
		}
	}
	return links
}

// heartbeat keeps every link from falling silent.
func (m *Mesh) heartbeat() {
	ticker := m.cfg.Clock.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-ticker.C():
		}
		m.mu.RLock()
		links := m.linksLocked()
		m.mu.RUnlock()
		for _, l := range links {
			l.ping()
		}
	}
}

// sleep waits for d; false: the mesh is shutting down.
func (m *Mesh) sleep(d time.Duration) bool {
	over := make(chan struct{})
	timer := m.cfg.Clock.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	select {
	case <-over:
		return true
	case <-m.ctx.Done():
		return false
	}
}

// jitter is a random duration between d/2 and d.
func (m *Mesh) jitter(d time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return d/2 + time.Duration(m.random.Int64N(int64(d/2)+1))
}
