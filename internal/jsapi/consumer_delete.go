package jsapi

import (
	"weir/internal/apierr"
	"weir/internal/machine"
)

// consumerDelete answers $JS.API.CONSUMER.DELETE.<stream>.<consumer> on the stream's
// leader.
func (c *call) consumerDelete() {
	if !isEmpty(c.Body) {
		c.fail(apierr.JSNotEmptyRequestErr)
		return
	}
	st := c.svc.node.Stream(c.Account, c.stream())
	if st == nil {
		c.svc.held.add(c.Request)
		return
	}
	c.propose(st, &machine.ConsumerDelete{Name: c.consumer()}, func(r machine.Reply) { c.done(r.Err) })
}
