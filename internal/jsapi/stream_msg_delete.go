package jsapi

import (
	"weir/internal/api"
	"weir/internal/machine"
)

// streamMsgDelete answers $JS.API.STREAM.MSG.DELETE.<stream> on the stream's
// leader.
func (c *call) streamMsgDelete() {
	var req api.StreamMsgDeleteRequest
	if !c.read(&req) {
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	c.propose(st, &machine.DeleteMsg{Seq: req.Seq, NoErase: req.NoErase}, func(r machine.Reply) { c.done(r.Err) })
}
