package jsapi

import (
	"encoding/json"
	"time"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/consumer"
	"weir/internal/jetstream"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/router"
	"weir/internal/runner"
)

// StreamReady answers who asked for a stream or its update, and tells of it.
func (s *Service) StreamReady(st *jetstream.Stream, origin meta.Origin, created bool) {
	acc := s.cfg.Accounts.Account(st.Account())
	if acc == nil {
		return
	}
	action := api.ModifyAction
	if created {
		action = api.CreateAction
	}
	s.later(func() {
		s.answerOrigin(acc, st, origin, created)
		s.adviseStream(acc, st.Name(), action)
	})
}

// StreamFailed answers who asked for a stream, or its update, that has no replica.
func (s *Service) StreamFailed(a *meta.Assignment, origin meta.Origin, created bool, why error) {
	acc := s.cfg.Accounts.Account(a.Account)
	e, args := find(origin.Subject)
	if acc == nil || e == nil {
		return
	}
	r := &jetstream.Request{
		Account: a.Account, Subject: origin.Subject, Reply: origin.Reply, Client: origin.Client, Origin: origin.Node,
	}
	c := &call{Request: r, svc: s, endpoint: e, acc: acc, args: args}
	failure := apierr.JSStreamUpdateErrF
	if created {
		failure = apierr.JSStreamCreateErrF
	}
	s.later(func() { c.fail(failure(why)) })
}

// answerOrigin sends the stream's description to where a create, update or cancel
// came from.
func (s *Service) answerOrigin(acc *account.Account, st *jetstream.Stream, origin meta.Origin, created bool) {
	e, args := find(origin.Subject)
	if e == nil {
		return
	}
	r := &jetstream.Request{
		Account: st.Account(), Subject: origin.Subject, Reply: origin.Reply, Client: origin.Client, Origin: origin.Node,
	}
	c := &call{Request: r, svc: s, endpoint: e, acc: acc, args: args}
	info := s.describe(st)
	if created {
		c.answer(api.StreamCreateResponse{Response: c.response(), StreamInfo: info, DidCreate: true})
	} else {
		c.answer(api.StreamUpdateResponse{Response: c.response(), StreamInfo: info})
	}
}

// StreamLeader tells that this node leads a stream of more than one replica.
func (s *Service) StreamLeader(st *jetstream.Stream) {
	voters, _ := st.Members()
	if len(voters) < 2 {
		return
	}
	s.later(func() {
		advisory := &api.StreamLeaderElected{
			Advisory: s.newAdvisory(api.StreamLeaderElectedAdvisoryType), Stream: st.Name(), Leader: s.cfg.Name,
			Replicas: s.allReplicas(st), Domain: s.cfg.Domain,
		}
		s.adviseTwice(st, "STREAM.LEADER_ELECTED."+st.Name(), advisory, &advisory.Account)
	})
}

// QuorumLost tells that a stream of more than one replica has no quorum, nor have
// its consumers.
func (s *Service) QuorumLost(st *jetstream.Stream) {
	s.later(func() {
		s.adviseConsumersLost(st)
		advisory := &api.StreamQuorumLost{
			Advisory: s.newAdvisory(api.StreamQuorumLostAdvisoryType), Stream: st.Name(),
			Replicas: s.allReplicas(st), Domain: s.cfg.Domain,
		}
		s.adviseTwice(st, "STREAM.QUORUM_LOST."+st.Name(), advisory, &advisory.Account)
	})
}

// OutOfSpace tells that this server has no room for a stream.
func (s *Service) OutOfSpace(st *jetstream.Stream) {
	s.later(func() {
		s.advise(s.cfg.Accounts.System(), "SERVER.OUT_OF_STORAGE", &api.ServerOutOfSpace{
			Advisory: s.newAdvisory(api.ServerOutOfSpaceAdvisoryType), Server: s.cfg.Name, ServerID: meta.PeerID(s.cfg.Name),
			Stream: st.Name(), Cluster: s.cfg.Cluster, Domain: s.cfg.Domain,
		})
	})
}

