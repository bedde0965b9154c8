package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"weir/internal/base"
)

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset by peer")
)

// network is what the nodes' connections run over. A connection is reliable and
// ordered as TCP's; a direction between two hosts can be cut, so that what is
// sent waits, and has a delay that varies.
type network struct {
	mu        sync.Mutex
	rand      *rand.Rand
	listeners map[string]*listener // by host
	cut       map[direction]bool
	delay     map[direction]time.Duration // beside the usual one
	conns     map[*conn]struct{}
}

// direction is from one host to another.
type direction struct{ from, to string }

// Usual delays are between delayMin and delayMin + delayVar.
const (
	delayMin = 100 * time.Microsecond
	delayVar = 900 * time.Microsecond
)

// maxBuffered is how many bytes a connection holds in one direction before a
// writer has to wait.
const maxBuffered = 4 << 20

func newNetwork(r *rand.Rand) *network {
	return &network{
		rand: r, listeners: make(map[string]*listener), cut: make(map[direction]bool),
		delay: make(map[direction]time.Duration), conns: make(map[*conn]struct{}),
	}
}

// setCut cuts or mends a direction.
func (n *network) setCut(d direction, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[d] = cut
	n.wakeLocked()
}

// setDelay makes a direction slower than usual.
func (n *network) setDelay(d direction, delay time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay[d] = delay
}

// heal mends all directions and makes them fast again.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	clear(n.delay)
	n.wakeLocked()
}

func (n *network) wakeLocked() {
	for c := range n.conns {
		c.in.wake()
	}
}

func (n *network) isCut(d direction) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[d]
}

// latency draws the delay of what is sent now.
func (n *network) latency(d direction) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := delayMin + time.Duration(n.rand.Int64N(int64(delayVar)))
	if extra := n.delay[d]; extra > 0 {
		l += time.Duration(n.rand.Int64N(int64(extra)))
	}
	return l
}

// disconnect ends all connections of a host. If it is loud the other ends are
// told, as by a process that was killed; otherwise nobody hears any more of them, as
// after a loss of power, until the host is up again.
func (n *network) disconnect(host string, loud bool) {
	n.mu.Lock()
	var ends []*conn
	for c := range n.conns {
		if c.local.name == host {
			ends = append(ends, c)
		}
	}
	l := n.listeners[host]
	n.mu.Unlock()
	if l != nil {
		l.Close()
	}
	for _, c := range ends {
		c.die(loud)
	}
}

// reboot resets the connections that others still believe to have to a host.
func (n *network) reboot(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.remote.name == host {
			c.in.reset()
		}
	}
}

func (n *network) listen(owner *host) (net.Listener, error) {
	l := &listener{network: n, owner: owner, conns: make(chan net.Conn, 64), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[owner.name] != nil {
		return nil, fmt.Errorf("listen on %s: address in use", owner.name)
	}
	n.listeners[owner.name] = l
	return l, nil
}

// dial connects a host to another. It takes a round trip, during which neither
// direction may be cut.
func (n *network) dial(ctx context.Context, from *host, to string) (net.Conn, error) {
	out, back := direction{from.name, to}, direction{to, from.name}
	if !sleepContext(ctx, n.latency(out)+n.latency(back)) {
		return nil, ctx.Err()
	}
	for n.isCut(out) || n.isCut(back) {
		if !sleepContext(ctx, 100*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[to]
	if l == nil || from.isDead() {
		return nil, errRefused
	}
	a, b := newPipe(n, direction{from.name, to}), newPipe(n, direction{to, from.name})
	mine := &conn{network: n, local: from, remote: l.owner, in: b, out: a}
	theirs := &conn{network: n, local: l.owner, remote: from, in: a, out: b}
	select {
	case l.conns <- theirs:
	default:
		return nil, errRefused
	}
	n.conns[mine], n.conns[theirs] = struct{}{}, struct{}{}
	return mine, nil
}

func (n *network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// host is one end of connections: a node in one of its lives.
type host struct {
	name  string
	clock *clock

	mu   sync.Mutex
	dead bool
}

func (h *host) isDead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dead
}

func (h *host) kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead = true
}

type listener struct {
	network *network
	owner   *host
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	if l.network.listeners[l.owner.name] == l {
		delete(l.network.listeners, l.owner.name)
	}
	return nil
}

func (l *listener) Addr() net.Addr { return address(l.owner.name + ":6222") }

type address string

func (address) Network() string  { return "sim" }
func (a address) String() string { return string(a) }

// now is the virtual time.
func now() time.Time { return base.SystemClock.Now() }

// sleep lets virtual time pass.
func sleep(d time.Duration) {
	done := make(chan struct{})
	base.SystemClock.AfterFunc(d, func() { close(done) })
	<-done
}

// sleepContext is sleep that ends with ctx; false: it did.
func sleepContext(ctx context.Context, d time.Duration) bool {
	done := make(chan struct{})
	t := base.SystemClock.AfterFunc(d, func() { close(done) })
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
