package jsapi

import "weir/internal/meta"

// streamCancelMove answers $JS.API.STREAM.CANCEL_MOVE.<stream> on the meta leader:
// a running move or scale goes back to where it came from. The stream's leader
// answers.
func (c *call) streamCancelMove() {
	result, ok := c.proposeMeta(&meta.StreamCancelMove{Account: c.Account, Name: c.stream(), Request: c.origin()})
	if ok && result.Err != nil {
		c.fail(result.Err)
	}
}
