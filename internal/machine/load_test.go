package machine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/msg"
	"weir/internal/stream"
	"weir/internal/stream/storetest"
)

// loading is a machine that a backup is being put into.
func loading(t testing.TB, cfg api.StreamConfig) *world {
	cfg, refused := stream.Check(cfg, stream.Limits{}, false)
	if refused != nil {
		t.Fatal(refused)
	}
	w := &world{store: storetest.New(), now: 1_800_000_000 * second}
	if tt, ok := t.(*testing.T); ok {
		w.t = tt
	}
	m, err := New(w.store, self)
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	w.index++
	if err := m.Apply(w.index, Append(nil, Origin{self, 1}, &Init{Config: cfg, Created: 1, Loading: true}), &w.out); err != nil {
		t.Fatal(err)
	}
	return w
}

// load loads messages; their sequences are those of at.
func (w *world) load(header string, at int64, seqs ...uint64) {
	c := &Load{Time: w.now}
	for _, seq := range seqs {
		c.Body = AppendCopied(c.Body, seq, at, fmt.Sprint("s.", seq%3), []byte(header), []byte("x"))
	}
	w.do(c)
}

func (w *world) sequences() (list []uint64) {
	for seq := uint64(0); ; seq++ {
		info, ok, err := w.store.NextInfo(seq)
		if err != nil {
			w.t.Fatal(err)
		}
		if !ok {
			return list
		}
		list, seq = append(list, info.Seq), info.Seq
	}
}

func TestLoadKeepsSequencesAndTimes(t *testing.T) {
	w := loading(t, api.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	w.load("", w.now-second, 5, 7)
	w.load("", w.now-second, 7, 12) // one of them again
	if r := w.do(&LoadEnd{Last: 20}); r.Err != nil {
		t.Fatal(r.Err)
	}
	if got := w.sequences(); !slices.Equal(got, []uint64{5, 7, 12}) {
		t.Fatalf("sequences %v", got)
	}
	var m msg.Message
	if ok, err := w.store.Load(12, &m, nil); err != nil || !ok || m.Time != w.now-second || m.Subject != "s.0" || string(m.Data) != "x" {
		t.Fatalf("message 12 is %+v", m)
	}
	if st := w.store.State(); st.FirstSeq != 5 || st.LastSeq != 20 || st.NumDeleted != 13 {
		t.Fatalf("state %+v", st)
	}
}

// TestLoadingTakesNothingElse sends a stream that is being loaded what only an open one takes, and the other way round.
func TestLoadingTakesNothingElse(t *testing.T) {
	w := loading(t, api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxAge: time.Hour})
	w.load("", w.now, 1)
	before := w.m.Hash()
	for _, c := range []Command{&Purge{}, &DeleteMsg{Seq: 1}, &ConsumerCreate{Config: api.ConsumerConfig{Durable: "d"}}} {
		if r := w.do(c); r.Err == nil {
			t.Errorf("%T was applied", c)
		}
	}
	w.index++
	late := Append(nil, Origin{}, &Expire{Time: w.now + 2*int64(time.Hour)})
	if err := w.m.Apply(w.index, late, &w.out); err != nil || w.m.Hash() != before || w.m.NextExpiry() != 0 {
		t.Errorf("messages expire while they are loaded: %v", err)
	}
	w.do(&LoadEnd{Last: 1})
	if w.m.NextExpiry() == 0 {
		t.Error("messages do not expire when they are loaded")
	}
	before = w.m.Hash()
	for _, c := range []Command{&Load{Body: AppendCopied(nil, 9, 1, "s.a", nil, nil)}, &LoadPending{Consumer: "d"}, &LoadEnd{Last: 50}} {
		if r := w.do(c); r.Err == nil || w.m.Hash() != before {
			t.Errorf("%T was applied", c)
		}
	}
}

func TestLoadObeysLimits(t *testing.T) {
	w := loading(t, api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxMsgsPer: 2, MaxMsgs: 5})
	w.load("", w.now, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	w.do(&LoadEnd{Last: 10})
	if got := w.sequences(); !slices.Equal(got, []uint64{6, 7, 8, 9, 10}) {
		t.Fatalf("sequences %v", got)
	}
}

