package sim

import (
	"fmt"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/meta"
)

// fault makes something go wrong, or right again. More nodes than a minority may
// be down at a time: then the cluster waits, and loses nothing.
func (w *world) fault() {
	n := w.nodes[w.rand.IntN(len(w.nodes))]
	switch p := w.rand.IntN(100); {
	case !n.up():
		w.logf("start %s", n.name)
		w.startNode(n)
	case p < 17 && w.storage == api.MemoryStorage && !w.spares():
	case p < 12:
		w.crash(n)
	case p < 15:
		w.logf("stop %s", n.name)
		if err := n.stop(); err != nil {
			w.fail("stop %s: %v", n.name, err)
		}
	case p < 17 && w.storage == api.FileStorage:
		w.logf("power loss everywhere")
		for _, x := range w.nodes {
			if x.up() {
				x.crash(true, w.rand.IntN(100))
			}
		}
	case p < 19:
		w.wipe(n)
	case p < 21:
		w.damage(n)
	case p < 29:
		w.partition(n)
	case p < 36:
		w.cutOne(n)
	case p < 45:
		w.pauseOrResume(n)
	case p < 57:
		w.slowDown(n)
	case p < 60:
		ahead := w.between(-3*time.Second, 3*time.Second)
		w.logf("clock of %s is %v ahead", n.name, ahead)
		n.life.host.clock.skew.Store(int64(ahead))
	default:
		w.mend(n)
	}
}

func (w *world) crash(n *node) {
	power, percent := w.chance(50), []int{0, 0, 50}[w.rand.IntN(3)]
	w.logf("crash %s, power lost: %t, %d%% of what was unsynced survives", n.name, power, percent)
	n.crash(power, percent)
}

// wipe takes a node's disk away, once in a run, when all replicas are well: what the
// node held is then still on a majority.
func (w *world) wipe(n *node) {
	if w.wiped || !w.well() {
		return
	}
	w.logf("wipe %s", n.name)
	w.wiped = true
	n.crash(true, 0)
	n.disk = newDisk(w.newRand())
}

// damage flips a bit on the disk of a node that is down for the moment. As with
// wipe, what is lost by it is elsewhere.
func (w *world) damage(n *node) {
	if w.wiped || !w.well() {
		return
	}
	n.crash(false, 100)
	part := []string{"/raft/", "/segments/"}[w.rand.IntN(2)]
	what, err := n.disk.damage(part)
	if err != nil {
		w.fail("damage %s: %v", n.name, err)
	}
	if what != "" {
		w.wiped, w.damaged = true, n
	}
	w.logf("flip a bit of %s: %s", n.name, what)
}

// isDamaged tells that an error is of the damage done to a node.
func (w *world) isDamaged(n *node, err error) bool { return w.damaged == n && base.IsCorrupt(err) }

// replaceDamaged gives a node a new disk whose part in the meta group is damaged, as
// operators have to.
func (w *world) replaceDamaged() bool {
	n := w.damaged
	if n == nil || !w.isDamaged(n, n.life.js.Failure()) {
		return true
	}
	w.logf("replace the disk of %s", n.name)
	n.crash(true, 0)
	n.disk = newDisk(w.newRand())
	return w.startNode(n)
}

// well tells that all nodes are up and their replicas have applied the same.
func (w *world) well() bool {
	w.options.Wait()
	groups := map[base.GroupID]uint64{}
	for _, n := range w.nodes {
		if !n.up() || n.life.host.clock.paused() {
			return false
		}
		var applied uint64
		n.life.js.View(func(s *meta.State) { applied = s.Applied() })
		if !same(groups, base.MetaGroup, applied) {
			return false
		}
		for _, name := range w.streams {
			if s := n.life.streamNamed(name); s != nil && !same(groups, s.Group().ID(), s.Applied()) {
				return false
			}
		}
	}
	return true
}

// same notes how far a group has applied, and tells whether others have as far.
func same(groups map[base.GroupID]uint64, id base.GroupID, applied uint64) bool {
	if other, ok := groups[id]; ok {
		return other == applied
	}
	groups[id] = applied
	return true
}

