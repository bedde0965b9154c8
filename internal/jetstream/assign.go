package jetstream

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/rafthost"
	"weir/internal/raftlog"
	"weir/internal/runner"
)

// changedGroups are those whose assignments have to be looked at.
type changedGroups struct {
	mu  sync.Mutex
	ids map[base.GroupID]struct{}
	all bool
}

func (c *changedGroups) add(groups ...base.GroupID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = c.all || len(groups) == 0
	if c.ids == nil {
		c.ids = make(map[base.GroupID]struct{})
	}
	for _, id := range groups {
		c.ids[id] = struct{}{}
	}
}

func (c *changedGroups) take() (ids map[base.GroupID]struct{}, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids, all = c.ids, c.all
	c.ids, c.all = nil, false
	return ids, all
}

// assignmentsChanged makes the assignment loop compare what this node runs of some
// groups with what it should; of all groups when none is named.
func (n *Node) assignmentsChanged(groups ...base.GroupID) {
	n.changed.add(groups...)
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

func (n *Node) assignmentLoop() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.kick:
			n.assign()
		}
	}
}

// assign opens, updates and closes replicas after the meta state.
func (n *Node) assign() {
	g := n.meta.Load()
	if g == nil {
		return
	}
	wanted, unwanted := n.takeChanged(g)
	var lost []meta.LostReplica
	var remains []meta.ReplicaRemains
	for _, a := range wanted {
		r, _, _ := a.ReplicaOn(n.cfg.Identity.Node)
		switch {
		case a.Unsupported(APILevel) != "":
			n.shelveStream(a.Group)
		case n.isLost(a, r):
			lost = append(lost, meta.LostReplica{Group: a.Group, Replica: r.ID})
		case a.Asks(r.ID):
			answer, err := n.remains(a, r)
			if err != nil {
				n.openFailed(a, r, err)
				continue
			}
			remains = append(remains, answer)
		case a.Survey == nil:
			n.assignOne(a, r)
		}
	}
	for _, s := range unwanted {
		n.removeStream(s)
	}
	n.forgetFailed()
	if len(lost) > 0 && n.losing.CompareAndSwap(false, true) {
		n.report(&meta.ReplicasLost{Lost: lost}, func() { n.losing.Store(false) })
	}
	if len(remains) > 0 && n.answering.CompareAndSwap(false, true) {
		n.report(&meta.RemainsTold{Told: remains}, func() { n.answering.Store(false) })
	}
}

// isLost tells whether what the replica r of this node held is gone, although
// others may have it.
func (n *Node) isLost(a *meta.Assignment, r base.Replica) bool {
	if n.watching.isEarlier(meta.LostReplica{Group: a.Group, Replica: r.ID}) || n.seedGone(a, r) {
		return true
	}
	s := n.streamByGroup(a.Group)
	return s != nil && s.replica == r.ID && s.isLost(a)
}

// takeChanged returns, of the groups that have to be looked at, the assignments to
// this node and the replicas here that are not assigned to it any more.
func (n *Node) takeChanged(g *metaGroup) (wanted []*meta.Assignment, unwanted []*Stream) {
	ids, all := n.changed.take()
	assigned := make(map[base.GroupID]bool)
	take := func(a *meta.Assignment) bool {
		if a == nil {
			return true
		}
		if _, _, here := a.ReplicaOn(n.cfg.Identity.Node); here {
			wanted, assigned[a.Group] = append(wanted, a), true
		}
		return true
	}
	g.View(func(s *meta.State) {
		if all {
			s.All(take)
			return
		}
		for id := range ids {
			take(s.ByGroup(id))
		}
	})
	have := n.allStreams
	if !all {
		have = func() (list []*Stream) {
			for id := range ids {
				if s := n.streamByGroup(id); s != nil {
					list = append(list, s)
				}
			}
			return list
		}
	}
	for _, s := range have() {
		if !assigned[s.id] {
			unwanted = append(unwanted, s)
		}
	}
	return wanted, unwanted
}

// shelveStream closes a replica that this version can not run, as an update asks
// for what only a newer one knows. What it holds stays.
func (n *Node) shelveStream(id base.GroupID) {
	s := n.streamByGroup(id)
	if s == nil {
		return
	}
	n.dropStream(s)
	s.close(runner.CloseLeadership)
	if err := n.host.Close(s.id); err != nil {
		n.cfg.Logger.Errorf("Close the group of stream %s > %s: %v", s.account, s.name, err)
	}
	s.over()
}

// dropStream makes a replica unknown on this node.
func (n *Node) dropStream(s *Stream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if key := (streamKey{s.account, s.name}); n.streams[key] == s {
		delete(n.streams, key)
	}
	delete(n.groups, s.id)
}

