package sim

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"weir/internal/meta"
)

// Limits within which a cluster has to be live again after everything healed.
const (
	formTime  = 20 * time.Second
	aliveTime = 30 * time.Second
)

// Run plays one schedule and returns the promises that were broken.
func Run(o Options) []string {
	w := newWorld(o)
	if w.startAll() && w.form() {
		w.play()
		if w.heal() {
			w.becomeLive()
		}
	}
	w.stopAll()
	return w.failures()
}

// form waits for the meta group. Half of the runs make the stream and the first
// consumers before anything goes wrong, the others amid it.
func (w *world) form() bool {
	if !w.eventually(formTime, func() bool { return w.metaLeader() != nil }) {
		w.fail("no meta leader within %v", formTime)
		return false
	}
	first := len(w.history.asks) - 1 - w.rand.IntN(2) // the others come later
	if w.options.Faults && w.chance(50) {
		return true
	}
	if !w.eventually(formTime, func() bool { w.history.askNext(w.someNode(), first); return w.history.made(first) }) {
		w.fail("stream and consumers were not made within %v", formTime)
		return false
	}
	return true
}

// metaLeader is the node that leads the meta group and knows of all nodes.
func (w *world) metaLeader() *node {
	for _, n := range w.upNodes() {
		known := 0
		n.life.js.View(func(s *meta.State) { known = len(s.Nodes()) })
		if known == len(w.nodes) && n.life.js.MetaLeader().Here {
			return n
		}
	}
	return nil
}

// leader is the node that leads the stream; of two that believe to, the last.
func (w *world) leader() (leader *node) {
	for _, n := range w.upNodes() {
		if s := n.life.stream(); s != nil && s.Ready() {
			leader = n
		}
	}
	return leader
}

// lookEvery is how many steps are between two looks at the state.
const lookEvery = 20

// play runs the random part.
func (w *world) play() {
	for step := range w.options.Steps {
		// Whatever a step draws, the next one draws as it always does.
		w.rand = rand.New(rand.NewPCG(w.options.Seed, uint64(step)))
		w.step()
		if step%lookEvery == 0 {
			w.checks.look()
		}
		if w.chance(2) {
			sleep(w.between(time.Second, 5*time.Second))
		} else {
			sleep(w.between(time.Millisecond, 80*time.Millisecond))
		}
	}
}

func (w *world) step() {
	if p := w.rand.IntN(100); p < 12 && w.options.Faults {
		w.fault()
		return
	}
	n := w.someNode()
	if n == nil {
		return
	}
	h := &w.history
	if w.chance(20) {
		h.askNext(n, len(h.asks)-w.rand.IntN(2))
	}
	c := h.clients[w.rand.IntN(len(h.clients))]
	switch p := w.rand.IntN(100); {
	case p < 14:
		w.sides[w.sideNames[w.rand.IntN(len(w.sideNames))]].step(n)
	case p < 48:
		for range 1 + w.rand.IntN(8) {
			h.publisher.publish(n)
		}
	case p < 65:
		h.pull(n, c, 1+w.rand.IntN(20), w.between(200*time.Millisecond, 3*time.Second))
	case p < 90:
		h.handle(n, c, false)
	case p < 94:
		h.publisher.retry(n)
		h.retryAcks(n)
	case p < 96 && w.scales:
		h.scale()
	default:
		w.stepDown(n)
	}
}

// stepDown moves the leadership of the stream or of the meta group, or asks for
// something.
func (w *world) stepDown(n *node) {
	s := n.life.stream()
	switch p := w.rand.IntN(4); {
	case p == 0:
		var nodes []*meta.Node
		n.life.js.View(func(s *meta.State) { nodes = s.Nodes() })
		if len(nodes) > 1 {
			_ = n.life.js.TransferMeta(nodes[w.rand.IntN(len(nodes))].ID) // it may lead no more
		}
	case p == 1 && s != nil:
		if other := n.life.streamNamed(w.streams[w.rand.IntN(len(w.streams))]); other != nil {
			s = other
		}
		if voters, _ := s.Members(); len(voters) > 1 {
			_ = s.Group().TransferLeader(voters[w.rand.IntN(len(voters))].ID)
		}
	default:
		w.operate(n)
	}
}

// heal ends all faults; false: not all nodes can start.
func (w *world) heal() bool {
	w.logf("heal: %s", w.history.summary())
	w.network.heal()
	if !w.startAll() || !w.replaceDamaged() {
		return false
	}
	for _, n := range w.nodes {
		w.resume(n)
		n.life.setDrop(0)
		n.disk.setSlow(time.Millisecond)
	}
	return true
}

// becomeLive goes on until all that was asked for is done and the replicas agree,
// which must not take long.
func (w *world) becomeLive() {
	began := now()
	left := ""
	live := func() bool {
		left = w.settle()
		return left == ""
	}
	if !w.eventually(aliveTime, live) {
		w.fail("not live within %v: %s", aliveTime, left)
		w.describe()
	}
	w.logf("live after %v", now().Sub(began))
	// Nothing that was confirmed comes back, however long one waits.
	for range 5 {
		w.pullAll()
		sleep(time.Second)
		for _, c := range w.history.clients {
			w.history.handle(w.someNode(), c, true)
		}
	}
	if !w.eventually(briefThreshold+aliveTime, w.briefGone) {
		w.fail("a consumer that nobody uses is still there")
	}
	w.checks.look()
	w.checks.finally()
	for _, name := range w.sideNames {
		w.sides[name].check()
	}
}

// settle does what clients have left to do, and says what that is.
func (w *world) settle() string {
	n := w.someNode()
	h := &w.history
	h.askNext(n, len(h.asks))
	h.publisher.retry(n)
	h.retryAcks(n)
	w.pullAll()
	sleep(200 * time.Millisecond)
	for _, c := range h.clients {
		h.handle(n, c, true)
	}
	sleep(100 * time.Millisecond)
	return cmp.Or(w.unsettled(), w.sidesUnsettled())
}

// briefGone tells whether the consumers that nobody uses any more are gone.
func (w *world) briefGone() bool {
	leader := w.leader()
	return leader != nil && !slices.ContainsFunc(w.history.clients, func(c *client) bool {
		return c.brief && leader.life.stream().ConsumerInfo(c.name) != nil
	})
}

func (w *world) pullAll() {
	for _, c := range w.history.clients {
		if c.brief {
			continue
		}
		w.history.pull(w.someNode(), c, 100, 300*time.Millisecond)
	}
}
