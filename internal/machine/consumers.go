package machine

import (
	"fmt"
	"slices"
	"strings"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/subject"
)

func (a *applier) changed(change Change, c *consumer.Consumer) {
	a.out.Consumers = append(a.out.Consumers, ConsumerChange{change, c})
}

// consumerCreate makes a consumer, or updates the one that has its name.
func (a *applier) consumerCreate(cmd *ConsumerCreate) error {
	cfg, refused := consumer.Check(cmd.Config, a.stream.Config(), cmd.Limits, cmd.Pedantic)
	if refused != nil {
		a.reply(Reply{Err: refused})
		return nil
	}
	old := a.byName[cfg.Name]
	switch {
	case old == nil && cmd.Action == ActionUpdate:
		a.reply(Reply{Err: apierr.JSConsumerDoesNotExist})
		return nil
	case old != nil && keepsForCopier(&cfg) && keepsForCopier(old.Config):
		return a.consumerMove(old, cfg)
	case old != nil:
		return a.consumerUpdate(cmd, old, cfg)
	}
	if limit := a.maxConsumers(cmd.Limits); limit > 0 && counts(&cfg) && a.counted >= limit {
		a.reply(Reply{Err: apierr.JSMaximumConsumersLimitErr})
		return nil
	}
	if refused := a.checkWorkQueue(&cfg, nil); refused != nil {
		a.reply(Reply{Err: refused})
		return nil
	}
	start, err := a.startOf(&cfg)
	if err != nil {
		return fmt.Errorf("consumer %q: %w", cfg.Name, err)
	}
	c := consumer.New(a.index, cfg, cmd.Time, start, a.spans)
	if cfg.DeliverPolicy == api.DeliverLastPerSubject {
		c.LastPerSubject = a.store.State().LastSeq
	}
	a.reply(Reply{Consumer: c, Made: true})
	return a.add(c, cmd.Runner)
}

// add takes in a new consumer.
func (a *applier) add(c *consumer.Consumer, runner base.ReplicaID) error {
	c.GivenBefore = a.store.State().LastSeq
	c.SetRunner(runner)
	a.link(c)
	a.touch(c)
	a.changed(ConsumerMade, c)
	return c.SaveConfig(a.store)
}

func (a *applier) consumerUpdate(cmd *ConsumerCreate, old *consumer.Consumer, cfg api.ConsumerConfig) error {
	if consumer.Same(&cfg, old.Config) {
		a.reply(Reply{Consumer: old})
		return nil
	}
	if cmd.Action == ActionCreate {
		a.reply(Reply{Err: apierr.JSConsumerAlreadyExists})
		return nil
	}
	cfg, refused := consumer.CheckUpdate(old.Config, &cmd.Config, cfg)
	if refused == nil {
		refused = a.checkWorkQueue(&cfg, old)
	}
	if refused != nil {
		a.reply(Reply{Err: refused})
		return nil
	}
	a.reply(Reply{Consumer: old})
	return a.reconfigure(old, cfg)
}

// reconfigure gives a consumer a configuration that it may have.
func (a *applier) reconfigure(c *consumer.Consumer, cfg api.ConsumerConfig) error {
	before, from := c.Filter, c.Hold()
	a.unlinkFilters(c)
	c.Update(cfg)
	a.linkFilters(c)
	if err := a.keepAbandoned(c); err != nil {
		return err
	}
	a.touch(c)
	a.changed(ConsumerUpdated, c)
	if err := c.SaveConfig(a.store); err != nil {
		return err
	}
	return a.reconsider(c, before, from)
}

// keepAbandoned lets a consumer go of what it gave up and does not filter any more.
func (a *applier) keepAbandoned(c *consumer.Consumer) error {
	return c.KeepAbandoned(func(seq uint64) (bool, error) {
		info, ok, err := a.store.Info(seq)
		return ok && c.Filter.Match(info.Subject), err
	})
}

// reconsider follows the loss of interest of a consumer in the messages that f matches, from a sequence on. In a work queue it
// matters only if the consumer was a copier's, for which messages waited that had been worked on.
func (a *applier) reconsider(c *consumer.Consumer, f subject.Filter, from uint64) error {
	switch retention := a.stream.Config().Retention; {
	case retention == api.InterestRetention:
	case retention == api.WorkQueueRetention && !counts(c.Config) && a.counted > 0:
	default:
		return nil
	}
	return a.releaseUnwanted(f, from)
}

