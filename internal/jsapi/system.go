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

// errNoRescue is why this server does not lower the meta quorum, and what to do.
const errNoRescue = "not supported by this server: start the other servers of the cluster with their stores until a majority is up"

// metaRescue refuses $JS.API.META.RESCUE (system account) on every server, with 10224: a
// minority may not know what the majority committed.
func (c *call) metaRescue() {
	err := apierr.JSBadRequestErr
	if !isEmpty(c.Body) {
		err = decode(c.Body, new(api.MetaRescueRequest))
	}
	if err == nil {
		err = apierr.JSClusterRescueErr(errNoRescue)
	}
	c.countFailure()
	c.respond(api.MetaRescueResponse{Response: api.Fail(c.endpoint.response, err), Server: c.svc.cfg.Name, ServerID: c.svc.cfg.ServerID})
}

// serverRemove answers $JS.API.SERVER.REMOVE (system account) on the meta leader:
// a server leaves the meta group and other nodes take over what it held. One that went down
// before it had handed that over can be removed again: what only it held is lost then.
func (c *call) serverRemove() {
	var req api.MetaServerRequest
	if !c.read(&req) {
		return
	}
	peer := req.Server
	if req.PeerID != "" {
		peer = req.PeerID
	}
	var n *meta.Node
	c.svc.node.View(func(s *meta.State) { n = s.RemovableByPeer(peer) })
	if n == nil {
		c.fail(apierr.JSClusterServerNotMemberErr)
		return
	}
	cmd := &meta.NodeRemove{Node: n.ID, Gone: !c.svc.node.Answers(n.ID)}
	c.svc.node.Plan(func(p *meta.Planner) { cmd.Remaps = p.RemoveNode(n.ID) })
	result, ok := c.proposeMeta(cmd)
	if !ok {
		return
	}
	c.done(result.Err)
	if result.Err == nil && !n.Removed { // not the second time
		c.svc.adviseRemoved(result.Node)
	}
}

// serverEvacuate answers $JS.API.SERVER.EVACUATE (system account) on the meta leader:
// every replica on a server is moved to another, which is up to date before the server's
// leaves. 10075 when some have nowhere to go; the others move. The server stays a member and may
// be chosen again.
func (c *call) serverEvacuate() {
	var req api.MetaServerRequest
	if !c.read(&req) {
		return
	}
	peer := req.Server
	if req.PeerID != "" {
		peer = req.PeerID
	}
	if !c.knownServer(peer) {
		c.fail(apierr.JSClusterServerNotMemberErr)
		return
	}
	var streams []*meta.Assignment
	c.svc.node.View(func(s *meta.State) {
		if n := s.NodeByPeer(peer); n != nil {
			streams = s.StreamsOn(n.ID)
		}
	})
	var failed *apierr.Error
	for _, a := range streams {
		err := c.moveOff(a.Account, a.Name, peer, true)
		if err != nil && err != apierr.JSStreamNotFoundErr && err != apierr.JSClusterPeerNotMemberErr { // those are done
			failed = err
		}
	}
	c.done(failed)
}

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
// account): off the named server, or to servers of a cluster or with tags; those that
// fit already stay. The placement of the stream's configuration does not change. A request that
// names nothing is refused.
func (c *call) accountStreamMove() {
	var req api.StreamMoveRequest
	if len(c.Body) > 0 && !c.accepted(decode(c.Body, &req)) {
		return
	}
	account, name := c.arg(0), c.arg(1)
	if !c.knownAccount(account) {
		return
	}
	a := c.assignment(account, name)
	switch {
	case a == nil:
		c.fail(apierr.JSStreamNotFoundErr)
		return
	case req.Server == "" && req.Cluster == "" && len(req.Tags) == 0:
		c.fail(apierr.JSBadRequestErr)
		return
	case req.Server != "" && !c.knownServer(req.Server):
		c.fail(apierr.JSClusterServerNotMemberErr)
		return
	}
	if err := c.move(account, name, &req); err != nil {
		c.fail(err)
		return
	}
	c.answer(api.StreamUpdateResponse{Response: c.response(), StreamInfo: c.moving(account, name)})
}

// knownAccount is false once a request for an account that does not exist has been refused.
func (c *call) knownAccount(name string) bool {
	if c.svc.cfg.Accounts.Account(name) != nil {
		return true
	}
	c.fail(apierr.JSNoAccountErr)
	return false
}

func (c *call) knownServer(peer string) (known bool) {
	c.svc.node.View(func(s *meta.State) { known = s.NodeByPeer(peer) != nil })
	return known
}

func (c *call) move(account, name string, req *api.StreamMoveRequest) *apierr.Error {
	if req.Cluster == "" && len(req.Tags) == 0 {
		return c.moveOff(account, name, req.Server, true)
	}
	return c.proposePlanned(func() (meta.Body, *apierr.Error) { return c.plannedMove(account, name, req) })
}

func (c *call) plannedMove(account, name string, req *api.StreamMoveRequest) (cmd *meta.StreamUpdate, err *apierr.Error) {
	planned := c.svc.node.Plan(func(p *meta.Planner) {
		a := p.State.Stream(account, name)
		if a == nil {
			err = apierr.JSStreamNotFoundErr
			return
		}
		var away base.NodeID
		if req.Server != "" {
			if away = memberNode(p.State, a, req.Server); away == 0 {
				err = apierr.JSClusterPeerNotMemberErr
				return
			}
		}
		cmd = &meta.StreamUpdate{Account: account, Name: name, Config: a.RawConfig, IfRevision: a.Revision, Request: c.origin()}
		cmd.Cluster, cmd.Nodes, err = p.Move(a, away, req.Cluster, req.Tags)
	})
	if !planned {
		err = apierr.JSClusterNotAvailErr
	}
	return cmd, err
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
	if !c.knownAccount(account) {
		return
	}
	result, ok := c.proposeMeta(&meta.StreamCancelMove{Account: account, Name: name})
	switch {
	case !ok:
	case result.Err != nil:
		c.fail(result.Err)
	default:
		c.answer(api.StreamUpdateResponse{Response: c.response(), StreamInfo: c.moving(account, name)})
	}
}
