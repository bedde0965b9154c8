package jetstream

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/meta"
)

// metaApplied takes the effects of a meta command. It runs on the apply worker.
func (n *Node) metaApplied(g *metaGroup, e meta.Effects) {
	for _, c := range e.Changed {
		if c.Request != nil && c.After != nil && e.Index > g.replayed {
			n.rememberOrigin(c)
		}
		if c.After == nil {
			n.takeNoMore(c.Before.Group)
		}
	}
	if len(e.Changed) > 0 {
		n.assignmentsChanged(e.Groups()...)
	}
	if len(e.Nodes) > 0 {
		n.noteRemoval(e.Nodes)
		n.tendMeta()
		n.tellSelf()
	}
}

// takeNoMore ends the subscriptions of a deleted stream before anybody is told that
// it is deleted: who publishes after that is not to wait for an answer.
func (n *Node) takeNoMore(id base.GroupID) {
	if s := n.streamByGroup(id); s != nil {
		s.ingest.end()
	}
}

// rememberOrigin keeps who waits for a create or update, for the stream's leader
// to answer. The stream may not be open yet, so it is kept by group.
func (n *Node) rememberOrigin(c meta.Change) {
	n.watching.addOrigin(c.After.Group, pendingOrigin{
		created: c.Kind == meta.Created, origin: *c.Request, revision: c.After.Revision, since: n.cfg.Clock.Now(),
	})
}

// duty is what the reconciler remembers of a stream from turn to turn.
type duty struct {
	mu     sync.Mutex
	busy   bool      // a reconcile is under way
	again  bool      // another one is wanted
	over   bool      // none begins any more, nor is a timer set
	expire time.Time // for when an expiry is scheduled
	// asked is when an Expire was proposed that is not applied yet; zero when there is none.
	asked time.Time
	// upTo is the time of the last Expire that was proposed.
	upTo time.Time
	// used: something else was applied since then.
	used  bool
	timer base.Timer
}

// calls tells whether another reconcile is wanted.
func (d *duty) calls() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.again
}

func (d *duty) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.timer != nil {
		d.timer.Stop()
	}
}

// reconcile makes a stream's leader compare what is with what should be, soon.
func (n *Node) reconcile(s *Stream) {
	d := &s.duty
	d.mu.Lock()
	defer d.mu.Unlock()
	d.again = true
	if d.busy || d.over || n.ctx.Err() != nil {
		return
	}
	d.busy = true
	n.spawn(func() { n.reconcileLoop(s) })
}

func (n *Node) reconcileLoop(s *Stream) {
	for {
		s.duty.mu.Lock()
		if !s.duty.again || s.duty.over || n.ctx.Err() != nil {
			s.duty.busy = false
			s.duty.mu.Unlock()
			return
		}
		s.duty.again = false
		s.duty.mu.Unlock()
		done, err := s.reconcile()
		if err != nil && n.ctx.Err() == nil {
			n.cfg.Logger.Debugf("Reconcile stream %s > %s: %v", s.account, s.name, err)
		}
		if !done || err != nil {
			n.pause(membershipPause)
			s.duty.mu.Lock()
			s.duty.again = s.duty.again || s.lead.Load().Self
			s.duty.mu.Unlock()
		}
	}
}

