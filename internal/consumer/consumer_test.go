package consumer

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"weir/internal/api"
)

// keys is a key space in memory.
type keys map[string][]byte

func (k keys) Set(key, value []byte) error { k[string(key)] = slices.Clone(value); return nil }
func (k keys) Unset(key []byte) error      { delete(k, string(key)); return nil }

func (k keys) ScanKeys(prefix []byte, visit func(key, value []byte) bool) error {
	for _, key := range slices.Sorted(maps.Keys(k)) {
		if len(key) >= len(prefix) && key[:len(prefix)] == string(prefix) && !visit([]byte(key), k[key]) {
			break
		}
	}
	return nil
}

// released is a stream that lets go of what is given up, keeping one that does not.
type (
	released func(seq uint64)
	keeping  func(seq uint64)
)

func (f released) Released(seq uint64) { f(seq) }
func (released) Keeps(uint64) bool     { return false }
func (f keeping) Released(seq uint64)  { f(seq) }
func (keeping) Keeps(uint64) bool      { return true }

// model is a consumer's state, simple enough to be right.
type model struct {
	pending   map[uint64]Pending
	delivered Pair
	released  map[uint64]bool
}

// floor is the highest that the ack floor may be. It may be lower while nothing of what was last delivered is acked.
func (m *model) floor() uint64 {
	floor := m.delivered.Stream
	for seq := range m.pending {
		floor = min(floor, seq-1)
	}
	return floor
}

// TestAgainstModel lets a runner do random things, and now and then loads the consumer from its keys.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		store := keys{}
		c := New(9, api.ConsumerConfig{Name: "c", AckPolicy: api.AckExplicit}, 1, 1, NewSpans())
		if err := c.SaveConfig(store); err != nil {
			t.Fatal(err)
		}
		c.SetRunner(3)
		m := &model{pending: map[uint64]Pending{}, released: map[uint64]bool{}}
		for step := range 200 {
			before := c.AckFloor
			randomStep(t, rnd, c, m)
			if c.AckFloor.Stream < before.Stream || c.AckFloor.Consumer < before.Consumer {
				t.Fatalf("seed %d step %d: floor went from %v back to %v", seed, step, before, c.AckFloor)
			}
			checkModel(t, c, m)
			if rnd.IntN(10) == 0 {
				c = reload(t, c, store)
			}
		}
		c = reload(t, c, store)
		if err := c.Erase(store); err != nil {
			t.Fatal(err)
		}
		if len(store) != 0 || len(c.pending.shared.users) != 0 {
			t.Fatalf("seed %d: %d keys and %d spans are left", seed, len(store), len(c.pending.shared.users))
		}
	}
}

// reload loads a consumer from the keys that it is flushed to, and wants it to be the same.
func reload(t *testing.T, c *Consumer, store keys) *Consumer {
	t.Helper()
	if err := c.Flush(store); err != nil {
		t.Fatal(err)
	}
	list, err := Load(store, NewSpans())
	if err != nil || len(list) != 1 {
		t.Fatalf("loaded %d consumers: %v", len(list), err)
	}
	if list[0].Hash() != c.Hash() {
		t.Fatalf("%+v is loaded as %+v", c, list[0])
	}
	return list[0]
}

func randomStep(t *testing.T, rnd *rand.Rand, c *Consumer, m *model) {
	t.Helper()
	var ops Ops
	for range 1 + rnd.IntN(4) {
		seq := somePending(rnd, m)
		p, ok := m.pending[seq]
		switch rnd.IntN(6) {
		case 0, 1:
			deliverSome(rnd, &ops, m)
		case 2:
			ops.Ack(seq)
			m.released[seq] = ok || m.released[seq]
			delete(m.pending, seq)
		case 3:
			ops.Term(seq)
			m.released[seq] = ok || m.released[seq]
			delete(m.pending, seq)
		case 4:
			m.delivered.Consumer++
			ops.Redeliver(77, m.delivered.Consumer, []Redelivery{{seq, p.Deliveries + 1}})
			if ok {
				m.pending[seq] = Pending{seq, p.ConsumerSeq, 77, p.Deliveries + 1}
			}
		case 5:
			ops.Exceeded(seq)
			delete(m.pending, seq)
		}
	}
	verdict, err := c.Apply(5, c.Epoch, c.Ticket+1, ops.Bytes(), released(func(seq uint64) {
		if !m.released[seq] {
			t.Fatalf("%d was released", seq)
		}
	}))
	if err != nil || verdict != Applied {
		t.Fatalf("%v, %v", verdict, err)
	}
}

