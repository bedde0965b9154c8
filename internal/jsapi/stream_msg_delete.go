package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/machine"
)

// streamMsgDelete answers $JS.API.STREAM.MSG.DELETE.<stream> on the stream's
// leader.
func (c *call) streamMsgDelete() {
	var req api.StreamMsgDeleteRequest
	if isEmpty(c.Body) {
		c.fail(apierr.JSBadRequestErr)
		return
	}
	if err := decode(c.Body, &req); err != nil {
		c.fail(err)
		return
	}
	st := c.svc.node.Stream(c.Account, c.stream())
	if st == nil {
		c.svc.held.add(c.Request)
		return
	}
	c.propose(st, &machine.DeleteMsg{Seq: req.Seq, NoErase: req.NoErase}, func(r machine.Reply) { c.done(r.Err) })
}
