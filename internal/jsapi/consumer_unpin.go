package jsapi

import (
	"encoding/json"
	"slices"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/machine"
)

// consumerUnpin answers $JS.API.CONSUMER.UNPIN.<stream>.<consumer> where the
// consumer runs: the pinned client of a group loses its pin. 10160 for a group
// that the consumer does not have.
func (c *call) consumerUnpin() {
	var req api.ConsumerUnpinRequest
	if err := json.Unmarshal(c.Body, &req); err != nil {
		c.fail(apierr.JSInvalidJSONErr(err))
		return
	}
	if req.Group == "" {
		c.fail(apierr.JSInvalidJSONErr("consumer group not specified"))
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	found, grouped := false, false
	st.View(func(m *machine.Machine) {
		if x := m.Consumer(c.consumer()); x != nil {
			found, grouped = true, slices.Contains(x.Config.PriorityGroups, req.Group)
		}
	})
	switch {
	case !found:
		c.fail(apierr.JSConsumerNotFoundErr)
	case !grouped:
		c.fail(apierr.JSConsumerInvalidPriorityGroupErr)
	default:
		if r := st.Runner(c.consumer()); r != nil {
			r.Unpin(req.Group)
		}
		c.answer(api.ConsumerUnpinResponse{Response: c.response()})
	}
}
