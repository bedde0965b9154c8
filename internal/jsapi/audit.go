package jsapi

import (
	"sync"
	"time"

	"weir/internal/api"
)

// audit tells of an answered request.
func (c *call) audit(response []byte) {
	s := c.svc
	if !s.heard(c.acc, "API") {
		return
	}
	client := c.ClientInfo()
	if client == nil { // a server, for a stream that copies
		client = &api.ClientInfo{Account: c.Account, Server: s.node.NodeName(c.Origin), Cluster: s.cfg.Cluster, Kind: "JetStream"}
	}
	s.advise(c.acc, "API", &api.APIAudit{
		Advisory: s.newAdvisory(api.APIAuditAdvisoryType), Server: s.cfg.Name, Client: client,
		Subject: c.Subject, Request: string(c.Body), Response: string(response), Domain: s.cfg.Domain,
	})
}

// limitAdvisor tells, at most once a second, that requests were dropped as the
// queues were full.
type limitAdvisor struct {
	mu    sync.Mutex
	count int64
	told  time.Time
}

func (l *limitAdvisor) dropped(s *Service) {
	now := s.cfg.Clock.Now()
	l.mu.Lock()
	l.count++
	count := l.count
	tell := now.Sub(l.told) >= time.Second
	if tell {
		l.told, l.count = now, 0
	}
	l.mu.Unlock()
	if !tell {
		return
	}
	s.cfg.Logger.Warnf("JetStream API queue is full, %d requests dropped", count)
	s.advise(s.cfg.Accounts.System(), "API.LIMIT_REACHED", &api.APILimitReached{
		Advisory: s.newAdvisory(api.APILimitReachedAdvisoryType), Server: s.cfg.Name, Domain: s.cfg.Domain, Dropped: count,
	})
}
