package consumer

import (
	"maps"
	"reflect"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
)

// CheckUpdate tells whether the configuration old may become cfg, which Check made of what was asked for, and returns what
// then stands: an update does not change when a pause ends.
func CheckUpdate(old, asked *api.ConsumerConfig, cfg api.ConsumerConfig) (api.ConsumerConfig, *apierr.Error) {
	refused := func(what string) (api.ConsumerConfig, *apierr.Error) {
		return cfg, apierr.JSConsumerCreateErrF(what)
	}
	switch {
	case cfg.DeliverPolicy != old.DeliverPolicy:
		return refused("deliver policy can not be updated")
	case cfg.OptStartSeq != old.OptStartSeq:
		return refused("start sequence can not be updated")
	case !sameTime(cfg.OptStartTime, old.OptStartTime):
		return refused("start time can not be updated")
	case cfg.AckPolicy != old.AckPolicy:
		return refused("ack policy can not be updated")
	case cfg.ReplayPolicy != old.ReplayPolicy:
		return refused("replay policy can not be updated")
	case cfg.Heartbeat != old.Heartbeat:
		return refused("heart beats can not be updated")
	case cfg.FlowControl != old.FlowControl:
		return refused("flow control can not be updated")
	case old.DeliverSubject != "" && cfg.DeliverSubject == "":
		return refused("can not update push consumer to pull based")
	case old.DeliverSubject == "" && cfg.DeliverSubject != "":
		return refused("can not update pull consumer to push based")
	case cfg.MaxWaiting != old.MaxWaiting:
		return refused("max waiting can not be updated")
	case cfg.MemoryStorage != old.MemoryStorage:
		return refused("storage type can not be updated")
	case cfg.Direct != old.Direct:
		return refused("direct can not be updated")
	}
	cfg.PauseUntil = old.PauseUntil
	if old.Durable == "" {
		orDefault(&cfg.InactiveThreshold, old.InactiveThreshold)
	}
	if cfg.Durable == "" && asked.InactiveThreshold <= 0 && (old.Durable != "" || old.InactiveThreshold == 0) {
		cfg.InactiveThreshold = 0 // the default is for consumers that are made ephemeral
	}
	cfg.Metadata = storedMetadata(cfg.Metadata, requiredLevel(&cfg))
	return cfg, nil
}

func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

// Same tells whether two configurations that passed Check are equal, whatever the server has set in their metadata.
func Same(a, b *api.ConsumerConfig) bool {
	x, y := *a, *b
	x.Metadata, y.Metadata = clientMetadata(x.Metadata), clientMetadata(y.Metadata)
	if !sameTime(x.OptStartTime, y.OptStartTime) || !sameTime(x.PauseUntil, y.PauseUntil) {
		return false
	}
	x.OptStartTime, y.OptStartTime, x.PauseUntil, y.PauseUntil = nil, nil, nil, nil
	return reflect.DeepEqual(x, y)
}

func clientMetadata(from map[string]string) map[string]string {
	m := maps.Clone(from)
	delete(m, api.MetadataVersion)
	delete(m, api.MetadataLevel)
	delete(m, levelKey)
	if len(m) == 0 {
		return nil
	}
	return m
}
