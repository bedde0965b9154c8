package machine

import (
	"maps"
	"slices"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
)

// The consumers of mirrors and sources depend on what becomes of a message that was delivered. Where it stays they are forgotten as
// soon as nobody listens, and a copier that comes back makes another one. Where it goes they are kept, under a name that the copier
// comes back to (ADR-60).

// forgetful tells whether a consumer is one that a mirror or source does not come back to.
func forgetful(cfg *api.ConsumerConfig) bool { return cfg.Sourcing && cfg.Direct }

// keepsForCopier tells whether a consumer is one that a mirror or source comes back to.
func keepsForCopier(cfg *api.ConsumerConfig) bool { return cfg.Sourcing && !cfg.Direct }

// consumerMove has a consumer deliver to a copier that asks for it again. It goes on behind its ack floor, wherever the copier would
// start: what comes twice is passed over there. Interest ends with what the copier has, confirmed or not; in a work queue
// that would leave messages that nobody takes away.
func (a *applier) consumerMove(c *consumer.Consumer, cfg api.ConsumerConfig) error {
	a.reply(Reply{Consumer: c})
	start, of := c.AckFloor.Stream+1, c.Config
	if a.stream.Config().Retention == api.InterestRetention {
		start = max(start, cfg.OptStartSeq)
	}
	cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = of.DeliverPolicy, of.OptStartSeq, of.OptStartTime
	if err := a.reconfigure(c, cfg); err != nil {
		return err
	}
	return a.restart(c, start)
}

// Kept is a consumer that a stream keeps for a mirror or source when its retention changes from limits to another.
type Kept struct {
	// Instead is the ID of the consumer that was read through under limits; 0 is none, as the copier is not connected.
	Instead uint64 `json:"instead,omitempty"`
	// Config has passed consumer.Check; nil is no consumer, as there can be none. The copier will be told why.
	Config *api.ConsumerConfig `json:"config,omitempty"`
}

// Keep lists the consumers that Update needs for a change to cfg: for the copiers that are connected, and for others, which would ask for these consumers under limits
// retention. Of a copier only the consumer that it made last counts.
func (m *Machine) Keep(cfg *api.StreamConfig, others []api.ConsumerConfig) []Kept {
	if !m.turnsFromLimits(cfg) {
		return nil
	}
	var list []Kept
	named := map[string]bool{}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(m.byID))) {
		c := m.byID[id]
		if !forgetful(c.Config) {
			continue
		}
		k := Kept{Instead: id}
		checked, refused := consumer.Check(*c.Config, cfg, consumer.Limits{}, false)
		if refused == nil && !named[checked.Name] {
			k.Config, named[checked.Name] = &checked, true
		}
		list = append(list, k)
	}
	for _, c := range others { // connected ones, too: that may end before the update
		if checked, refused := consumer.Check(c, cfg, consumer.Limits{}, false); refused == nil {
			list = append(list, Kept{Config: &checked})
		}
	}
	return list
}

func (m *Machine) turnsFromLimits(cfg *api.StreamConfig) bool {
	return m.stream.Config().Retention == api.LimitsRetention && cfg.Retention != api.LimitsRetention
}

// covers tells whether a list by Keep, made some entries ago, has all consumers that are not kept as it stands.
func (m *Machine) covers(list []Kept) bool {
	for _, c := range m.byID {
		if forgetful(c.Config) && !slices.ContainsFunc(list, func(k Kept) bool { return k.Instead == c.ID }) {
			return false
		}
	}
	return true
}

// suitCopiers ends the consumers of mirrors and sources that do not suit the stream's retention, which has changed, and makes those that are to be kept.
// The copiers hear of the end of the old ones and ask again.
func (a *applier) suitCopiers(c *Update) error {
	limits := a.stream.Config().Retention == api.LimitsRetention
	for _, id := range slices.Sorted(maps.Keys(a.byID)) {
		old := a.byID[id]
		if !limits || !keepsForCopier(old.Config) {
			continue
		}
		if err := a.remove(old); err != nil {
			return err
		}
	}
	for i, k := range c.Keep {
		if err := a.keep(c.Time, uint64(i), k); err != nil {
			return err
		}
	}
	return nil
}

// keptIDShift is where the IDs of the consumers that one entry makes differ; its index is below.
const keptIDShift = 44

// keep makes one of an update's consumers. It needs all that its copier might not have yet: all from where the old one began, or the copier would. In the place
// of another one it has its ID, in an epoch of its own.
func (a *applier) keep(now int64, i uint64, k Kept) error {
	id, epoch, runner := a.index|i<<keptIDShift, uint64(0), base.ReplicaID(0)
	if k.Instead != 0 {
		old := a.byID[k.Instead]
		if old == nil { // its copier is gone, or has another one
			return nil
		}
		if err := a.remove(old); err != nil {
			return err
		}
		now, id, epoch, runner = old.Created.UnixNano(), old.ID, old.Epoch, old.Runner
	}
	if k.Config == nil || a.byName[k.Config.Name] != nil {
		return nil
	}
	start, err := a.startOf(k.Config)
	if err != nil {
		return err
	}
	c := consumer.New(id, *k.Config, now, start, a.spans)
	c.Epoch = epoch
	return a.add(c, runner)
}
