package jetstream

import (
	"context"
	"slices"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/runner"
)

// Memory streams that lost every replica come back empty and with their consumers.
func TestConsumersOfMemoryStreamsComeBack(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("ONE", api.MemoryStorage, 1), c.all[1])
	from := streamConfig("FROM", api.MemoryStorage, 1)
	from.FirstSeq = 100
	c.createStream(from, c.all[2])
	c.createStream(streamConfig("THREE", api.MemoryStorage, 3), c.all...)
	streams := []string{"ONE", "FROM", "THREE"}
	for _, name := range streams {
		c.publish(name)
		for _, consumer := range []string{"kept", "changed", "deleted"} {
			c.createConsumer(name, consumer)
		}
		s := c.leader(name).stream(name)
		changed := consumerConfig("changed")
		changed.Description = "changed"
		demand(t, s, &machine.ConsumerCreate{Time: 1, Runner: s.replica, Config: changed})
		demand(t, s, &machine.ConsumerDelete{Name: "deleted"})
	}
	for range 2 {
		c.until("the deletion everywhere", func() bool {
			return !slices.ContainsFunc(c.all, func(h *harness) bool {
				s := h.stream("THREE")
				return s == nil || s.hasConsumer("deleted")
			})
		})
		for _, h := range c.all {
			c.kill(h)
		}
		for _, h := range c.all {
			c.start(h)
		}
		c.untilHealthy()
		for _, name := range streams {
			s := c.leader(name).stream(name)
			if n := s.Store().Reader().State().Msgs; n != 0 {
				t.Errorf("%s has %d messages", name, n)
			}
			if s.hasConsumer("deleted") || s.ConsumerInfo("changed").Config.Description != "changed" {
				t.Errorf("%s does not have the consumers that it had", name)
			}
			c.publish(name)
			c.pullNext(name, "kept")
		}
	}
}

// A memory stream that lost its majority goes on with what is left of it, and loses
// neither its messages nor its consumers' positions, whoever of the three is left.
func TestMemoryStreamWithoutMajority(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("S", api.MemoryStorage, 3), c.all...)
	c.createConsumer("S", "C")
	c.publish("S")
	c.ackAll("S", "C", 1)
	for _, left := range []func() *harness{
		func() *harness { return c.leader("S") },
		func() *harness { return c.other("S") },
		func() *harness { return c.all[0] },
	} {
		c.publish("S")
		left := left()
		t.Logf("%s is left of the servers, %s led", left.name, c.leader("S").name)
		c.untilEqual("S")
		want := left.stream("S").Store().Reader().State()
		for _, h := range c.all {
			if h != left {
				c.kill(h)
			}
		}
		for _, h := range c.all {
			if h != left {
				c.start(h)
			}
		}
		c.untilHealthy()
		s := c.leader("S").stream("S")
		if st := s.Store().Reader().State(); st.Msgs != want.Msgs || st.LastSeq != want.LastSeq {
			t.Fatalf("%d messages of %d, the last is %d", st.Msgs, want.Msgs, st.LastSeq)
		}
		if at := s.ConsumerInfo("C").AckFloor.Stream; at != 1 {
			t.Errorf("the consumer's ack floor is %d", at)
		}
		if len(c.voters("S")) != 3 {
			t.Errorf("voters are %v", c.voters("S"))
		}
	}
	c.publish("S")
	c.pullNext("S", "C")
}

// untilEqual waits until all replicas of a stream have applied the same.
func (c *testCluster) untilEqual(stream string) {
	c.until("equal replicas of "+stream, func() bool {
		return !slices.ContainsFunc(c.all, func(h *harness) bool {
			s := h.stream(stream)
			return s == nil || s.Applied() != c.leader(stream).stream(stream).Applied()
		})
	})
}

// other is a node that does not lead a stream.
func (c *testCluster) other(stream string) *harness {
	leader := c.leader(stream)
	return c.all[slices.IndexFunc(c.all, func(h *harness) bool { return h != leader })]
}

