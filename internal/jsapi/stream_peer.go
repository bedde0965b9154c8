package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/meta"
)

// streamPeerRemove answers $JS.API.STREAM.PEER.REMOVE.<stream> on the meta
// leader: another node takes the member's place. Without one the group goes on
// with fewer, and the answer is 10075.
func (c *call) streamPeerRemove() { c.replacePeer(false) }

// streamPeerEvacuate answers $JS.API.STREAM.PEER.EVACUATE.<stream>: as a removal,
// but nothing happens when no other node can take over. The new member is always
// up to date before the old one goes.
func (c *call) streamPeerEvacuate() { c.replacePeer(true) }

func (c *call) replacePeer(needed bool) {
	var req api.StreamPeerRequest
	if !c.read(&req) {
		return
	}
	if req.Peer == "" {
		c.fail(apierr.JSBadRequestErr)
		return
	}
	c.done(c.moveOff(c.Account, c.stream(), req.Peer, needed))
}

// moveOff replaces a stream's member on a node, given by server name or peer id.
func (c *call) moveOff(account, name, peer string, needed bool) *apierr.Error {
	return c.proposePlanned(func() (meta.Body, *apierr.Error) {
		cmd, err := c.plannedRemoval(account, name, peer)
		if err == nil && needed && cmd.Replacement == 0 {
			err = apierr.JSPeerRemapErr
		}
		return cmd, err
	})
}

// proposePlanned has the meta group apply what plan makes of its state, and plans anew when another change came first.
func (c *call) proposePlanned(plan func() (meta.Body, *apierr.Error)) *apierr.Error {
	for range updateAttempts {
		cmd, err := plan()
		if err != nil {
			return err
		}
		result, ok := c.proposeMeta(cmd)
		switch {
		case !ok:
			return apierr.JSClusterNotAvailErr
		case result.Err != nil:
			return result.Err
		case !result.Stale:
			return nil
		}
	}
	return apierr.JSClusterNotAvailErr
}

func (c *call) plannedRemoval(account, name, peer string) (cmd *meta.PeerRemove, err *apierr.Error) {
	planned := c.svc.node.Plan(func(p *meta.Planner) {
		a := p.State.Stream(account, name)
		if a == nil {
			err = apierr.JSStreamNotFoundErr
			return
		}
		from := memberNode(p.State, a, peer)
		if from == 0 {
			err = apierr.JSClusterPeerNotMemberErr
			return
		}
		cmd = &meta.PeerRemove{Account: account, Name: name, Node: from, Replacement: p.Replacement(a, from), IfRevision: a.Revision}
	})
	if !planned {
		err = apierr.JSClusterNotAvailErr
	}
	return cmd, err
}

// memberNode is the node of the member with a server name or peer id, also of one
// that was removed from the meta group; 0 when it is no member.
func memberNode(s *meta.State, a *meta.Assignment, peer string) base.NodeID {
	for _, r := range a.Replicas {
		if n := s.NodeByID(r.Node); n != nil && (n.Name == peer || n.Peer() == peer) {
			return r.Node
		}
	}
	return 0
}
