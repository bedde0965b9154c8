package sim

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/jetstream"
	"weir/internal/machine"
	"weir/internal/meta"
)

// checker judges the nodes' state. While a run goes on it looks at moments at
// which nothing happens:
//
//   - replicas that have applied the same entries have the same hash, whenever
//     they get there, in whatever life;
//   - a consumer's positions never go back as entries are applied;
//   - no more deliveries are committed than a consumer may make.
//
// What clients hear is judged by history, and the end of a run by finally.
type checker struct {
	world     *world
	states    map[stateKey]stateHash
	positions map[positionKey][]position // by ascending index
}

type stateKey struct {
	group base.GroupID
	life  int // of the group, which begins anew if it lost all
	index uint64
}

type positionKey struct {
	group    base.GroupID
	life     int
	consumer string
}

type stateHash struct {
	store, machine uint64
	seenAt         string
}

// position is where a consumer stood after an entry was applied.
type position struct {
	index          uint64
	delivered, ack consumer.Pair
	where          string
}

func (c *checker) init(w *world) {
	c.world = w
	c.states = map[stateKey]stateHash{}
	c.positions = map[positionKey][]position{}
}

// look takes down the state of all nodes that are up.
func (c *checker) look() {
	c.world.options.Wait()
	for _, n := range c.world.nodes {
		if n.up() {
			c.lookAt(n)
		}
	}
	for _, h := range c.world.holdings {
		h.look()
	}
}

func (c *checker) lookAt(n *node) {
	where := fmt.Sprintf("%s/%d", n.name, n.lives)
	n.life.js.View(func(s *meta.State) {
		c.compare(stateKey{group: base.MetaGroup, index: s.Applied()}, stateHash{machine: s.Hash(), seenAt: where})
	})
	if err := n.life.js.Failure(); err != nil && !c.world.isDamaged(n, err) {
		c.world.fail("%s is unhealthy: %v", where, err)
	}
	for _, name := range c.world.streams {
		if s := n.life.streamNamed(name); s != nil && s.Failure() == nil {
			c.lookAtStream(n, s, where)
		}
	}
}

func (c *checker) lookAtStream(n *node, s *jetstream.Stream, where string) {
	life := 0
	if i := slices.IndexFunc(c.world.holdings, func(h *holding) bool { return h.config.Name == s.Name() }); i >= 0 {
		h := c.world.holdings[i]
		if life = h.losses; h.lost {
			return // nobody knows which life this is
		}
	}
	applied, group := s.Applied(), s.Group().ID()
	stored, err := s.Store().Hash()
	if c.world.isDamaged(n, err) {
		return
	}
	if err != nil {
		c.world.fail("%s: hash of %s: %v", where, s.Name(), err)
		return
	}
	hash := stateHash{store: stored, seenAt: where}
	s.View(func(m *machine.Machine) {
		hash.machine = m.Hash()
		for x := range m.Consumers() {
			if !c.world.history.resetsOf(x.Name) {
				c.position(positionKey{group, life, x.Name}, position{applied, x.Delivered, x.AckFloor, where})
			}
			c.withinLimit(x, where)
		}
	})
	c.compare(stateKey{group, life, applied}, hash)
}

// withinLimit looks for messages of which more deliveries are committed than allowed.
func (c *checker) withinLimit(x *consumer.Consumer, where string) {
	limit := x.Config.MaxDeliver
	x.AscendPending(0, func(p consumer.Pending) bool {
		if limit > 0 && int(p.Deliveries) > limit {
			c.world.fail("%s: consumer %s has %d deliveries of message %d, %d are allowed", where, x.Name, p.Deliveries, p.Seq, limit)
		}
		return true
	})
}

func (c *checker) compare(key stateKey, h stateHash) {
	other, ok := c.states[key]
	if !ok {
		c.states[key] = h
		return
	}
	if other.store != h.store || other.machine != h.machine {
		c.world.fail("%v at index %d: %s has store %x, machine %x; %s has %x, %x", key.group, key.index,
			other.seenAt, other.store, other.machine, h.seenAt, h.store, h.machine)
	}
}

// position compares a consumer's position with those seen nearest to it.
func (c *checker) position(key positionKey, p position) {
	list := c.positions[key]
	i := sort.Search(len(list), func(i int) bool { return list[i].index >= p.index })
	if i > 0 {
		c.monotone(key.consumer, list[i-1], p)
	}
	if i < len(list) {
		c.monotone(key.consumer, p, list[i])
		if list[i].index == p.index {
			return
		}
	}
	c.positions[key] = append(list[:i:i], append([]position{p}, list[i:]...)...)
}

func (c *checker) monotone(name string, a, b position) {
	if a.delivered.Consumer > b.delivered.Consumer || a.delivered.Stream > b.delivered.Stream ||
		a.ack.Consumer > b.ack.Consumer || a.ack.Stream > b.ack.Stream {
		c.world.fail("consumer %s goes back: %+v, then %+v", name, a, b)
	}
}

// stream is the replica of the stream on this node; nil when there is none.
func (l *life) stream() *jetstream.Stream { return l.streamNamed(streamName) }

func (l *life) streamNamed(name string) *jetstream.Stream {
	return l.js.Stream(l.account().Name(), name)
}

// runnersOf says what each node knows of a consumer and its runner.
func (w *world) runnersOf(consumer string) string {
	var b strings.Builder
	for _, n := range w.nodes {
		l := n.life
		if l == nil {
			continue
		}
		s := l.stream()
		if s == nil {
			continue
		}
		runs := s.Runner(consumer) != nil
		s.View(func(m *machine.Machine) {
			if c := m.Consumer(consumer); c != nil {
				fmt.Fprintf(&b, " [%s: replica %v at %d, runner %v epoch %d, delivered %v floor %v pending %d, leads %t, leader %v, runs it %t]",
					n.name, s.Replica(), s.Applied(), c.Runner, c.Epoch, c.Delivered, c.AckFloor, c.NumAckPending(), s.Leads(), s.LeaderNode(), runs)
			}
		})
	}
	return b.String()
}

// describe logs what each node knows of the stream's group.
func (w *world) describe() {
	for _, n := range w.nodes {
		s := n.life.stream()
		if s == nil {
			w.logf("%s: no replica", n.name)
			continue
		}
		st, a := s.Group().Status(), s.Assignment()
		w.logf("%s: replica %v of voters %v learners %v, leader %v term %d applied %d commit %d; assigned %v, leaving %v, members %v at %d",
			n.name, s.Replica(), st.Voters, st.Learners, st.Leader, st.Term, st.Applied, st.Committed, a.Replicas, a.Leaving, a.Members, a.MembersIndex)
	}
}
