package jsapi

import (
	"context"
	"encoding/json"
	"time"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/stream"
	"weir/internal/wire"
)

// proposeTimeout is how long a proposal to the meta group may take.
const proposeTimeout = 5 * time.Second

// streamCreate answers $JS.API.STREAM.CREATE.<stream> on the meta leader: it
// checks, places and proposes. The answer comes from the stream's first leader
// (StreamReady). For an equal stream that exists the call is passed on to that
// stream's leader, which comes here, too.
func (c *call) streamCreate() {
	if c.passedOn() {
		c.streamExists()
		return
	}
	req, err := c.readStream()
	if err == nil && req.Name != c.stream() {
		err = apierr.JSStreamMismatchErr
	}
	cfg := req.StreamConfig
	if err == nil {
		err = c.followOrigin(&cfg, req.Pedantic)
	}
	if err == nil {
		cfg, err = stream.Check(cfg, c.svc.streamLimits(c.acc, cfg.Storage), req.Pedantic)
	}
	if err == nil && cfg.Replicas > 1 && c.svc.cfg.Cluster == "" {
		err = apierr.JSStreamReplicasNotSupportedErr
	}
	if err == nil {
		err = c.checkOrigins(&cfg)
	}
	if err != nil {
		c.fail(err)
		return
	}
	raw := encodeConfig(&cfg)
	if exists, err := c.sameStream(&cfg, raw); err != nil {
		c.fail(err)
		return
	} else if exists {
		c.passToStream()
		return
	}
	if err := stream.CheckFilters(&cfg); err != nil {
		c.fail(err)
		return
	}
	cmd, err := c.placed(&cfg, raw)
	if err != nil {
		c.fail(err)
		return
	}
	c.proposeCreate(cmd)
}

// readStream reads the configuration of a create or update.
func (c *call) readStream() (req api.StreamCreateRequest, err *apierr.Error) {
	if len(c.Body) > 0 {
		err = decode(c.Body, &req)
	}
	if err == nil {
		err = checkStreamEnums(&req.StreamConfig)
	}
	return req, err
}

// encodeConfig is a configuration as it is proposed.
func encodeConfig(cfg *api.StreamConfig) json.RawMessage {
	raw, err := json.Marshal(cfg)
	base.Assert(err == nil, "stream configuration can not be encoded: %v", err)
	return raw
}

// streamLimits are the account's and the server's limits for one stream.
func (s *Service) streamLimits(acc *account.Account, storage api.Storage) stream.Limits {
	l := stream.Limits{MaxDuplicates: s.cfg.Limits.DuplicateWindow}
	js := acc.JetStream()
	if js == nil {
		return l
	}
	l.MaxBytesRequired, l.MaxStreamBytes = js.MaxBytesRequired, js.StoreMaxStreamBytes
	if storage == api.MemoryStorage {
		l.MaxStreamBytes = js.MemoryMaxStreamBytes
	}
	return l
}

// sameStream tells whether the stream exists with this configuration; another
// one of that name is 10058, one of its subjects 10065.
func (c *call) sameStream(cfg *api.StreamConfig, raw json.RawMessage) (exists bool, err *apierr.Error) {
	c.svc.node.View(func(s *meta.State) {
		if a := s.Stream(c.Account, cfg.Name); a != nil {
			exists = true
			if a.Restoring || !meta.SameConfig(a.RawConfig, raw) {
				err = apierr.JSStreamNameExistErr
			}
		} else if s.TakenBy(c.Account, cfg.Name, cfg.Subjects) != "" {
			err = apierr.JSStreamSubjectOverlapErr
		}
	})
	return exists, err
}

// notPlaced is why a stream has no place. A server alone says that it has no room for it.
func (c *call) notPlaced(cfg *api.StreamConfig, failed *apierr.Error) *apierr.Error {
	noRoom := meta.PlacementError{NoStorage: true}
	switch {
	case c.svc.cfg.Cluster != "" || failed.Description != noRoom.Error():
		return failed
	case cfg.Storage == api.MemoryStorage:
		return apierr.JSMemoryResourcesExceededErr
	}
	return apierr.JSStorageResourcesExceededErr
}

// placement is cfg as it is planned for: a server without a cluster has only itself
// to place a stream on.
func (c *call) placement(cfg *api.StreamConfig) *api.StreamConfig {
	if c.svc.cfg.Cluster != "" || cfg.Placement == nil {
		return cfg
	}
	anywhere := *cfg
	anywhere.Placement = nil
	return &anywhere
}

// placed chooses the nodes of a new stream and the one to lead first.
func (c *call) placed(cfg *api.StreamConfig, raw json.RawMessage) (cmd *meta.StreamCreate, err *apierr.Error) {
	planned := c.svc.node.Plan(func(p *meta.Planner) {
		cluster, nodes, preferred, failed := p.Create(c.placement(cfg), []string{c.svc.cfg.Cluster})
		if failed != nil {
			if err = p.State.CheckLimits(c.Account, cfg, metaLimits(c.acc)); err == nil {
				err = c.notPlaced(cfg, failed)
			}
			return
		}
		cmd = &meta.StreamCreate{
			Account: c.Account, Config: raw, RaftName: newRaftName(cfg), Cluster: cluster,
			Nodes: nodes, Preferred: preferred, Request: c.origin(), Limits: metaLimits(c.acc),
		}
	})
	if !planned {
		err = apierr.JSClusterNotAvailErr
	}
	return cmd, err
}

func newRaftName(cfg *api.StreamConfig) string {
	return meta.RaftName(cfg.Replicas, cfg.Storage, randomName(8))
}

// origin says where the answer goes, for who gives it.
func (c *call) origin() *meta.Origin {
	return &meta.Origin{Node: c.Origin, Subject: c.Subject, Reply: c.Reply, Client: c.Client}
}

func (c *call) proposeCreate(cmd *meta.StreamCreate) {
	result, ok := c.proposeMeta(cmd)
	switch {
	case !ok:
	case result.Err != nil:
		c.fail(result.Err)
	case result.Existing: // one that was created meanwhile
		c.passToStream()
	}
}

// proposeMeta has the meta group apply a command; false when it did not, or
// nobody knows: then the client hears nothing and asks again.
func (c *call) proposeMeta(body meta.Body) (meta.Result, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
	defer cancel()
	result, err := c.svc.node.ProposeMeta(ctx, body)
	if err != nil {
		c.svc.cfg.Logger.Debugf("JetStream API: %s: %v", c.Subject, err)
		return result, false
	}
	return result, true
}

// passToStream has the stream's leader answer.
func (c *call) passToStream() {
	r := *c.Request
	r.Header = wire.SetHeader(r.Header, markerHeader, "1")
	pass := *c
	pass.Request = &r
	pass.route()
}

// streamExists answers the create of a stream that stood before, on its leader.
func (c *call) streamExists() {
	st := c.replica()
	if st == nil {
		return
	}
	c.answer(api.StreamCreateResponse{Response: c.response(), StreamInfo: c.svc.describe(st)})
}
