package stream

import (
	"reflect"

	"weir/internal/api"
	"weir/internal/apierr"
)

// CheckUpdate completes and checks cfg as Check does, and tells whether the configuration old may become it. Replica count
// and placement are not its business, nor what consumers there are.
func CheckUpdate(old *api.StreamConfig, cfg api.StreamConfig, limits Limits, pedantic bool) (api.StreamConfig, *apierr.Error) {
	if cfg.Name != old.Name {
		return cfg, apierr.JSStreamMismatchErr
	}
	cfg, e := CheckAlone(cfg, limits, pedantic)
	if e != nil {
		return cfg, e
	}
	workqueue := func(c *api.StreamConfig) bool { return c.Retention == api.WorkQueueRetention }
	refused := func(what string) (api.StreamConfig, *apierr.Error) {
		return cfg, invalid("stream configuration update can not %s", what)
	}
	switch {
	case cfg.Storage != old.Storage:
		return refused("change storage type")
	case workqueue(&cfg) != workqueue(old):
		return refused("change retention policy to/from workqueue")
	case old.Sealed && !cfg.Sealed:
		return refused("unseal a sealed stream")
	case old.DenyDelete && !cfg.DenyDelete:
		return refused("cancel deny message deletes")
	case old.DenyPurge && !cfg.DenyPurge:
		return refused("cancel deny purge")
	case cfg.Mirror != nil && !reflect.DeepEqual(old.Mirror, cfg.Mirror):
		return cfg, apierr.JSStreamMirrorNotUpdatableErr
	case cfg.AllowMsgCounter != old.AllowMsgCounter:
		return refused("change message counter setting")
	case cfg.PersistMode != old.PersistMode:
		return refused("change persist mode")
	case old.AllowMsgTTL && !cfg.AllowMsgTTL:
		return cfg, invalid("message TTL status can not be disabled")
	case old.AllowMsgSchedules && !cfg.AllowMsgSchedules:
		return cfg, invalid("message schedules can not be disabled")
	}
	if cfg.Sealed {
		cfg.DenyDelete, cfg.DenyPurge, cfg.AllowRollup = true, true, false
		cfg.Discard, cfg.MaxAge = api.DiscardNew, 0
	}
	return cfg, nil
}