func deliverSome(rnd *rand.Rand, ops *Ops, m *model) {
	var seqs []uint64
	first := m.delivered.Consumer + 1
	for range 1 + rnd.IntN(5) {
		m.delivered.Stream += 1 + uint64(rnd.IntN(3)*rnd.IntN(60))
		m.delivered.Consumer++
		seqs = append(seqs, m.delivered.Stream)
		m.pending[m.delivered.Stream] = Pending{m.delivered.Stream, m.delivered.Consumer, int64(first), 1}
	}
	ops.Deliver(int64(first), first, seqs)
}

// somePending is a pending message, if there is one, or one that is not pending.
func somePending(rnd *rand.Rand, m *model) uint64 {
	list := slices.Sorted(maps.Keys(m.pending))
	if len(list) == 0 || rnd.IntN(10) == 0 {
		return 1 + rnd.Uint64N(m.delivered.Stream+2)
	}
	return list[rnd.IntN(len(list))]
}

func checkModel(t *testing.T, c *Consumer, m *model) {
	t.Helper()
	var got, want []Pending
	c.AscendPending(0, func(p Pending) bool { got = append(got, p); return true })
	redelivered := 0
	for _, seq := range slices.Sorted(maps.Keys(m.pending)) {
		want = append(want, m.pending[seq])
		if m.pending[seq].Deliveries > 1 {
			redelivered++
		}
	}
	if !slices.Equal(got, want) || c.NumAckPending() != len(want) || c.NumRedelivered() != redelivered {
		t.Fatalf("pending %v, wanted %v", got, want)
	}
	if c.Delivered != m.delivered || c.AckFloor.Stream > m.floor() || len(want) == 0 && c.AckFloor.Stream < m.floor() {
		t.Fatalf("delivered %v floor %v, wanted %v %v", c.Delivered, c.AckFloor, m.delivered, m.floor())
	}
	if len(want) > 0 && !c.Needs(want[0].Seq) || c.Needs(m.floor()) || !c.Needs(m.delivered.Stream+1) {
		t.Fatal("Needs is wrong about the floor")
	}
}

// TestDeltasApplyOnce sends deltas again, out of order and from an epoch that is over.
func TestDeltasApplyOnce(t *testing.T) {
	c := New(1, api.ConsumerConfig{Name: "c", AckPolicy: api.AckExplicit}, 1, 1, NewSpans())
	c.SetRunner(3)
	var ops Ops
	ops.Deliver(1, 1, []uint64{1})
	for i, step := range []struct {
		epoch, ticket uint64
		want          Verdict
	}{{1, 2, Premature}, {1, 1, Applied}, {1, 1, Repeated}, {0, 2, Stale}, {2, 2, Stale}, {1, 2, Applied}, {}, {1, 3, Stale}, {2, 1, Applied}} {
		if step.epoch == 0 && step.ticket == 0 {
			c.SetRunner(4)
			continue
		}
		got, err := c.Apply(1, step.epoch, step.ticket, ops.Bytes(), released(func(uint64) {}))
		if err != nil || got != step.want {
			t.Fatalf("step %d: %v, wanted %v: %v", i, got, step.want, err)
		}
	}
}

// TestOpsRoundTrip checks the run-length encoding of sequences.
// TestPauseNeedsALevel: a paused consumer needs a server that knows pauses.
func TestPauseNeedsALevel(t *testing.T) {
	cfg, refused := Check(api.ConsumerConfig{Name: "c"}, &api.StreamConfig{}, Limits{}, false)
	if refused != nil {
		t.Fatal(refused)
	}
	c := New(9, cfg, 1, 1, NewSpans())
	until := time.Unix(100, 0)
	for _, step := range []struct {
		until *time.Time
		level string
	}{{&until, "1"}, {nil, "0"}} {
		if c.Pause(step.until); c.Config.Metadata[levelKey] != step.level {
			t.Errorf("paused until %v: %v", step.until, c.Config.Metadata)
		}
	}
}

