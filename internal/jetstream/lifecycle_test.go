package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/rafthost"
	"weir/internal/runner"
)

// aloneWith is a node without peers and a stream of one replica.
func aloneWith(t *testing.T, cfg api.StreamConfig) (*harness, *Stream) {
	h := startNodeIn(t, newMemFS(), "store")
	t.Cleanup(func() {
		if h.node != nil {
			h.stop()
		}
	})
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	return h, h.createStream(cfg)
}

// A publisher may want its answer on a subject of the same stream: a refusal is a
// publish to it.
func TestRefusalIntoTheSameStream(t *testing.T) {
	h, s := aloneWith(t, streamConfig("S", api.FileStorage, 1))
	answers := h.inbox("S.answers")
	// Together with what is under way it is more than the group takes at a time.
	cmd := machine.AppendMessage(machine.AppendPublish(nil, machine.Origin{}, 1), []byte("S.x"), nil, make([]byte, 20<<20))
	for deadline := time.Now().Add(patience); len(answers) == 0 && time.Now().Before(deadline); {
		if err := s.group.Propose(cmd); err != nil && !isOverloaded(err) {
			t.Fatal(err)
		}
		s.ingest.mu.Lock()
		s.ingest.full = append(s.ingest.full, &batch{
			cmd: machine.AppendMessage(nil, []byte("S.x"), nil, make([]byte, 20<<20)), replies: []string{"S.answers"},
		})
		s.ingest.mu.Unlock()
		s.ingest.flush()
		h.until("an answer", func() bool { return len(answers) > 0 })
		if m := h.receive(answers); strings.Contains(string(m.Payload), "10167") {
			return
		}
	}
	t.Fatal("nothing was refused")
}

// A replica that failed leads nothing, takes nothing and asks for nothing.
func TestFailedLeaderIsNoLeader(t *testing.T) {
	h, s := aloneWith(t, streamConfig("S", api.FileStorage, 1))
	waits := make(chan error, 1)
	s.requests.add(h.node.cfg.Clock.Now(), func(_ machine.Reply, err error) { waits <- err })
	s.Stopped(errors.New("disk is full"))
	if s.Leads() || s.Ready() {
		t.Error("it leads")
	}
	if p := h.node.StreamLeader(s.account, s.name); p.Here {
		t.Error("requests are answered here")
	}
	if err := <-waits; !errors.Is(err, errLostLeadership) {
		t.Errorf("a waiter was told %v", err)
	}
	if err := s.openForBusiness(s.Assignment()); err != nil {
		t.Fatal(err)
	}
	s.ingest.mu.Lock()
	defer s.ingest.mu.Unlock()
	if s.ingest.active {
		t.Error("it takes messages")
	}
}

// Nothing is timed any more for a stream that is gone.
func TestRemovedStreamHasNoTimer(t *testing.T) {
	cfg := streamConfig("S", api.FileStorage, 1)
	cfg.MaxAge = time.Hour
	h, s := aloneWith(t, cfg)
	h.rt.Publish(h.acc, routerInternal, testMessage("S.x", ""))
	h.until("message", func() bool { return s.store.Reader().State().Msgs == 1 })
	h.propose(&meta.StreamDelete{Account: h.acc.Name(), Name: "S"})
	h.until("end of S", func() bool { return len(h.node.fileDB.Stores()) == 1 })
	s.expire()
	s.scheduleExpiry()
	h.node.reconcile(s)
	s.duty.mu.Lock()
	defer s.duty.mu.Unlock()
	if !s.duty.expire.IsZero() || s.duty.busy || s.Leads() {
		t.Fatalf("expiry at %v, reconciling %v, leads %v", s.duty.expire, s.duty.busy, s.Leads())
	}
}

// Who was told that a stream is deleted finds nobody at its subjects.
func TestDeletedStreamHasNoInterest(t *testing.T) {
	h, s := aloneWith(t, streamConfig("S", api.FileStorage, 1))
	s.runMu.Lock() // which the end of the replica waits for
	defer s.runMu.Unlock()
	if !h.rt.HasInterest(h.acc, "S.x") {
		t.Fatal("no interest while there is a stream")
	}
	h.propose(&meta.StreamDelete{Account: h.acc.Name(), Name: "S"})
	if err := s.ingest.start(); err != nil || h.rt.HasInterest(h.acc, "S.x") {
		t.Errorf("interest after it was deleted, %v", err)
	}
}