// BatchAbandoned tells of an atomic batch that was dropped.
func (s *Service) BatchAbandoned(st *jetstream.Stream, id, reason string) {
	s.later(func() {
		advisory := &api.StreamBatchAbandoned{
			Advisory: s.newAdvisory(api.StreamBatchAbandonedAdvisoryType), Stream: st.Name(), Domain: s.cfg.Domain, BatchID: id, Reason: reason,
		}
		s.adviseTwice(st, "STREAM.BATCH_ABANDONED."+st.Name(), advisory, &advisory.Account)
	})
}

// adviseConsumersLost tells the same of each consumer of more than one replica, if
// anybody listens.
func (s *Service) adviseConsumersLost(st *jetstream.Stream) {
	acc, system := s.cfg.Accounts.Account(st.Account()), s.cfg.Accounts.System()
	subj := func(name string) string { return "CONSUMER.QUORUM_LOST." + st.Name() + "." + name }
	var names []string
	st.View(func(m *machine.Machine) {
		of := m.Stream().Config()
		for c := range m.Consumers() {
			heard := s.heard(acc, subj(c.Name)) || s.heard(system, subj(c.Name))
			if heard && consumerReplicas(c.Config, of) > 1 {
				names = append(names, c.Name)
			}
		}
	})
	replicas := s.allReplicas(st)
	for _, name := range names {
		advisory := &api.ConsumerQuorumLost{
			Advisory: s.newAdvisory(api.ConsumerQuorumLostAdvisoryType), Stream: st.Name(), Consumer: name,
			Replicas: replicas, Domain: s.cfg.Domain,
		}
		s.adviseTwice(st, subj(name), advisory, &advisory.Account)
	}
}

// allReplicas are the members of a group with its leader, as advisories list them.
func (s *Service) allReplicas(st *jetstream.Stream) []*api.PeerInfo {
	info := st.ClusterInfo()
	if info == nil {
		return nil
	}
	list := info.Replicas
	if info.Leader != "" {
		list = append(list, &api.PeerInfo{Name: info.Leader, Current: true, Peer: meta.PeerID(info.Leader)})
	}
	return list
}

// MetaLeader tells that this node leads the meta group.
func (s *Service) MetaLeader() {
	if s.cfg.Cluster == "" {
		return
	}
	s.later(func() {
		status, ok := s.node.MetaRaft()
		if !ok {
			return
		}
		advisory := &api.DomainLeaderElected{
			Advisory: s.newAdvisory(api.DomainLeaderElectedAdvisoryType), Leader: meta.PeerID(s.cfg.Name),
			Cluster: s.cfg.Cluster, Domain: s.cfg.Domain,
		}
		for _, p := range status.Peers {
			name := s.node.NodeName(p.Node)
			advisory.Replicas = append(advisory.Replicas, &api.PeerInfo{
				Name: name, Current: p.Active && p.Lag == 0, Offline: !s.node.Linked(p.Node), Active: p.Since, Lag: p.Lag, Peer: meta.PeerID(name),
			})
		}
		advisory.Replicas = append(advisory.Replicas, &api.PeerInfo{Name: s.cfg.Name, Current: true, Peer: meta.PeerID(s.cfg.Name)})
		s.advise(s.cfg.Accounts.System(), "DOMAIN.LEADER_ELECTED", advisory)
	})
}

// ConsumerChanged tells of a consumer that was made, deleted or paused, and of its
// new runner. The stream's leader speaks.
func (s *Service) ConsumerChanged(st *jetstream.Stream, c *consumer.Consumer, change machine.Change) {
	acc := s.cfg.Accounts.Account(st.Account())
	if acc == nil || !st.Leads() || c.Config.Direct {
		return
	}
	name := c.Name
	switch change {
	case machine.ConsumerMade:
		s.adviseConsumer(acc, st, name, "CREATED", api.CreateAction)
		s.adviseRunner(st, c)
		if c.Paused(s.cfg.Clock.Now()) {
			s.advisePause(acc, st, c)
		}
	case machine.ConsumerDeleted:
		s.adviseConsumer(acc, st, name, "DELETED", api.DeleteAction)
	case machine.ConsumerPaused:
		s.advisePause(acc, st, c)
	case machine.RunnerChanged:
		s.adviseRunner(st, c)
	}
}