// spares tells whether a node may go without a memory stream losing anything by it.
func (w *world) spares() bool { return w.well() && w.apart(w.streamConfig()) == "" }

// partition cuts a node off from all others.
func (w *world) partition(n *node) {
	w.logf("cut off %s", n.name)
	for _, other := range w.nodes {
		if other != n {
			w.network.setCut(direction{n.name, other.name}, true)
			w.network.setCut(direction{other.name, n.name}, true)
		}
	}
}

// cutOne cuts one direction between two nodes.
func (w *world) cutOne(n *node) {
	other := w.nodes[w.rand.IntN(len(w.nodes))]
	if other != n {
		w.logf("cut %s to %s", n.name, other.name)
		w.network.setCut(direction{n.name, other.name}, true)
	}
}

func (w *world) pauseOrResume(n *node) {
	if c := n.life.host.clock; c.paused() {
		w.logf("resume %s", n.name)
		w.resume(n)
	} else {
		w.logf("pause %s", n.name)
		c.pause()
	}
}

func (w *world) resume(n *node) { n.life.host.clock.resume() }

// slowDown makes a node's links or disk slow, or lose Raft frames.
func (w *world) slowDown(n *node) {
	switch w.rand.IntN(3) {
	case 0:
		delay := w.between(5*time.Millisecond, 200*time.Millisecond)
		w.logf("delay of %s up to %v", n.name, delay)
		for _, other := range w.nodes {
			w.network.setDelay(direction{n.name, other.name}, delay)
		}
	case 1:
		slow := w.between(5*time.Millisecond, 100*time.Millisecond)
		w.logf("disk of %s takes up to %v", n.name, slow)
		n.disk.setSlow(slow)
	case 2:
		p := float64(w.rand.IntN(30)) / 100
		w.logf("%s loses %.2f of Raft frames", n.name, p)
		n.life.setDrop(p)
	}
}

// mend heals the network, and now and then all of a node.
func (w *world) mend(n *node) {
	w.logf("mend the network, resume %s", n.name)
	w.network.heal()
	w.resume(n)
	n.life.setDrop(0)
	n.disk.setSlow(time.Millisecond)
}

// unsettled says what is not yet as it should be after everything healed; empty:
// all is.
func (w *world) unsettled() string {
	h := &w.history
	if !h.made(len(h.asks)) {
		return "not everything that was asked for is made"
	}
	if left := h.publisher.unacknowledged(); len(left) > 0 {
		return fmt.Sprintf("%d publishes are not acknowledged, %s for one", len(left), left[0].id)
	}
	h.mu.Lock()
	waiting := len(h.confirms)
	h.mu.Unlock()
	if waiting > 0 {
		return fmt.Sprintf("%d acks are not confirmed", waiting)
	}
	leader := w.leader()
	if leader == nil {
		return "the stream has no leader"
	}
	applied := leader.life.stream().Applied()
	replicas := 0
	for _, n := range w.nodes {
		s := n.life.stream()
		if s == nil {
			continue
		}
		replicas++
		if err := s.Failure(); err != nil {
			return fmt.Sprintf("the replica on %s failed: %v", n.name, err)
		}
		if at := s.Applied(); at != applied {
			return fmt.Sprintf("%s has applied %d, the leader %s %d", n.name, at, leader.name, applied)
		}
	}
	if replicas != w.replicas {
		return fmt.Sprintf("%d nodes have a replica, not %d", replicas, w.replicas)
	}
	return w.undelivered(leader)
}

// undelivered names a consumer that has messages left.
func (w *world) undelivered(leader *node) string {
	s := leader.life.stream()
	for _, c := range w.history.clients {
		if c.brief {
			continue
		}
		info := s.ConsumerInfo(c.name)
		if info == nil {
			return fmt.Sprintf("consumer %s is gone", c.name)
		}
		if info.NumPending > 0 || info.NumAckPending > 0 {
			return fmt.Sprintf("consumer %s has %d messages to come and %d acks pending: delivered %+v, floor %+v",
				c.name, info.NumPending, info.NumAckPending, info.Delivered, info.AckFloor)
		}
	}
	return ""
}
