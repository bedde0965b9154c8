package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/stream"
)

// updateAttempts is how often an update is judged anew when others come first.
const updateAttempts = 5

// streamUpdate answers $JS.API.STREAM.UPDATE.<stream> on the meta leader: it
// checks the change against the assignment, finds nodes for a scale or move and
// proposes. The stream's leader answers when the configuration is in force.
// Whether consumers fit the new limits is checked where this node has a replica.
func (c *call) streamUpdate() {
	if a := c.assignment(c.Account, c.stream()); a != nil && a.Unsupported(jetstream.APILevel) == "" {
		if c.svc.allOffline(a) {
			c.svc.cfg.Clock.AfterFunc(offlineDelay, func() { c.fail(apierr.JSStreamOfflineErr) })
			return
		}
		if why := c.svc.node.Broken(a); why != "" {
			c.fail(apierr.JSStreamOfflineReasonErrF(why))
			return
		}
	}
	for range updateAttempts {
		cmd, err := c.plannedUpdate()
		if err != nil {
			c.fail(err)
			return
		}
		result, ok := c.proposeMeta(cmd)
		switch {
		case !ok:
			return
		case result.Err != nil:
			c.fail(result.Err)
			return
		case !result.Stale:
			return
		}
	}
	c.fail(apierr.JSClusterNotAvailErr)
}

func (c *call) plannedUpdate() (*meta.StreamUpdate, *apierr.Error) {
	have := c.assignment(c.Account, c.stream())
	cfg, err := c.readUpdate(have)
	if err == nil {
		err = c.checkOrigins(&cfg)
	}
	if err == nil {
		err = c.consumersFit(&cfg)
	}
	if err == nil {
		err = stream.CheckFilters(&cfg)
	}
	if err != nil {
		return nil, err
	}
	raw := encodeConfig(&cfg)
	cmd := &meta.StreamUpdate{
		Account: c.Account, Name: have.Name, Config: raw, IfRevision: have.Revision,
		Request: c.origin(), Limits: metaLimits(c.acc),
	}
	return cmd, c.planNodes(cmd, have, &cfg)
}

// readUpdate reads and checks a configuration: first by itself, then against the
// one that the stream has.
func (c *call) readUpdate(have *meta.Assignment) (api.StreamConfig, *apierr.Error) {
	req, err := c.readStream()
	limits := c.svc.streamLimits(c.acc, req.Storage)
	if err == nil {
		_, err = stream.CheckAlone(req.StreamConfig, limits, req.Pedantic)
	}
	switch {
	case err != nil:
	case req.Name != c.stream():
		err = apierr.JSStreamMismatchErr
	case have == nil:
		err = apierr.JSStreamNotFoundErr
	case req.Replicas > 1 && c.svc.cfg.Cluster == "":
		err = apierr.JSStreamReplicasNotSupportedErr
	}
	if err != nil {
		return req.StreamConfig, err
	}
	cfg := req.StreamConfig
	if err := c.followOrigin(&cfg, req.Pedantic); err != nil {
		return cfg, err
	}
	return stream.CheckUpdate(have.Config, cfg, limits, req.Pedantic)
}

// assignment is what the meta state has of a stream; nil when there is none that
// is shown.
func (c *call) assignment(account, name string) (a *meta.Assignment) {
	c.svc.node.View(func(s *meta.State) { a = s.Stream(account, name) })
	if a != nil && a.Restoring {
		return nil
	}
	return a
}

// planNodes chooses the nodes that a scale or move leads to.
func (c *call) planNodes(cmd *meta.StreamUpdate, have *meta.Assignment, cfg *api.StreamConfig) (err *apierr.Error) {
	var leader base.NodeID
	if st := c.svc.node.Stream(c.Account, have.Name); st != nil {
		leader = st.LeaderNode()
	}
	c.svc.node.Plan(func(p *meta.Planner) {
		cmd.Cluster, cmd.Nodes, err = p.Update(have, c.placement(cfg), leader)
	})
	if cmd.Nodes != nil {
		cmd.RaftName = newRaftName(cfg)
	}
	return err
}

// consumersFit tells whether the stream's consumers keep to the new limits.
func (c *call) consumersFit(cfg *api.StreamConfig) (err *apierr.Error) {
	st := c.svc.node.Stream(c.Account, cfg.Name)
	if st == nil {
		return nil
	}
	st.View(func(m *machine.Machine) { err = m.CheckConsumersAgainst(cfg) })
	return err
}
