package cluster

import (
	"errors"
	"net"
	"slices"
	"sync"
)

// maxHandshakes bounds accepted connections that are not links yet.
const maxHandshakes = 64

// errMadeRoom is why a handshake ended that took its time while others came.
var errMadeRoom = errors.New("its handshake was not done when another connection needed the room")

// handshakes are the accepted connections that are not links yet, oldest first. None
// waits for others: when there are too many, one is closed. That is a stranger's before
// one from a host where a peer lives, then one of the host with the most, then the
// oldest. A peer is done within a round trip or two, so it gets through whoever keeps
// connections open without a word.
type handshakes struct {
	mu    sync.Mutex
	under []*handshake
}

type handshake struct {
	conn     net.Conn
	host     string
	stranger bool
	closed   bool // to make room
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

func (s *handshakes) begin(conn net.Conn, stranger bool) *handshake {
	h := &handshake{conn: conn, host: hostOf(conn.RemoteAddr()), stranger: stranger}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under = append(s.under, h)
	if len(s.under) > maxHandshakes {
		s.closeOneLocked()
	}
	return h
}

func (s *handshakes) closeOneLocked() {
	hosts := make(map[string]int)
	for _, h := range s.under {
		hosts[h.host]++
	}
	victim := 0
	for i, h := range s.under {
		v := s.under[victim]
		if h.stranger && !v.stranger || h.stranger == v.stranger && hosts[h.host] > hosts[v.host] {
			victim = i
		}
	}
	h := s.under[victim]
	h.closed = true
	h.conn.Close()
	s.under = slices.Delete(s.under, victim, victim+1)
}

// end tells whether the connection is open still.
func (s *handshakes) end(h *handshake) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.under, h); i >= 0 {
		s.under = slices.Delete(s.under, i, i+1)
	}
	return !h.closed
}

// stranger tells that no node is known to live on the host.
func (m *Mesh) stranger(host string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, t := range m.targets {
		if at, _, err := net.SplitHostPort(t.addr); t.host == host || err == nil && at == host {
			return false
		}
	}
	return true
}
