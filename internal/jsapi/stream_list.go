package jsapi

import (
	"cmp"
	"context"
	"time"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/meta"
)

const listPage = 256

// streamList answers $JS.API.STREAM.LIST on the meta leader, which gathers the
// descriptions from the streams' leaders. Who does not answer in time is in
// missing; a stream whose nodes are all offline is described by its assignment.
func (c *call) streamList() {
	var req api.StreamListRequest
	if !c.readOptional(&req) {
		return
	}
	list := c.streams(req.Subject)
	from, to, paged := page(req.Offset, len(list), listPage)
	doc := api.StreamListResponse{Response: c.response(), Paged: paged, Streams: []*api.StreamInfo{}}
	list = list[from:to]
	names := make([]string, len(list))
	for i, a := range list {
		names[i] = a.Name
	}
	var found map[string]*api.StreamInfo
	if len(names) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), gatherTimeout)
		defer cancel()
		found = c.svc.node.StreamDetails(ctx, c.Account, names)
	}
	for _, a := range list {
		info := found[a.Name]
		if info == nil {
			doc.Missing = append(doc.Missing, a.Name)
			if reason := cmp.Or(a.Unsupported(jetstream.APILevel), a.Loss(), c.svc.node.Broken(a)); reason != "" {
				if doc.Offline == nil {
					doc.Offline = make(map[string]string)
				}
				doc.Offline[a.Name] = reason
				continue
			}
			if !c.svc.allOffline(a) {
				continue
			}
			info = c.svc.offlineInfo(a)
		}
		c.svc.completeStream(info, a)
		doc.Streams = append(doc.Streams, info)
	}
	c.answer(doc)
}

// offlineInfo describes a stream none of whose nodes is there.
func (s *Service) offlineInfo(a *meta.Assignment) *api.StreamInfo {
	cluster := &api.ClusterInfo{Name: a.Cluster, RaftGroup: a.RaftName}
	for _, r := range a.Replicas {
		name := s.node.NodeName(r.Node)
		cluster.Replicas = append(cluster.Replicas, &api.PeerInfo{Name: name, Peer: meta.PeerID(name), Offline: true})
	}
	return &api.StreamInfo{
		Config: *a.Config, Created: time.Unix(0, a.Created).UTC(), Domain: s.cfg.Domain,
		Cluster: cluster, Timestamp: s.cfg.Clock.Now().UTC(),
	}
}
