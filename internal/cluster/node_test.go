package cluster

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/router"
)

// patience is how long a test waits for what must happen.
const patience = 90 * time.Second

// watched is state that changes under a lock and can be waited on.
type watched struct {
	mu   sync.Mutex
	cond *sync.Cond
}

func (w *watched) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	w.cond.Broadcast()
}

// await waits until the condition holds, which is checked after each change.
func (w *watched) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() { w.change(func() { late = true }) })
	defer timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !holds() {
		if late {
			t.Fatalf("never happened: %s", what)
		}
		w.cond.Wait()
	}
}

// node is a mesh with its router that writes down what it hears.
type node struct {
	watched
	t      *testing.T
	id     base.NodeID
	acc    *account.Account
	router *router.Router
	mesh   *Mesh

	up        []base.NodeID
	events    []string
	requests  []string
	raft      []string
	messages  []string
	log       []string
	onRequest func(kind byte, payload []byte) // runs on the link's reader
}

func newNode(t *testing.T, id base.NodeID, options ...func(*Config)) *node {
	n := &node{t: t, id: id, acc: account.New("A"), router: router.New(uint64(id))}
	n.cond = sync.NewCond(&n.mu)
	cfg := Config{
		Node: id, ID: fmt.Sprintf("ID%d", id), Name: fmt.Sprintf("n%d", id), Cluster: "C", Host: "127.0.0.1",
		Log: n, Seed: uint64(time.Now().UnixNano()),
	}
	for _, option := range options {
		option(&cfg)
	}
	mesh, err := New(cfg, n.router, n)
	if err != nil {
		t.Fatal(err)
	}
	n.mesh = mesh
	t.Cleanup(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if t.Failed() {
			t.Logf("n%d logged:\n%s", n.id, strings.Join(n.log, "\n"))
		}
	})
	return n
}

func startNode(t *testing.T, id base.NodeID, options ...func(*Config)) *node {
	n := newNode(t, id, options...)
	if err := n.mesh.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.mesh.Shutdown)
	return n
}

func routeTo(nodes ...*node) func(*Config) {
	return func(cfg *Config) {
		for _, n := range nodes {
			cfg.Routes = append(cfg.Routes, &url.URL{Scheme: "nats-route", Host: n.mesh.Addr().String()})
		}
	}
}

func (n *node) PeerUp(info PeerInfo) {
	n.change(func() {
		n.up = append(n.up, info.Node)
		n.events = append(n.events, "up "+info.Name)
	})
}

func (n *node) PeerUpdated(info PeerInfo) {
	n.change(func() { n.events = append(n.events, fmt.Sprintf("updated %s %v", info.Name, info.ClientURLs)) })
}

func (n *node) PeerDown(id base.NodeID) {
	n.change(func() {
		n.up = slices.DeleteFunc(n.up, func(other base.NodeID) bool { return other == id })
		n.events = append(n.events, fmt.Sprintf("down n%d", id))
	})
}

func (n *node) Request(from base.NodeID, kind byte, payload []byte) {
	if n.onRequest != nil {
		n.onRequest(kind, payload)
	}
	n.change(func() { n.requests = append(n.requests, fmt.Sprintf("%d %c %s", from, kind, payload)) })
}

func (n *node) Raft(from base.NodeID, frame []byte) {
	n.change(func() { n.raft = append(n.raft, fmt.Sprintf("%d %s", from, frame)) })
}

func (n *node) logf(format string, args ...any) {
	n.change(func() { n.log = append(n.log, fmt.Sprintf(format, args...)) })
}

func (n *node) Noticef(format string, args ...any) { n.logf("[INF] "+format, args...) }
func (n *node) Warnf(format string, args ...any)   { n.logf("[WRN] "+format, args...) }
func (n *node) Errorf(format string, args ...any)  { n.logf("[ERR] "+format, args...) }
func (n *node) Debugf(format string, args ...any)  { n.logf("[DBG] "+format, args...) }
func (n *node) Tracef(format string, args ...any)  { n.logf("[TRC] "+format, args...) }

// subscribe writes down messages as "node subject payload".
func (n *node) subscribe(subj, queue string) *router.Sub {
	n.t.Helper()
	s, err := n.router.Subscribe(n.acc, subj, queue, func(s *router.Sub, from router.Source, m *router.Msg) {
		line := fmt.Sprintf("n%d %s %s%s", n.id, m.Subject, m.Header, m.Payload)
		n.change(func() { n.messages = append(n.messages, line) })
	}, router.SubOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

func (n *node) publish(subj, payload string) int {
	return n.router.Publish(n.acc, router.Internal, &router.Msg{Subject: []byte(subj), Payload: []byte(payload)})
}

func (n *node) awaitUp(peers ...*node) {
	n.t.Helper()
	n.await(n.t, fmt.Sprintf("n%d sees %d peers", n.id, len(peers)), func() bool {
		for _, p := range peers {
			if !slices.Contains(n.up, p.id) {
				return false
			}
		}
		return len(n.up) == len(peers)
	})
}

func (n *node) awaitEvent(event string) {
	n.t.Helper()
	n.await(n.t, event, func() bool { return slices.Contains(n.events, event) })
}

func (n *node) awaitLog(part string) {
	n.t.Helper()
	n.await(n.t, "log line with "+part, func() bool {
		return slices.ContainsFunc(n.log, func(line string) bool { return strings.Contains(line, part) })
	})
}

// fence waits until to has handled everything that n sent it before.
func (n *node) fence(to *node) {
	n.t.Helper()
	payload := fmt.Sprintf("fence %p", new(int))
	if err := n.mesh.SendRequest(to.id, 'f', []byte(payload)); err != nil {
		n.t.Fatal(err)
	}
	to.await(n.t, payload, func() bool {
		return slices.Contains(to.requests, fmt.Sprintf("%d f %s", n.id, payload))
	})
}

func (n *node) numMessages() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.messages)
}

// threeNodes is a full mesh of which all but the first know only the first.
func threeNodes(t *testing.T) [3]*node {
	a := startNode(t, 2)
	b := startNode(t, 1, routeTo(a))
	c := startNode(t, 3, routeTo(a))
	a.awaitUp(b, c)
	b.awaitUp(a, c)
	c.awaitUp(a, b)
	return [3]*node{a, b, c}
}

// memoryNetwork connects nodes without sockets, so that a test can run in
// virtual time. A stalled network takes nothing and says nothing.
type memoryNetwork struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
	stalled   bool
}

type memoryListener struct {
	network *memoryNetwork
	address memoryAddr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

type memoryAddr string

func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *memoryListener) Addr() net.Addr { return l.address }

// memoryConn is one end of a pipe.
type memoryConn struct {
	net.Conn
	network *memoryNetwork
	closed  chan struct{}
	once    sync.Once
}

func (c *memoryConn) Write(b []byte) (int, error) {
	c.network.mu.Lock()
	stalled := c.network.stalled
	c.network.mu.Unlock()
	if stalled {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *memoryConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (w *memoryNetwork) setStalled(stalled bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stalled = stalled
}

func (w *memoryNetwork) listen(address string) (net.Listener, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listeners == nil {
		w.listeners = make(map[string]*memoryListener)
	}
	l := &memoryListener{network: w, address: memoryAddr(address), conns: make(chan net.Conn), closed: make(chan struct{})}
	w.listeners[address] = l
	return l, nil
}
