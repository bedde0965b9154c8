package server

import (
	"fmt"
	"net/http"
	"slices"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/consumer"
	"weir/internal/jetstream"
	"weir/internal/jsapi"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/monitor"
	"weir/internal/rafthost"
)

func (s *source) jetStreamConfig() monitor.JetStreamConfig {
	js := &s.cfg.JetStream
	return monitor.JetStreamConfig{
		MaxMemory: orDefault(js.MaxMemory, defaultMaxMemory), MaxStore: orDefault(js.MaxStore, defaultMaxStore),
		StoreDir: s.store.dir, SyncAlways: true, Domain: js.Domain, UniqueTag: js.UniqueTag, Strict: js.Strict,
	}
}

func (s *source) jetStreamLimits() *monitor.JetStreamLimits {
	l := &s.cfg.JetStream.Limits
	return &monitor.JetStreamLimits{
		MaxRequestBatch: l.MaxRequestBatch, MaxAckPending: l.MaxAckPending, MaxHAAssets: l.MaxHAAssets,
		DuplicateWindow:           l.DuplicateWindow,
		MaxBatchInflightPerStream: l.Batch.MaxInflightPerStream, MaxBatchInflightTotal: l.Batch.MaxInflightTotal,
		MaxBatchSize: l.Batch.MaxMsgs, MaxBatchTimeout: l.Batch.Timeout,
	}
}

// varzJetStream is JetStream in /varz and in statistics; nil when it is off.
func (s *source) varzJetStream() *monitor.VarzJetStream {
	if s.node == nil {
		return nil
	}
	config := s.jetStreamConfig()
	stats := s.jetStreamStats(s.node.Streams())
	return &monitor.VarzJetStream{Config: &config, Stats: &stats, Meta: s.metaCluster(), Limits: s.jetStreamLimits()}
}

// jetStreamStats is what the streams on this server hold.
func (s *source) jetStreamStats(streams []*jetstream.Stream) monitor.JetStreamStats {
	load := s.node.Load()
	stats := monitor.JetStreamStats{
		ReservedMemory: uint64(load.ReservedMemory), ReservedStore: uint64(load.ReservedStore),
		Accounts: len(s.jetStreamAccounts()), HAAssets: load.HAStreams, API: s.api.Stats(""),
	}
	for _, st := range streams {
		addBytes(&stats, st)
	}
	return stats
}

func addBytes(stats *monitor.JetStreamStats, st *jetstream.Stream) {
	if bytes := st.Store().Reader().State().Bytes; st.InMemory() {
		stats.Memory += bytes
	} else {
		stats.Store += bytes
	}
}

// metaCluster is the meta group; nil outside of a cluster or before this server
// is a member.
func (s *source) metaCluster() *monitor.MetaCluster {
	if s.node == nil || s.mesh == nil {
		return nil
	}
	status, ok := s.node.MetaRaft()
	if !ok {
		return nil
	}
	m := &monitor.MetaCluster{
		Name: s.clusterName(), Size: len(status.Voters), QuorumNeeded: len(status.Voters)/2 + 1,
		Pending: int(status.Committed - min(status.Applied, status.Committed)),
	}
	if leader := status.Leader.LeaderNode; leader != 0 {
		m.Leader = s.node.NodeName(leader)
		m.Peer = meta.PeerID(m.Leader)
	}
	for i := range status.Peers {
		m.Replicas = append(m.Replicas, s.metaPeer(&status, &status.Peers[i]))
	}
	return m
}

// metaPeer describes another member. How far it is, only the leader knows;
// elsewhere the leader counts as current.
func (s *source) metaPeer(st *rafthost.Status, p *rafthost.PeerStatus) *api.PeerInfo {
	name, linked := s.node.NodeName(p.Node), s.node.Linked(p.Node)
	current := linked && p.Active && p.Lag == 0
	if !st.Leader.Self {
		current = linked && p.ID == st.Leader.Leader
	}
	return &api.PeerInfo{
		Name: name, Peer: meta.PeerID(name), Current: current, Offline: !linked, Active: p.Since, Lag: p.Lag, Pending: p.Learner,
	}
}

