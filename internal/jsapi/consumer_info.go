package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
)

// consumerInfo answers $JS.API.CONSUMER.INFO.<stream>.<consumer> where the consumer
// runs, so that waiting pulls and the binding of a push consumer are exact. What was
// acknowledged before the request is in the answer.
func (c *call) consumerInfo() {
	if !c.readNothing() {
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	st.CatchUp()
	st.SyncConsumer(c.consumer())
	info := c.svc.describeConsumer(st, c.consumer())
	if info == nil {
		c.fail(apierr.JSConsumerNotFoundErr)
		return
	}
	c.answer(api.ConsumerCreateResponse{Response: c.response(), ConsumerInfo: info})
}
