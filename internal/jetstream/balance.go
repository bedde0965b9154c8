package jetstream

import (
	"slices"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/machine"
)

// balancer spreads leaderships and consumers again after a node has come back. Each
// node looks after what it leads: first the runners of its streams' consumers, then the
// streams themselves. It moves a few at a time, and nothing for a small difference; when
// no difference is left that is worth it, it ends until another node comes back. Who
// becomes a stream's leader soon after that goes on with its runners: the leader
// before may not have been done with them.
type balancer struct {
	mu      sync.Mutex
	asked   time.Time // when it was asked for last; zero: not since it last ended
	busy    bool
	leaders bool      // spread leaderships, too
	linked  time.Time // when a node last came back
}

const (
	// balanceAfter is how long the nodes have to be in sight, so that one that
	// comes and goes brings no unrest.
	balanceAfter = 10 * time.Second
	// balancePause is between two steps, balanceWait while a replica has to catch up.
	balancePause = 200 * time.Millisecond
	balanceWait  = time.Second
	// balanceTime is for how long a replica is waited for.
	balanceTime = 10 * time.Minute
	// A step moves balanceRunners consumers of a stream, or one of balancePart.
	balanceRunners = 64
	balancePart    = 64
	// balanceSingles is how many streams a step moves a consumer of that is, on its
	// own, as well off where it is.
	balanceSingles = 4
	// Differences up to one of worthPart of the most loaded are left alone.
	worthPart = 8
)

// isWorth tells whether moving from where most is to where least is pays.
func isWorth(most, least int) bool { return most-least > max(1, most/worthPart) }

// balanceSoon has this node spread what it leads, some time after the last call.
func (n *Node) balanceSoon() {
	b := &n.balancer
	b.mu.Lock()
	defer b.mu.Unlock()
	b.linked, b.leaders = n.cfg.Clock.Now(), true
	n.askBalanceLocked()
}

func (n *Node) askBalanceLocked() {
	b := &n.balancer
	b.asked = n.cfg.Clock.Now()
	if !b.busy {
		b.busy = true
		n.spawn(n.balance)
	}
}

// resumeBalance has the runners of a stream spread that this node leads now, if there
// was a reason to lately. Leaderships stay: this one may be an operator's wish.
func (n *Node) resumeBalance() {
	b := &n.balancer
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.linked.IsZero() && n.cfg.Clock.Now().Sub(b.linked) < balanceTime {
		n.askBalanceLocked()
	}
}

// withLeaders tells whether leaderships are to be spread, too.
func (b *balancer) withLeaders() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leaders
}

// age is how long ago the balancer was asked for last.
func (b *balancer) age(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return now.Sub(b.asked)
}

// end ends the balancer unless it was asked for since begun.
func (b *balancer) end(begun time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked.After(begun) {
		return false
	}
	b.asked, b.busy, b.leaders = time.Time{}, false, false
	return true
}

func (n *Node) balance() {
	for {
		for wait := n.cfg.BalanceAfter - n.balancer.age(n.cfg.Clock.Now()); wait > 0; wait = n.cfg.BalanceAfter - n.balancer.age(n.cfg.Clock.Now()) {
			if !n.pause(wait) {
				return
			}
		}
		begun := n.cfg.Clock.Now()
		for more, waits := true, false; more; {
			more, waits = n.balanceStep()
			pause := balancePause
			if waits && !more {
				more, pause = n.cfg.Clock.Now().Sub(begun) < balanceTime, balanceWait
			}
			if more && !n.pause(pause) {
				return
			}
		}
		if n.balancer.end(begun) {
			return
		}
	}
}