func (s *source) metaLeader() bool {
	if s.node == nil {
		return false
	}
	status, ok := s.node.MetaRaft()
	return ok && status.Leader.Self
}

// jetStream is the summary of /jsz.
func (s *source) jetStream(monitor.JszOptions) *monitor.Jsz {
	if s.node == nil {
		return &monitor.Jsz{Disabled: true}
	}
	streams := s.node.Streams()
	z := &monitor.Jsz{
		JetStreamStats: s.jetStreamStats(streams), Config: s.jetStreamConfig(), Limits: s.jetStreamLimits(),
		Streams: len(streams), Meta: s.metaCluster(),
	}
	for _, st := range streams {
		state := st.Store().Reader().State()
		z.Messages, z.Bytes = z.Messages+state.Msgs, z.Bytes+state.Bytes
		consumers, led := consumersOf(st)
		z.Consumers += consumers
		if s.mesh == nil {
			continue // a server alone leads nothing
		}
		z.ConsumersLeader += led
		if st.Leads() {
			z.StreamsLeader++
		}
	}
	return z
}

// consumersOf counts the consumers of a stream that this server is shown as one of, and those that it runs, but for those
// that copying streams read through.
func consumersOf(st *jetstream.Stream) (all, here int) {
	st.View(func(m *machine.Machine) {
		for c := range m.Consumers() {
			runs := c.Runner == st.Group().Replica()
			if c.Config.Direct || c.Config.Replicas == 1 && !runs {
				continue
			}
			all++
			if runs {
				here++
			}
		}
	})
	return all, here
}

func (s *source) jetStreamAccounts() []string {
	if s.node == nil {
		return nil
	}
	var names []string
	for _, a := range s.accounts.Accounts() {
		if jetStreamAccount(a) {
			names = append(names, a.Name())
		}
	}
	return names
}

func jetStreamAccount(a *account.Account) bool { return a.JetStream() != nil && !a.IsSystem() }

// jetStreamAccount describes what an account has on this server.
func (s *source) jetStreamAccount(name string, opts monitor.JszOptions) *monitor.AccountDetail {
	d := &monitor.AccountDetail{Name: name, ID: name}
	d.API = s.api.Stats(name)
	d.API.Level = 0 // of the server only
	for _, st := range s.node.Streams() {
		if st.Account() != name {
			continue
		}
		addBytes(&d.JetStreamStats, st)
		a := st.Assignment()
		if len(a.Replicas) > 1 {
			d.HAAssets++
		}
		if reserved := uint64(max(a.Config.MaxBytes, 0)); st.InMemory() {
			d.ReservedMemory += reserved
		} else {
			d.ReservedStore += reserved
		}
		if opts.Streams && (!opts.StreamLeaderOnly || st.Leads()) {
			d.Streams = append(d.Streams, s.streamDetail(st, opts))
		}
	}
	return d
}

func (s *source) streamDetail(st *jetstream.Stream, opts monitor.JszOptions) *monitor.StreamDetail {
	info := st.Info()
	s.completeCluster(info.Cluster)
	if info.Cluster == nil { // nats server stream-check looks at it
		info.Cluster = &api.ClusterInfo{Leader: s.name}
	}
	d := &monitor.StreamDetail{Name: st.Name(), Created: info.Created, Cluster: info.Cluster, State: info.State}
	if opts.Config {
		d.Config = &info.Config
	}
	if opts.RaftGroups && s.mesh != nil { // of one replica, too: it tells streams apart
		d.RaftGroup = st.Assignment().RaftName
	}
	if opts.StateHash {
		if applied, hash, err := st.StateHash(); err == nil {
			d.Applied, d.StateHash = applied, fmt.Sprintf("%016x", hash)
		}
	}
	if opts.Consumer || opts.DirectConsumer || opts.RaftGroups {
		s.consumerDetail(d, st, opts)
	}
	return d
}

