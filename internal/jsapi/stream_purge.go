package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/machine"
)

// streamPurge answers $JS.API.STREAM.PURGE.<stream> on the stream's leader. It
// removes what was there when the request was taken: all, by filter, below a
// sequence or all but the newest.
func (c *call) streamPurge() {
	var req api.StreamPurgeRequest
	err := decodeOptional(c.Body, &req)
	if err == nil && req.Sequence > 0 && req.Keep > 0 {
		err = apierr.JSBadRequestErr
	}
	if err != nil {
		c.fail(err)
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	cmd := &machine.Purge{Filter: req.Subject, Below: req.Sequence, Keep: req.Keep, UpTo: st.Store().Reader().State().LastSeq}
	c.propose(st, cmd, func(r machine.Reply) {
		if r.Err != nil {
			c.fail(r.Err)
			return
		}
		c.answer(api.StreamPurgeResponse{
			SuccessResponse: api.SuccessResponse{Response: c.response(), Success: true}, Purged: r.Purged,
		})
	})
}
