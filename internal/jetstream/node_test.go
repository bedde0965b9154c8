package jetstream

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/rafthost"
	"weir/internal/router"
	"weir/internal/runner"
)

// lonely are the links of a node without peers.
type lonely struct{}

func (lonely) SendRequest(base.NodeID, byte, []byte) error { return errNoLink }
func (lonely) SendRaft(base.NodeID, []byte) bool           { return false }

type harness struct {
	t    testing.TB
	name string
	tags []string
	fs   vfs.FS
	node *Node
	acc  *account.Account
	rt   *router.Router
}

func startNode(t testing.TB, fs vfs.FS) *harness {
	t.Helper()
	return startNodeIn(t, fs, "store")
}

func startNodeIn(t testing.TB, fs vfs.FS, dir string) *harness {
	t.Helper()
	registry, err := account.NewRegistry(conf.Default())
	if err != nil {
		t.Fatal(err)
	}
	id, err := OpenIdentity(fs, dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	rt := router.New(1)
	n, err := New(Config{
		Identity: id, Name: "n1", FS: fs, Dir: dir, MaxMemory: 1 << 30, MaxStore: 1 << 30,
		Accounts: registry, Router: rt, Links: lonely{}, Expected: func() int { return 1 },
		Clock: base.SystemClock, Logger: testLogger{t}, TickInterval: 10 * time.Millisecond,
		LogSegment: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.SetRequestHandler(func(*Request) {})
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return &harness{t: t, fs: fs, node: n, acc: registry.Global(), rt: rt}
}

func (h *harness) stop() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.node.Stop(ctx); err != nil {
		h.t.Fatal(err)
	}
}

// patience is how long a test waits for what must happen: long enough for a slow machine
// that has other things to do. What does happen takes no longer for it.
const patience = 90 * time.Second

// until waits for a condition that other goroutines bring about.
func (h *harness) until(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			h.t.Fatalf("no %s in time", what)
		case <-tick.C:
		}
	}
}

type testLogger struct{ t testing.TB }

func (l testLogger) Noticef(f string, a ...any) { l.t.Logf(f, a...) }
func (l testLogger) Warnf(f string, a ...any)   { l.t.Logf(f, a...) }
func (l testLogger) Errorf(f string, a ...any)  { l.t.Logf("error: "+f, a...) }
func (testLogger) Debugf(string, ...any)        {}
func (testLogger) Tracef(string, ...any)        {}

