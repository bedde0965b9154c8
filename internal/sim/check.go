package sim

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/jetstream"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/msg"
	"weir/internal/subject"
)

// checker judges the nodes' state. While a run goes on it looks at moments at
// which nothing happens:
//
//   - replicas that have applied the same entries have the same hash, whenever
//     they get there, in whatever life;
//   - a consumer's positions never go back as entries are applied.
//
// What clients hear is judged by history. At the end, finally looks for all that
// was promised.
type checker struct {
	world     *world
	states    map[stateKey]stateHash
	positions map[string][]position // by consumer, by ascending index
}

type stateKey struct {
	group base.GroupID
	index uint64
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
	c.positions = map[string][]position{}
}

// look takes down the state of all nodes that are up.
func (c *checker) look() {
	c.world.options.Wait()
	for _, n := range c.world.nodes {
		if n.up() {
			c.lookAt(n)
		}
	}
}

func (c *checker) lookAt(n *node) {
	where := fmt.Sprintf("%s/%d", n.name, n.lives)
	n.life.js.View(func(s *meta.State) {
		c.compare(stateKey{base.MetaGroup, s.Applied()}, stateHash{machine: s.Hash(), seenAt: where})
	})
	if err := n.life.js.Failure(); err != nil {
		c.world.fail("%s is unhealthy: %v", where, err)
	}
	s := n.life.stream()
	if s == nil || s.Failure() != nil {
		return
	}
	applied := s.Applied()
	stored, err := s.Store().Hash()
	if base.IsCorrupt(err) && c.world.damaged == n {
		return
	}
	if err != nil {
		c.world.fail("%s: hash: %v", where, err)
		return
	}
	hash := stateHash{store: stored, seenAt: where}
	s.View(func(m *machine.Machine) {
		hash.machine = m.Hash()
		for x := range m.Consumers() {
			c.position(x.Name, position{applied, x.Delivered, x.AckFloor, where})
		}
	})
	c.compare(stateKey{s.Group().ID(), applied}, hash)
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
func (c *checker) position(name string, p position) {
	list := c.positions[name]
	i := sort.Search(len(list), func(i int) bool { return list[i].index >= p.index })
	if i > 0 {
		c.monotone(name, list[i-1], p)
	}
	if i < len(list) {
		c.monotone(name, p, list[i])
		if list[i].index == p.index {
			return
		}
	}
	c.positions[name] = append(list[:i:i], append([]position{p}, list[i:]...)...)
}

func (c *checker) monotone(name string, a, b position) {
	if a.delivered.Consumer > b.delivered.Consumer || a.delivered.Stream > b.delivered.Stream ||
		a.ack.Consumer > b.ack.Consumer || a.ack.Stream > b.ack.Stream {
		c.world.fail("consumer %s goes back: %+v, then %+v", name, a, b)
	}
}

// stream is the replica of the stream on this node; nil when there is none.
func (l *life) stream() *jetstream.Stream { return l.js.Stream(l.account().Name(), streamName) }

// finally judges the end of a run, with everything healed and settled.
func (c *checker) finally() {
	h := &c.world.history
	h.mu.Lock()
	defer h.mu.Unlock()
	replicas := 0
	for _, n := range c.world.nodes {
		if s := n.life.stream(); s != nil {
			replicas++
			c.contents(n, s)
		}
	}
	if replicas != c.world.replicas {
		c.world.fail("%d nodes have a replica, not %d", replicas, c.world.replicas)
	}
	for _, cl := range h.consumers {
		c.consumed(cl)
	}
}

// contents compares what a replica holds with what clients know. The caller
// holds the history's mu.
func (c *checker) contents(n *node, s *jetstream.Stream) {
	h := &c.world.history
	ids := map[string]uint64{}
	r := s.Store().Reader()
	var m msg.Message
	for from := uint64(1); ; from = m.Seq + 1 {
		ok, err := r.Next(from, subject.NewFilter(), &m, nil)
		if base.IsCorrupt(err) && c.world.damaged == n {
			return // it was noticed, and is not served
		}
		if err != nil {
			c.world.fail("%s: read from %d: %v", n.name, from, err)
			return
		}
		if !ok {
			break
		}
		id := string(m.Data)
		if before, twice := ids[id]; twice {
			c.world.fail("%s: message %s is stored at %d and %d", n.name, id, before, m.Seq)
		}
		ids[id] = m.Seq
		h.at(m.Seq, id)
	}
	for _, p := range h.published {
		at, ok := ids[p.id]
		if ok && c.world.interest && !h.mayStay(p) {
			c.world.fail("%s: message %s stays at %d, nobody needs it", n.name, p.id, at)
		}
		if p.seq != 0 && (ok && at != p.seq || !ok && !c.world.interest) {
			c.world.fail("%s: message %s was acknowledged at %d, is at %d", n.name, p.id, p.seq, at)
		}
	}
}

// mayStay tells that a message may stay in a stream with interest retention, as a
// consumer delivered it as often as it may. The caller holds mu.
func (h *history) mayStay(p *publication) bool {
	return slices.ContainsFunc(h.consumers, func(cl *client) bool { return cl.givenUp[p.seq] })
}

// consumed looks for messages that a client never got. A delivery counts from its
// commit, and may be lost with its runner or its client before it is seen: so with a
// limit a message may never be, but only if the consumer said that it gave it up. The
// caller holds the history's mu.
func (c *checker) consumed(cl *client) {
	filter := subject.NewFilter(cl.config.Filters()...)
	missing := 0
	for _, p := range c.world.history.published {
		if c.world.interest && p.first.Before(cl.ask.done) {
			continue
		}
		excused := c.world.options.Faults && cl.givenUp[p.seq]
		if p.seq != 0 && filter.Match(p.subject) && cl.seen[p.seq] == 0 && !excused {
			missing++
		}
	}
	if missing > 0 {
		c.world.fail("consumer %s never got %d messages", cl.name, missing)
	}
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

// streamConfig is that of the stream of a run.
func (w *world) streamConfig() api.StreamConfig {
	retention := api.LimitsRetention
	if w.interest {
		retention = api.InterestRetention
	}
	return api.StreamConfig{
		Name: streamName, Subjects: []string{"s.>"}, Retention: retention, Storage: api.FileStorage,
		Discard: api.DiscardOld, Replicas: w.replicas, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPer: -1, MaxMsgSize: -1,
		MaxConsumers: -1,
	}
}
