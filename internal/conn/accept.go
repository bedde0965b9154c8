package conn

import (
	"time"

	"weir/internal/account"
	"weir/internal/router"
	"weir/internal/wire"
)

// accept makes the client the user of the credentials.
func (c *client) accept(credentials *account.Credentials) error {
	user, err := c.server.registry.Authenticate(credentials)
	if err != nil {
		c.unauthorized(err)
		return errEnded
	}
	c.user, c.account = user, user.Account
	c.replies.permission = user.Permissions.Responses()
	stats := c.server.accountStats(user.Account)
	// Counted before it is compared: others come at the same time.
	if n := user.Account.Limits().MaxConnections; stats.conns.Add(1) > int64(n) && n >= 0 {
		stats.conns.Add(-1)
		c.errorf("%s", errMaxAccountConns)
		c.end(ReasonMaxAccountConns, errMaxAccountConns)
		return errEnded
	}
	stats.totalConns.Add(1)
	c.server.serveAccount(user.Account)

	limits := c.server.parserLimits()
	if n := user.Account.Limits().MaxPayload; n >= 0 {
		limits.MaxPayload = min(n, limits.MaxPayload)
	}
	c.parser.SetLimits(limits)

	info := *c.info.Load()
	info.Account = user.Account.Name()
	info.User = user.Name
	info.Name, info.Lang, info.Version = c.options.Name, c.options.Lang, c.options.Version
	info.RTT = c.server.clock.Now().Sub(c.start)
	c.info.Store(&info)
	c.source = router.FromClient(c, !c.options.Echo, &c.batch)

	c.mu.Lock()
	c.connected, c.stats = true, stats
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.timers++
	c.rtt = info.RTT
	if c.reason == "" {
		c.pingAfterLocked(min(firstPing, c.server.cfg().Limits.PingInterval))
	}
	c.mu.Unlock()
	c.server.observeConnected(c)
	return nil
}

func (s *Server) parserLimits() wire.Limits {
	return wire.Limits{MaxControlLine: s.cfg().Limits.MaxControlLine, MaxPayload: s.cfg().Limits.MaxPayload}
}

func (c *client) unauthorized(err error) {
	if c.options.User != "" {
		c.errorf("authentication error - User %q: %v", c.options.User, err)
	} else {
		c.errorf("authentication error: %v", err)
	}
	c.end(ReasonAuthFailure, errAuthViolation)
}

// waitForConnect ends the connection unless the client authenticates in time or,
// where it need not, answers to PING.
func (c *client) waitForConnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != "" || c.connected {
		return
	}
	if !c.server.registry.Required() {
		c.pingAfterLocked(c.server.cfg().Limits.PingInterval)
		return
	}
	c.timer = c.server.clock.AfterFunc(c.server.cfg().AuthTimeout, func() {
		c.mu.Lock()
		late := !c.connected
		c.mu.Unlock()
		if late {
			c.end(ReasonAuthTimeout, errAuthTimeout)
		}
	})
}

func (c *client) pingAfterLocked(d time.Duration) {
	series := c.timers
	c.timer = c.server.clock.AfterFunc(d, func() { c.ping(series) })
}

// ping runs on the timer: it asks whether an idle client is still there. A timer
// of an older series was replaced while it fired.
func (c *client) ping(series int) {
	limits := &c.server.cfg().Limits
	now := c.server.clock.Now()
	c.mu.Lock()
	if c.reason != "" || c.timers != series {
		c.mu.Unlock()
		return
	}
	if c.pings >= limits.PingMax {
		c.mu.Unlock()
		c.server.staleConnections.Add(1)
		c.debugf("Stale Client Connection - Closing")
		c.end(ReasonStale, errStale)
		return
	}
	c.pingAfterLocked(limits.PingInterval)
	idle := now.UnixNano()-c.lastActivity.Load() >= int64(limits.PingInterval/2)
	measured := !c.pinged.IsZero()
	if measured && !idle {
		c.pings = 0
		c.mu.Unlock()
		return
	}
	c.pings++
	c.pinged = now
	c.mu.Unlock()
	c.sendNow(pingText)
}
