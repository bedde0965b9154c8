package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"weir/internal/base"
)

// defaultPort is that of a route without one.
const defaultPort = "6222"

// selfRetry is how long an address that led to this node itself is left alone.
// It may be a name that stands for all nodes.
const selfRetry = 30 * time.Second

// firstPatience is how long an address where nobody was met yet may be silent: nodes
// that start together find each other one by one.
const firstPatience = 10 * time.Second

// target is an address that is dialed whenever a link to its node is missing.
type target struct {
	addr           string
	route          bool // configured; the others came from peers
	user, password string
	wake           chan struct{} // a link has ended
	gone           chan struct{} // closed when nobody lives there any more

	// node and name are who was found there last, or is said to be, host is where the
	// address led; guarded by Mesh.mu.
	node base.NodeID
	name string
	host string
	// lastError is what was logged last, so that a repetition is not; lastWarned
	// tells that it was a warning.
	lastError  string
	lastWarned bool
	pursued    time.Time
}

func (m *Mesh) addRoute(route *url.URL) {
	t := &target{addr: route.Host, route: true, user: m.cfg.User, password: m.cfg.Password}
	if route.Port() == "" {
		t.addr = net.JoinHostPort(route.Hostname(), defaultPort)
	}
	if route.User != nil {
		t.user = route.User.Username()
		t.password, _ = route.User.Password()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pursueLocked(t)
}

// learn makes every node in the list one that is dialed when a link to it is
// missing.
func (m *Mesh) learn(peers []address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range peers {
		if a.Node == m.cfg.Node || a.Addr == "" || m.pursuedLocked(a) {
			continue
		}
		m.pursueLocked(&target{
			addr: a.Addr, user: m.cfg.User, password: m.cfg.Password, node: a.Node, name: a.Name,
		})
	}
}

// pursuedLocked tells whether the node has a target. Where it used to live is
// given up when it is known to live elsewhere.
func (m *Mesh) pursuedLocked(a address) bool {
	pursued := false
	for _, t := range m.targets {
		switch {
		case t.addr == a.Addr || (t.route && t.node == a.Node):
			pursued = true
		case t.node == a.Node:
			m.dropLocked(t)
		}
	}
	return pursued
}

func (m *Mesh) pursueLocked(t *target) {
	if m.closed || m.targets[t.addr] != nil {
		return
	}
	t.wake = make(chan struct{}, 1)
	t.gone = make(chan struct{})
	t.pursued = m.cfg.Clock.Now()
	m.targets[t.addr] = t
	m.group.Go(func() { m.pursue(t) })
}

func (m *Mesh) dropLocked(t *target) {
	if m.targets[t.addr] == t {
		delete(m.targets, t.addr)
		close(t.gone)
	}
}

// forgetPredecessors gives up the addresses of nodes that had the name of one
// that is up now: they were wiped and came back as it.
func (m *Mesh) forgetPredecessors(info PeerInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.targets {
		if !t.route && t.name == info.Name && t.node != info.Node {
			m.dropLocked(t)
		}
	}
}

func (m *Mesh) wakeTargets() {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, t := range m.targets {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// pursue dials a target until the mesh ends or the target is dropped.
func (m *Mesh) pursue(t *target) {
	backoff := backoffMin
	for {
		missing, any := m.missing(t)
		if !any {
			select {
			case <-t.wake:
				m.yield(t)
				continue
			case <-t.gone:
				return
			case <-m.ctx.Done():
				return
			}
		}
		err := m.dial(t, missing)
		if err == nil {
			backoff = backoffMin
			continue
		}
		m.logDialError(t, err)
		wait := m.jitter(backoff)
		if errors.Is(err, refuseSelf) {
			wait = selfRetry
		}
		if !m.sleep(wait) {
			return
		}
		select {
		case <-t.gone:
			return
		default:
		}
		backoff = min(2*backoff, backoffMax)
	}
}

// yield lets the decider of a pair dial first after a link has ended.
func (m *Mesh) yield(t *target) {
	m.mu.RLock()
	node := t.node
	m.mu.RUnlock()
	if !m.decides(node) {
		m.sleep(m.jitter(2 * backoffMin))
	}
}

// missing is the kind of the next link that has to be dialed.
func (m *Mesh) missing(t *target) (kind linkKind, any bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := m.peers[t.node]
	switch {
	case p == nil || p.data == nil:
		return linkData, true
	case p.raft == nil:
		return linkRaft, true
	}
	return 0, false
}

// dial makes one attempt. Nil: there is a link, perhaps one that the peer
// dialed.
func (m *Mesh) dial(t *target, kind linkKind) error {
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	timer := m.cfg.Clock.AfterFunc(dialTimeout, cancel)
	conn, err := m.cfg.Dial(ctx, t.addr)
	timer.Stop()
	switch {
	case err != nil && ctx.Err() != nil && m.ctx.Err() == nil:
		return fmt.Errorf("connecting: no answer for %v", dialTimeout)
	case err != nil:
		return fmt.Errorf("connecting: %w", err)
	}
	m.mu.Lock()
	t.host = hostOf(conn.RemoteAddr())
	m.mu.Unlock()
	l, err := m.introduce(conn, t, kind)
	if err != nil {
		conn.Close()
		if _, any := m.missing(t); !any && errors.Is(err, refuseDuplicate) {
			return nil
		}
		return err
	}
	m.group.Go(l.run)
	return nil
}

// introduce is the dialing side of the handshake.
func (m *Mesh) introduce(conn net.Conn, t *target, kind linkKind) (*link, error) {
	defer context.AfterFunc(m.ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(m.cfg.Clock.Now().Add(handshakeTimeout)); err != nil {
		return nil, fmt.Errorf("setting a deadline: %w", err)
	}
	if err := writePreamble(conn); err != nil {
		return nil, fmt.Errorf("sending a hello: %w", err)
	}
	mine := m.hello(kind)
	mine.User, mine.Password = t.user, t.password
	if err := writeDocument(conn, frameHello, mine); err != nil {
		return nil, err
	}
	if err := readPreamble(conn); err != nil {
		return nil, err
	}
	h, err := readHello(conn)
	if err != nil {
		return nil, err
	}
	if r := m.verify(h); r != nil {
		return nil, refuse(conn, r)
	}
	m.mu.Lock()
	t.node, t.name = h.Info.Node, h.Info.Name
	m.mu.Unlock()
	return m.agree(m.newLink(conn, h, kind, t), h)
}

// logDialError says why a target can not be reached, once per reason. It is no
// reason to worry at first.
func (m *Mesh) logDialError(t *target, err error) {
	text := err.Error()
	var r *refusal
	early := m.early(t)
	if m.ctx.Err() != nil || text == t.lastError && (early || t.lastWarned) || (errors.As(err, &r) && r.Quiet) {
		return
	}
	t.lastError, t.lastWarned = text, !early || r != nil
	switch {
	case r != nil:
		m.cfg.Log.Errorf("Cluster route %s refused: %v", t.addr, err)
	case early:
		m.cfg.Log.Noticef("Cluster route %s: %v; trying again", t.addr, err)
	default:
		m.cfg.Log.Warnf("Cluster route %s: %v; trying again", t.addr, err)
	}
}

// early tells that nobody was met at an address yet, for a short time.
func (m *Mesh) early(t *target) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return t.node == 0 && m.cfg.Clock.Now().Sub(t.pursued) < firstPatience
}
