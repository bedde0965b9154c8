package conn

import (
	"bytes"
	"fmt"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/router"
	"weir/internal/subject"
	"weir/internal/wire"
)

// client handles what its parser finds.
var _ wire.Handler = (*client)(nil)

var (
	okText   = []byte(wire.OK)
	pongText = []byte(wire.Pong)
	pingText = []byte(wire.Ping)
)

// ready has to be passed by every operation but CONNECT: without CONNECT a
// client is who clients without credentials are, if they are anybody.
func (c *client) ready() error {
	if c.connected {
		return nil
	}
	return c.accept(&account.Credentials{ConnectionType: c.kind})
}

// done acknowledges an operation to a verbose client.
func (c *client) done() error {
	if c.options.Verbose {
		c.answer(okText)
	}
	return nil
}

// refuse answers an operation with an error that does not end the connection.
func (c *client) refuse(format string, args ...any) error {
	c.answer(wire.AppendErr(nil, fmt.Sprintf(format, args...)))
	return nil
}

// maxProtocol is the newest client protocol: 1 takes asynchronous INFO.
const maxProtocol = 1

// Connect handles CONNECT. A second one changes options, not who the client is.
func (c *client) Connect(document []byte) error {
	options, err := wire.ParseConnect(document)
	if err != nil {
		c.errorf("%v", err)
		c.end(ReasonProtocolViolation, "")
		return errEnded
	}
	if options.NoResponders && !options.Headers {
		c.end(ReasonMissingHeaders, errNeedsHeaders)
		return errEnded
	}
	if options.Protocol < 0 || options.Protocol > maxProtocol {
		c.end(ReasonBadProtocol, errBadProtocol)
		return errEnded
	}
	options.Headers = options.Headers && !c.server.cfg().Limits.NoHeaders
	c.options = options
	c.headers.Store(options.Headers)
	if !c.connected {
		err := c.accept(&account.Credentials{
			User: options.User, Password: options.Pass, Token: options.AuthToken,
			NKey: options.NKey, Signature: options.Sig, JWT: options.JWT,
			Nonce: c.nonce, ConnectionType: c.kind,
		})
		if err != nil {
			return err
		}
	}
	c.source = router.FromClient(c, !options.Echo, &c.batch)
	return c.done()
}

// Pub handles PUB and HPUB.
func (c *client) Pub(m *wire.Msg) error {
	if err := c.ready(); err != nil {
		return err
	}
	if len(m.Header) > 0 && !c.options.Headers {
		c.errorf("HPUB without headers being agreed on")
		c.end(ReasonProtocolViolation, "")
		return errEnded
	}
	c.inMsgs++
	c.inBytes += int64(len(m.Header) + len(m.Payload))
	if len(m.Header) > 0 {
		if t := c.server.router.BeginTrace(c.account.Name(), &c.source, m); t != nil {
			return c.pubTraced(t, m)
		}
	}
	return c.mapAndPublish(m)
}

// mapAndPublish publishes a message, perhaps under the subject that the account maps
// its own to.
func (c *client) mapAndPublish(m *wire.Msg) error {
	if !c.account.Maps(m.Subject) {
		return c.publish(m)
	}
	mapped := *m
	if !router.Map(c.account, &mapped) {
		return c.done()
	}
	if t := c.source.Trace(); t != nil && !bytes.Equal(mapped.Subject, m.Subject) {
		t.Mapped(string(mapped.Subject))
	}
	return c.publish(&mapped)
}

// publish checks and routes a message under the subject that it goes to.
func (c *client) publish(m *wire.Msg) error {
	if !bytes.Equal(m.Subject, c.lastSubject) {
		switch {
		case !subject.ValidLiteral(base.View(m.Subject)) && !c.toleratesSubject(m.Subject):
			return nil
		case c.mayPublish(m.Subject):
			c.lastSubject = append(c.lastSubject[:0], m.Subject...)
		case !c.replies.use(m.Subject, c.server.clock.Now()):
			c.errorf("Publish Violation - Subject %q", m.Subject)
			text := fmt.Sprintf("Permissions Violation for Publish to %q", m.Subject)
			c.source.Trace().Refused(text)
			return c.refuse("%s", text)
		}
	}
	if c.options.Verbose {
		c.answer(okText)
	}
	delivered := c.server.router.Publish(c.account, c.source, m)
	if delivered == 0 && c.options.NoResponders && len(m.Reply) > 0 {
		c.noResponders(m)
	}
	return nil
}

// toleratesSubject judges a subject that is no literal. As with the established
// server, wildcards may be published to, as JetStream's API needs: they match as
// plain tokens. Empty tokens match nothing. Only pedantic clients are told.
func (c *client) toleratesSubject(subj []byte) bool {
	if c.options.Pedantic {
		c.answer(wire.AppendErr(nil, errPublishSubject))
	}
	return subject.Valid(base.View(subj))
}

// maxVerdicts bounds the remembered permission checks of one client.
const maxVerdicts = 512