func (h *harness) createStream(cfg api.StreamConfig) *Stream {
	h.t.Helper()
	raw, err := json.Marshal(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := h.node.ProposeMeta(ctx, &meta.StreamCreate{Account: h.acc.Name(), Config: raw, Nodes: []base.NodeID{h.node.cfg.Identity.Node}})
	if err != nil || r.Err != nil {
		h.t.Fatal(err, r.Err)
	}
	h.until("stream", func() bool {
		s := h.node.Stream(h.acc.Name(), cfg.Name)
		return s != nil && s.Ready() && s.takesMessages()
	})
	return h.node.Stream(h.acc.Name(), cfg.Name)
}

// takesMessages tells whether the stream is subscribed to its subjects.
func (s *Stream) takesMessages() bool {
	s.ingest.mu.Lock()
	defer s.ingest.mu.Unlock()
	return s.ingest.active
}

// inbox collects messages to a subject.
func (h *harness) inbox(subj string) chan router.Msg {
	h.t.Helper()
	ch := make(chan router.Msg, 1000)
	_, err := h.rt.Subscribe(h.acc, subj, "", func(_ *router.Sub, _ router.Source, m *router.Msg) {
		ch <- router.Msg{Subject: []byte(string(m.Subject)), Reply: []byte(string(m.Reply)), Header: append([]byte(nil), m.Header...), Payload: append([]byte(nil), m.Payload...)}
	}, router.SubOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return ch
}

func (h *harness) receive(ch chan router.Msg) router.Msg {
	h.t.Helper()
	select {
	case m := <-ch:
		return m
	case <-time.After(patience):
		h.t.Fatal("no message in time")
		return router.Msg{}
	}
}

func TestPublishPullAckRestart(t *testing.T) {
	fs := vfs.NewMem()
	h := startNode(t, fs)
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	s := h.createStream(api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: "limits", Storage: "file", Discard: "old", Replicas: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPer: -1, MaxMsgSize: -1, MaxConsumers: -1, Compression: "none"})

	acks := h.inbox("acks")
	for i := range 10 {
		h.rt.Publish(h.acc, router.Internal, &router.Msg{Subject: fmt.Appendf(nil, "s.%d", i), Reply: []byte("acks"), Payload: []byte("hello")})
	}
	for i := range 10 {
		if got, want := string(h.receive(acks).Payload), fmt.Sprintf(`{"stream":"S","seq":%d}`, i+1); got != want {
			t.Fatalf("ack %s, want %s", got, want)
		}
	}

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reply, err := s.Propose(ctx, &machine.ConsumerCreate{
		Time: time.Now().UnixNano(), Runner: s.ChooseRunner(),
		Config: api.ConsumerConfig{Name: "C", Durable: "C", AckPolicy: "explicit", DeliverPolicy: "all", ReplayPolicy: "instant", AckWait: time.Minute},
	})
	if err != nil || reply.Err != nil {
		t.Fatal(err, reply.Err)
	}
	h.until("runner", func() bool { return s.Runner("C") != nil })
	msgs, confirmed := h.inbox("inbox"), h.inbox("confirmed")
	s.Runner("C").Pull(runner.PullRequest{Reply: "inbox", Body: []byte("10")})
	for i := range 10 {
		m := h.receive(msgs)
		if want := fmt.Sprintf("s.%d", i); string(m.Subject) != want {
			t.Fatalf("message %d on %s, want %s", i, m.Subject, want)
		}
	}
	for seq := range uint64(5) {
		s.Runner("C").Ack(runner.Ack{Stream: seq + 1, Consumer: seq + 1, Deliveries: 1, Reply: "confirmed"})
		h.receive(confirmed)
	}
	for range 3 { // delivered a moment before the stop: not to come again after it
		h.rt.Publish(h.acc, router.Internal, &router.Msg{Subject: []byte("s.late"), Reply: []byte("acks")})
		h.receive(acks)
	}
	s.Runner("C").Pull(runner.PullRequest{Reply: "inbox", Body: []byte("3")})
	for range 3 {
		h.receive(msgs)
	}
	h.stop()

	h = startNode(t, fs)
	defer h.stop()
	h.until("stream after restart", func() bool {
		s = h.node.Stream(h.acc.Name(), "S")
		return s != nil && s.Ready()
	})
	if st := s.Store().Reader().State(); st.Msgs != 13 || st.LastSeq != 13 {
		t.Fatalf("state after restart: %+v", st)
	}
	info := s.ConsumerInfo("C")
	if info == nil || info.AckFloor.Stream != 5 || info.NumAckPending != 8 || info.Delivered.Stream != 13 {
		t.Fatalf("consumer after restart: %+v", info)
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func newMemFS() vfs.FS { return vfs.NewMem() }

func noLeader() *rafthost.LeaderInfo { return new(rafthost.LeaderInfo) }

// A peer that is behind may send a request back to a node that does not answer it any
// more. That is no place to send the next one to.
func TestSentBackToItself(t *testing.T) {
	h := startNodeIn(t, newMemFS(), "store")
	t.Cleanup(h.stop)
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	back := func(to base.NodeID) {
		r := &Request{Origin: h.node.ID(), Account: "A", Subject: "$JS.API.CONSUMER.MSG.NEXT.GONE.c"}
		h.node.redirected(r.encode(binary.LittleEndian.AppendUint64(nil, uint64(to))))
	}
	back(4711)
	if known := h.node.locations.find("A", "GONE", "c"); known != 4711 {
		t.Errorf("known to be on %v", known)
	}
	back(h.node.ID())
	if p := h.node.ConsumerRunner("A", "GONE", "c"); !p.Missing {
		t.Errorf("a consumer of no stream is on %+v", p)
	}
}
