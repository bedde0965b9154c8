package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/msgstore"
	"weir/internal/rafthost"
)

// metaKey is the store key that holds the image of the meta state.
var metaKey = []byte("state")

var errNoMetaLeader = errors.New("the meta group has no leader")

// metaGroup is this node's replica of the meta group. The state lives in memory;
// its image is written to the store at checkpoints, and the log is replayed from
// there.
type metaGroup struct {
	node    *Node
	replica base.ReplicaID
	store   *msgstore.Store
	group   *rafthost.Group

	mu    sync.RWMutex
	state *meta.State

	lead    atomic.Pointer[rafthost.LeaderInfo]
	members atomic.Pointer[members]
	failure atomic.Pointer[error] // why the replica stopped
	results *waiters[meta.Result]
	// replayed is the last index that the log held when the node started: what is
	// applied up to there happened in an earlier life.
	replayed uint64
	written  uint64       // index of the image in the store; checkpoints only
	wanted   atomic.Int32 // how often tendMeta was asked since it last ended
}

var _ rafthost.Machine = (*metaGroup)(nil)

// openMeta opens the replica that m speaks of and starts its group.
func (n *Node) openMeta(m *membership) (*metaGroup, error) {
	g := &metaGroup{node: n, replica: m.Replica, state: meta.New(), results: newWaiters[meta.Result]()}
	g.lead.Store(&rafthost.LeaderInfo{})
	g.members.Store(&members{})
	store, err := n.fileDB.Store(base.MetaGroup, m.Replica)
	if err != nil {
		return nil, fmt.Errorf("open meta store: %w", err)
	}
	g.store = store
	if err := g.load(); err != nil {
		return nil, err
	}
	last, err := n.fileLog.Group(base.MetaGroup, m.Replica).LastIndex()
	if err != nil {
		return nil, fmt.Errorf("open meta log: %w", err)
	}
	g.replayed = last
	g.group, err = n.host.Open(rafthost.GroupConfig{ID: base.MetaGroup, Replica: m.Replica, Members: m.Initial, Machine: g})
	if err != nil {
		return nil, fmt.Errorf("open meta group: %w", err)
	}
	return g, nil
}

// load reads the image that the store holds.
func (g *metaGroup) load() error {
	image, ok, err := g.store.Get(metaKey)
	if err != nil {
		return fmt.Errorf("read meta state: %w", err)
	}
	if !ok {
		return nil
	}
	state, err := meta.Restore(image)
	if err != nil {
		return fmt.Errorf("read meta state: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state, g.written = state, state.Applied()
	g.noteAllEarlier(state)
	return nil
}

// noteAllEarlier notes every replica that this node may have run before it
// started.
func (g *metaGroup) noteAllEarlier(state *meta.State) {
	state.All(func(a *meta.Assignment) bool {
		g.node.noteEarlier(a)
		return true
	})
}

// save writes the image to the store, not yet durably, for a checkpoint.
func (g *metaGroup) save() error {
	g.mu.RLock()
	applied := g.state.Applied()
	if applied == g.written {
		g.mu.RUnlock()
		return nil
	}
	image := g.state.Snapshot()
	g.mu.RUnlock()
	if err := g.store.Set(metaKey, image); err != nil {
		return fmt.Errorf("write meta state: %w", err)
	}
	if err := g.store.Commit(applied); err != nil {
		return fmt.Errorf("write meta state: %w", err)
	}
	g.written = applied
	return nil
}

// View calls read with the state while nothing is applied to it. Assignments and
// nodes may be kept, the state not.
func (g *metaGroup) View(read func(*meta.State)) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	read(g.state)
}

// leads tells whether this node leads the meta group and knows all that came
// before its term.
func (g *metaGroup) leads() bool {
	l := g.lead.Load()
	return l.Self && l.Ready
}

// Apply applies committed commands.
func (g *metaGroup) Apply(entries []rafthost.Entry) error {
	for i := range entries {
		e := &entries[i]
		if e.Data == nil {
			g.mu.Lock()
			g.state.Skip(e.Index)
			g.mu.Unlock()
			continue
		}
		cmd, err := meta.Decode(e.Data)
		if err != nil {
			return err
		}
		g.mu.Lock()
		effects := g.state.Apply(e.Index, cmd)
		if e.Index <= g.replayed {
			for _, c := range effects.Changed {
				g.node.noteEarlier(c.After)
			}
		}
		g.mu.Unlock()
		g.node.metaApplied(g, effects)
		if effects.Proposer == g.replica {
			if done := g.results.take(effects.Seq); done != nil {
				done(effects.Result, nil)
			}
		}
	}
	return nil
}

func (g *metaGroup) Applied() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.state.Applied()
}

// metaImage is an image of the meta state in memory.
type metaImage struct {
	index uint64
	data  []byte
}

func (i *metaImage) Index() uint64 { return i.index }
func (i *metaImage) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(i.data)
	return int64(n), err
}
func (i *metaImage) Close() error { return nil }

func (g *metaGroup) Snapshot() (rafthost.Snapshot, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return &metaImage{g.state.Applied(), g.state.Snapshot()}, nil
}

