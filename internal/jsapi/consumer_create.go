package jsapi

import (
	"fmt"
	"strings"
	"sync"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/consumer"
	"weir/internal/jetstream"
	"weir/internal/machine"
)

// consumerCreate answers $JS.API.CONSUMER.CREATE.<stream>[.<consumer>[.<filter>]]
// on the stream's leader: the consumer is one entry of the stream's log. The
// subject's consumer and filter count; those in the body must not differ, but for
// the name, which may be missing or is overridden. Without a name in the subject
// the consumer is not durable.
func (c *call) consumerCreate() {
	req, err := c.decodeConsumer()
	if err == nil {
		err = c.nameFromSubject(&req.Config)
	}
	if err == nil && len(c.args) == 3 {
		err = filterFromSubject(&req.Config, c.arg(2))
	}
	c.createConsumer(req, err)
}

// consumerDurableCreate answers $JS.API.CONSUMER.DURABLE.CREATE.<stream>.<consumer>,
// the old form for durables.
func (c *call) consumerDurableCreate() {
	req, err := c.decodeConsumer()
	switch {
	case err != nil:
	case req.Config.Durable == "":
		err = apierr.JSConsumerDurableNameNotSetErr
	case req.Config.Durable != c.consumer():
		err = apierr.JSConsumerDurableNameNotMatchSubjectErr
	default:
		req.Config.Name = c.consumer()
	}
	c.createConsumer(req, err)
}

func (c *call) decodeConsumer() (*api.ConsumerCreateRequest, *apierr.Error) {
	req := new(api.ConsumerCreateRequest)
	if len(c.Body) > 0 {
		if err := decode(c.Body, req); err != nil {
			return req, err
		}
	}
	switch req.Action {
	case api.ActionCreateOrUpdate, api.ActionCreate, api.ActionUpdate:
	default:
		return req, apierr.JSInvalidJSONErr(fmt.Sprintf("unknown consumer action: %q", req.Action))
	}
	if err := checkConsumerEnums(&req.Config); err != nil {
		return req, err
	}
	if req.Stream != c.stream() {
		return req, apierr.JSStreamMismatchErr
	}
	return req, nil
}

// nameFromSubject gives the consumer the name in the subject.
func (c *call) nameFromSubject(cfg *api.ConsumerConfig) *apierr.Error {
	switch name := c.consumer(); {
	case name == "" && cfg.Durable != "":
		return apierr.JSConsumerEphemeralWithDurableNameErr
	case name == "" && cfg.Name == "":
		cfg.Name = randomName(8)
	case name != "" && cfg.Durable != "" && cfg.Durable != name:
		return apierr.JSConsumerDurableNameNotMatchSubjectErr
	case strings.ContainsAny(name, "*>"):
		return apierr.JSStreamInvalidConfigF(`consumer name can not contain '.', '*', '>', '\', '/'`)
	case name != "":
		cfg.Name = name
	}
	return nil
}

func filterFromSubject(cfg *api.ConsumerConfig, filter string) *apierr.Error {
	switch {
	case len(cfg.FilterSubjects) > 0:
		return apierr.JSConsumerMultipleFiltersNotAllowed
	case cfg.FilterSubject != filter:
		return apierr.JSConsumerCreateFilterSubjectMismatchErr
	}
	return nil
}

func (c *call) createConsumer(req *api.ConsumerCreateRequest, err *apierr.Error) {
	if err == nil && req.Config.Replicas > 1 && c.svc.cfg.Cluster == "" {
		err = apierr.JSStreamReplicasNotSupportedErr
	}
	if err != nil {
		c.fail(err)
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	if req.Config.Direct {
		if err := c.checkIdentity(st); err != nil {
			c.fail(err)
			return
		}
	}
	name := req.Config.Name
	if req.Config.Direct && req.Config.Sourcing {
		req.Config.Name += consumer.UnkeptMark + randomName(consumer.UnkeptSuffixLen) // unless the consumer is kept
	}
	if req.Config.DeliverSubject == "" {
		c.proposeConsumer(st, req, func() {})
		return
	}
	key := c.Account + "\x00" + c.stream() + "\x00" + name
	over := sync.OnceFunc(func() { c.svc.creates.done(key) })
	if !c.svc.creates.take(key, func() { c.createPush(st, req, over) }) {
		c.fail(apierr.JSStreamTooManyRequests)
	}
}

// createPush makes or updates a push consumer, unless somebody listens where one of that name delivers: a consumer in use
// does not move, but for that of a mirror or source, which has one reader at a time. Requests about one name are judged one after the other, so that the first of several clients wins
// and the others learn of it.
func (c *call) createPush(st *jetstream.Stream, req *api.ConsumerCreateRequest, over func()) {
	deliver := ""
	st.View(func(m *machine.Machine) {
		if x := m.Consumer(req.Config.Name); x != nil {
			deliver = x.Config.DeliverSubject
		}
	})
	if deliver != "" && deliver != req.Config.DeliverSubject && req.Action != api.ActionCreate && !req.Config.Sourcing &&
		c.svc.node.HasInterest(c.acc, deliver, "") {
		c.fail(apierr.JSConsumerNameExistErr)
		over()
		return
	}
	c.proposeConsumer(st, req, over)
}

// proposeConsumer makes or updates a consumer; over is called when that is done or can not be.
func (c *call) proposeConsumer(st *jetstream.Stream, req *api.ConsumerCreateRequest, over func()) {
	cmd := &machine.ConsumerCreate{
		Time: c.svc.cfg.Clock.Now().UnixNano(), Action: machine.Action(req.Action), Pedantic: req.Pedantic,
		Config: req.Config, Limits: c.svc.consumerLimits(c.acc), Runner: st.ChooseRunner(),
	}
	c.proposeTurn(st, cmd, func(r machine.Reply) {
		if r.Err != nil {
			c.fail(r.Err)
			return
		}
		info := c.svc.describeConsumer(st, r.Consumer.Name)
		if info == nil { // deleted at once: it was made nevertheless
			info = c.asMade(st, r.Consumer)
		}
		c.answer(api.ConsumerCreateResponse{Response: c.response(), ConsumerInfo: info})
	}, over)
}

// asMade describes a consumer that is gone by now.
func (c *call) asMade(st *jetstream.Stream, x *consumer.Consumer) *api.ConsumerInfo {
	info := &api.ConsumerInfo{Stream: st.Name(), Timestamp: c.svc.cfg.Clock.Now().UTC()}
	st.View(func(*machine.Machine) {
		cfg := *x.Config
		info.Name, info.Created, info.Config = x.Name, x.Created, &cfg
	})
	info.Config.Metadata = withVersion(info.Config.Metadata)
	return info
}

// consumerLimits are the account's and the server's limits for one consumer.
func (s *Service) consumerLimits(acc *account.Account) consumer.Limits {
	l := consumer.Limits{MaxAckPending: s.cfg.Limits.MaxAckPending, MaxRequestBatch: s.cfg.Limits.MaxRequestBatch}
	if js := acc.JetStream(); js != nil {
		l.MaxConsumers = max(js.MaxConsumers, 0)
		if of := max(js.MaxAckPending, 0); of > 0 && (l.MaxAckPending == 0 || of < l.MaxAckPending) {
			l.MaxAckPending = of
		}
	}
	return l
}
