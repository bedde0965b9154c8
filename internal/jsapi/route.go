package jsapi

import (
	"strings"
	"time"

	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/meta"
)

// patientHops is how often a request is sent on at once. After that the nodes do
// not agree, as some have not applied what others have: it is held for a moment
// each time.
const patientHops = 2

// route answers the call, sends it on or holds it.
func (c *call) route() {
	if err := c.authorise(); err != nil {
		c.fail(err)
		return
	}
	if c.endpoint.class == everyNode {
		c.askOthers()
		c.endpoint.handle(c)
		return
	}
	place := c.svc.place(c)
	if place.Missing || place.Here && c.endpoint.class == metaLeader {
		c.svc.at.CatchUpMeta()
	}
	if place.Missing { // before it had caught up
		place = c.svc.place(c)
	}
	switch {
	case place.Here:
		c.endpoint.handle(c)
	case place.Missing:
		c.missing()
	default:
		c.svc.send(c.Request, place.Node, c.waited)
	}
}

// askOthers sends a client's request to all nodes that there is a link to. They need no leader for it.
func (c *call) askOthers() {
	if c.Hops > 0 {
		return
	}
	for _, node := range c.svc.at.Peers() {
		r := *c.Request
		c.svc.sent(&r, node, false)
	}
}

// send forwards a request, or holds it when nobody to send it to is known.
func (s *Service) send(r *jetstream.Request, to base.NodeID, waited bool) {
	if !s.sent(r, to, waited) {
		s.hold(r)
	}
}

// hold keeps a request that was tried for another try, or gives it up. It is never given up without one: when
// this process or its machine stood still, what the request waits for may have come long ago.
func (s *Service) hold(r *jetstream.Request) {
	if s.timeLeft(r, s.cfg.Clock.Now()) <= 0 {
		s.giveUp(r)
		return
	}
	s.held.add(r)
}

// sent forwards a request; false when it has to be held.
func (s *Service) sent(r *jetstream.Request, to base.NodeID, waited bool) bool {
	if to == 0 || r.Hops >= patientHops && !waited {
		return false
	}
	if err := s.at.Forward(to, r); err != nil {
		s.cfg.Logger.Debugf("JetStream API: forward %s: %v", r.Subject, err)
		return false
	}
	return true
}

// place says where a call is answered. That a stream is missing is for the meta
// leader to say: others may not know of it yet.
func (s *Service) place(c *call) jetstream.Place {
	class := c.endpoint.class
	if c.passedOn() {
		class = streamLeader
	}
	switch class {
	case streamLeader:
		return s.finally(c.Account, c.stream(), s.at.StreamLeader(c.Account, c.stream()))
	case directReader:
		return s.finally(c.Account, c.stream(), s.at.DirectReader(c.Account, c.stream(), c.Hops >= patientHops))
	case consumerRunner:
		p := s.finally(c.Account, c.stream(), s.at.ConsumerRunner(c.Account, c.stream(), c.consumer()))
		if p.Node != 0 && c.Hops > patientHops {
			// The runner's node does not know of it yet; the leader does.
			if s.at.StreamLeader(c.Account, c.stream()).Here {
				return jetstream.Place{Here: true}
			}
		}
		return p
	}
	return s.at.MetaLeader()
}

// finally refers what is missing to the meta leader, unless this node is the one
// to know: it leads the meta group, or the stream whose consumer is missing.
func (s *Service) finally(account, stream string, p jetstream.Place) jetstream.Place {
	if !p.Missing || s.at.Stream(account, stream) != nil {
		return p
	}
	leader := s.at.MetaLeader()
	if leader.Here {
		return p
	}
	return jetstream.Place{Node: leader.Node}
}

// missing answers a call about a stream or consumer that does not exist.
func (c *call) missing() {
	err := apierr.JSStreamNotFoundErr
	if c.consumer() != "" && c.endpoint.class == consumerRunner && c.svc.at.Stream(c.Account, c.stream()) != nil {
		err = apierr.JSConsumerNotFoundErr
	}
	if c.endpoint.bodyFirst || c.svc.cfg.Cluster == "" && c.endpoint.class != directReader && !c.passedOn() {
		c.absent = err
		c.endpoint.handle(c)
		return
	}
	c.fail(err)
}