// A configuration that only a newer version knows closes the stream and deletes
// nothing.
func TestUnsupportedStreamIsKept(t *testing.T) {
	cfg := streamConfig("S", api.FileStorage, 1)
	h, s := aloneWith(t, cfg)
	h.rt.Publish(h.acc, routerInternal, testMessage("S.x", ""))
	h.until("message", func() bool { return s.store.Reader().State().Msgs == 1 })
	cfg.Metadata = map[string]string{"_nats.req.level": "99"}
	h.propose(&meta.StreamUpdate{Account: h.acc.Name(), Name: "S", Config: mustJSON(t, cfg)})
	h.until("S to be closed", func() bool { return h.node.Stream(h.acc.Name(), "S") == nil })
	cfg.Metadata = nil
	h.propose(&meta.StreamUpdate{Account: h.acc.Name(), Name: "S", Config: mustJSON(t, cfg)})
	h.until("S to be open again", func() bool {
		s = h.node.Stream(h.acc.Name(), "S")
		return s != nil && s.Ready()
	})
	if n := s.store.Reader().State().Msgs; n != 1 {
		t.Fatalf("%d messages", n)
	}
}

func (h *harness) propose(body meta.Body) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if r, err := h.node.ProposeMeta(ctx, body); err != nil || r.Err != nil {
		h.t.Fatal(err, r.Err)
	}
}

// Being elected again at once is a loss of leadership too: what was under way may
// be gone.
func TestElectedAgainAtOnce(t *testing.T) {
	h, s := aloneWith(t, streamConfig("S", api.FileStorage, 1))
	told := make(chan error, 1)
	s.requests.add(h.node.cfg.Clock.Now(), func(_ machine.Reply, err error) { told <- err })
	s.ingest.mu.Lock()
	s.ingest.inflight = []*batch{{first: 1}, {first: 2}, {first: 3}, {first: 4}} // never to be applied
	s.ingest.mu.Unlock()
	s.deltas.mu.Lock()
	s.deltas.inflight = true
	s.deltas.mu.Unlock()
	l := *s.lead.Load()
	l.Term, l.Ready = l.Term+1, false
	s.LeaderChange(l)
	l.Ready = true
	s.LeaderChange(l)
	if err := <-told; !errors.Is(err, errLostLeadership) {
		t.Errorf("a waiter was told %v", err)
	}
	if s.deltas.inflight {
		t.Error("no deltas go out")
	}
	h.until("publishing", func() bool {
		h.rt.Publish(h.acc, routerInternal, testMessage("S.x", ""))
		return s.store.Reader().State().Msgs > 0
	})
}

// A request is answered with the assignment that fulfils it, not by a reconcile
// that began before.
func TestOriginsWaitForTheirRevision(t *testing.T) {
	var w watchList
	now := base.SystemClock.Now()
	w.addOrigin(3, pendingOrigin{revision: 10, since: now})
	w.addOrigin(3, pendingOrigin{revision: 12, since: now, created: true})
	if due := w.takeOrigins(3, 11, now); len(due) != 1 || due[0].revision != 10 {
		t.Fatalf("due: %+v", due)
	}
	if due := w.takeOrigins(3, 12, now); len(due) != 1 || due[0].revision != 12 {
		t.Fatalf("due: %+v", due)
	}
	w.addOrigin(3, pendingOrigin{since: now.Add(-2 * originTime)})
	if due := w.takeOrigins(3, 12, now); len(due) != 0 || len(w.origins) != 0 {
		t.Fatalf("due: %+v", due)
	}
}