// Restore replaces the state by an image and makes that durable.
func (g *metaGroup) Restore(index uint64, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	state, err := meta.Restore(data)
	if err != nil {
		return err
	}
	base.Assert(state.Applied() == index, "meta image stands at %d, not %d", state.Applied(), index)
	g.node.checkpointMu.Lock()
	defer g.node.checkpointMu.Unlock()
	g.mu.Lock()
	if g.state.Applied() < g.replayed {
		g.noteAllEarlier(state)
	}
	g.state = state
	g.mu.Unlock()
	if err := g.save(); err != nil {
		return err
	}
	if _, err := g.node.fileDB.Checkpoint(); err != nil {
		return fmt.Errorf("make the meta image durable: %w", err)
	}
	g.node.assignmentsChanged()
	return nil
}

func (g *metaGroup) LeaderChange(l rafthost.LeaderInfo) {
	before := g.lead.Swap(&l)
	if before.Self && !l.Self {
		g.results.fail(g.node.cfg.Clock.Now(), errLostLeadership)
	}
	g.node.metaLeaderChanged(before, &l)
}

func (g *metaGroup) MembersChange(voters, learners []base.Replica) {
	g.members.Store(&members{voters: voters, learners: learners})
	g.node.tendMeta()
}

func (g *metaGroup) Stopped(err error) {
	g.node.cfg.Logger.Errorf("JetStream meta replica stopped: %v", err)
	g.failure.Store(&err)
	g.lead.Store(&rafthost.LeaderInfo{Term: g.lead.Load().Term})
	g.results.failAll(errLostLeadership)
	g.node.unhealthy(fmt.Errorf("meta replica stopped: %w", err))
}

// propose proposes a command on this node, which must lead.
func (g *metaGroup) propose(ctx context.Context, body meta.Body) (meta.Result, error) {
	now := g.node.cfg.Clock.Now()
	return g.results.propose(ctx, now, g.group.Propose, func(seq uint64) []byte {
		return meta.Command{Proposer: g.replica, Seq: seq, Time: now.UnixNano(), Body: body}.Encode()
	})
}

// handleJoin admits a node to the meta group, if this node leads it.
func (n *Node) handleJoin(ctx context.Context, from base.NodeID, body []byte) ([]byte, error) {
	var req joinRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	if a, ok := n.boot.admitFirst(from); ok && !req.Member && n.mayBeFirst(from, a.Replica) {
		return json.Marshal(a)
	}
	g := n.meta.Load()
	if g == nil {
		return nil, errNoMetaLeader
	}
	if !g.leads() {
		return json.Marshal(joinAnswer{Leader: g.lead.Load().LeaderNode})
	}
	result, err := g.propose(ctx, &meta.NodeJoin{Name: req.Name, Node: req.Node, Cluster: req.Cluster, Tags: req.Tags, Room: req.Room, Member: req.Member})
	if err != nil {
		return nil, err
	}
	if result.Err != nil {
		return nil, result.Err
	}
	n.tendMeta()
	g.mu.RLock()
	defer g.mu.RUnlock()
	return json.Marshal(joinAnswer{ClusterID: g.state.ClusterID(), Replica: result.Node.Replica})
}

// mayBeFirst tells whether a first voter that has not heard yet that the group came
// to be still is one, as far as this node knows: it may have been removed since.
func (n *Node) mayBeFirst(node base.NodeID, replica base.ReplicaID) bool {
	ok := true
	n.View(func(s *meta.State) {
		if s.ClusterID() != "" {
			x := s.NodeByID(node)
			ok = x != nil && !x.Removed && x.Replica == replica
		}
	})
	return ok
}

// tendMeta makes the leader bring the members of the meta group in line with
// the nodes that the state names.
func (n *Node) tendMeta() {
	g := n.meta.Load()
	if g == nil || !g.leads() || g.wanted.Add(1) > 1 {
		return
	}
	n.spawn(func() {
		for seen := int32(1); ; seen = g.wanted.Load() {
			g.tend()
			if g.wanted.CompareAndSwap(seen, 0) { // nobody asked since
				return
			}
		}
	})
}

// tend does what the meta leader owes the group: its first command, and its
// members. It ends when nothing is left to do or leadership is gone.
func (g *metaGroup) tend() {
	for g.leads() && g.node.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(g.node.ctx, proposalTimeout)
		done, err := g.tendOnce(ctx)
		cancel()
		if err != nil {
			g.node.cfg.Logger.Warnf("JetStream meta group: %v", err)
		}
		if done {
			return
		}
		if !g.node.pause(membershipPause) {
			return
		}
	}
}

func (g *metaGroup) tendOnce(ctx context.Context) (done bool, err error) {
	var wanted []base.Replica
	var initialised bool
	g.View(func(s *meta.State) {
		wanted, initialised = s.MetaReplicas(), s.ClusterID() != ""
	})
	if !initialised {
		_, err := g.propose(ctx, g.node.metaInit(g.members.Load().voters))
		return false, err
	}
	if g.node.selfOutdated() {
		_, err := g.propose(ctx, g.node.selfJoin())
		return false, err
	}
	step, ok := nextMemberStep(wanted, g.members.Load(), g.group, g.replica)
	if !ok {
		return true, nil
	}
	return false, g.group.ChangeMembers(ctx, step)
}
