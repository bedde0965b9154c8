package conn

import "weir/internal/router"

// client receives messages: it is the router's Client.
var _ router.Client = (*client)(nil)

// Describe says who the client is.
func (c *client) Describe() *router.ClientInfo { return c.info.Load() }

// Flush wakes the writer.
func (c *client) Flush() <-chan struct{} { return c.out.signal() }

// Receive queues a message for the client.
func (c *client) Receive(sub *router.Sub, b *router.Batch, m *router.Msg) bool {
	if sub.Filtered && c.user.Permissions.DeniesDelivery(m.Route()) {
		return false
	}
	header := m.Header
	if len(header) > 0 && !c.headers.Load() {
		header = nil
	}
	if len(m.Reply) > 0 && c.replies.permission != nil {
		c.replies.allow(m.Reply, c.server.clock.Now())
	}
	c.traceMsg(sub, m)
	o := &c.out
	o.mu.Lock()
	if o.closing {
		o.mu.Unlock()
		return false
	}
	result := o.message(sub.WireSID(), header, m)
	if b != nil {
		b.Touch(&o.mark, c)
	}
	o.mu.Unlock()
	if result == overflow {
		c.overflow()
		return false
	}
	return true
}

// Ended forgets a subscription that reached its limit.
func (c *client) Ended(sub *router.Sub) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs[sub.SID] == sub {
		delete(c.subs, sub.SID)
		c.countSubs(-1)
	}
}

// countSubs changes the number of subscriptions; the client has authenticated
// if it ever had one.
func (c *client) countSubs(delta int) {
	c.server.subscriptions.Add(int64(delta))
	c.stats.subs.Add(int64(delta))
}