// balanceStep moves some consumers, or else a leadership: a stream's new leader does
// not look after its consumers before it is asked to. more: another step may find
// something; waits: it may do so once a replica has caught up.
func (n *Node) balanceStep() (more, waits bool) {
	if n.isLeaving() {
		return false, false
	}
	led := make(map[*Stream][]base.Replica) // to who could lead or run
	for _, s := range n.allStreams() {
		if !s.Leads() {
			continue
		}
		if !sameReplicas(s.members.Load().voters, s.Assignment().Replicas) {
			waits = true // its members are changing
			continue
		}
		fit, behind := s.candidates()
		led[s], waits = fit, waits || behind
	}
	t := totals{by: make(map[base.NodeID]int), moves: balanceSingles}
	for _, s := range n.allStreams() {
		s.runs.total(t.by, s.nodeOf)
	}
	for s, fit := range led {
		more = s.moveRunners(fit, &t) || more
	}
	if !more && n.balancer.withLeaders() {
		more = n.moveLeader(led)
	}
	return more, waits
}

// candidates are the voters that are in sight, stay and have caught up; behind: one
// has not yet.
func (s *Stream) candidates() (fit []base.Replica, behind bool) {
	online := s.onlineVoters()
	status := s.group.Status()
	for _, r := range s.members.Load().voters {
		switch {
		case !slices.Contains(online, r.ID):
		case r.ID == s.replica || caughtUp(&status, r.ID):
			fit = append(fit, r)
		default:
			behind = true
		}
	}
	return fit, behind
}

// moveLeader hands the leadership of a stream to the node that leads the fewest, as
// far as this one knows; false when none is worth it.
func (n *Node) moveLeader(led map[*Stream][]base.Replica) bool {
	leads := make(map[base.NodeID]int)
	for _, s := range n.allStreams() {
		leads[s.LeaderNode()]++
	}
	own := leads[n.cfg.Identity.Node]
	var best *Stream
	var heir base.Replica
	for s, fit := range led {
		for _, r := range fit {
			if r.ID != s.replica && isWorth(own, leads[r.Node]) && (best == nil || leads[r.Node] < leads[heir.Node]) {
				best, heir = s, r
			}
		}
	}
	if best == nil {
		return false
	}
	if err := best.group.TransferLeader(heir.ID); err != nil {
		n.cfg.Logger.Debugf("Hand over stream %s > %s to spread leaders: %v", best.account, best.name, err)
	}
	return true
}

// totals are all consumers that this node knows of, by the node that runs them, and
// how many more of them may be moved for the sake of the totals: other nodes do the
// same at this moment.
type totals struct {
	by    map[base.NodeID]int
	moves int
}

// moveRunners moves consumers of a stream from the replica that runs most to the one
// that runs fewest. The totals decide where the stream alone does not. False: nothing
// is worth it.
func (s *Stream) moveRunners(fit []base.Replica, t *totals) bool {
	if len(fit) < 2 {
		return false
	}
	load := func(r base.Replica) int { return s.runs.of(r.ID) }
	compare := func(a, b base.Replica) int {
		if d := load(a) - load(b); d != 0 {
			return d
		}
		return t.by[a.Node] - t.by[b.Node]
	}
	most, least := slices.MaxFunc(fit, compare), slices.MinFunc(fit, compare)
	n := 0
	switch difference := load(most) - load(least); {
	case isWorth(load(most), load(least)):
		n = min(difference/2, max(balanceRunners, load(most)/balancePart))
	case difference == 1 && t.moves > 0 && isWorth(t.by[most.Node], t.by[least.Node]):
		n = 1
		t.moves--
	}
	list := s.someOf(most.ID, least.ID, n)
	if len(list) == 0 {
		return false
	}
	t.by[most.Node] -= len(list)
	t.by[least.Node] += len(list)
	s.retire(list)
	if err := s.appoint(list); err != nil {
		s.node.cfg.Logger.Debugf("Spread the consumers of %s > %s: %v", s.account, s.name, err)
	}
	return true
}

// someOf are up to n consumers that run at one replica, to be run at another one.
func (s *Stream) someOf(from, to base.ReplicaID, n int) (list machine.Runners) {
	s.View(func(m *machine.Machine) {
		for c := range m.Consumers() {
			if len(list) >= n {
				return
			}
			if c.Runner == from {
				list = append(list, machine.Appointment{Consumer: c.ID, Epoch: c.Epoch, Runner: to})
			}
		}
	})
	return list
}