// noteEarlier notes that this node may have run its replica of a memory stream
// in an earlier life of the process: what it knew is gone, and it must not vote as
// who it was.
func (n *Node) noteEarlier(a *meta.Assignment) {
	if a == nil || a.Storage() != api.MemoryStorage {
		return
	}
	if r, _, ok := a.ReplicaOn(n.cfg.Identity.Node); ok {
		n.watching.setEarlier(meta.LostReplica{Group: a.Group, Replica: r.ID})
	}
}

func (n *Node) assignOne(a *meta.Assignment, r base.Replica) {
	s := n.streamByGroup(a.Group)
	switch {
	case s == nil:
	case s.replica != r.ID:
		if begins(a, r) && s.replica == a.Seed.Replica {
			if err := n.bequeath(s, r); err != nil {
				n.openFailed(a, r, err)
				return
			}
		}
		n.removeStream(s)
		s = nil
	case errors.Is(s.Failure(), errSurveyed): // and the survey was dropped
		n.dropStream(s)
		s = nil
	}
	if s != nil {
		if s.assignment.Swap(a) != a {
			n.reconcile(s)
		}
		return
	}
	var initial []base.Replica
	if a.IsInitial(r.ID) && a.Seed == nil {
		initial = a.Initial
	}
	s, err := n.openStream(a, r, initial, a.Preferred == n.cfg.Identity.Node)
	if err != nil {
		n.openFailed(a, r, err)
		return
	}
	n.mu.Lock()
	n.streams[streamKey{a.Account, a.Name}] = s
	n.groups[a.Group] = s
	n.mu.Unlock()
	s.comeback.seek(s)
	n.reconcile(s)
}

// openFailed says that a replica can not be opened. One that is corrupt is
// replaced by a fresh one, which its peers fill; what it holds stays on disk until
// then, and the last replica of a stream stays for an operator to look at.
func (n *Node) openFailed(a *meta.Assignment, r base.Replica, err error) {
	if errors.Is(err, raftlog.ErrRemoved) {
		return // the meta log is being replayed: this replica's end is yet to come
	}
	n.cfg.Logger.Errorf("JetStream can not open stream %s > %s: %v", a.Account, a.Name, err)
	n.replicaFailed(meta.LostReplica{Group: a.Group, Replica: r.ID}, err)
	n.changed.add(a.Group) // another try with the next change
	if len(a.Replicas) == 1 {
		n.tellFailed(a, err)
	}
	if base.IsCorrupt(err) && len(a.Replicas) > 1 {
		n.report(&meta.ReplicasLost{Lost: []meta.LostReplica{{Group: a.Group, Replica: r.ID}}}, func() {})
	}
}

// tellFailed tells who asked for a stream that its only replica can not be opened. A
// new stream does not stay half-made.
func (n *Node) tellFailed(a *meta.Assignment, why error) {
	waiting := n.watching.takeOrigins(a.Group, a.Revision, n.cfg.Clock.Now())
	if len(waiting) == 0 {
		return
	}
	n.spawn(func() {
		if slices.ContainsFunc(waiting, func(o pendingOrigin) bool { return o.created }) {
			ctx, cancel := context.WithTimeout(n.ctx, proposalTimeout)
			defer cancel()
			if _, err := n.ProposeMeta(ctx, &meta.StreamDelete{Account: a.Account, Name: a.Name, Group: a.Group}); err != nil {
				n.cfg.Logger.Errorf("Delete stream %s > %s, which can not be opened: %v", a.Account, a.Name, err)
			}
		}
		for _, o := range waiting {
			n.cfg.Events.StreamFailed(a, o.origin, o.created, why)
		}
	})
}

// removeStream ends a replica that is not assigned to this node any more, and
// deletes what it held.
func (n *Node) removeStream(s *Stream) {
	n.dropStream(s)
	s.close(runner.CloseDeleted)
	err := n.host.Remove(s.id)
	if errors.Is(err, rafthost.ErrStopped) { // closed before, as it was damaged
		err = n.log(s.memory).Group(s.id, s.replica).Remove()
	}
	if err != nil {
		n.cfg.Logger.Errorf("Remove the group of stream %s > %s: %v", s.account, s.name, err)
	}
	s.over()
	if err := n.db(s.memory).Remove(s.id, s.replica); err != nil {
		n.cfg.Logger.Errorf("Remove the store of stream %s > %s: %v", s.account, s.name, err)
	}
}

// report tells the meta group what it has to know of replicas here, and has the assignments
// looked at again after done.
func (n *Node) report(c meta.Body, done func()) {
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, proposalTimeout)
		defer cancel()
		wait := membershipPause // until this node has applied it, usually
		if _, err := n.ProposeMeta(ctx, c); err != nil {
			wait = time.Second
		}
		n.pause(wait)
		done()
		n.assignmentsChanged()
	})
}

// isLost tells that the replica is damaged and others have what it held. Of the only
// one an operator decides.
func (s *Stream) isLost(a *meta.Assignment) bool {
	return len(a.Replicas) > 1 && base.IsCorrupt(s.Failure())
}