func TestResetForgets(t *testing.T) {
	c := New(9, api.ConsumerConfig{Name: "c", AckPolicy: api.AckExplicit}, 1, 1, NewSpans())
	c.SetRunner(3)
	var ops Ops
	ops.Deliver(5, 1, []uint64{1})
	ops.Ack(1)
	if v, err := c.Apply(7, c.Epoch, 1, ops.Bytes(), released(func(uint64) {})); v != Applied || err != nil {
		t.Fatal(v, err)
	}
	c.Reset(1, 9)
	if c.LastDelivered != 0 || c.LastAcked != 0 || c.Delivered != (Pair{}) {
		t.Errorf("%+v", c.state)
	}
	store := keys{}
	if err := c.SaveConfig(store); err != nil {
		t.Fatal(err)
	}
	if c = reload(t, c, store); c.GivenBefore != 9 {
		t.Errorf("clients were given messages up to %d before the reset, not 9", c.GivenBefore)
	}
}

// TestDefaultThreshold: the default inactive_threshold is for consumers that are made
// ephemeral, and for those that had one.
func TestDefaultThreshold(t *testing.T) {
	hour := time.Hour
	for _, c := range []struct {
		old, asked api.ConsumerConfig
		want       time.Duration
	}{
		{api.ConsumerConfig{Durable: "c"}, api.ConsumerConfig{}, 0},
		{api.ConsumerConfig{Durable: "c", InactiveThreshold: hour}, api.ConsumerConfig{}, 0},
		{api.ConsumerConfig{InactiveThreshold: hour}, api.ConsumerConfig{}, DefaultInactiveThreshold},
		{api.ConsumerConfig{InactiveThreshold: hour}, api.ConsumerConfig{Durable: "c"}, hour},
		{api.ConsumerConfig{}, api.ConsumerConfig{}, 0},
		{api.ConsumerConfig{}, api.ConsumerConfig{InactiveThreshold: DefaultInactiveThreshold}, DefaultInactiveThreshold},
	} {
		c.old.Name, c.asked.Name = "c", "c"
		cfg, refused := Check(c.asked, &api.StreamConfig{}, Limits{}, false)
		if refused != nil {
			t.Fatal(refused)
		}
		old := cfg
		old.Durable, old.InactiveThreshold = c.old.Durable, c.old.InactiveThreshold
		got, refused := CheckUpdate(&old, &c.asked, cfg)
		if refused != nil || got.InactiveThreshold != c.want {
			t.Errorf("%q %v to %q %v: %v, %v, want %v", c.old.Durable, c.old.InactiveThreshold, c.asked.Durable,
				c.asked.InactiveThreshold, got.InactiveThreshold, refused, c.want)
		}
	}
}

// TestAbandoned has a message that was given up stay wanted until it is acked late, or until it goes otherwise.
func TestAbandoned(t *testing.T) {
	store := keys{}
	c := New(9, api.ConsumerConfig{Name: "c", AckPolicy: api.AckExplicit}, 1, 1, NewSpans())
	if err := c.SaveConfig(store); err != nil {
		t.Fatal(err)
	}
	c.SetRunner(3)
	var through []uint64
	apply := func(do func(*Ops)) {
		t.Helper()
		var ops Ops
		do(&ops)
		if v, err := c.Apply(8, c.Epoch, c.Ticket+1, ops.Bytes(), keeping(func(seq uint64) { through = append(through, seq) })); v != Applied || err != nil {
			t.Fatal(v, err)
		}
		c = reload(t, c, store)
	}
	wanted := func(want ...uint64) {
		t.Helper()
		var got []uint64
		for seq := uint64(1); seq <= 9; seq++ {
			if c.Needs(seq) {
				got = append(got, seq)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v are needed, want %v", got, want)
		}
	}
	apply(func(o *Ops) {
		o.Deliver(7, 1, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9})
		o.Ack(1, 9)
		o.Exceeded(2, 3, 4, 5, 6, 7)
	})
	wanted(2, 3, 4, 5, 6, 7, 8)
	if c.NumAckPending() != 1 || c.AckFloor.Stream != 7 || c.Hold() != 2 {
		t.Errorf("%d pending, floor %v, hold %d", c.NumAckPending(), c.AckFloor, c.Hold())
	}
	apply(func(o *Ops) { o.Ack(3, 3, 1); o.Term(5) })
	wanted(2, 4, 6, 7, 8)
	if !c.Removed(4) || c.Removed(4) || !c.Purged(3) || c.Purged(3) {
		t.Error("removed messages are still kept")
	}
	apply(func(o *Ops) { o.AckAll(6) })
	wanted(7, 8)
	if want := []uint64{1, 9, 3, 5, 6}; !slices.Equal(through, want) {
		t.Errorf("through with %v, want %v", through, want)
	}
	if err := c.KeepAbandoned(func(seq uint64) (bool, error) { return seq != 7, nil }); err != nil {
		t.Fatal(err)
	}
	apply(func(o *Ops) { o.Exceeded(8) })
	wanted(8)
	if err := c.Erase(store); err != nil || len(store) > 0 {
		t.Errorf("%d keys are left: %v", len(store), err)
	}
}

