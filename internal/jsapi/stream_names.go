package jsapi

import (
	"slices"

	"weir/internal/api"
	"weir/internal/meta"
)

const namesPage = 1024

// streamNames answers $JS.API.STREAM.NAMES on the meta leader: a page of names,
// of all streams or of those with a subject that overlaps the given one.
func (c *call) streamNames() {
	var req api.StreamNamesRequest
	if !c.readOptional(&req) {
		return
	}
	list := c.streams(req.Subject)
	from, to, paged := page(req.Offset, len(list), namesPage)
	doc := api.StreamNamesResponse{Response: c.response(), Paged: paged, Streams: []string{}}
	for _, a := range list[from:to] {
		doc.Streams = append(doc.Streams, a.Name)
	}
	c.answer(doc)
}

// streams lists the account's streams by name, all without a subject. Those that
// are being restored are not shown.
func (c *call) streams(subj string) (list []*meta.Assignment) {
	c.svc.node.View(func(s *meta.State) {
		if subj == "" {
			list = s.Streams(c.Account)
		} else {
			list = s.StreamsOverlapping(c.Account, subj)
		}
	})
	return slices.DeleteFunc(list, func(a *meta.Assignment) bool { return a.Restoring })
}
