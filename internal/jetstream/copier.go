package jetstream

import (
	"strings"

	"github.com/nats-io/nuid"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/stream"
)

// copier is one origin of a stream that copies: what decides how the origin's
// consumer for it looks.
type copier struct {
	account, stream, domain string // of the copy
	key                     string // stream.OriginKey of src
	src                     *api.StreamSource
	mirror                  bool
}

// copiersOf lists what a stream of an account copies through consumers that are made
// for it.
func copiersOf(account, domain string, cfg *api.StreamConfig) []copier {
	var list []copier
	for _, src := range originsOf(cfg) {
		if src.Consumer == nil {
			list = append(list, copier{account, cfg.Name, domain, stream.OriginKey(src), src, cfg.Mirror != nil})
		}
	}
	return list
}

// apiPrefix is what the subjects of the origin's API begin with.
func (c *copier) apiPrefix() string {
	if x := c.src.External; x != nil && x.APIPrefix != "" {
		return x.APIPrefix + "."
	}
	return "$JS.API."
}

// deliverSubject is where the origin's consumer delivers.
func (c *copier) deliverSubject() string {
	switch x := c.src.External; {
	case c.src.Consumer != nil:
		return c.src.Consumer.DeliverSubject
	case x != nil && x.DeliverPrefix != "":
		return x.DeliverPrefix + "." + nuid.Next()
	case c.mirror:
		return "$JS.M." + nuid.Next()
	}
	return "$JS.S." + nuid.Next()
}

// consumer is the consumer that the origin is asked for, to deliver what is behind the
// origin's sequence copied.
func (c *copier) consumer(deliver string, copied uint64) api.ConsumerConfig {
	cfg := api.ConsumerConfig{
		Name: c.consumerName(), DeliverSubject: deliver, AckPolicy: api.AckNone, ReplayPolicy: api.ReplayInstant,
		DeliverPolicy: api.DeliverAll, FlowControl: true, Heartbeat: feedBeat, InactiveThreshold: feedInactive,
		Direct: true, Sourcing: true, Replicas: 1, MemoryStorage: true, FilterSubject: c.src.FilterSubject,
		Metadata: c.consumerMetadata(),
	}
	switch {
	case copied > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = api.DeliverByStartSequence, copied+1
	case c.src.OptStartSeq > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = api.DeliverByStartSequence, c.src.OptStartSeq
	case c.src.OptStartTime != nil:
		cfg.DeliverPolicy, cfg.OptStartTime = api.DeliverByStartTime, c.src.OptStartTime
	}
	for _, t := range c.src.SubjectTransforms {
		if t.Source != "" && t.Source != ">" {
			cfg.FilterSubjects = append(cfg.FilterSubjects, t.Source)
		}
	}
	return cfg
}

// consumerName is the same for every feed that copies the same for this stream, so that it finds again what the origin
// keeps for it.
func (c *copier) consumerName() string {
	if c.mirror {
		return "JS_MIRROR_" + base.ShortName(c.stream+" "+c.account)
	}
	return "JS_SRC_" + base.ShortName(c.stream+" "+c.account+" "+c.key)
}

// consumerMetadata tells whoever finds the consumer who made it.
func (c *copier) consumerMetadata() map[string]string {
	prefix := "_nats.src."
	if c.mirror {
		prefix = "_nats.mirror."
	}
	m := map[string]string{prefix + "stream": c.stream, prefix + "acc": c.account}
	if c.domain != "" {
		m[prefix+"domain"] = c.domain
	}
	return m
}

// keepForCopiers lists what is to be kept for the copiers of this stream when it gets a configuration. Copiers
// that are configured are known, connected or not, unless they are of another domain.
func (s *Stream) keepForCopiers(cfg *api.StreamConfig) (list []machine.Kept) {
	turns := false
	s.View(func(m *machine.Machine) {
		turns = cfg.Retention != api.LimitsRetention && m.Stream().Config().Retention == api.LimitsRetention
	})
	if !turns {
		return nil
	}
	consumers := s.copierConsumers()
	s.View(func(m *machine.Machine) { list = m.Keep(cfg, consumers) })
	return list
}

// copierConsumers are the consumers that the configured copiers of this stream would ask for.
func (s *Stream) copierConsumers() []api.ConsumerConfig {
	var list []api.ConsumerConfig
	s.node.View(func(m *meta.State) {
		m.All(func(a *meta.Assignment) bool {
			for _, c := range copiersOf(a.Account, s.node.cfg.Domain, a.Config) {
				if s.isOriginOf(&c) {
					list = append(list, c.consumer(c.deliverSubject(), 0))
				}
			}
			return true
		})
	})
	return list
}

// isOriginOf tells whether requests of the copier arrive at this stream.
func (s *Stream) isOriginOf(c *copier) bool {
	n := s.node
	acc := n.cfg.Accounts.Account(c.account)
	if c.src.Name != s.name || acc == nil {
		return false
	}
	acc, request := n.cfg.Router.Service(acc, c.apiPrefix()+"CONSUMER.CREATE."+c.src.Name)
	if n.cfg.Domain != "" {
		if rest, ok := strings.CutPrefix(request, n.domainPrefix()); ok {
			request = "$JS.API." + rest
		}
	}
	return acc == s.acc && request == "$JS.API.CONSUMER.CREATE."+s.name
}