func (s *Service) adviseConsumer(acc *account.Account, st *jetstream.Stream, name, event, action string) {
	subj := "CONSUMER." + event + "." + st.Name() + "." + name
	if !s.heard(acc, subj) {
		return
	}
	s.advise(acc, subj, &api.ConsumerAction{
		Advisory: s.newAdvisory(api.ConsumerActionAdvisoryType), Stream: st.Name(), Consumer: name, Action: action, Domain: s.cfg.Domain,
	})
}

func (s *Service) advisePause(acc *account.Account, st *jetstream.Stream, c *consumer.Consumer) {
	advisory := &api.ConsumerPauseAdvisory{
		Advisory: s.newAdvisory(api.ConsumerPauseAdvisoryType), Stream: st.Name(), Consumer: c.Name,
		Paused: c.Paused(s.cfg.Clock.Now()), Domain: s.cfg.Domain,
	}
	if c.Config.PauseUntil != nil {
		advisory.PauseUntil = *c.Config.PauseUntil
	}
	s.advise(acc, "CONSUMER.PAUSE."+st.Name()+"."+c.Name, advisory)
}

// adviseRunner tells who runs a consumer of a replicated stream.
func (s *Service) adviseRunner(st *jetstream.Stream, c *consumer.Consumer) {
	subj := "CONSUMER.LEADER_ELECTED." + st.Name() + "." + c.Name
	acc := s.cfg.Accounts.Account(st.Account())
	if acc == nil || consumerReplicas(c.Config, st.Assignment().Config) < 2 || !s.heard(acc, subj) && !s.heard(s.cfg.Accounts.System(), subj) {
		return
	}
	advisory := &api.ConsumerLeaderElected{
		Advisory: s.newAdvisory(api.ConsumerLeaderElectedAdvisoryType), Stream: st.Name(), Consumer: c.Name,
		Leader: st.ConsumerNode(c.Runner), Domain: s.cfg.Domain,
	}
	s.later(func() {
		advisory.Replicas = s.allReplicas(st)
		s.adviseTwice(st, subj, advisory, &advisory.Account)
	})
}

// RunnerEvent tells of a message that was refused, given up, delivered too often,
// or sampled.
func (s *Service) RunnerEvent(st *jetstream.Stream, consumer string, e runner.Event) {
	acc := s.cfg.Accounts.Account(st.Account())
	if acc == nil {
		return
	}
	tail := "." + st.Name() + "." + consumer
	switch e.Kind {
	case runner.EventNak:
		s.advise(acc, "CONSUMER.MSG_NAKED"+tail, &api.MsgNaked{
			Advisory: s.newAdvisory(api.NakAdvisoryType), Stream: st.Name(), Consumer: consumer, Domain: s.cfg.Domain,
			ConsumerSeq: e.Consumer, StreamSeq: e.Stream, Deliveries: e.Deliveries,
		})
	case runner.EventTerminated:
		s.advise(acc, "CONSUMER.MSG_TERMINATED"+tail, &api.MsgTerminated{
			Advisory: s.newAdvisory(api.TerminatedAdvisoryType), Stream: st.Name(), Consumer: consumer, Domain: s.cfg.Domain,
			ConsumerSeq: e.Consumer, StreamSeq: e.Stream, Deliveries: e.Deliveries, Reason: e.Reason,
		})
	case runner.EventMaxDeliveries:
		s.advise(acc, "CONSUMER.MAX_DELIVERIES"+tail, &api.MaxDeliveries{
			Advisory: s.newAdvisory(api.MaxDeliverAdvisoryType), Stream: st.Name(), Consumer: consumer, Domain: s.cfg.Domain,
			StreamSeq: e.Stream, Deliveries: e.Deliveries,
		})
	case runner.EventAckSample:
		s.publishEvent(acc, metricPrefix+"CONSUMER.ACK"+tail, &api.ConsumerAckMetric{
			Advisory: s.newAdvisory(api.ConsumerAckMetricType), Stream: st.Name(), Consumer: consumer, Domain: s.cfg.Domain,
			ConsumerSeq: e.Consumer, StreamSeq: e.Stream, Deliveries: e.Deliveries, Delay: time.Duration(e.Delay),
		})
	case runner.EventPinned:
		s.advise(acc, "CONSUMER.PINNED"+tail, &api.ConsumerGroupPinned{
			Advisory: s.newAdvisory(api.ConsumerGroupPinnedAdvisoryType), Stream: st.Name(), Consumer: consumer, Domain: s.cfg.Domain,
			Account: acc.Name(), Group: e.Group, PinnedID: e.PinID,
		})
	case runner.EventUnpinned:
		s.advise(acc, "CONSUMER.UNPINNED"+tail, &api.ConsumerGroupUnpinned{
			Advisory: s.newAdvisory(api.ConsumerGroupUnpinnedAdvisoryType), Stream: st.Name(), Consumer: consumer, Domain: s.cfg.Domain,
			Account: acc.Name(), Group: e.Group, Reason: e.Reason,
		})
	}
}

