package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/meta"
)

// originNames are the streams of the same account that a configuration copies from.
func originNames(cfg *api.StreamConfig) []string {
	list := cfg.Sources
	if cfg.Mirror != nil {
		list = []*api.StreamSource{cfg.Mirror}
	}
	var names []string
	for _, src := range list {
		if src.External == nil {
			names = append(names, src.Name)
		}
	}
	return names
}

// checkOrigins refuses a stream that would copy from itself, or from an origin and from what copies that one, or from
// one whose limit allows larger messages. An origin without a limit is taken.
func (c *call) checkOrigins(cfg *api.StreamConfig) *apierr.Error {
	if err := c.checkCycles(cfg); err != nil {
		return err
	}
	for _, name := range originNames(cfg) {
		origin := c.assignment(c.Account, name)
		switch {
		case cfg.MaxMsgSize <= 0 || origin == nil || origin.Config == nil || origin.Config.MaxMsgSize <= cfg.MaxMsgSize:
		case cfg.Mirror != nil:
			return apierr.JSMirrorMaxMessageSizeTooBigErr
		default:
			return apierr.JSSourceMaxMessageSizeTooBigErr
		}
	}
	return nil
}

// checkCycles judges an origin by those named before it: their order counts.
func (c *call) checkCycles(cfg *api.StreamConfig) *apierr.Error {
	named := map[string]bool{cfg.Name: true}
	for _, origin := range originNames(cfg) {
		cycle := false
		c.svc.node.View(func(s *meta.State) { cycle = copiesFrom(s, c.Account, origin, named, map[string]bool{}) })
		if cycle {
			return apierr.JSStreamInvalidConfigF("detected cycle")
		}
		named[origin] = true
	}
	return nil
}

// followOrigin has a mirror answer direct gets for its origin if the origin has them.
func (c *call) followOrigin(cfg *api.StreamConfig, pedantic bool) *apierr.Error {
	if cfg.Mirror == nil || cfg.Mirror.External != nil {
		return nil
	}
	origin := c.assignment(c.Account, cfg.Mirror.Name)
	if origin == nil || origin.Config == nil || origin.Config.AllowDirect == cfg.MirrorDirect {
		return nil
	}
	if pedantic {
		return apierr.JSPedanticErrF("origin stream has direct get set, mirror has it disabled")
	}
	cfg.MirrorDirect = origin.Config.AllowDirect
	return nil
}

// copiesFrom tells whether a stream copies, over however many others, from one that is named.
func copiesFrom(s *meta.State, account, name string, named, seen map[string]bool) bool {
	a := s.Stream(account, name)
	if a == nil || a.Config == nil || seen[name] {
		return false
	}
	seen[name] = true
	for _, origin := range originNames(a.Config) {
		if named[origin] || copiesFrom(s, account, origin, named, seen) {
			return true
		}
	}
	return false
}

// alternates are the stream and its mirrors, if it has any and there is a cluster.
func (c *call) alternates() []api.StreamAlternate {
	if c.svc.cfg.Cluster == "" {
		return nil
	}
	list := []api.StreamAlternate{{Name: c.stream(), Domain: c.svc.cfg.Domain, Cluster: c.svc.cfg.Cluster}}
	c.svc.node.View(func(s *meta.State) {
		for _, a := range s.Mirrors(c.Account, c.stream()) {
			list = append(list, api.StreamAlternate{Name: a.Name, Domain: c.svc.cfg.Domain, Cluster: c.svc.cfg.Cluster})
		}
	})
	if len(list) == 1 {
		return nil
	}
	return list
}
