package runner

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/api"
	"weir/internal/consumer"
)

// model checks what any schedule of events must leave true.
type model struct {
	w         *world
	rng       *rand.Rand
	onWire    map[uint64]int    // deliveries put on the wire, by stream sequence
	committed map[uint64]bool   // acknowledged by a committed ack
	acks      map[uint64]uint64 // stream sequence to deliveries of the last one seen
}

// TestModel runs random schedules of stored and removed messages, pulls, acks of all kinds,
// timeouts, commits that come late or never, and changes of runner.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		for _, policy := range []api.AckPolicy{api.AckExplicit, api.AckAll} {
			t.Run(fmt.Sprint(policy, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { runModel(t, seed, policy) })
			})
		}
	}
}

func runModel(t *testing.T, seed uint64, policy api.AckPolicy) {
	rng := rand.New(rand.NewPCG(seed, 1))
	cfg := api.ConsumerConfig{AckPolicy: policy, AckWait: time.Second}
	if seed%2 == 1 {
		cfg.MaxDeliver = 1 + rng.IntN(4)
	}
	if seed%3 == 1 {
		cfg.MaxAckPending = 1 + rng.IntN(20)
	}
	if seed%4 >= 2 {
		cfg.FilterSubjects = []string{"s.0", "s.2"}
	}
	w := newWorld(t, cfg)
	m := &model{w: w, rng: rng, onWire: map[uint64]int{}, committed: map[uint64]bool{}, acks: map[uint64]uint64{}}
	w.onMsg = m.delivered
	w.applied = m.check
	for range 300 {
		m.event()
		w.settle()
	}
	m.heal()
	w.run.Close(CloseSilent)
	w.settle()
}

func (m *model) event() {
	w := m.w
	switch m.rng.IntN(14) {
	case 0, 1, 2:
		for range 1 + m.rng.IntN(5) {
			w.store.add(fmt.Sprint("s.", m.rng.IntN(3)), "x")
		}
		w.run.Stored()
	case 3, 4, 5:
		w.run.Pull(PullRequest{Reply: "in", Body: fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, 1+m.rng.IntN(10), m.rng.IntN(3e9))})
	case 6, 7, 8:
		m.ackSome()
	case 9:
		w.set(func() { w.stalled = !w.stalled })
	case 10:
		w.commitN(m.rng.IntN(3))
	case 11:
		switch m.rng.IntN(8) {
		case 0:
			w.takeOver()
		case 1:
			w.handOver()
		}
	default:
		time.Sleep(time.Duration(m.rng.IntN(1500)) * time.Millisecond)
	}
}

func (m *model) ackSome() {
	words := []string{"", "+ACK", "", "+ACK", "-NAK", `-NAK {"delay":700000000}`, "+WPI", "+TERM"}
	for _, a := range m.takeAcks() {
		word := words[m.rng.IntN(len(words))]
		a.Payload = []byte(word)
		if m.rng.IntN(2) == 0 {
			m.w.run.Ack(a)
		}
		// It may be spoken of again, even when it is over.
		if m.rng.IntN(2) == 0 {
			m.w.set(func() { m.acks[a.Stream] = max(m.acks[a.Stream], a.Deliveries) })
		}
	}
}

// takeAcks takes the deliveries that were seen, in order.
func (m *model) takeAcks() (list []Ack) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	for _, seq := range slices.Sorted(maps.Keys(m.acks)) {
		list = append(list, Ack{Stream: seq, Deliveries: m.acks[seq]})
	}
	clear(m.acks)
	return list
}

// delivered sees a message on the wire.
func (m *model) delivered(_, ack string) {
	a, ok := ParseAckTokens(strings.TrimPrefix(ack, "$JS.ACK.S.C."))
	if !ok {
		m.w.t.Errorf("reply subject %q", ack)
	}
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	m.onWire[a.Stream]++
	m.acks[a.Stream] = a.Deliveries
	limit := w.cfg.MaxDeliver
	if limit > 0 && m.onWire[a.Stream] > limit {
		w.t.Errorf("message %d was delivered %d times, the limit is %d", a.Stream, m.onWire[a.Stream], limit)
	}
	if m.committed[a.Stream] {
		w.t.Errorf("message %d was delivered again after its ack was committed", a.Stream)
	}
	if limit > 0 && a.Consumer > w.state.Delivered.Consumer {
		w.t.Errorf("message %d went out with consumer sequence %d before that was committed (%d is)", a.Stream, a.Consumer, w.state.Delivered.Consumer)
	}
}

// check follows a delta that was applied. The caller holds mu.
func (m *model) check(c *consumer.Consumer) {
	for seq := range m.w.released {
		m.committed[seq] = true
	}
	if c.AckFloor.Stream > c.Delivered.Stream || c.AckFloor.Consumer > c.Delivered.Consumer {
		m.w.t.Errorf("ack floor %+v is beyond %+v", c.AckFloor, c.Delivered)
	}
	if limit := m.w.cfg.MaxAckPending; limit > 0 && c.NumAckPending() > limit {
		m.w.t.Errorf("%d messages pending, the limit is %d", c.NumAckPending(), limit)
	}
}

// heal lets everything commit, acknowledges all that comes and checks that
// nothing was left out.
func (m *model) heal() {
	w := m.w
	w.set(func() { w.stalled = false })
	w.commit()
	w.settle()
	quiet := 0
	for range 2000 {
		if quiet++; w.run.Status().AckPending > 0 || w.run.pendingCount() > 0 {
			quiet = 0
		} else if quiet > 2 {
			break
		}
		w.run.Pull(PullRequest{Reply: "in", Body: []byte(`{"batch":1000,"expires":500000000}`)})
		w.after(600 * time.Millisecond)
		for _, a := range m.takeAcks() {
			w.run.Ack(a)
		}
		w.settle()
	}
	st := w.run.Status()
	if st.AckPending != 0 || st.Redelivered != 0 || w.run.uncommitted != 0 || w.state.NumAckPending() != 0 {
		w.t.Errorf("after everything was acked: %+v, %d pending in the replicated state", st, w.state.NumAckPending())
	}
	for _, msg := range w.store.list {
		wanted := w.state.Filter.Match(msg.Subject)
		if n := m.onWire[msg.Seq]; wanted && n == 0 && w.cfg.MaxDeliver <= 0 || !wanted && n > 0 {
			w.t.Errorf("message %d on %s was delivered %d times", msg.Seq, msg.Subject, n)
		}
	}
	if d, r := w.state.Delivered, w.run.state.Delivered; d.Consumer != r.Consumer || d.Stream != r.Stream {
		w.t.Errorf("runner stands at %+v, the replicated state at %+v", r, d)
	}
	if w.state.AckFloor.Stream < w.state.Delivered.Stream {
		w.t.Errorf("ack floor %+v, delivered %+v", w.state.AckFloor, w.state.Delivered)
	}
}
