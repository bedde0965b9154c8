package jsapi

import "weir/internal/machine"

// consumerDelete answers $JS.API.CONSUMER.DELETE.<stream>.<consumer> on the stream's
// leader.
func (c *call) consumerDelete() {
	if !c.readNothing() {
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	c.propose(st, &machine.ConsumerDelete{Name: c.consumer()}, func(r machine.Reply) { c.done(r.Err) })
}
