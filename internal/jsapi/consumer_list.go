package jsapi

import (
	"slices"

	"weir/internal/api"
	"weir/internal/machine"
)

// consumerNames answers $JS.API.CONSUMER.NAMES.<stream> on the stream's leader with
// a page of names. The subject of the request is accepted and does nothing.
func (c *call) consumerNames() {
	var req api.ConsumerNamesRequest
	if err := decodeOptional(c.Body, &req); err != nil {
		c.fail(err)
		return
	}
	names, ok := c.consumers()
	if !ok {
		return
	}
	from, to, paged := page(req.Offset, len(names), namesPage)
	c.answer(api.ConsumerNamesResponse{Response: c.response(), Paged: paged, Consumers: names[from:to]})
}

// consumerList answers $JS.API.CONSUMER.LIST.<stream> on the stream's leader with a
// page of descriptions. Waiting pulls are those of consumers that run there.
func (c *call) consumerList() {
	var req api.ConsumerListRequest
	if err := decodeOptional(c.Body, &req); err != nil {
		c.fail(err)
		return
	}
	names, ok := c.consumers()
	if !ok {
		return
	}
	from, to, paged := page(req.Offset, len(names), listPage)
	doc := api.ConsumerListResponse{Response: c.response(), Paged: paged, Consumers: []*api.ConsumerInfo{}}
	st := c.svc.node.Stream(c.Account, c.stream())
	for _, name := range names[from:to] {
		if info := c.svc.ConsumerInfo(st, name); info != nil {
			doc.Consumers = append(doc.Consumers, info)
		}
	}
	c.answer(doc)
}

// consumers lists the names of the stream's consumers in order; false when the
// stream is not here any more.
func (c *call) consumers() (names []string, ok bool) {
	st := c.svc.node.Stream(c.Account, c.stream())
	if st == nil {
		c.svc.held.add(c.Request)
		return nil, false
	}
	names = []string{}
	st.View(func(m *machine.Machine) {
		for x := range m.Consumers() {
			if !x.Config.Direct {
				names = append(names, x.Name)
			}
		}
	})
	slices.Sort(names)
	return names, true
}