// giveUp answers a request that found nobody to answer it in time.
func (s *Service) giveUp(r *jetstream.Request) {
	if h, ok := parseHot(r.Subject); ok {
		if h.pulls(r) {
			s.noResponders(r)
			s.behind(r, h)
		}
		return
	}
	c := s.newCall(r)
	if c == nil {
		return
	}
	s.later(func() { c.fail(c.whyNobody()) })
}

// whyNobody is the error of a call that nobody answers: what it is about is
// offline or has lost its data, or the meta group has no leader.
func (c *call) whyNobody() *apierr.Error {
	if err := c.offline(); err != nil {
		return err
	}
	if err := c.lost(); err != nil {
		return err
	}
	return apierr.JSClusterNotAvailErr
}

// lost is the error of a call about a stream that can have no leader any more.
// Otherwise it is nil.
func (c *call) lost() *apierr.Error { return c.cutOff((*meta.Assignment).Loss) }

// broken is the error of a call about a stream whose replicas have failed, or for a meta
// group of one that has. Otherwise it is nil.
func (c *call) broken() *apierr.Error {
	if c.svc.node == nil {
		return nil
	}
	why := c.svc.node.MetaBroken()
	switch {
	case c.endpoint.class != metaLeader || c.passedOn() || why == nil:
		return c.cutOff(c.svc.node.Broken)
	case c.stream() != "":
		return apierr.JSStreamOfflineReasonErrF(why)
	}
	return apierr.JSClusterNotAvailErr
}

// cutOff is the error of a call that only the stream's leader can answer, with the
// reason that there is none. Without a reason it is nil.
func (c *call) cutOff(reason func(*meta.Assignment) string) *apierr.Error {
	if c.endpoint.class == metaLeader && !c.passedOn() || c.svc.node == nil {
		return nil
	}
	var a *meta.Assignment
	c.svc.node.View(func(st *meta.State) { a = st.Stream(c.Account, c.stream()) })
	why := ""
	if a != nil {
		why = reason(a)
	}
	switch {
	case why == "":
		return nil
	case c.ofConsumer():
		return apierr.JSConsumerOfflineReasonErrF(why)
	}
	return apierr.JSStreamOfflineReasonErrF(why)
}

func (c *call) ofConsumer() bool { return strings.HasPrefix(c.endpoint.subject, "CONSUMER.") }

// offline is the error of a call about a stream that no node here runs: each of its
// nodes is out of sight, or this version can not read it. Otherwise it is nil.
func (c *call) offline() (err *apierr.Error) {
	if c.endpoint.class == metaLeader && !c.passedOn() || c.svc.node == nil {
		return nil
	}
	ofConsumer := c.ofConsumer()
	c.svc.node.View(func(st *meta.State) {
		a := st.Stream(c.Account, c.stream())
		if a == nil {
			return
		}
		reason := a.Unsupported(jetstream.APILevel)
		switch {
		case reason != "" && ofConsumer:
			err = apierr.JSConsumerOfflineReasonErrF(reason)
		case reason != "":
			err = apierr.JSStreamOfflineReasonErrF(reason)
		case !c.svc.allOffline(a):
		case ofConsumer:
			err = apierr.JSConsumerOfflineErr
		default:
			err = apierr.JSStreamOfflineErr
		}
	})
	return err
}

// offlineDelay is how long a stream or consumer has to be offline before calls about
// it are refused: a node may be about to come back.
const offlineDelay = 500 * time.Millisecond

// refuseOffline answers a request about what has failed, or that has waited for long enough
// about what is offline; false leaves it to wait.
func (s *Service) refuseOffline(r *jetstream.Request, now time.Time) bool {
	if _, hot := parseHot(r.Subject); hot {
		return false
	}
	c := s.newCall(r)
	if c == nil {
		return false
	}
	err := c.broken()
	if err == nil && now.Sub(r.Since) >= offlineDelay {
		err = c.offline()
	}
	if err != nil {
		s.later(func() { c.fail(err) })
	}
	return err != nil
}

func (s *Service) allOffline(a *meta.Assignment) bool {
	for _, r := range a.Replicas {
		if s.node.Linked(r.Node) {
			return false
		}
	}
	return true
}

// timeLeft is how long a request may still wait on this node.
func (s *Service) timeLeft(r *jetstream.Request, now time.Time) time.Duration {
	return holdLimit - now.Sub(r.Since)
}
