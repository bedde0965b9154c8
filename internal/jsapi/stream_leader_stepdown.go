package jsapi

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/meta"
)

// decodeStepdown reads where the new leader should be; nil for anywhere.
func (c *call) decodeStepdown() (*api.Placement, *apierr.Error) {
	var req api.LeaderStepdownRequest
	if err := decodeOptional(c.Body, &req); err != nil {
		return nil, err
	}
	return req.Placement, nil
}

// heir is the member that a step-down request wants to lead next: the preferred
// one, or one that is online, in the cluster and has the tags; 0 without a wish.
func (c *call) heir(p *api.Placement, leader base.NodeID, members []base.NodeID) (base.NodeID, *apierr.Error) {
	if p == nil || p.Preferred == "" && p.Cluster == "" && len(p.Tags) == 0 {
		return 0, nil
	}
	var suitable []base.NodeID
	for _, node := range members {
		switch name := c.svc.node.NodeName(node); {
		case p.Preferred != "" && name == p.Preferred:
			if node == leader {
				return 0, apierr.JSClusterNoPeersErrF(fmt.Sprintf("preferred server %q is already leader", name))
			}
			return node, nil
		case p.Preferred == "" && node != leader && c.svc.node.Linked(node) && c.svc.nodeSuits(node, p):
			suitable = append(suitable, node)
		}
	}
	switch {
	case p.Preferred != "":
		return 0, apierr.JSClusterNoPeersErrF(fmt.Sprintf("preferred server %q not known", p.Preferred))
	case len(suitable) == 0:
		return 0, apierr.JSClusterNoPeersErrF("no replacement peer connected")
	}
	return anyOf(suitable), nil
}

// nodeSuits tells whether a node is in a cluster and has all tags.
func (s *Service) nodeSuits(id base.NodeID, p *api.Placement) (suits bool) {
	s.node.View(func(st *meta.State) {
		n := st.NodeByID(id)
		if n == nil {
			return
		}
		suits = p.Cluster == "" || p.Cluster == n.Cluster
		for _, tag := range p.Tags {
			has := func(t string) bool { return strings.EqualFold(t, tag) }
			suits = suits && slices.ContainsFunc(n.Tags, has)
		}
	})
	return suits
}

// streamStepdown answers $JS.API.STREAM.LEADER.STEPDOWN.<stream> on the leader,
// which hands over to the preferred member, or the one that lacks least, and
// answers when it leads no more. A group of one does nothing, whatever is wished.
func (c *call) streamStepdown() {
	st := c.replica()
	if st == nil {
		return
	}
	if alone(st) {
		c.ok()
		return
	}
	wish, err := c.decodeStepdown()
	if err != nil {
		c.fail(err)
		return
	}
	to, err := c.successor(st, wish)
	if err != nil {
		c.fail(err)
		return
	}
	if to != 0 {
		if err := st.Group().TransferLeader(to); err != nil {
			c.fail(apierr.JSRaftGeneralErrF(err))
			return
		}
		c.svc.await(func() bool { return !st.Leads() })
	}
	c.ok()
}

// awaitTime and awaitStep bound how long, and set how often, await looks.
const (
	awaitTime = 2 * time.Second
	awaitStep = 10 * time.Millisecond
)

// await waits until a condition holds, for a while.
func (s *Service) await(holds func() bool) {
	tick := s.cfg.Clock.NewTicker(awaitStep)
	defer tick.Stop()
	for end := s.cfg.Clock.Now().Add(awaitTime); !holds(); {
		select {
		case <-s.stop:
			return
		case now := <-tick.C():
			if now.After(end) {
				return
			}
		}
	}
}

// alone tells whether a stream has no other replica.
func alone(st *jetstream.Stream) bool { return len(st.Group().Status().Voters) <= 1 }

// successor is the member that takes over; 0 for a group that has become one of one.
func (c *call) successor(st *jetstream.Stream, wish *api.Placement) (best base.ReplicaID, err *apierr.Error) {
	status := st.Group().Status()
	if len(status.Voters) <= 1 {
		return 0, nil
	}
	members := []base.NodeID{st.LeaderNode()}
	for _, p := range status.Peers {
		if !p.Learner {
			members = append(members, p.Node)
		}
	}
	node, err := c.heir(wish, st.LeaderNode(), members)
	if err != nil {
		return 0, err
	}
	var match uint64
	for _, p := range status.Peers {
		switch {
		case p.Learner:
		case node != 0 && p.Node == node:
			return p.ID, nil
		case node == 0 && p.Active && (best == 0 || p.Match > match):
			best, match = p.ID, p.Match
		}
	}
	if best == 0 {
		return 0, apierr.JSClusterNoPeersErrF("no replacement peer connected")
	}
	return best, nil
}