// TestLoadRemembers loads what a stream knows besides its messages: ids of the duplicate window, TTLs, how far its sources
// were copied.
func TestLoadRemembers(t *testing.T) {
	cfg := api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowMsgTTL: true, Duplicates: time.Minute, Sources: []*api.StreamSource{
		{Name: "A"}, {Name: "B", FilterSubject: "b.>"},
		{Name: "C", SubjectTransforms: []api.SubjectTransform{{Source: "c.*", Destination: "s.c"}}},
		{Name: "E", SubjectTransforms: []api.SubjectTransform{{Source: "e.*", Destination: "s.e"}, {Source: "f"}}},
		{Name: "A", External: &api.ExternalStream{APIPrefix: "JS.x"}},
		{Name: "A", Consumer: &api.StreamSourceConsumer{Name: "d", DeliverSubject: "d.good"}}}}
	w := loading(t, cfg)
	w.load("NATS/1.0\r\nNats-Msg-Id: old\r\n\r\n", w.now-2*int64(time.Minute), 1)
	w.load("NATS/1.0\r\nNats-Msg-Id: new\r\nNats-TTL: 5s\r\n\r\n", w.now-second, 2)
	w.load("NATS/1.0\r\nNats-TTL: never\r\n\r\n", w.now, 3)
	for i, from := range []string{"A 7 > > a", "B 9 b.> > b.x", "C 3 c.* s.c c.1", "C 1 other > c.1", "D 4 > > d", "nonsense",
		"E 5 e.*\fo.b s.e\f> e.1", "E 4 e.*\ff s.e\f> e.1 ident", "A:C=Om0r5sMD 2 > > a", "A:9AYuhWYJ 8 > > a", "A:" + base.ShortName("JS.x") + " 6 > > a"} {
		w.load("NATS/1.0\r\nNats-Stream-Source: "+from+"\r\n\r\n", w.now, uint64(4+i))
	}
	w.do(&LoadEnd{Last: 14})
	for i, want := range []uint64{7, 9, 3, 4, 6, 2} {
		if got := w.m.Stream().CopiedUpTo(stream.OriginKey(cfg.Sources[i])); got != want {
			t.Errorf("%s was copied up to %d, want %d", cfg.Sources[i].Name, got, want)
		}
	}
	w.index++
	publish := AppendPublish(nil, Origin{self, 50}, w.now)
	for _, id := range []string{"old", "new"} {
		publish = AppendMessage(publish, "s.x", []byte("NATS/1.0\r\nNats-Msg-Id: "+id+"\r\n\r\n"), nil)
	}
	if err := w.m.Apply(w.index, publish, &w.out); err != nil {
		t.Fatal(err)
	}
	if p := w.out.Published; p[0].Duplicate || p[0].Seq != 15 || !p[1].Duplicate || p[1].Seq != 2 {
		t.Errorf("published %+v", p)
	}
	w.index++
	if err := w.m.Apply(w.index, Append(nil, Origin{}, &Expire{Time: w.now + 4*second}), &w.out); err != nil {
		t.Fatal(err)
	}
	if got := w.sequences(); slices.Contains(got, 2) || !slices.Contains(got, 3) {
		t.Errorf("after 4 s there are %v", got)
	}
}

// TestLoadResumesSchedules loads a schedule that has made messages for an hour, and one that was replaced.
func TestLoadResumesSchedules(t *testing.T) {
	w := loading(t, api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowMsgSchedules: true})
	const every = "NATS/1.0\r\nNats-Schedule: @every 1m\r\nNats-Schedule-Target: s.made\r\n\r\n"
	w.load(every, w.now-int64(time.Hour), 1, 2)
	w.load("", w.now, 5) // on the subject of 2
	w.do(&LoadEnd{Last: 5})
	due := w.m.NextExpiry()
	if due <= w.now || due > w.now+61*second {
		t.Fatalf("due %v from now", time.Duration(due-w.now))
	}
	w.index++
	if err := w.m.Apply(w.index, Append(nil, Origin{}, &Expire{Time: due}), &w.out); err != nil {
		t.Fatal(err)
	}
	if made := w.out.Stored; len(made) != 1 || made[0].Subject != "s.made" || made[0].Seq != 6 {
		t.Errorf("made %+v", made)
	}
}

// TestLoadedSourceGoesOn loads what was copied from two streams that had one name, in turn. The one that has it now is
// another one still, as it was restored: what was copied of the latest does not come again.
func TestLoadedSourceGoesOn(t *testing.T) {
	origin := &api.StreamSource{Name: "A"}
	w := loading(t, api.StreamConfig{Name: "S", Sources: []*api.StreamSource{origin}})
	for i, from := range []string{"A 7 > > a first", "A 8 > > a first", "A 2 > > a second"} {
		w.load("NATS/1.0\r\nNats-Stream-Source: "+from+"\r\n\r\n", w.now, uint64(1+i))
	}
	w.do(&LoadEnd{Last: 3})
	key := stream.OriginKey(origin)
	for _, identity := range []string{"restored", "restored", "made anew"} {
		if got := w.m.Stream().CopiedUpTo(key); got != 2 {
			t.Errorf("copied up to %d before %q is met, want 2", got, identity)
		}
		w.do(&Meet{Origin: key, Identity: identity})
	}
	if got := w.m.Stream().CopiedUpTo(key); got != 0 {
		t.Errorf("copied up to %d of an origin that was made anew", got)
	}
}