func (a *applier) maxConsumers(l consumer.Limits) int {
	limit := a.stream.Config().MaxConsumers
	if l.MaxConsumers > 0 && (limit <= 0 || l.MaxConsumers < limit) {
		limit = l.MaxConsumers
	}
	return limit
}

// counts tells whether a consumer counts for limits.
func counts(cfg *api.ConsumerConfig) bool { return !cfg.Direct && !cfg.Sourcing }

// checkWorkQueue refuses a consumer whose filters overlap with those of another, under workqueue retention. Those of mirrors and
// sources do not count.
func (a *applier) checkWorkQueue(cfg *api.ConsumerConfig, old *consumer.Consumer) *apierr.Error {
	if a.stream.Config().Retention != api.WorkQueueRetention || !counts(cfg) {
		return nil
	}
	filters := cfg.Filters()
	if len(filters) == 0 {
		if a.counted > 1 || a.counted == 1 && old == nil {
			return apierr.JSConsumerWQMultipleUnfilteredErr
		}
		return nil
	}
	var refused *apierr.Error
	for _, f := range filters {
		a.Machine.index.Overlapping(f, func(_, _ string, c *consumer.Consumer) bool {
			if c != old && counts(c.Config) {
				refused = apierr.JSConsumerWQConsumerNotUniqueErr
			}
			return refused == nil
		})
	}
	return refused
}

// startOf is the first sequence that a new consumer may deliver.
func (a *applier) startOf(cfg *api.ConsumerConfig) (uint64, error) {
	state := a.store.State()
	first := max(state.FirstSeq, 1)
	switch cfg.DeliverPolicy {
	case api.DeliverNew:
		return state.LastSeq + 1, nil
	case api.DeliverLast:
		seq, ok, err := a.store.LastMatching(subject.NewFilter(cfg.Filters()...), state.LastSeq)
		if err != nil || !ok {
			return state.LastSeq + 1, err
		}
		return seq, nil
	case api.DeliverByStartSequence:
		return max(cfg.OptStartSeq, first), nil
	case api.DeliverByStartTime:
		seq, err := a.store.SeqAtTime(base.UnixNano(*cfg.OptStartTime))
		return max(seq, first), err
	case api.DeliverLastPerSubject:
		return a.startOfLasts(cfg, first)
	}
	return first, nil
}

// lookAhead bounds the messages that are looked at for a consumer's start.
const lookAhead = 1024

// startOfLasts is the first message that a filter matches and that is the last of its subject, or some message before it.
func (a *applier) startOfLasts(cfg *api.ConsumerConfig, from uint64) (uint64, error) {
	f := subject.NewFilter(cfg.Filters()...)
	for range lookAhead {
		info, ok, err := a.store.NextInfo(from)
		if err != nil || !ok {
			return max(from, a.store.State().LastSeq+1), err
		}
		if f.Match(info.Subject) {
			last, _, err := a.store.LastFor(info.Subject)
			if err != nil || last == info.Seq {
				return info.Seq, err
			}
		}
		from = info.Seq + 1
	}
	return from, nil
}

func (a *applier) consumerDelete(cmd *ConsumerDelete) error {
	c := a.byName[cmd.Name]
	if c == nil || cmd.ID != 0 && cmd.ID != c.ID {
		a.reply(Reply{Err: apierr.JSConsumerNotFoundErr})
		return nil
	}
	from := c.Hold()
	if err := a.remove(c); err != nil {
		return err
	}
	a.reply(Reply{Consumer: c})
	return a.reconsider(c, c.Filter, from)
}

// remove takes a consumer away, whatever it needed.
func (a *applier) remove(c *consumer.Consumer) error {
	a.unlink(c)
	a.changed(ConsumerDeleted, c)
	return c.Erase(a.store)
}

func (a *applier) consumerPause(cmd *ConsumerPause) error {
	c := a.byName[cmd.Name]
	if c == nil {
		a.reply(Reply{Err: apierr.JSConsumerNotFoundErr})
		return nil
	}
	c.Pause(cmd.Until)
	a.changed(ConsumerPaused, c)
	a.reply(Reply{Consumer: c})
	return c.SaveConfig(a.store)
}

