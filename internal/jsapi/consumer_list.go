package jsapi

import (
	"slices"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/machine"
)

// consumerNames answers $JS.API.CONSUMER.NAMES.<stream> on the stream's leader with
// a page of names. The subject of the request is accepted and does nothing.
func (c *call) consumerNames() {
	var req api.ConsumerNamesRequest
	if !c.readOptional(&req) {
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	names := consumerNames(st)
	from, to, paged := page(req.Offset, len(names), namesPage)
	c.answer(api.ConsumerNamesResponse{Response: c.response(), Paged: paged, Consumers: names[from:to]})
}

// consumerList answers $JS.API.CONSUMER.LIST.<stream> on the stream's leader with a
// page of descriptions. Waiting pulls are those of consumers that run there.
func (c *call) consumerList() {
	var req api.ConsumerListRequest
	if !c.readOptional(&req) {
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	names := consumerNames(st)
	from, to, paged := page(req.Offset, len(names), listPage)
	doc := api.ConsumerListResponse{Response: c.response(), Paged: paged, Consumers: []*api.ConsumerInfo{}}
	for _, name := range names[from:to] {
		if info := c.svc.ConsumerInfo(st, name); info != nil {
			doc.Consumers = append(doc.Consumers, info)
		}
	}
	c.answer(doc)
}

// consumerNames lists the names of a stream's consumers in order, without those of
// mirrors and sources.
func consumerNames(st *jetstream.Stream) []string {
	names := []string{}
	st.View(func(m *machine.Machine) {
		for x := range m.Consumers() {
			if !x.Config.Direct {
				names = append(names, x.Name)
			}
		}
	})
	slices.Sort(names)
	return names
}
