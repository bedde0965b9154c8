package cluster

import (
	"cmp"
	"slices"
	"time"
)

// LinkStats describes one link for monitoring.
type LinkStats struct {
	Peer       PeerInfo
	Kind       string // "data" or "raft"
	Remote     string // address of the connection's other end
	Dialed     bool   // by this node
	Configured bool   // as a route of the configuration
	Start      time.Time
	LastRead   time.Time
	RTT        time.Duration // 0: not measured yet

	PendingBytes            int
	InFrames, OutFrames     int64
	InBytes, OutBytes       int64
	InMessages, OutMessages int64
}

// Stats describes every link, by node and kind.
func (m *Mesh) Stats() []LinkStats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var all []LinkStats
	for _, p := range m.peers {
		for _, l := range [...]*link{p.data, p.raft} {
			if l != nil {
				s := l.describe()
				s.Peer = p.info
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b LinkStats) int {
		return cmp.Or(cmp.Compare(a.Peer.Node, b.Peer.Node), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}

func (l *link) describe() LinkStats {
	l.mu.Lock()
	pending := len(l.pending)
	l.mu.Unlock()
	c := &l.stats
	return LinkStats{
		Kind: l.kind.String(), Remote: l.conn.RemoteAddr().String(), Dialed: l.dialed, Configured: l.route,
		Start: l.start, LastRead: time.Unix(0, c.lastRead.Load()), RTT: time.Duration(c.rtt.Load()),
		PendingBytes: pending,
		InFrames:     c.inFrames.Load(), OutFrames: c.outFrames.Load(),
		InBytes: c.inBytes.Load(), OutBytes: c.outBytes.Load(),
		InMessages: c.inMessages.Load(), OutMessages: c.outMessages.Load(),
	}
}
