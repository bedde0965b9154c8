package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/meta"
)

// streamDelete answers $JS.API.STREAM.DELETE.<stream> on the meta leader, once
// the assignment is gone. The name is free from then on.
func (c *call) streamDelete() {
	if !c.readNothing() {
		return
	}
	if c.restoring() {
		c.fail(apierr.JSStreamNotFoundErr)
		return
	}
	result, ok := c.proposeMeta(&meta.StreamDelete{Account: c.Account, Name: c.stream()})
	if !ok {
		return
	}
	c.done(result.Err)
	if result.Err == nil {
		c.svc.adviseStream(c.acc, c.stream(), api.DeleteAction)
	}
}
