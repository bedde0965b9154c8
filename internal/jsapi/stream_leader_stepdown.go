package jsapi

import (
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/jetstream"
)

// decodeStepdown reads where the new leader should be; "" for anywhere.
func (c *call) decodeStepdown() (preferred string, err *apierr.Error) {
	var req api.LeaderStepdownRequest
	if err := decodeOptional(c.Body, &req); err != nil {
		return "", err
	}
	if req.Placement != nil {
		preferred = req.Placement.Preferred
	}
	return preferred, nil
}

// streamStepdown answers $JS.API.STREAM.LEADER.STEPDOWN.<stream> on the leader,
// which hands over to the preferred member, or the one that lacks least, and
// answers when it leads no more.
func (c *call) streamStepdown() {
	preferred, err := c.decodeStepdown()
	if err != nil {
		c.fail(err)
		return
	}
	st := c.svc.node.Stream(c.Account, c.stream())
	if st == nil {
		c.svc.held.add(c.Request)
		return
	}
	to, err := c.successor(st, preferred)
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

// successor is the member that takes over; 0 for a group of one.
func (c *call) successor(st *jetstream.Stream, preferred string) (best base.ReplicaID, err *apierr.Error) {
	status := st.Group().Status()
	var match uint64
	for _, p := range status.Peers {
		if p.Learner {
			continue
		}
		if preferred != "" {
			if c.svc.node.NodeName(p.Node) == preferred {
				return p.ID, nil
			}
			continue
		}
		if p.Active && (best == 0 || p.Match > match) {
			best, match = p.ID, p.Match
		}
	}
	switch {
	case preferred != "" && preferred != c.svc.cfg.Name:
		return 0, apierr.JSClusterNoPeersErrF("no suitable peers for placement, peer not found: " + preferred)
	case best == 0 && len(status.Voters) > 1 && preferred == "":
		return 0, apierr.JSClusterNoPeersErrF("no suitable peers for placement, peer offline")
	}
	return best, nil
}
