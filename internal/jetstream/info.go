package jetstream

import (
	"context"
	"slices"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/msg"
	"weir/internal/rafthost"
	"weir/internal/subject"
)

// Info describes the stream as of now.
func (s *Stream) Info() *api.StreamInfo {
	info := &api.StreamInfo{Domain: s.node.cfg.Domain, Timestamp: s.node.cfg.Clock.Now().UTC()}
	s.View(func(m *machine.Machine) {
		st := m.Stream()
		info.Config, info.Created = *st.Config(), st.Created()
		info.State.Consumers = m.NumListed()
	})
	consumers := info.State.Consumers
	info.State = streamState(s.store.Reader().State())
	info.State.Consumers = consumers
	info.Cluster = s.ClusterInfo()
	info.Mirror, info.Sources = s.copying.infos(&info.Config)
	return info
}

func streamState(st msg.State) api.StreamState {
	return api.StreamState{
		Msgs: st.Msgs, Bytes: st.Bytes, FirstSeq: st.FirstSeq, LastSeq: st.LastSeq,
		FirstTime: timeOf(st.FirstTime), LastTime: timeOf(st.LastTime),
		NumSubjects: st.NumSubjects, NumDeleted: st.NumDeleted,
	}
}

// timeOf is a stored time; 0 is the zero time.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// ClusterInfo says where the stream's replicas are; nil without a cluster.
func (s *Stream) ClusterInfo() *api.ClusterInfo {
	return s.clusterInfo(s.lead.Load().Leader, time.Unix(0, s.leadSince.Load()).UTC())
}

