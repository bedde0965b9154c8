package jsapi

import "weir/internal/apierr"

// consumerInfo answers $JS.API.CONSUMER.INFO.<stream>.<consumer> where the consumer
// runs, so that waiting pulls and the binding of a push consumer are exact.
func (c *call) consumerInfo() {
	if !isEmpty(c.Body) {
		c.fail(apierr.JSNotEmptyRequestErr)
		return
	}
	st := c.svc.node.Stream(c.Account, c.stream())
	if st == nil {
		c.svc.held.add(c.Request)
		return
	}
	st.SyncConsumer(c.consumer())
	c.answerConsumer(st, c.consumer())
}
