package machine

import (
	"fmt"
	"testing"

	"weir/internal/api"
	"weir/internal/stream"
	"weir/internal/stream/storetest"
)

// sweeper applies commands of several proposers to a stream, as the replica self.
type sweeper struct {
	t     *testing.T
	store *storetest.Store
	m     *Machine
	index uint64
}

func newSweeper(t *testing.T, cfg api.StreamConfig, msgs int) *sweeper {
	s := &sweeper{t: t, store: storetest.New()}
	s.restart()
	cfg.Name, cfg.Subjects = "S", []string{"s.>"}
	checked, refused := stream.Check(cfg, stream.Limits{}, false)
	if refused != nil {
		t.Fatal(refused)
	}
	s.apply(Origin{1, 1}, &Init{Config: checked, Created: 1})
	cmd := AppendPublish(nil, Origin{1, 10}, 1)
	for i := range msgs {
		cmd = AppendMessage(cmd, fmt.Sprintf("s.%d.%d", i%2, i/2%700), nil, []byte("x"))
	}
	s.raw(cmd)
	return s
}

// restart loads the machine anew.
func (s *sweeper) restart() {
	m, err := New(s.store, 1)
	if err != nil {
		s.t.Fatal(err)
	}
	m.stream.StepMost = 100
	s.m = m
}

func (s *sweeper) apply(o Origin, c Command) *Effects { return s.raw(Append(nil, o, c)) }

func (s *sweeper) raw(cmd []byte) *Effects {
	s.t.Helper()
	s.index++
	out := &Effects{}
	before := s.store.State().Msgs
	if err := s.m.Apply(s.index, cmd, out); err != nil {
		s.t.Fatal(err)
	}
	if after := s.store.State().Msgs; after+100 < before && after > 1 {
		s.t.Fatalf("an entry took out %d messages", before-after)
	}
	return out
}

// TestPurgeInSteps purges more messages than one entry takes out: other entries come
// between, the machine is loaded anew, and the answer has the count of all.
func TestPurgeInSteps(t *testing.T) {
	for _, p := range []struct {
		name string
		purge
		want uint64
	}{
		{"by subject", purge{Filter: "s.0.>"}, 1000},
		{"by subject below", purge{Filter: "s.0.*", Below: 1001}, 500},
		{"by subject but for some", purge{Filter: "s.1.*", Keep: 300}, 700},
		{"below", purge{Below: 1500}, 1499},
		{"but for some", purge{Keep: 50}, 1950},
	} {
		t.Run(p.name, func(t *testing.T) {
			s := newSweeper(t, api.StreamConfig{}, 2000)
			out := s.apply(Origin{1, 7000}, &Purge{Filter: p.Filter, Below: p.Below, Keep: p.Keep, UpTo: 2000})
			if len(out.Replies) > 0 || fmt.Sprint(out.Unfinished) != "[7000]" || s.m.NextExpiry() != stream.Now {
				t.Fatalf("after the first entry: replies %v, unfinished %v, next %d", out.Replies, out.Unfinished, s.m.NextExpiry())
			}
			s.restart()
			s.raw(AppendMessage(AppendPublish(nil, Origin{2, 5}, 2), "s.0.7", nil, nil))
			for len(out.Replies) == 0 {
				out = s.apply(Origin{Proposer: 2}, &Expire{Time: 5})
			}
			if r := out.Replies[0]; r.Request != 7000 || r.Purged != p.want || r.Err != nil || len(out.Unfinished) > 0 {
				t.Errorf("answer %+v, unfinished %v, want %d purged", r, out.Unfinished, p.want)
			}
			st := s.store.State()
			if st.Msgs != 2001-p.want || st.LastSeq != 2001 || s.m.NextExpiry() == stream.Now {
				t.Errorf("left %+v, next %d", st, s.m.NextExpiry())
			}
		})
	}
}

type purge struct {
	Filter      string
	Below, Keep uint64
}

// TestPurgesTakeTurns has several purges under way; one of another replica's is not
// answered here.
func TestPurgesTakeTurns(t *testing.T) {
	s := newSweeper(t, api.StreamConfig{}, 2000)
	s.apply(Origin{1, 7000}, &Purge{Filter: "s.0.>"})
	s.apply(Origin{2, 7001}, &Purge{Filter: "s.1.>"})
	s.apply(Origin{1, 7002}, &Purge{Filter: "s.*.1"})
	var replies []Reply
	for s.m.NextExpiry() == stream.Now {
		replies = append(replies, s.apply(Origin{}, &Expire{Time: 5}).Replies...)
	}
	if len(replies) != 1 || replies[0].Request != 7000 || s.store.State().Msgs != 0 {
		t.Errorf("replies %+v, %+v left", replies, s.store.State())
	}
	for i := range 70 {
		s.raw(AppendPublish(nil, Origin{1, 20}, 3))
		out := s.apply(Origin{1, uint64(8000 + i)}, &Purge{Filter: "s.0.>"})
		if len(out.Replies) != 1 || out.Replies[0].Err != nil {
			t.Fatalf("purge of nothing: %+v", out)
		}
	}
}