// clusterInfo is the cluster block with the given replica as leader.
func (s *Stream) clusterInfo(leader base.ReplicaID, since time.Time) *api.ClusterInfo {
	if s.node.cfg.Cluster == "" {
		return nil
	}
	a := s.Assignment()
	info := &api.ClusterInfo{Name: s.node.cfg.Cluster}
	status := s.group.Status()
	if len(a.Replicas) > 1 {
		info.RaftGroup, info.LeaderSince = a.RaftName, &since
	}
	list := slices.Concat(status.Voters, status.Learners)
	for _, r := range a.Replicas {
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	for _, r := range list {
		if r.ID == leader {
			info.Leader = s.node.nodeName(r.Node)
			continue
		}
		info.Replicas = append(info.Replicas, s.peerInfo(r, &status, slices.Contains(status.Voters, r)))
	}
	return info
}

func (s *Stream) peerInfo(r base.Replica, st *rafthost.Status, voter bool) *api.PeerInfo {
	name := s.node.nodeName(r.Node)
	p := &api.PeerInfo{Name: name, Peer: meta.PeerID(name), Offline: !s.node.linked(r.Node), Pending: !voter}
	for _, x := range st.Peers {
		if x.ID == r.ID {
			p.Current, p.Lag, p.Active = x.Active && x.Lag == 0, x.Lag, x.Since
			if !st.Leader.Self && r.ID != st.Leader.Leader { // only the leader hears of it
				p.Current, p.Active = voter, 0
			}
		}
	}
	if p.Active == 0 && !p.Offline {
		p.Active = time.Millisecond // within the current tick; tools take 0 for never
	}
	if r.ID == s.replica { // seen from a node that does not lead
		p.Current = true
	}
	if p.Offline {
		p.Current = false
	}
	return p
}

// ConsumerInfo describes a consumer; nil when there is none. Waiting pulls and
// whether a push consumer is bound are known where it runs.
func (s *Stream) ConsumerInfo(name string) *api.ConsumerInfo {
	info := &api.ConsumerInfo{Stream: s.name, Name: name}
	now := s.node.cfg.Clock.Now().UTC()
	info.Timestamp = now
	var runsOn base.ReplicaID
	var id, next, bound uint64
	var filter subject.Filter
	s.View(func(m *machine.Machine) {
		c := m.Consumer(name)
		if c == nil {
			return
		}
		id, runsOn, next, bound, filter = c.ID, c.Runner, c.Delivered.Stream+1, c.LastPerSubject, c.Filter
		s.fillConsumer(info, c, now)
	})
	if id == 0 {
		return nil
	}
	if r := s.runner(id); r != nil {
		st := r.Status()
		info.NumWaiting, info.PushBound = st.Waiting, st.PushBound
	}
	if n, err := s.pendingFrom(filter, bound, next); err == nil {
		info.NumPending = n
	}
	info.Cluster = s.clusterInfo(runsOn, info.Created)
	return info
}

// priorityGroups shows the group of a consumer; of several only the first, as
// the API knows of one.
func priorityGroups(c *consumer.Consumer) []api.PriorityGroupState {
	if len(c.Config.PriorityGroups) == 0 {
		return nil
	}
	state := api.PriorityGroupState{Group: c.Config.PriorityGroups[0]}
	if p := c.Pin; p != nil {
		state.PinnedClientID, state.PinnedTS = p.ID, timeOf(p.Since)
	}
	return []api.PriorityGroupState{state}
}

// syncTime is how long SyncConsumer waits for commits: without a majority the
// state as it stands has to do.
const syncTime = time.Second

// SyncConsumer waits until what a consumer's runner on this node has done is part
// of the replicated state, so that its info shows what its clients have seen.
func (s *Stream) SyncConsumer(name string) {
	r := s.Runner(name)
	if r == nil {
		return
	}
	done := make(chan struct{})
	r.Sync(sync.OnceFunc(func() { close(done) }))
	timeout := make(chan struct{})
	t := s.node.cfg.Clock.AfterFunc(syncTime, func() { close(timeout) })
	defer t.Stop()
	select {
	case <-done:
	case <-timeout:
	case <-s.node.ctx.Done():
	}
}

// CatchUp waits until this replica has applied what its group had acknowledged
// before the call. Without a majority the state as it stands has to do, and so does
// that of a leader.
func (s *Stream) CatchUp() {
	if s.Leads() {
		return
	}
	if err := s.Confirm(); err != nil {
		s.node.cfg.Logger.Debugf("Catch up with stream %s > %s: %v", s.account, s.name, err)
	}
}

// Confirm waits until this replica has applied what its group had acknowledged before
// the call, and fails without a majority. A leader needs it, too: another may have been
// elected whom it has not heard of yet.
func (s *Stream) Confirm() error {
	ctx, cancel := context.WithTimeout(s.node.ctx, syncTime)
	defer cancel()
	index, err := s.group.ReadIndex(ctx)
	if err != nil {
		return err
	}
	return s.group.WaitApplied(ctx, index)
}

func (s *Stream) fillConsumer(info *api.ConsumerInfo, c *consumer.Consumer, now time.Time) {
	cfg := *c.Config
	info.Config, info.Created = &cfg, c.Created
	info.Delivered = api.SequenceInfo{Consumer: c.Delivered.Consumer, Stream: c.Delivered.Stream, Last: optionalTime(c.LastDelivered)}
	info.AckFloor = api.SequenceInfo{Consumer: c.AckFloor.Consumer, Stream: c.AckFloor.Stream, Last: optionalTime(c.LastAcked)}
	info.PriorityGroups = priorityGroups(c)
	info.NumAckPending, info.NumRedelivered = c.NumAckPending(), c.NumRedelivered()
	if c.Paused(now) {
		info.Paused, info.PauseRemaining = true, c.Config.PauseUntil.Sub(now)
	}
}

func optionalTime(ns int64) *time.Time {
	if ns == 0 {
		return nil
	}
	t := time.Unix(0, ns).UTC()
	return &t
}

// pendingFrom counts what a consumer has still to be given from a sequence on. Up
// to bound those are the last messages of their subjects.
func (s *Stream) pendingFrom(filter subject.Filter, bound, next uint64) (uint64, error) {
	r := s.store.Reader()
	n, err := r.NumPending(max(next, bound+1), filter)
	if err != nil || next > bound {
		return n, err
	}
	err = r.AllLast(filter, bound, func(_ string, seq uint64) bool {
		if seq >= next {
			n++
		}
		return true
	})
	return n, err
}

// ConsumerNode is the name of the server that runs a consumer.
func (s *Stream) ConsumerNode(runsOn base.ReplicaID) string {
	for _, r := range s.members.Load().voters {
		if r.ID == runsOn {
			return s.node.nodeName(r.Node)
		}
	}
	return ""
}

// nodeName is a node's server name, from the meta state or the links.
func (n *Node) nodeName(id base.NodeID) string {
	if id == n.cfg.Identity.Node {
		return n.cfg.Name
	}
	name := ""
	n.View(func(s *meta.State) {
		if x := s.NodeByID(id); x != nil {
			name = x.Name
		}
	})
	if name != "" {
		return name
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.peers[id].Name
}
