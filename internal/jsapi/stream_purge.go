package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/machine"
	"weir/internal/subject"
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
	reader := st.Store().Reader()
	cmd := &machine.Purge{Filter: req.Subject, Below: req.Sequence, Keep: req.Keep, UpTo: reader.State().LastSeq}
	if req.Keep > 0 && subject.Valid(req.Subject) && subject.HasWildcard(req.Subject) {
		// Looking for the newest may take seconds, so it is done here and not while the command is applied.
		below, ok, err := reader.NthLast(subject.NewFilter(req.Subject), cmd.UpTo, req.Keep)
		if err != nil {
			c.readFailed(st, err)
			return
		}
		cmd.Below, cmd.Keep = 1, 0
		if ok {
			cmd.Below = below
		}
	}
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