func (s *source) consumerDetail(d *monitor.StreamDetail, st *jetstream.Stream, opts monitor.JszOptions) {
	for _, name := range consumerNames(st) {
		c := s.api.ConsumerInfo(st, name)
		if c == nil || !s.keeps(c) {
			continue
		}
		direct := c.Config.Direct
		if group := jsapi.ConsumerGroup(st, c); opts.RaftGroups && !direct && group != "" {
			d.ConsumerRaftGroups = append(d.ConsumerRaftGroups, monitor.RaftGroupName{Name: name, RaftGroup: group})
		}
		if !opts.Config {
			c.Config = nil
		}
		switch {
		case direct && opts.DirectConsumer:
			d.DirectConsumer = append(d.DirectConsumer, c)
		case !direct && opts.Consumer:
			d.Consumer = append(d.Consumer, c)
		}
	}
}

// keeps tells whether this server is shown as one of a consumer's. The group of its
// stream has it everywhere, but one replica means one server.
func (s *source) keeps(c *api.ConsumerInfo) bool {
	return c.Cluster == nil || len(c.Cluster.Replicas) > 0 || c.Cluster.Leader == s.name
}

// completeCluster adds the account that carries the group's traffic.
func (s *source) completeCluster(c *api.ClusterInfo) {
	if c != nil && c.RaftGroup != "" {
		c.SystemAccount, c.TrafficAccount = true, s.accounts.System().Name()
	}
}

func consumerNames(st *jetstream.Stream) []string {
	var names []string
	st.View(func(m *machine.Machine) {
		names = make([]string, 0, m.NumConsumers())
		m.Consumers()(func(c *consumer.Consumer) bool {
			names = append(names, c.Name)
			return true
		})
	})
	slices.Sort(names)
	return names
}

// health judges the server in the order of the probes: listeners, JetStream, the
// meta group, then the streams on this server.
func (s *source) health(opts monitor.HealthzOptions) monitor.Health {
	switch {
	case s.clients.Addr() == nil:
		return unhealthy(http.StatusInternalServerError, monitor.HealthConnection, "client listener is not ready")
	case opts.JSServerOnly || s.node == nil || opts.JSEnabledOnly:
		return monitor.Health{Status: http.StatusOK}
	}
	if err := s.node.MetaHealth(); err != nil {
		return unhealthy(http.StatusServiceUnavailable, monitor.HealthJetStream, err.Error())
	}
	if opts.JSMetaOnly {
		return monitor.Health{Status: http.StatusOK}
	}
	if opts.Account != "" {
		if a := s.accounts.Account(opts.Account); a == nil || !jetStreamAccount(a) {
			h := unhealthy(http.StatusNotFound, monitor.HealthAccount, fmt.Sprintf("JetStream account %q not found", opts.Account))
			h.Errors[0].Account = opts.Account
			return h
		}
	}
	h := s.assetHealth(opts)
	if err := s.node.Failure(); err != nil && opts.Account == "" {
		h.Status = http.StatusServiceUnavailable
		h.Errors = append(h.Errors, monitor.HealthError{Type: monitor.HealthJetStream, Error: err.Error()})
	}
	return h
}

func (s *source) assetHealth(opts monitor.HealthzOptions) monitor.Health {
	h := monitor.Health{Status: http.StatusOK}
	for _, a := range s.node.Ailments(opts.Account, opts.Stream, opts.Consumer) {
		h.Status = http.StatusServiceUnavailable
		if a.Missing {
			h.Status = http.StatusNotFound
		}
		kind := monitor.HealthStream
		if a.Consumer != "" {
			kind = monitor.HealthConsumer
		}
		h.Errors = append(h.Errors, monitor.HealthError{
			Type: kind, Account: a.Account, Stream: a.Stream, Consumer: a.Consumer, Error: a.Error(),
		})
	}
	return h
}

func unhealthy(status int, kind, text string) monitor.Health {
	return monitor.Health{Status: status, Errors: []monitor.HealthError{{Type: kind, Error: text}}}
}
