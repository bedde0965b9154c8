package jsapi

import (
	"time"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/meta"
)

// describe is the info of a stream as answers about it alone show it.
func (s *Service) describe(st *jetstream.Stream) *api.StreamInfo {
	info := st.Info()
	info.Config.Metadata = withVersion(info.Config.Metadata)
	s.completeStream(info, st.Assignment())
	return info
}

// completeStream adds what is equal for all groups, and where a running move or
// scale leads to.
func (s *Service) completeStream(info *api.StreamInfo, a *meta.Assignment) {
	c := info.Cluster
	if c == nil {
		return
	}
	if a != nil && len(c.Replicas) > 0 {
		c.RaftGroup = a.RaftName
	}
	s.completeCluster(c)
	if a == nil || a.Reconfig == nil {
		return
	}
	c.Desired = &api.DesiredCluster{
		Created: time.Unix(0, a.Reconfig.Started).UTC(), Name: a.Cluster,
		Origin: &api.DesiredOrigin{Replicas: a.Reconfig.FromReplicas, Placement: a.Reconfig.FromPlacement},
	}
	for _, r := range a.Replicas {
		name := s.node.NodeName(r.Node)
		c.Desired.Replicas = append(c.Desired.Replicas, &api.DesiredPeer{Name: name, Offline: !s.node.Linked(r.Node), Peer: meta.PeerID(name)})
	}
}

func (s *Service) completeCluster(c *api.ClusterInfo) {
	if c != nil && c.RaftGroup != "" {
		c.SystemAccount, c.TrafficAccount = true, s.cfg.Accounts.System().Name()
	}
}

// describeConsumer is the info of a consumer as answers about it alone show it;
// nil when there is none.
func (s *Service) describeConsumer(st *jetstream.Stream, name string) *api.ConsumerInfo {
	info := s.ConsumerInfo(st, name)
	if info != nil {
		info.Config.Metadata = withVersion(info.Config.Metadata)
	}
	return info
}

// ConsumerInfo is the info of a consumer as lists show it; nil when there is none.
func (s *Service) ConsumerInfo(st *jetstream.Stream, name string) *api.ConsumerInfo {
	info := st.ConsumerInfo(name)
	if info == nil || info.Cluster == nil {
		return info
	}
	if consumerReplicas(info.Config, st.Assignment().Config) == 1 {
		info.Cluster = &api.ClusterInfo{Name: info.Cluster.Name, Leader: info.Cluster.Leader}
	}
	if info.Cluster.RaftGroup != "" {
		info.Cluster.RaftGroup = consumerGroup(st.Assignment(), info)
	}
	s.completeCluster(info.Cluster)
	return info
}

// ConsumerGroup is the name of a consumer's group, of one replica too; "" for nil.
func ConsumerGroup(st *jetstream.Stream, c *api.ConsumerInfo) string {
	if c == nil || c.Cluster == nil {
		return ""
	}
	return consumerGroup(st.Assignment(), c)
}

// consumerGroup is the name of a consumer's group. There is no such group but the
// stream's: the name follows from that one's and the consumer, so that it changes
// when the stream's does.
func consumerGroup(of *meta.Assignment, c *api.ConsumerInfo) string {
	storage := of.Storage()
	if c.Config.MemoryStorage {
		storage = api.MemoryStorage
	}
	random := meta.PeerID(of.RaftName + " " + c.Name + " " + c.Created.String())
	return "C" + meta.RaftName(len(c.Cluster.Replicas)+1, storage, random)[1:]
}

// consumerReplicas is the replica count that a consumer is shown with: its own, or
// its stream's. One that is not durable, of a stream that keeps messages whoever
// wants them, is 1.
func consumerReplicas(c *api.ConsumerConfig, of *api.StreamConfig) int {
	switch {
	case c.Replicas > 0 && c.Replicas <= of.Replicas:
		return c.Replicas
	case c.Replicas == 0 && c.Durable == "" && of.Retention == api.LimitsRetention:
		return 1
	}
	return max(of.Replicas, 1)
}