func (a *applier) consumerReset(cmd *ConsumerReset) error {
	c := a.byName[cmd.Name]
	if c == nil {
		a.reply(Reply{Err: apierr.JSConsumerNotFoundErr})
		return nil
	}
	start, refused, err := a.resetStart(c, cmd.Seq)
	if err != nil {
		return err
	}
	if refused != nil {
		a.reply(Reply{Err: refused})
		return nil
	}
	a.reply(Reply{Consumer: c, Start: start})
	return a.restart(c, start)
}

// restart has a consumer go on with a message as if it had just been made.
func (a *applier) restart(c *consumer.Consumer, start uint64) error {
	from := c.Hold()
	c.Reset(start, a.store.State().LastSeq)
	c.SetRunner(c.Runner)
	a.touch(c)
	a.changed(ConsumerRestarted, c)
	if err := c.SaveConfig(a.store); err != nil {
		return err
	}
	return a.reconsider(c, c.Filter, from)
}

// resetStart decides where a reset consumer goes on; 0 asks for just behind its ack floor.
func (a *applier) resetStart(c *consumer.Consumer, seq uint64) (uint64, *apierr.Error, error) {
	if seq == 0 {
		return c.AckFloor.Stream + 1, nil, nil
	}
	switch c.Config.DeliverPolicy {
	case api.DeliverAll:
	case api.DeliverByStartSequence:
		if seq < c.Config.OptStartSeq {
			return 0, apierr.JSConsumerInvalidResetErr("below start seq"), nil
		}
	case api.DeliverByStartTime:
		first, err := a.store.SeqAtTime(base.UnixNano(*c.Config.OptStartTime))
		if err != nil {
			return 0, nil, err
		}
		if seq < first {
			return 0, apierr.JSConsumerInvalidResetErr("below start time"), nil
		}
	default:
		return 0, apierr.JSConsumerInvalidResetErr("not allowed"), nil
	}
	return seq, nil, nil
}

func (a *applier) runners(body []byte) error {
	r := base.Decoder{Rest: body}
	for len(r.Rest) > 0 && !r.Bad {
		p := Appointment{Consumer: r.Uvarint(), Epoch: r.Uvarint(), Runner: base.ReplicaID(r.Uvarint())}
		c := a.byID[p.Consumer]
		if r.Bad || c == nil || c.Epoch != p.Epoch {
			continue
		}
		c.SetRunner(p.Runner)
		a.touch(c)
		a.changed(RunnerChanged, c)
	}
	if r.Bad {
		return fmt.Errorf("runners: %w", errCommand)
	}
	a.reply(Reply{})
	return nil
}

func (a *applier) deltas(body []byte) error {
	r := base.Decoder{Rest: body}
	now := r.Varint()
	if r.Bad {
		return fmt.Errorf("deltas: %w", errCommand)
	}
	for rest := r.Rest; len(rest) > 0; {
		d, next, err := DecodeDelta(rest)
		if err != nil {
			return err
		}
		rest = next
		result := DeltaResult{Consumer: a.byID[d.Consumer], ID: d.Consumer, Epoch: d.Epoch, Ticket: d.Ticket, Verdict: consumer.Stale}
		if c := result.Consumer; c != nil {
			if result.Verdict, err = a.delta(c, now, d); err != nil {
				return err
			}
		}
		a.out.Deltas = append(a.out.Deltas, result)
	}
	return nil
}

func (a *applier) delta(c *consumer.Consumer, now int64, d Delta) (consumer.Verdict, error) {
	a.from.applier, a.from.c = a, c
	verdict, err := c.Apply(now, d.Epoch, d.Ticket, d.Ops, &a.from)
	if verdict == consumer.Applied {
		a.touch(c)
	}
	return verdict, err
}

// consumerStream is the stream for the delta of a consumer.
type consumerStream struct {
	*applier
	c *consumer.Consumer
}

func (o *consumerStream) Released(seq uint64) { o.through(o.c, seq) }

func (o *consumerStream) Keeps(seq uint64) bool {
	if o.failed != nil || o.stream.Config().Retention == api.LimitsRetention {
		return false
	}
	_, ok, err := o.store.Info(seq)
	o.failed = err
	return ok && err == nil
}

// CheckConsumersAgainst tells whether the stream's consumers fit a configuration that it may get.
func (m *Machine) CheckConsumersAgainst(cfg *api.StreamConfig) *apierr.Error {
	var names []string
	for _, c := range m.byID {
		if !consumer.Within(c.Config, &cfg.ConsumerLimits) {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return apierr.JSStreamUpdateErrF("change to limits violates consumers: " + strings.Join(names, ", "))
}
