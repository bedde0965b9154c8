package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// A reason for refusing a peer is logged once in this time.
	refusalLoggedEvery = 30 * time.Second
	refusalsRemembered = 128
)

// accept takes connections until the listener is closed.
func (m *Mesh) accept() {
	for {
		conn, err := m.listener.Accept()
		if err != nil {
			if m.ctx.Err() != nil {
				return
			}
			m.cfg.Log.Errorf("Accepting a cluster connection: %v", err)
			if !m.sleep(backoffMax) {
				return
			}
			continue
		}
		h := m.handshakes.begin(conn, m.stranger(hostOf(conn.RemoteAddr())))
		m.group.Go(func() {
			l, err := m.welcome(conn)
			open := m.handshakes.end(h)
			if err != nil {
				if !open {
					err = errMadeRoom
				}
				conn.Close()
				m.logRefusal(conn, err)
				return
			}
			l.run()
		})
	}
}

// logRefusal says why an accepted connection was closed, but not at each
// attempt of a peer that tries again and again.
func (m *Mesh) logRefusal(conn net.Conn, err error) {
	var r *refusal
	if m.ctx.Err() != nil || errors.Is(err, errSilent) || (errors.As(err, &r) && r.Quiet) {
		return
	}
	key, now := hostOf(conn.RemoteAddr())+" "+err.Error(), m.cfg.Clock.Now()
	m.mu.Lock()
	last, known := m.refused[key]
	if len(m.refused) >= refusalsRemembered {
		clear(m.refused)
	}
	if !known || now.Sub(last) >= refusalLoggedEvery {
		m.refused[key] = now
		known = false
	}
	m.mu.Unlock()
	if !known {
		m.cfg.Log.Errorf("Cluster connection from %s closed: %v", conn.RemoteAddr(), err)
	}
}

// welcome is the accepting side of the handshake. The link that it returns is
// registered, so run must be called.
func (m *Mesh) welcome(conn net.Conn) (*link, error) {
	defer context.AfterFunc(m.ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(m.cfg.Clock.Now().Add(handshakeTimeout)); err != nil {
		return nil, fmt.Errorf("setting a deadline: %w", err)
	}
	if err := readPreamble(conn); err != nil {
		if errors.Is(err, errForeign) {
			_, writeErr := conn.Write([]byte(foreignAnswer))
			err = errors.Join(err, writeErr)
		}
		return nil, err
	}
	h, err := readHello(conn)
	if err != nil {
		return nil, err
	}
	if err := writePreamble(conn); err != nil {
		return nil, fmt.Errorf("sending a hello: %w", err)
	}
	r := m.verify(h)
	if r != refuseSelf && m.cfg.Authorize != nil && !m.cfg.Authorize(h.User, h.Password) {
		// Who has no password is not told what else does not fit, either.
		r = refusef("authorization violation by server %q", h.Info.Name)
	}
	if r != nil {
		return nil, refuse(conn, r)
	}
	if h.Link != linkData && h.Link != linkRaft {
		return nil, refuse(conn, refusef("a link of unknown kind %d", h.Link))
	}
	if err := writeDocument(conn, frameHello, m.hello(0)); err != nil {
		return nil, err
	}
	return m.agree(m.newLink(conn, h, h.Link, nil), h)
}

// agree ends the handshake of both sides: the decider registers the link and
// says so; the other side registers it when it is told.
func (m *Mesh) agree(l *link, h *hello) (*link, error) {
	if !m.decides(l.node) {
		if _, err := readHandshakeFrame(l.conn, frameStart); err != nil {
			return nil, err
		}
	}
	if r := m.register(l, h); r != nil {
		return nil, refuse(l.conn, r)
	}
	m.learn(h.Peers)
	err := l.conn.SetDeadline(time.Time{})
	if err == nil && m.decides(l.node) {
		_, err = l.conn.Write(appendFrame(nil, frameStart, nil))
	}
	if err != nil {
		l.fail(fmt.Errorf("starting the link: %w", err))
	}
	return l, nil
}

// newLink makes a link to the sender of h; t is what was dialed, nil if the
// peer dialed.
func (m *Mesh) newLink(conn net.Conn, h *hello, kind linkKind, t *target) *link {
	return &link{
		mesh: m, kind: kind, node: h.Info.Node, name: h.Info.Name, boot: h.Boot, conn: conn,
		dialed: t != nil, route: t != nil && t.route,
		start: m.cfg.Clock.Now(), wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}