// TestRollupInSteps has a message with a rollup replace very many of its subject.
func TestRollupInSteps(t *testing.T) {
	s := newSweeper(t, api.StreamConfig{AllowRollup: true}, 0)
	for _, rollup := range []string{"sub", "all"} {
		cmd := AppendPublish(nil, Origin{1, 10}, 1)
		for range 1500 {
			cmd = AppendMessage(cmd, "s.x", nil, []byte("x"))
		}
		s.raw(cmd)
		hdr := []byte("NATS/1.0\r\nNats-Rollup: " + rollup + "\r\n\r\n")
		for range 3 {
			s.raw(AppendMessage(AppendPublish(nil, Origin{1, 10}, 1), "s.x", hdr, []byte(rollup)))
		}
		for s.m.NextExpiry() == stream.Now {
			s.apply(Origin{}, &Expire{Time: 5})
		}
		if st := s.store.State(); st.Msgs != 1 || st.FirstSeq != st.LastSeq {
			t.Errorf("after a rollup of %s: %+v", rollup, st)
		}
	}
}

// TestReleaseInSteps deletes a consumer that very many messages waited for: those that no other consumer needs go with the
// entries that follow, also after the machine is loaded anew.
func TestReleaseInSteps(t *testing.T) {
	consumer := func(name, filter string) *ConsumerCreate {
		return &ConsumerCreate{Config: api.ConsumerConfig{Durable: name, Name: name, FilterSubject: filter, AckPolicy: api.AckExplicit}, Time: 1}
	}
	s := newSweeper(t, api.StreamConfig{Retention: api.InterestRetention}, 0)
	for _, c := range []*ConsumerCreate{consumer("all", "s.>"), consumer("some", "s.0.>"), consumer("few", "s.1.7")} {
		if out := s.apply(Origin{1, 2}, c); len(out.Replies) != 1 || out.Replies[0].Err != nil {
			t.Fatalf("%+v", out.Replies)
		}
	}
	cmd := AppendPublish(nil, Origin{1, 10}, 1)
	for i := range 2000 {
		cmd = AppendMessage(cmd, fmt.Sprintf("s.%d.%d", i%2, i/2%700), nil, []byte("x"))
	}
	s.raw(cmd)
	s.apply(Origin{1, 3}, &ConsumerDelete{Name: "all"})
	if st := s.store.State(); st.Msgs < 1900 || s.m.NextExpiry() != stream.Now {
		t.Fatalf("after the first entry: %+v, next %d", st, s.m.NextExpiry())
	}
	hash := s.m.Hash()
	if s.restart(); s.m.Hash() != hash {
		t.Fatal("loaded anew, the machine has another hash")
	}
	s.raw(AppendMessage(AppendPublish(nil, Origin{2, 5}, 2), "s.0.7", nil, nil))
	s.apply(Origin{1, 4}, &ConsumerDelete{Name: "few"})
	for s.m.NextExpiry() == stream.Now {
		s.apply(Origin{}, &Expire{Time: 5})
	}
	if st := s.store.State(); st.Msgs != 1001 || st.LastSeq != 2001 {
		t.Fatalf("left %+v", st)
	}
	s.apply(Origin{1, 6}, &ConsumerDelete{Name: "some"})
	if st := s.store.State(); st.Msgs != 0 || s.m.NextExpiry() == stream.Now {
		t.Fatalf("without consumers %+v are left, next %d", st, s.m.NextExpiry())
	}
	if s.restart(); s.m.NextExpiry() == stream.Now {
		t.Fatal("something is left of the release")
	}
}

// TestRetentionChangeInSteps lets go of more messages than one entry takes out, as nobody wants
// them any more: not before the stream has interest retention, of two consumers' at once,
// with a restart between, and not further when the stream keeps everything again.
func TestRetentionChangeInSteps(t *testing.T) {
	s := newSweeper(t, api.StreamConfig{}, 2000)
	for _, name := range []string{"0", "1", "none"} {
		s.apply(Origin{}, &ConsumerCreate{Time: 1, Runner: 1, Config: api.ConsumerConfig{
			Name: name, Durable: name, AckPolicy: api.AckExplicit, FilterSubject: "s." + name + ".>",
		}})
	}
	retain := func(r api.Retention) {
		cfg := *s.m.Stream().Config()
		cfg.Retention = r
		s.apply(Origin{}, &Update{Time: 2, Config: cfg})
	}
	sweep := func() {
		for s.m.NextExpiry() == stream.Now {
			s.apply(Origin{}, &Expire{Time: 5})
		}
	}
	want := func(msgs uint64) {
		t.Helper()
		if n := s.store.State().Msgs; n != msgs {
			t.Errorf("%d messages, want %d", n, msgs)
		}
	}
	retain(api.InterestRetention)
	s.apply(Origin{}, &Expire{Time: 5})
	s.apply(Origin{}, &ConsumerDelete{Name: "1"})
	s.restart()
	s.raw(AppendMessage(AppendPublish(nil, Origin{2, 5}, 2), "s.0.7", nil, nil))
	if s.m.NextExpiry() != stream.Now {
		t.Error("nothing is left to do after the first entries")
	}
	sweep()
	want(1001)
	s.apply(Origin{}, &ConsumerDelete{Name: "0"})
	s.apply(Origin{}, &Expire{Time: 5})
	left := s.store.State().Msgs
	retain(api.LimitsRetention)
	sweep()
	want(left)
	if left == 0 || left > 1001-100 {
		t.Errorf("%d messages were left", left)
	}
}