// reconcile does one step of the leader's duties; done when none is left.
func (s *Stream) reconcile() (done bool, err error) {
	if !s.Leads() {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(s.node.ctx, proposalTimeout)
	defer cancel()
	a := s.Assignment()
	if a.Restoring {
		return s.reconcileRestore(ctx, a)
	}
	if err := s.putConfig(ctx, a); err != nil {
		return false, err
	}
	if err := s.openForBusiness(a); err != nil {
		return false, err
	}
	if more, err := s.appointRunners(ctx); more || err != nil {
		return true, err
	}
	return s.moveMembers(ctx, a)
}

// putConfig makes the stream, or its configuration, what the assignment says.
func (s *Stream) putConfig(ctx context.Context, a *meta.Assignment) error {
	var exists, loading, equal bool
	s.View(func(m *machine.Machine) {
		if exists = m.Exists(); exists {
			loading = m.Stream().Loading()
			equal = reflect.DeepEqual(*m.Stream().Config(), *a.Config)
		}
	})
	switch {
	case loading || !exists && s.memory && s.node.kept.any(s.id):
		if err := s.revive(ctx, a, exists); err != nil || !loading {
			return err
		}
		return s.putConfig(ctx, a) // it may have changed since
	case !exists:
		return s.demand(ctx, &machine.Init{Config: *a.Config, Created: a.Created})
	case !equal:
		return s.demand(ctx, &machine.Update{Time: s.node.cfg.Clock.Now().UnixNano(), Config: *a.Config, Keep: s.keepForCopiers(a.Config)})
	}
	return nil
}

// openForBusiness takes messages, and answers those who asked for the stream.
func (s *Stream) openForBusiness(a *meta.Assignment) error {
	if err := s.ingest.start(); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	s.copying.follow()
	if !s.Leads() { // lost meanwhile: nobody else would undo it
		s.ingest.stop()
		s.copying.stop(false)
		return nil
	}
	for _, o := range s.node.watching.takeOrigins(s.id, a.Revision, s.node.cfg.Clock.Now()) {
		s.node.cfg.Events.StreamReady(s, o.origin, o.created)
	}
	s.scheduleExpiry()
	return nil
}

// moveMembers takes the next step towards the wanted members and reports it.
func (s *Stream) moveMembers(ctx context.Context, a *meta.Assignment) (done bool, err error) {
	index := s.group.Applied()
	have := s.members.Load() // as of index or later
	if report := a.Report(have.voters, index); report != nil {
		if !s.settled(ctx, have.voters) {
			return false, nil
		}
		_, err := s.node.ProposeMeta(ctx, report)
		return false, err
	}
	step, ok := nextMemberStep(a.Replicas, have, s.group, s.replica)
	if !ok {
		return sameReplicas(have.voters, a.Replicas), nil
	}
	if vacant, err := s.vacate(ctx, step.Remove); !vacant || err != nil {
		return false, err
	}
	return false, s.group.ChangeMembers(ctx, step)
}

func sameReplicas(a, b []base.Replica) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(r base.Replica) bool { return !slices.Contains(b, r) })
}

// appointRunners gives consumers whose runner is gone, or about to go, a new one. With
// more the loop calls again at once.
func (s *Stream) appointRunners(ctx context.Context) (more bool, err error) {
	staying, leaving := s.fitVoters()
	online := staying
	if len(staying) == 0 {
		online, leaving = leaving, nil
	}
	if len(online) == 0 {
		return false, nil
	}
	var gone, going machine.Runners
	s.View(func(m *machine.Machine) {
		var ofGone, ofGoing []*consumer.Consumer
		load := make(map[base.ReplicaID]int, len(online))
		for c := range m.Consumers() {
			switch {
			case slices.Contains(online, c.Runner):
				load[c.Runner]++
			case slices.Contains(leaving, c.Runner):
				ofGoing = append(ofGoing, c)
			default:
				ofGone = append(ofGone, c)
			}
		}
		gone, going = spread(ofGone, online, load), spread(ofGoing, online, load)
	})
	if err := s.appoint(gone); err != nil {
		return false, err
	}
	return s.relieveInParts(ctx, going)
}

// onlineVoters are the voters that can run consumers: on this node and on those
// that it is linked to, but failed ones. Those about to go, as their node is or as
// they are not wanted any more, count when there is no other.
func (s *Stream) onlineVoters() []base.ReplicaID {
	staying, leaving := s.fitVoters()
	if len(staying) == 0 {
		return leaving
	}
	return staying
}

// fitVoters are the voters that can run consumers, and those of them that are about
// to go.
func (s *Stream) fitVoters() (staying, leaving []base.ReplicaID) {
	wanted := s.Assignment().Replicas
	for _, r := range s.members.Load().voters {
		if r.ID != s.replica && !s.node.linked(r.Node) {
			continue
		}
		switch fit, goes := s.node.fit(s.id, r); {
		case fit && (goes || !slices.Contains(wanted, r)):
			leaving = append(leaving, r.ID)
		case fit:
			staying = append(staying, r.ID)
		}
	}
	return staying, leaving
}

// spread appoints each consumer's runner: the one of some replicas that runs the fewest.
// load counts them, and is raised.
func spread(list []*consumer.Consumer, over []base.ReplicaID, load map[base.ReplicaID]int) (to machine.Runners) {
	for _, c := range list {
		r := slices.MinFunc(over, func(a, b base.ReplicaID) int { return load[a] - load[b] })
		load[r]++
		to = append(to, machine.Appointment{Consumer: c.ID, Epoch: c.Epoch, Runner: r})
	}
	return to
}

// ChooseRunner picks the replica that is to run a new consumer.
func (s *Stream) ChooseRunner() base.ReplicaID {
	online := s.onlineVoters()
	if len(online) == 0 {
		return s.replica
	}
	return s.runs.least(online, int(s.id%1021)) // so that streams of one consumer differ
}
