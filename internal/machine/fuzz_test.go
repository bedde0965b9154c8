package machine

import (
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/stream"
	"weir/internal/stream/storetest"
)

// sample is a machine with a few messages and two consumers.
func sample(t testing.TB, retention api.Retention) (*Machine, *storetest.Store) {
	store := storetest.New()
	m, err := New(store, 1)
	if err != nil {
		t.Fatal(err)
	}
	cfg, refused := stream.Check(api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: retention, AllowMsgTTL: true,
		AllowRollup: true, AllowMsgSchedules: true, AllowAtomic: true, AllowBatched: true, MaxMsgs: 50, MaxAge: time.Hour}, stream.Limits{}, false)
	if refused != nil {
		t.Fatal(refused)
	}
	filtered := api.ConsumerConfig{Durable: "d", AckPolicy: api.AckExplicit, FilterSubject: "s.a"}
	other := api.ConsumerConfig{Durable: "e", AckPolicy: api.AckExplicit, FilterSubject: "s.b"}
	publish := AppendPublish(nil, Origin{1, 1}, 1)
	for _, s := range []string{"s.a", "s.b", "s.a", "s.c", "s.b"} {
		publish = AppendMessage(publish, s, []byte("NATS/1.0\r\nNats-Msg-Id: "+s+"\r\n\r\n"), []byte("x"))
	}
	for _, schedule := range []string{"@every 1s", "@at 2000-01-01T00:00:00Z", "@hourly\r\nNats-Schedule-Time-Zone: Local"} {
		publish = AppendMessage(publish, "s."+schedule[1:3], []byte("NATS/1.0\r\nNats-Schedule: "+schedule+"\r\nNats-Schedule-Target: s.t\r\n\r\n"), nil)
	}
	for i, cmd := range [][]byte{
		Append(nil, Origin{1, 1}, &Init{Config: cfg, Created: 1}),
		Append(nil, Origin{1, 2}, &ConsumerCreate{Time: 1, Config: filtered, Runner: 1}),
		Append(nil, Origin{1, 3}, &ConsumerCreate{Time: 1, Config: other, Runner: 1}),
		publish,
	} {
		if err := m.Apply(uint64(i+1), cmd, &Effects{}); err != nil {
			t.Fatal(err)
		}
	}
	return m, store
}

// FuzzApply wants no command to do more than fail, and what is applied to be loaded again as it was.
func FuzzApply(f *testing.F) {
	var ops consumer.Ops
	ops.Deliver(1, 1, []uint64{1, 3})
	ops.Ack(1)
	o := Origin{1, 9}
	now := time.Unix(5, 0)
	for _, c := range []Command{
		&Deltas{Time: 2, List: []Delta{{Consumer: 2, Epoch: 1, Ticket: 1, Ops: ops.Bytes()}}},
		Runners{{2, 1, 5}}, &Expire{Time: int64(2 * time.Hour)}, &Expire{Time: int64(time.Minute)},
		&Expire{Time: int64(time.Hour), Zoned: []stream.ZonedNext{{Seq: 8, Due: int64(time.Hour), Offset: 3600}}}, &Purge{Filter: "s.*", Keep: 1}, &Purge{Below: 9}, &DeleteMsg{Seq: 2},
		&ConsumerDelete{Name: "d"}, &ConsumerPause{Name: "d", Until: &now}, &ConsumerReset{Name: "d", Seq: 2},
		&ConsumerCreate{Time: 3, Config: api.ConsumerConfig{Durable: "d", AckPolicy: api.AckExplicit}},
		&Update{Time: 3, Config: api.StreamConfig{Name: "S", Retention: api.InterestRetention, MaxMsgs: 1}},
	} {
		f.Add(Append(nil, o, c))
	}
	f.Add(AppendMessage(AppendPublish(nil, o, 5), "s.t", []byte("NATS/1.0\r\nNats-Scheduler: s.ev\r\nNats-Schedule-Next: purge\r\n\r\n"), nil))
	f.Add(AppendMessage(AppendBatch(nil, o, 5), "s.a", []byte("NATS/1.0\r\nNats-Expected-Last-Sequence: 5\r\n\r\n"), []byte("x")))
	f.Add(AppendMessage(AppendPart(AppendFastPublish(nil, o, 5, 9), stream.FastPart{ID: "f", Seq: 1}), "s.a", nil, []byte("x")))
	f.Add(AppendMessage(AppendPublish(nil, o, 5), "s.a", []byte("NATS/1.0\r\nNats-TTL: 1s\r\nNats-Rollup: sub\r\n\r\n"), []byte("x")))
	f.Fuzz(func(t *testing.T, cmd []byte) {
		for _, retention := range []api.Retention{api.LimitsRetention, api.InterestRetention} {
			m, store := sample(t, retention)
			if m.Apply(10, cmd, &Effects{}) != nil {
				continue
			}
			loaded, err := New(store, 1)
			if err != nil {
				t.Fatal(err)
			}
			if loaded.Hash() != m.Hash() {
				t.Fatal("loaded state differs")
			}
		}
	})
}

