package conn

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weir/internal/account"
	"weir/internal/router"
)

// accountStats counts the clients of one account.
type accountStats struct {
	conns, totalConns, subs   atomic.Int64
	inMsgs, inBytes           atomic.Int64
	goneOutMsgs, goneOutBytes atomic.Int64 // of connections that have ended
	slowConsumers             atomic.Int64
}

// Stats are the server's counters of clients and their messages.
type Stats struct {
	Start                                           time.Time
	Connections                                     int
	TotalConnections                                int64
	InMsgs, InBytes, OutMsgs, OutBytes              int64
	Subscriptions                                   int64
	SlowConsumers, StaleConnections, StalledClients int64
}

// AccountStats are the same of one account.
type AccountStats struct {
	Account                            string
	Connections                        int64
	TotalConnections                   int64
	Subscriptions                      int64
	InMsgs, InBytes, OutMsgs, OutBytes int64
	SlowConsumers                      int64
}

// Stats returns the counters since the start.
func (s *Server) Stats() Stats {
	clients := s.snapshot()
	stats := Stats{
		Start:       s.start,
		Connections: len(clients), TotalConnections: s.totalConnections.Load(),
		InMsgs: s.inMsgs.Load(), InBytes: s.inBytes.Load(),
		OutMsgs: s.goneOutMsgs.Load(), OutBytes: s.goneOutBytes.Load(),
		Subscriptions: s.subscriptions.Load(),
		SlowConsumers: s.slowConsumers.Load(), StaleConnections: s.staleConnections.Load(),
		StalledClients: s.stalledClients.Load(),
	}
	for _, c := range clients {
		msgs, bytes := c.sent()
		stats.OutMsgs += msgs
		stats.OutBytes += bytes
	}
	return stats
}

// AccountStats returns the counters of every account that had clients, by name.
func (s *Server) AccountStats() []AccountStats {
	byName := make(map[string]*AccountStats)
	s.mu.Lock()
	for a, counted := range s.accounts {
		byName[a.Name()] = &AccountStats{
			Account:     a.Name(),
			Connections: counted.conns.Load(), TotalConnections: counted.totalConns.Load(),
			Subscriptions: counted.subs.Load(),
			InMsgs:        counted.inMsgs.Load(), InBytes: counted.inBytes.Load(),
			OutMsgs: counted.goneOutMsgs.Load(), OutBytes: counted.goneOutBytes.Load(),
			SlowConsumers: counted.slowConsumers.Load(),
		}
	}
	s.mu.Unlock()
	for _, c := range s.snapshot() {
		if stats := byName[c.info.Load().Account]; stats != nil {
			msgs, bytes := c.sent()
			stats.OutMsgs += msgs
			stats.OutBytes += bytes
		}
	}
	all := make([]AccountStats, 0, len(byName))
	for _, stats := range byName {
		all = append(all, *stats)
	}
	slices.SortFunc(all, func(a, b AccountStats) int { return strings.Compare(a.Account, b.Account) })
	return all
}

func (c *client) sent() (msgs, bytes int64) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.msgs, c.out.bytes
}

func (s *Server) accountStats(a *account.Account) *accountStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.accounts[a]
	if stats == nil {
		stats = new(accountStats)
		s.accounts[a] = stats
	}
	return stats
}

// ConnInfo is what monitoring tells about one connection, open or closed.
type ConnInfo struct {
	CID                                uint64
	Kind, Type                         string // "Client", "nats"
	IP                                 string
	Port                               int
	Start, LastActivity                time.Time
	Stop                               time.Time // zero while open
	Reason                             Reason    // empty while open
	RTT                                time.Duration
	Uptime, Idle                       time.Duration
	PendingBytes                       int64
	InMsgs, OutMsgs, InBytes, OutBytes int64
	Stalls                             int64
	NumSubs                            int
	Name, Lang, Version                string
	Account, AuthorizedUser            string
	Subs                               []SubInfo // sorted by sid
}

// SubInfo is one subscription of a connection.
type SubInfo struct {
	Account, Subject, Queue, SID string
	Msgs, Max                    int64
	CID                          uint64
}

// facts describes the client; subs are those of a client that has none any more.
func (c *client) facts(now time.Time, subs map[string]*router.Sub) *ConnInfo {
	who := c.info.Load()
	last := time.Unix(0, c.lastActivity.Load())
	f := &ConnInfo{
		CID: c.id, Kind: who.Kind, Type: who.ClientType, IP: who.Host, Port: who.Port,
		Start: c.start, LastActivity: last,
		Uptime: now.Sub(c.start), Idle: now.Sub(last),
		InMsgs: c.totalInMsgs.Load(), InBytes: c.totalInBytes.Load(),
		Stalls: c.stalls.Load(),
		Name:   who.Name, Lang: who.Lang, Version: who.Version,
		Account: who.Account, AuthorizedUser: who.User,
	}
	c.out.mu.Lock()
	f.PendingBytes, f.OutMsgs, f.OutBytes = c.out.pending, c.out.msgs, c.out.bytes
	c.out.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	f.RTT, f.Reason = c.rtt, c.reason
	if subs == nil {
		subs = c.subs
	} else {
		f.Stop = now
	}
	for _, sub := range subs {
		f.Subs = append(f.Subs, SubInfo{
			Account: who.Account, Subject: sub.Subject, Queue: sub.Queue, SID: sub.SID,
			Msgs: sub.Delivered(), Max: sub.Limit(), CID: c.id,
		})
	}
	f.NumSubs = len(f.Subs)
	slices.SortFunc(f.Subs, func(a, b SubInfo) int { return strings.Compare(a.SID, b.SID) })
	return f
}

// Connections describes all open connections, by id.
func (s *Server) Connections() []*ConnInfo {
	now := s.clock.Now()
	clients := s.snapshot()
	all := make([]*ConnInfo, len(clients))
	for i, c := range clients {
		all[i] = c.facts(now, nil)
	}
	return all
}

// ClosedConnections describes the last connections that have ended, oldest first.
func (s *Server) ClosedConnections() []*ConnInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed.all()
}

// closedRing remembers the last limit closed connections.
type closedRing struct {
	limit int
	ring  []*ConnInfo
	next  int // where the oldest is, once the ring is full
}

func (r *closedRing) add(c *ConnInfo) {
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, c)
		return
	}
	if r.limit <= 0 {
		return
	}
	r.ring[r.next] = c
	r.next = (r.next + 1) % r.limit
}

func (r *closedRing) all() []*ConnInfo {
	return append(append([]*ConnInfo(nil), r.ring[r.next:]...), r.ring[:r.next]...)
}
