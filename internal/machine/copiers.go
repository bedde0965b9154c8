package machine

import (
	"maps"
	"slices"

	"weir/internal/api"
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

// suitCopiers ends the consumers of mirrors and sources that do not suit the stream's retention, which has changed, and puts others in
// the place of those that lack what is to be kept. Their copiers hear of the end of the old ones and ask again.
func (a *applier) suitCopiers() error {
	limits := a.stream.Config().Retention == api.LimitsRetention
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(a.byID))) {
		c := a.byID[id]
		var err error
		switch {
		case limits && keepsForCopier(c.Config):
			err = a.remove(c)
		case !limits && forgetful(c.Config):
			err = a.keepForCopier(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keepForCopier puts a consumer that is kept in the place of one that was not. It needs all that the copier might not have yet: all
// from where the old one began. The new one has the old one's ID, in an epoch of its own.
func (a *applier) keepForCopier(old *consumer.Consumer) error {
	if err := a.remove(old); err != nil {
		return err
	}
	cfg, refused := consumer.Check(*old.Config, a.stream.Config(), consumer.Limits{}, false)
	if refused != nil { // the copier will be told why
		return nil
	}
	if a.byName[cfg.Name] != nil { // of several that one copier made, the last one counts, which came first
		return nil
	}
	start, err := a.startOf(&cfg)
	if err != nil {
		return err
	}
	c := consumer.New(old.ID, cfg, old.Created.UnixNano(), start, a.spans)
	c.Epoch = old.Epoch
	return a.add(c, old.Runner)
}
