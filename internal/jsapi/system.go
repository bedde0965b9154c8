package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/meta"
)

// metaStepdown answers $JS.API.META.LEADER.STEPDOWN (system account) on the meta
// leader, which hands over to the server that is wished for, or any that is up to
// date, and answers when it leads no more.
func (c *call) metaStepdown() {
	wish, err := c.decodeStepdown()
	if err != nil {
		c.fail(err)
		return
	}
	status, _ := c.svc.node.MetaRaft()
	self := c.svc.node.ID()
	members := []base.NodeID{self}
	for _, p := range status.Peers {
		if !p.Learner {
			members = append(members, p.Node)
		}
	}
	to, err := c.heir(wish, self, members)
	if err != nil {
		c.fail(err)
		return
	}
	if err := c.svc.node.TransferMeta(to); err != nil {
		c.fail(apierr.JSRaftGeneralErrF(err))
		return
	}
	c.svc.await(func() bool { return !c.svc.node.MetaLeader().Here })
	c.ok()
}

// serverRemove answers $JS.API.SERVER.REMOVE (system account) on the meta leader:
// a server leaves the meta group and other nodes take over what it held.
func (c *call) serverRemove() {
	var req api.MetaServerRequest
	if isEmpty(c.Body) {
		c.fail(apierr.JSBadRequestErr)
		return
	}
	if err := decode(c.Body, &req); err != nil {
		c.fail(err)
		return
	}
	var cmd *meta.NodeRemove
	c.svc.node.Plan(func(p *meta.Planner) {
		n := p.State.NodeByPeer(req.Server)
		if req.PeerID != "" {
			n = p.State.NodeByPeer(req.PeerID)
		}
		if n != nil {
			cmd = &meta.NodeRemove{Node: n.ID, Gone: !c.svc.node.Linked(n.ID), Remaps: p.RemoveNode(n.ID)}
		}
	})
	if cmd == nil {
		c.fail(apierr.JSClusterServerNotMemberErr)
		return
	}
	result, ok := c.proposeMeta(cmd)
	if !ok {
		return
	}
	c.done(result.Err)
	if result.Err == nil && result.Node != nil {
		c.svc.adviseRemoved(result.Node)
	}
}

// serverEvacuate answers $JS.API.SERVER.EVACUATE (system account): not supported
// yet.
func (c *call) serverEvacuate() { c.fail(apierr.JSClusterUnSupportFeatureErr) }

// accountPurge answers $JS.API.ACCOUNT.PURGE.<account> (system account) on the
// meta leader: all streams of the account go.
func (c *call) accountPurge() {
	result, ok := c.proposeMeta(&meta.AccountPurge{Account: c.arg(0)})
	switch {
	case !ok:
	case result.Err != nil:
		c.fail(result.Err)
	default:
		c.answer(api.AccountPurgeResponse{Response: c.response(), Initiated: true})
	}
}

// accountStreamMove answers $JS.API.ACCOUNT.STREAM.MOVE.<account>.<stream> (system
// account): off the named server. Moves by cluster or tags are not supported.
func (c *call) accountStreamMove() {
	var req api.StreamMoveRequest
	if err := decodeOptional(c.Body, &req); err != nil {
		c.fail(err)
		return
	}
	account, name := c.arg(0), c.arg(1)
	a := c.assignment(account, name)
	switch {
	case a == nil:
		c.fail(apierr.JSStreamNotFoundErr)
		return
	case req.Server == "" || req.Cluster != "" && req.Cluster != a.Cluster || len(req.Tags) > 0:
		c.fail(apierr.JSClusterUnSupportFeatureErr)
		return
	}
	if err := c.moveOff(account, name, req.Server, true); err != nil {
		c.fail(err)
		return
	}
	c.answer(api.StreamUpdateResponse{Response: c.response(), StreamInfo: c.moving(account, name)})
}

// moving describes a stream whose move was begun, by its assignment.
func (c *call) moving(account, name string) *api.StreamInfo {
	a := c.assignment(account, name)
	if a == nil {
		return nil
	}
	info := c.svc.offlineInfo(a)
	for _, p := range info.Cluster.Replicas {
		p.Offline = false
	}
	return info
}

// accountStreamCancelMove answers $JS.API.ACCOUNT.STREAM.CANCEL_MOVE.<account>.<stream>
// (system account).
func (c *call) accountStreamCancelMove() {
	account, name := c.arg(0), c.arg(1)
	result, ok := c.proposeMeta(&meta.StreamCancelMove{Account: account, Name: name})
	switch {
	case !ok:
	case result.Err != nil:
		c.fail(result.Err)
	default:
		c.answer(api.StreamUpdateResponse{Response: c.response(), StreamInfo: c.moving(account, name)})
	}
}