// FuzzNew changes a key of a machine: it is loaded, or found to be damaged.
func FuzzNew(f *testing.F) {
	m, sound := sample(f, api.InterestRetention)
	var ops consumer.Ops
	ops.Deliver(1, 1, []uint64{1, 3})
	ops.Redeliver(2, 3, []consumer.Redelivery{{Seq: 1, Deliveries: 2}})
	ops.Exceeded(1)
	ops.Pin(9, "g", "x")
	if err := m.Apply(10, Append(nil, Origin{}, &Deltas{Time: 2, List: []Delta{{Consumer: 2, Epoch: 1, Ticket: 1, Ops: ops.Bytes()}}}), &Effects{}); err != nil {
		f.Fatal(err)
	}
	f.Add(keyRelease, []byte(`{"filters":["s.>"],"from":1,"last":9}`))
	if err := sound.ScanKeys(nil, func(key, value []byte) bool {
		f.Add(key, value)
		return true
	}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		store := sound.Clone()
		if err := store.Set(key, value); err != nil {
			t.Fatal(err)
		}
		m, err := New(store, 1)
		if err != nil {
			if !base.IsCorrupt(err) {
				t.Fatal(err)
			}
			return
		}
		m.Hash()
		m.NextExpiry()
	})
}

// BenchmarkApplyDeltas delivers and acks batches of 100 messages.
func BenchmarkApplyDeltas(b *testing.B) {
	const batch = 100
	m, _ := sample(b, api.LimitsRetention)
	var out Effects
	var seqs [batch]uint64
	var ops consumer.Ops
	next := uint64(1)
	ticket := uint64(0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for j := range seqs {
			seqs[j] = next
			next++
		}
		for range 2 {
			ops.Reset()
			if ticket%2 == 0 {
				ops.Deliver(1, seqs[0], seqs[:])
			} else {
				ops.Ack(seqs[:]...)
			}
			ticket++
			cmd := Append(nil, Origin{}, &Deltas{List: []Delta{{Consumer: 2, Epoch: 1, Ticket: ticket, Ops: ops.Bytes()}}})
			if err := m.Apply(100+ticket, cmd, &out); err != nil || out.Deltas[0].Verdict != consumer.Applied {
				b.Fatal(err, out.Deltas)
			}
		}
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "msg/s")
}

func BenchmarkApplyConsumerCreate(b *testing.B) {
	m, _ := sample(b, api.LimitsRetention)
	var out Effects
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		name := "c" + time.Duration(i).String()
		cmd := Append(nil, Origin{1, 1}, &ConsumerCreate{Time: 1, Runner: 1, Config: api.ConsumerConfig{Durable: name[:len(name)-2], AckPolicy: api.AckExplicit}})
		if err := m.Apply(uint64(i+100), cmd, &out); err != nil || len(out.Replies) != 1 {
			b.Fatal(err, out.Replies)
		}
	}
}