// pullNext pulls the next message of a consumer, where it runs.
func (c *testCluster) pullNext(stream, consumer string) {
	c.t.Helper()
	h := c.runner(stream, consumer)
	msgs := h.inbox("inbox")
	h.stream(stream).Runner(consumer).Pull(runner.PullRequest{Reply: "inbox", Body: []byte("1")})
	if m := h.receive(msgs); string(m.Subject) != stream+".x" {
		c.t.Fatalf("got a message on %s", m.Subject)
	}
}

func demand(t *testing.T, s *Stream, cmd machine.Command) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.demand(ctx, cmd); err != nil {
		t.Fatal(err)
	}
}

// A leader that finds a stream half revived goes on where the one before it ended.
func TestReviveGoesOn(t *testing.T) {
	h, s := aloneWith(t, streamConfig("S", api.MemoryStorage, 1))
	for _, name := range []string{"a", "b"} {
		demand(t, s, &machine.ConsumerCreate{Time: 1, Runner: s.replica, Config: consumerConfig(name)})
	}
	half := streamConfig("S", api.MemoryStorage, 1)
	// The reconciler leaves alone what is restored from a backup.
	other := &meta.Assignment{Account: s.Account(), Name: "T", Group: 1 << 40, Config: &half, Restoring: true}
	r := base.Replica{ID: 1 << 40, Node: h.node.cfg.Identity.Node}
	other.Replicas, other.Members = []base.Replica{r}, []base.Replica{r}
	h.node.kept.change(other.Group, func(list map[string]keptConsumer) {
		for _, c := range h.node.kept.groups[s.id] {
			list[c.Config.Name] = c
		}
	})
	u, err := h.node.openStream(other, r, other.Replicas, true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		u.close(runner.CloseShutdown)
		if err := h.node.host.Close(u.id); err != nil {
			t.Error(err)
		}
	}()
	h.until("leader", u.Leads)
	demand(t, u, &machine.Init{Config: half, Loading: true})
	if u.Ready() {
		t.Error("a stream whose consumers are yet to come takes requests")
	}
	demand(t, u, &machine.LoadConsumer{Time: 1, Config: consumerConfig("b")})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := u.putConfig(ctx, other); err != nil {
		t.Fatal(err)
	}
	if !u.Ready() || !u.hasConsumer("a") || !u.hasConsumer("b") {
		t.Error("the stream is not complete")
	}
}

// Files are written while the node runs, and go with their streams.
func TestKeptConsumersAreOnDisk(t *testing.T) {
	h, s := aloneWith(t, streamConfig("S", api.MemoryStorage, 1))
	kept := func() []keptConsumer {
		k, err := openKept(h.fs, "store", testLogger{t})
		if err != nil {
			t.Fatal(err)
		}
		return k.of(s.id)
	}
	demand(t, s, &machine.ConsumerCreate{Time: 1, Runner: s.replica, Config: consumerConfig("c")})
	h.until("c on disk", func() bool { return len(kept()) == 1 })
	if c := kept()[0]; c.Created != 1 || c.Config.Name != "c" || c.Config.AckWait != time.Minute {
		t.Errorf("kept %+v", c)
	}
	h.propose(&meta.StreamDelete{Account: h.acc.Name(), Name: "S"})
	h.until("end of S", func() bool { return h.node.Stream(h.acc.Name(), "S") == nil })
	h.node.checkpoint()
	h.until("end of the file", func() bool { return len(kept()) == 0 })
}

// A file that can not be read stops nothing.
func TestDamagedKeptFile(t *testing.T) {
	fs := newMemFS()
	k, err := openKept(fs, "store", testLogger{t})
	if err != nil {
		t.Fatal(err)
	}
	if err := writeDurably(fs, k.dir, k.path(7), []byte(`{"version":1,"cons`)); err != nil {
		t.Fatal(err)
	}
	if k, err = openKept(fs, "store", testLogger{t}); err != nil || k.any(7) {
		t.Fatalf("%v, %d consumers", err, len(k.of(7)))
	}
}
