package rafthost

import (
	"time"

	"weir/internal/base"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Status is what a replica knows about its group.
type Status struct {
	Group   base.GroupID
	Replica base.ReplicaID
	Leader  LeaderInfo
	Term    uint64
	// Applied ≤ Committed ≤ LastIndex.
	Applied, Committed, LastIndex uint64
	Voters, Learners              []base.Replica
	// Joint: a membership change is half way.
	Joint bool
	// Peers are the other members; with what the leader knows of them, if it is us.
	Peers []PeerStatus
	// Quiesced: asleep, because everybody has everything.
	Quiesced bool
	// Err says why the replica is stopped, nil if it is not.
	Err error
}

// PeerStatus is a leader's view of another replica.
type PeerStatus struct {
	base.Replica
	Learner bool
	// Match is the highest index known to be durable there, Lag what it misses of
	// the leader's log; both are 0 unless this replica leads.
	Match, Lag uint64
	// Active: heard from within an election timeout, or asleep with everything.
	Active bool
	// Since is how long ago the replica was last heard from, to a tick.
	Since time.Duration
	// Snapshot: it is being brought up to date by an image.
	Snapshot bool
}

// Stats are numbers of a host.
type Stats struct {
	Groups  int
	Leading int // groups led here
	Awake   int // groups that get ticks
	Failed  int // groups whose replica is stopped by an error
	// Sending and Receiving are images on their way.
	Sending, Receiving int
}

// Stats counts; it looks at every group.
func (h *Host) Stats() Stats {
	var s Stats
	for _, g := range h.allGroups() {
		s.Groups++
		g.mu.Lock()
		if g.leader.Self {
			s.Leading++
		}
		if g.err != nil {
			s.Failed++
		}
		g.mu.Unlock()
	}
	h.awakeMu.Lock()
	s.Awake = len(h.awake)
	h.awakeMu.Unlock()
	s.Sending, s.Receiving = h.streams.count()
	return s
}

// Status returns the present state. It waits for a Raft worker to let go of the
// group, never for the machine or the disk.
func (g *Group) Status() Status {
	g.raftMu.Lock()
	defer g.raftMu.Unlock()
	g.mu.Lock()
	s := Status{
		Group: g.id, Replica: g.replica, Leader: g.leader, Err: g.err,
		Applied: g.applied.Load(), Joint: g.members.joint(),
		Voters: g.members.voters(), Learners: g.members.learners(),
		Quiesced: g.node.quiesced,
	}
	g.mu.Unlock()
	n := &g.node
	s.Term, s.Committed = n.hard.GetTerm(), n.hard.GetCommit()
	if last, err := g.log.LastIndex(); err == nil { // an unreadable log stops the replica elsewhere
		s.LastIndex = last
	}
	s.LastIndex = max(s.LastIndex, s.Committed)
	at := map[base.ReplicaID]int{}
	for _, r := range g.members.all() {
		if r.ID != g.replica {
			at[r.ID] = len(s.Peers)
			s.Peers = append(s.Peers, g.peerStatus(r))
		}
	}
	if n.soft.RaftState == raft.StateLeader {
		n.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			if i, ok := at[base.ReplicaID(id)]; ok {
				p := &s.Peers[i]
				p.Match = pr.Match
				p.Lag = s.LastIndex - min(s.LastIndex, pr.Match)
				p.Snapshot = pr.State == tracker.StateSnapshot
			}
		})
	}
	return s
}

// CanDecide tells whether the members for which alive holds could elect a leader, by
// the configuration that this replica knows. A replica without one knows nothing
// against it.
func (g *Group) CanDecide(alive func(base.ReplicaID) bool) bool {
	g.mu.Lock()
	m := g.members
	g.mu.Unlock()
	return m.quorum(alive)
}

func (g *Group) peerStatus(r base.Replica) PeerStatus {
	n := &g.node
	p := PeerStatus{Replica: r, Learner: g.members.isLearner(r.ID)}
	ago := n.ticks - n.heard[uint64(r.ID)]
	if n.quiesced {
		ago = 0
	}
	p.Since = time.Duration(ago) * g.h.o.TickInterval
	_, ever := n.heard[uint64(r.ID)]
	p.Active = (ever || n.quiesced) && ago < uint64(g.h.o.ElectionTicks) && !g.h.nodeDown(r.Node)
	return p
}

func (m *members) all() []base.Replica {
	s := m.state
	seen := map[uint64]bool{}
	var ids []uint64
	for _, set := range [][]uint64{s.GetVoters(), s.GetLearners(), s.GetVotersOutgoing(), s.GetLearnersNext()} {
		for _, id := range set {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return m.list(ids)
}