// adviseStream tells of a stream created, changed or deleted.
func (s *Service) adviseStream(acc *account.Account, name, action string) {
	event := map[string]string{api.CreateAction: "CREATED", api.ModifyAction: "UPDATED", api.DeleteAction: "DELETED"}[action]
	s.advise(acc, "STREAM."+event+"."+name, &api.StreamAction{
		Advisory: s.newAdvisory(api.StreamActionAdvisoryType), Stream: name, Action: action, Domain: s.cfg.Domain,
	})
}

// adviseRemoved tells that a server left the meta group.
func (s *Service) adviseRemoved(n *meta.Node) {
	s.advise(s.cfg.Accounts.System(), "SERVER.REMOVED", &api.ServerRemoved{
		Advisory: s.newAdvisory(api.ServerRemovedAdvisoryType), Server: n.Name, ServerID: n.Peer(), Cluster: n.Cluster, Domain: s.cfg.Domain,
	})
}

const (
	advisoryPrefix = "$JS.EVENT.ADVISORY."
	metricPrefix   = "$JS.EVENT.METRIC."
)

func (s *Service) newAdvisory(kind string) api.Advisory {
	return api.Advisory{Type: kind, ID: randomName(22), Time: s.cfg.Clock.Now().UTC()}
}

// heard tells whether anybody listens to an advisory.
func (s *Service) heard(acc *account.Account, event string) bool {
	return acc != nil && s.cfg.Router.HasInterest(acc, advisoryPrefix+event)
}

func (s *Service) advise(acc *account.Account, event string, doc any) {
	s.publishEvent(acc, advisoryPrefix+event, doc)
}

// adviseTwice publishes in the stream's account and, with the account's name in
// it, in the system account. name is the field for that.
func (s *Service) adviseTwice(st *jetstream.Stream, event string, doc any, name *string) {
	acc, system := s.cfg.Accounts.Account(st.Account()), s.cfg.Accounts.System()
	s.advise(acc, event, doc)
	if system != acc {
		*name = st.Account()
		s.advise(system, event, doc)
	}
}

// publishEvent publishes a document if anybody listens.
func (s *Service) publishEvent(acc *account.Account, subj string, doc any) {
	if acc == nil || !s.cfg.Router.HasInterest(acc, subj) {
		return
	}
	body, err := json.Marshal(doc)
	if err != nil {
		s.cfg.Logger.Errorf("JetStream: advisory %s can not be encoded: %v", subj, err)
		return
	}
	s.cfg.Router.Publish(acc, router.Internal, &router.Msg{Subject: []byte(subj), Payload: body})
}