// What waits to be proposed is bounded, and the account of it comes back to zero.
func TestIngestIsBounded(t *testing.T) {
	_, s := aloneWith(t, streamConfig("S", api.FileStorage, 1))
	in := &s.ingest
	big := testMessage("S.x", "")
	big.Payload = make([]byte, 1<<20)
	for _, tt := range []struct {
		limits           BacklogLimits
		messages, atMost int // that wait in the end
	}{
		{BacklogLimits{}, 200, 128 << 20},               // a client puts an object of 100 MiB at once
		{BacklogLimits{Bytes: 32 << 20}, 131, 32 << 20}, // 31 big ones
		{BacklogLimits{Bytes: 1 << 20}, 1, 1<<20 + 100}, // what comes alone
		{BacklogLimits{Messages: 40}, 40, 32 << 20},
	} {
		s.node.cfg.Backlog = tt.limits
		in.mu.Lock()
		in.queued = true // nobody flushes
		in.mu.Unlock()
		for range 100 {
			in.take(nil, routerInternal, big)
			in.take(nil, routerInternal, testMessage("S.x", ""))
		}
		in.mu.Lock()
		messages, bytes := in.messages, in.bytes
		in.mu.Unlock()
		if messages != tt.messages || bytes > tt.atMost {
			t.Errorf("%+v: %d messages and %d bytes wait", tt.limits, messages, bytes)
		}
		in.flush()
		emptied(t, in)
	}
}

func emptied(t *testing.T, in *ingest) {
	t.Helper()
	h := &harness{t: t}
	h.until("empty ingest", func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.bytes == 0 && in.messages == 0 && in.open == nil && len(in.full) == 0 && len(in.inflight) == 0
	})
}

// Stopping while everything is busy neither races nor hangs.
func TestStopUnderLoad(t *testing.T) {
	for range 3 {
		h, s := aloneWith(t, streamConfig("S", api.FileStorage, 1))
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					h.rt.Publish(h.acc, routerInternal, testMessage("S.x", "S.y"))
					name := fmt.Sprintf("c%d-%d", i, n)
					_ = s.ProposeFunc(&machine.ConsumerCreate{Time: 1, Runner: s.replica, Config: consumerConfig(name)}, func(machine.Reply, error) {})
					if r := s.Runner(name); r != nil {
						r.Pull(runner.PullRequest{Reply: "S.z", Body: []byte("10")})
					}
					s.dropConsumer(name, 1)
					h.node.reconcile(s)
					h.node.PeerUp(Peer{Node: 77, Name: "ghost"})
					h.node.HandleFrame(77, frameCall, append([]byte("12345678"), byte(methodUsage)))
					h.node.PeerDown(77)
				}
			})
		}
		h.until("messages", func() bool { return s.store.Reader().State().Msgs > 50 })
		h.stop()
		cancel()
		wg.Wait()
		h.node = nil
	}
}

func consumerConfig(name string) api.ConsumerConfig {
	return api.ConsumerConfig{Name: name, Durable: name, AckPolicy: "explicit", DeliverPolicy: "all", ReplayPolicy: "instant", AckWait: time.Minute}
}

func TestWaitersEndOnce(t *testing.T) {
	w := newWaiters[int]()
	now := base.SystemClock.Now()
	ended := 0
	w.add(now, func(int, error) { ended++ })
	seq := w.add(now.Add(time.Second), func(int, error) { t.Error("one of the next term was ended") })
	w.fail(now, errLostLeadership)
	w.fail(now, errLostLeadership)
	if ended != 1 {
		t.Fatalf("ended %d times", ended)
	}
	// A command that was applied and goes on does so under any leader.
	applied := w.add(now, func(int, error) { ended++ })
	w.goesOn(applied)
	if w.fail(now, errLostLeadership); ended != 1 {
		t.Fatal("what goes on was ended")
	}
	if w.take(seq) == nil || w.take(seq) != nil || len(w.wait) != 1 {
		t.Fatal("a waiter was not taken once")
	}
	if w.failAll(errLostLeadership); ended != 2 || len(w.wait) != 0 {
		t.Fatalf("%d ended, %d wait", ended, len(w.wait))
	}
	_, err := w.propose(context.Background(), now, func([]byte) error { return rafthost.ErrNotLeader }, func(uint64) []byte { return nil })
	if !errors.Is(err, rafthost.ErrNotLeader) || len(w.wait) != 0 {
		t.Fatalf("%v, %d wait", err, len(w.wait))
	}
}