// TestPin has a pin survive a reload and a new runner, and end when it is taken away or
// when its group is not one to pin in any more.
func TestPin(t *testing.T) {
	cfg := api.ConsumerConfig{Name: "c", AckPolicy: api.AckExplicit, PriorityPolicy: api.PriorityPinned, PriorityGroups: []string{"g"}}
	store := keys{}
	c := New(9, cfg, 1, 1, NewSpans())
	if err := c.SaveConfig(store); err != nil {
		t.Fatal(err)
	}
	apply := func(group, id string, want *Pin) {
		t.Helper()
		c.SetRunner(3)
		var ops Ops
		ops.Pin(7, group, id)
		if v, err := c.Apply(8, c.Epoch, 1, ops.Bytes(), released(func(uint64) {})); v != Applied || err != nil {
			t.Fatal(v, err)
		}
		c.SetRunner(4)
		c = reload(t, c, store)
		if !reflect.DeepEqual(c.Pin, want) {
			t.Errorf("%q in %q: pinned %+v, want %+v", id, group, c.Pin, want)
		}
	}
	apply("g", "x", &Pin{"g", "x", 7})
	apply("g", "y", &Pin{"g", "y", 7})
	apply("g", "", nil)
	apply("other", "x", nil)
	apply("g", "z", &Pin{"g", "z", 7})
	c.Reset(5, 9)
	c.Update(cfg)
	if c.Pin == nil {
		t.Error("a pin is lost with the position or an update of something else")
	}
	cfg.PriorityGroups = []string{"other"}
	c.Update(cfg)
	if err := c.SaveConfig(store); err != nil {
		t.Fatal(err)
	}
	if c = reload(t, c, store); c.Pin != nil {
		t.Errorf("pinned %+v in a group that is no more", c.Pin)
	}
}

func TestOpsRoundTrip(t *testing.T) {
	for _, seqs := range [][]uint64{{1}, {1, 2, 3}, {5, 6, 9, 10, 11, 1 << 40}, {9, 3, 4, 1}, {1<<63 + 5, 2}} {
		var ops Ops
		ops.Ack(seqs...)
		var got collector
		if err := decodeOps(ops.Bytes(), &got); err != nil || !slices.Equal(got.acked, seqs) {
			t.Fatalf("%v is read as %v: %v", seqs, got.acked, err)
		}
	}
}

type collector struct {
	nopVisitor
	acked []uint64
}

func (c *collector) ack(seq uint64) { c.acked = append(c.acked, seq) }

func FuzzOps(f *testing.F) {
	var ops Ops
	ops.Deliver(1, 1, []uint64{1, 2, 3, 9})
	ops.Redeliver(5, 5, []Redelivery{{2, 2}})
	ops.Ack(1)
	ops.AckAll(3)
	ops.Term(9)
	ops.Touch(2, 7)
	ops.Skip(20)
	ops.Exceeded(2)
	ops.Pin(9, "g", "x")
	f.Add(ops.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if CheckOps(data) != nil {
			return
		}
		c := New(1, api.ConsumerConfig{Name: "c", AckPolicy: api.AckExplicit}, 1, 1, NewSpans())
		c.SetRunner(1)
		if v, err := c.Apply(1, 1, 1, data, keeping(func(uint64) {})); v != Applied || err != nil {
			t.Fatalf("checked operations do not apply: %v, %v", v, err)
		}
		store := keys{}
		if err := c.SaveConfig(store); err != nil {
			t.Fatal(err)
		}
		reload(t, c, store)
	})
}

func FuzzState(f *testing.F) {
	s := state{Delivered: Pair{1, 2}}
	f.Add(s.append([]byte{stateFormat}), appendChunk(nil, 64, []Pending{{65, 1, 2, 3}}))
	s.Pin = &Pin{"g", "x", 3}
	f.Add(s.encode(), appendChunk(nil, 64, []Pending{{65, 1, 2, 3}}))
	f.Fuzz(func(t *testing.T, value, chunk []byte) {
		decodeState(value)
		if c, err := decodeChunk(64, chunk); err == nil && len(c.entries) == 0 {
			t.Fatal("empty chunk")
		}
	})
}