// mayPublish checks the user's standing permissions.
func (c *client) mayPublish(subj []byte) bool {
	if c.user.Permissions == nil {
		return true
	}
	if verdict, known := c.verdicts[string(subj)]; known {
		return verdict
	}
	if c.verdicts == nil {
		c.verdicts = make(map[string]bool)
	} else if len(c.verdicts) >= maxVerdicts {
		clear(c.verdicts)
	}
	verdict := c.user.Permissions.CanPublish(string(subj))
	c.verdicts[string(subj)] = verdict
	return verdict
}

// noResponders tells a requestor at once that nobody will answer.
func (c *client) noResponders(m *wire.Msg) {
	status := router.Msg{
		Subject: m.Reply,
		Header:  wire.StatusBlock(503, "", "Nats-Subject", string(m.Subject)),
	}
	c.server.router.DeliverTo(c.account, c, &c.batch, &status)
}

// Sub handles SUB. A sid that is in use keeps its subscription.
func (c *client) Sub(subj, queue, sid []byte) error {
	if err := c.ready(); err != nil {
		return err
	}
	cs := router.ClientSub{Subject: string(subj), Queue: string(queue), SID: string(sid)}
	if !subject.Valid(cs.Subject) {
		return c.refuse("%s", errSubject)
	}
	if refusal := c.checkSub(&cs); refusal != "" {
		return c.refuse("%s", refusal)
	}
	c.mu.Lock()
	_, known := c.subs[cs.SID]
	c.mu.Unlock()
	if known {
		return c.done()
	}
	cs.Filtered = c.user.Permissions.Filters(cs.Subject)
	sub, err := c.server.router.SubscribeClient(c.account, c, cs)
	if err != nil {
		return c.refuse("%s", errSubject)
	}
	c.mu.Lock()
	c.subs[cs.SID] = sub
	c.mu.Unlock()
	c.countSubs(+1)
	return c.done()
}

// checkSub returns the text of the refusal, or nothing.
func (c *client) checkSub(cs *router.ClientSub) string {
	if !c.user.Permissions.CanSubscribe(cs.Subject, cs.Queue) {
		if cs.Queue == "" {
			c.errorf("Subscription Violation - Subject %q, SID %s", cs.Subject, cs.SID)
			return fmt.Sprintf("Permissions Violation for Subscription to %q", cs.Subject)
		}
		c.errorf("Subscription Violation - Subject %q, Queue: %q, SID %s", cs.Subject, cs.Queue, cs.SID)
		return fmt.Sprintf("Permissions Violation for Subscription to %q using queue %q", cs.Subject, cs.Queue)
	}
	limits := &c.server.cfg().Limits
	if n := limits.MaxSubTokens; n > 0 && subject.NumTokens(cs.Subject) > n {
		return fmt.Sprintf("Permissions Violation for Subscription to %q, too many tokens", cs.Subject)
	}
	c.mu.Lock()
	count := len(c.subs)
	c.mu.Unlock()
	if limits.MaxSubscriptions > 0 && count >= limits.MaxSubscriptions {
		c.errorf("%s", errMaxSubs)
		return errMaxSubs
	}
	if n := c.account.Limits().MaxSubscriptions; n >= 0 && c.stats.subs.Load() >= int64(n) {
		c.errorf("%s", errMaxAccountSubs)
		return errMaxAccountSubs
	}
	return ""
}

// Unsub handles UNSUB; max counts all messages of the subscription.
func (c *client) Unsub(sid []byte, max int) error {
	if err := c.ready(); err != nil {
		return err
	}
	c.mu.Lock()
	sub := c.subs[string(sid)]
	c.mu.Unlock()
	if sub == nil {
		return c.done()
	}
	ended := true
	if max > 0 {
		ended = c.server.router.SetLimit(sub, int64(max))
	} else {
		c.server.router.Unsubscribe(sub)
	}
	if ended {
		c.Ended(sub)
	}
	return c.done()
}

// Ping handles PING. After the first PONG a client is told who it is.
func (c *client) Ping() error {
	if err := c.ready(); err != nil {
		return err
	}
	c.answer(pongText)
	if !c.ponged {
		c.ponged = true
		if c.options.Protocol >= 1 {
			c.takesInfo()
		}
	}
	return nil
}

// takesInfo tells the client who it is, and from now on what changes.
func (c *client) takesInfo() {
	c.server.telling.Lock()
	defer c.server.telling.Unlock()
	c.answer(c.server.infoFor(c))
	c.takeInfo.Store(true)
}

// Pong handles the answer to our PING.
func (c *client) Pong() error {
	if err := c.ready(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pings > 0 {
		c.rtt = c.server.clock.Now().Sub(c.pinged)
	}
	c.pings = 0
	return nil
}

// Info from a client means nothing.
func (c *client) Info([]byte) error { return nil }

// OK from a client means nothing.
func (c *client) OK() error { return nil }

// Err from a client: it gives up.
func (c *client) Err(text []byte) error {
	c.errorf("client error %q", text)
	c.end(ReasonParseError, "")
	return errEnded
}