func TestLoadMirrorGoesOnBehindItsLast(t *testing.T) {
	w := loading(t, api.StreamConfig{Name: "M", Mirror: &api.StreamSource{Name: "O"}})
	w.load("", w.now, 3, 4)
	w.do(&LoadEnd{Last: 8})
	if got := w.m.Stream().CopiedUpTo(stream.OriginKey(&api.StreamSource{Name: "O"})); got != 8 {
		t.Errorf("copied up to %d", got)
	}
}

func TestLoadConsumers(t *testing.T) {
	w := loading(t, api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxConsumers: 2})
	d := &LoadConsumer{Time: w.now, Config: api.ConsumerConfig{Durable: "d", Name: "d", AckPolicy: api.AckExplicit},
		Delivered: consumer.Pair{Consumer: 9, Stream: 8}, AckFloor: consumer.Pair{Consumer: 2, Stream: 2}}
	if r := w.do(d); r.Err != nil {
		t.Fatal(r.Err)
	}
	if r := w.do(d); r.Err == nil {
		t.Error("a consumer was loaded twice")
	}
	w.do(&LoadPending{Consumer: "d", Pending: []consumer.Pending{
		{Seq: 3, ConsumerSeq: 3, Time: 5, Deliveries: 1}, {Seq: 6, ConsumerSeq: 7, Time: 6, Deliveries: 4},
		{Seq: 7, ConsumerSeq: 8, Time: 6, Deliveries: 1},  // the message will not come
		{Seq: 9, ConsumerSeq: 11, Time: 6, Deliveries: 1}, // never delivered
	}})
	if r := w.do(&LoadPending{Consumer: "nobody"}); r.Err == nil {
		t.Error("loaded pending messages of nobody")
	}
	none := &LoadConsumer{Config: api.ConsumerConfig{Durable: "n", Name: "n", AckPolicy: api.AckNone}, Delivered: consumer.Pair{Consumer: 4, Stream: 4}}
	w.do(none)
	third := &LoadConsumer{Config: api.ConsumerConfig{Durable: "x", Name: "x"}}
	if r := w.do(third); r.Err == nil {
		t.Error("more consumers were loaded than the stream may have")
	}
	w.load("", w.now, 3, 6, 9)
	w.do(&LoadEnd{Last: 9})
	c := w.m.Consumer("d")
	if got := w.info(c); got != "delivered 9/8 floor 2/2 ack_pending 2 redelivered 1 pending 1\n" {
		t.Errorf("%s", got)
	}
	if p, ok := c.PendingOf(6); !ok || p != (consumer.Pending{Seq: 6, ConsumerSeq: 7, Time: 6, Deliveries: 4}) {
		t.Errorf("%+v", p)
	}
	if c.Runner != 0 {
		t.Errorf("replica %d runs it before anybody was appointed", c.Runner)
	}
	if got := w.info(w.m.Consumer("n")); got != "delivered 4/4 floor 4/4 ack_pending 0 redelivered 0 pending 2\n" {
		t.Errorf("%s", got)
	}
}

// FuzzLoad wants no command to do more than fail to a stream that is being loaded, and what is applied to be loaded again as
// it was.
func FuzzLoad(f *testing.F) {
	o := Origin{1, 9}
	header := []byte("NATS/1.0\r\nNats-TTL: 1s\r\nNats-Msg-Id: x\r\nNats-Stream-Source: O 4 > > a\r\n\r\n")
	for _, c := range []Command{
		&Load{Time: 5, Body: AppendCopied(nil, 3, 4, "s.a", header, []byte("x"))},
		&LoadConsumer{Time: 1, Config: api.ConsumerConfig{Durable: "e", AckPolicy: api.AckAll}, Delivered: consumer.Pair{Consumer: 1, Stream: 1}},
		&LoadPending{Consumer: "d", Pending: []consumer.Pending{{Seq: 1, ConsumerSeq: 1, Time: 1, Deliveries: 2}}},
		&LoadEnd{Last: 7},
	} {
		f.Add(Append(nil, o, c))
	}
	f.Fuzz(func(t *testing.T, cmd []byte) {
		w := loading(t, api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowMsgTTL: true, MaxMsgs: 3,
			Sources: []*api.StreamSource{{Name: "O"}}})
		w.do(&LoadConsumer{Config: api.ConsumerConfig{Durable: "d", Name: "d", AckPolicy: api.AckExplicit}, Delivered: consumer.Pair{Consumer: 2, Stream: 2}})
		w.load("", 1, 1, 2)
		if w.m.Apply(10, cmd, &Effects{}) != nil {
			return
		}
		loaded, err := New(w.store, 1)
		if err != nil {
			t.Fatal(err)
		}
		if loaded.Hash() != w.m.Hash() {
			t.Fatal("loaded state differs")
		}
	})
}
