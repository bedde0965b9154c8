package jsapi

import (
	"encoding/json"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/machine"
	"weir/internal/wire"
)

// consumerReset answers $JS.API.CONSUMER.RESET.<stream>.<consumer> on the stream's
// leader: delivery starts over behind the ack floor, or with a sequence.
func (c *call) consumerReset() {
	var req api.ConsumerResetRequest
	if len(c.Body) > 0 {
		if err := json.Unmarshal(c.Body, &req); err != nil {
			c.fail(apierr.JSInvalidJSONErr(err))
			return
		}
	}
	st := c.replica()
	if st == nil {
		return
	}
	c.propose(st, &machine.ConsumerReset{Name: c.consumer(), Seq: req.Seq}, func(r machine.Reply) {
		if r.Err != nil {
			c.fail(r.Err)
			return
		}
		info := c.svc.describeConsumer(st, c.consumer())
		if info == nil {
			c.fail(apierr.JSConsumerNotFoundErr)
			return
		}
		if _, asked := wire.GetHeader(c.Header, identityHeader); asked {
			c.identify(st)
		}
		c.answer(api.ConsumerResetResponse{Response: c.response(), ConsumerInfo: info, ResetSeq: r.Start})
	})
}
