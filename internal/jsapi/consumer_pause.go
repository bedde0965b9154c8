package jsapi

import (
	"weir/internal/api"
	"weir/internal/machine"
)

// consumerPause answers $JS.API.CONSUMER.PAUSE.<stream>.<consumer> on the stream's
// leader. No time, or one that has passed, resumes.
func (c *call) consumerPause() {
	var req api.ConsumerPauseRequest
	if !c.readOptional(&req) {
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	cmd := &machine.ConsumerPause{Name: c.consumer()}
	if !req.PauseUntil.IsZero() {
		cmd.Until = &req.PauseUntil
	}
	c.propose(st, cmd, func(r machine.Reply) {
		if r.Err != nil {
			c.fail(r.Err)
			return
		}
		doc := api.ConsumerPauseResponse{Response: c.response(), PauseUntil: req.PauseUntil}
		if left := req.PauseUntil.Sub(c.svc.cfg.Clock.Now()); left > 0 {
			doc.Paused, doc.PauseRemaining = true, left
		}
		c.answer(doc)
	})
}
