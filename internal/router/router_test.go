package router

import (
	"fmt"
	"slices"
	"testing"

	"weir/internal/account"
	"weir/internal/base"
)

// fakeClient records what it is given.
type fakeClient struct {
	got     []string
	flushes int
	closed  bool
	mark    Mark
}

func (c *fakeClient) Receive(s *Sub, b *Batch, m *Msg) bool {
	if c.closed {
		return false
	}
	c.got = append(c.got, fmt.Sprintf("%s:%s:%s", s.SID, m.Subject, m.Payload))
	if b != nil {
		b.Touch(&c.mark, c)
	}
	return true
}
func (c *fakeClient) Ended(*Sub)             {}
func (c *fakeClient) Flush() <-chan struct{} { c.flushes++; return nil }
func (c *fakeClient) Describe() *ClientInfo  { return &ClientInfo{Name: "fake"} }

type fakeRemote struct {
	node base.NodeID
	got  []string
}

func (f *fakeRemote) Node() base.NodeID      { return f.node }
func (f *fakeRemote) Flush() <-chan struct{} { return nil }
func (f *fakeRemote) Deliver(acc string, b *Batch, m *Msg, queues []string) {
	queues = slices.Clone(queues)
	slices.Sort(queues)
	f.got = append(f.got, fmt.Sprintf("%s %s %v", acc, m.Subject, queues))
}

type interestLog []string

func (l *interestLog) Interest(acc, subj, queue string, count int) {
	*l = append(*l, fmt.Sprintf("%s/%s/%s=%d", acc, subj, queue, count))
}

func msg(subj string) *Msg { return &Msg{Subject: []byte(subj), Payload: []byte("x")} }

func mustSubscribe(t *testing.T, r *Router, acc *account.Account, c Client, subj, queue, sid string) *Sub {
	t.Helper()
	s, err := r.SubscribeClient(acc, c, ClientSub{Subject: subj, Queue: queue, SID: sid})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

func TestPlainQueueAndAccounts(t *testing.T) {
	r := New(1)
	a, b := account.New("A"), account.New("B")
	var one, two, other fakeClient
	mustSubscribe(t, r, a, &one, "foo.*", "", "1")
	mustSubscribe(t, r, a, &one, "foo.bar", "q", "2")
	mustSubscribe(t, r, a, &two, "foo.>", "q", "3")
	mustSubscribe(t, r, b, &other, ">", "", "4")
	for range 20 {
		if n := r.Publish(a, Internal, msg("foo.bar")); n != 2 {
			t.Fatalf("delivered to %d", n)
		}
	}
	if len(two.got) == 0 || len(one.got) == 20 || len(one.got)+len(two.got) != 40 {
		t.Fatalf("queue group was not shared: %d and %d", len(one.got), len(two.got))
	}
	if len(other.got) != 0 {
		t.Fatalf("other account got %q", other.got)
	}
	if one.flushes != len(one.got) {
		t.Fatalf("%d flushes without a batch, %d messages", one.flushes, len(one.got))
	}
	two.closed = true
	two.got = nil
	for range 20 {
		r.Publish(a, Internal, msg("foo.bar"))
	}
	expect(t, "closed member", two.got, nil)
}

func TestNoEchoAndBatch(t *testing.T) {
	r := New(1)
	a := account.New("A")
	var one, two fakeClient
	mustSubscribe(t, r, a, &one, "s", "", "1")
	mustSubscribe(t, r, a, &two, "s", "", "2")
	var b Batch
	from := FromClient(&one, true, &b)
	for range 3 {
		if n := r.Publish(a, from, msg("s")); n != 1 {
			t.Fatalf("delivered to %d", n)
		}
	}
	if two.flushes != 0 {
		t.Fatal("flushed before the batch ended")
	}
	b.Flush()
	b.Flush()
	if two.flushes != 1 || len(two.got) != 3 || len(one.got) != 0 {
		t.Fatalf("flushes %d, got %q and own %q", two.flushes, two.got, one.got)
	}
	if n := r.Publish(a, FromClient(&one, false, &b), msg("s")); n != 2 {
		t.Fatalf("with echo delivered to %d", n)
	}
}

func TestLimit(t *testing.T) {
	r := New(1)
	a := account.New("A")
	var one fakeClient
	s := mustSubscribe(t, r, a, &one, "s", "", "1")
	r.Publish(a, Internal, msg("s"))
	if r.SetLimit(s, 3) {
		t.Fatal("ended too early")
	}
	for range 5 {
		r.Publish(a, Internal, msg("s"))
	}
	if len(one.got) != 3 || !s.Closed() || r.HasInterest(a, "s") {
		t.Fatalf("got %d messages, closed %v", len(one.got), s.Closed())
	}
	s = mustSubscribe(t, r, a, &one, "s", "", "2")
	r.Publish(a, Internal, msg("s"))
	if !r.SetLimit(s, 1) {
		t.Fatal("limit already reached, but the subscription stays")
	}
}

func TestInternalAndLocal(t *testing.T) {
	r := New(1)
	a := account.New("A")
	var got []string
	record := func(s *Sub, from Source, m *Msg) {
		name := "-"
		if from.Client() != nil {
			name = from.Client().Name
		}
		got = append(got, fmt.Sprintf("%s %s %s", s.Subject, from.Kind(), name))
	}
	if _, err := r.Subscribe(a, "api.>", "", record, SubOptions{Local: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Subscribe(a, "*.x", "", record, SubOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Subscribe(a, "a..b", "", record, SubOptions{}); err == nil {
		t.Fatal("invalid subject accepted")
	}
	r.Publish(a, FromClient(&fakeClient{}, false, nil), msg("api.x"))
	r.Inbound(&fakeRemote{}, nil).Deliver([]byte("A"), msg("api.x"), nil)
	slices.Sort(got)
	expect(t, "handlers", got, []string{"*.x Client fake", "*.x Router -", "api.> Client fake"})
}

func TestPeers(t *testing.T) {
	r := New(1)
	a := account.New("A")
	p1, p2 := &fakeRemote{node: 1}, &fakeRemote{node: 2}
	r.RemoteInterest(p1, "A", "foo.*", "", 1)
	r.RemoteInterest(p1, "A", "foo.bar", "", 1)
	r.RemoteInterest(p1, "A", "foo.bar", "q", 1)
	r.RemoteInterest(p2, "A", "foo.bar", "q", 9)
	r.RemoteInterest(p2, "A", "foo.bar", "w", 1)
	var c fakeClient
	w := mustSubscribe(t, r, a, &c, "foo.bar", "w", "1")

	r.Publish(a, Internal, msg("foo.baz"))
	expect(t, "p1 plain", p1.got, []string{"A foo.baz []"})
	expect(t, "p2 plain", p2.got, nil)

	p1.got = nil
	for range 100 {
		r.Publish(a, Internal, msg("foo.bar"))
	}
	if len(p1.got) != 100 || len(c.got) != 100 {
		t.Fatalf("plain interest of p1 served %d times, local queue %d", len(p1.got), len(c.got))
	}
	if n := len(p2.got); n < 75 || n > 99 || slices.ContainsFunc(p2.got, func(s string) bool { return s != "A foo.bar [q]" }) {
		t.Fatalf("weights: p2 got %d of 100: %q", n, p2.got[:1])
	}
	r.Unsubscribe(w)
	r.RemoteInterest(p2, "A", "foo.bar", "q", 0)
	p1.got, p2.got = nil, nil
	r.Publish(a, Internal, msg("foo.bar"))
	expect(t, "p1", p1.got, []string{"A foo.bar [q]"})
	expect(t, "p2", p2.got, []string{"A foo.bar [w]"})

	r.RemotePeerGone(p1)
	r.RemotePeerGone(p2)
	if r.HasInterest(a, "foo.bar") || r.Publish(a, Internal, msg("foo.bar")) != 0 {
		t.Fatal("interest left")
	}
}

func TestInbound(t *testing.T) {
	r := New(1)
	a := account.New("A")
	p := &fakeRemote{node: 1}
	r.RemoteInterest(p, "A", ">", "", 1)
	var c fakeClient
	mustSubscribe(t, r, a, &c, "foo", "", "1")
	mustSubscribe(t, r, a, &c, "foo", "q", "2")
	mustSubscribe(t, r, a, &c, "foo", "w", "3")
	in := r.Inbound(p, nil)
	in.Deliver([]byte("A"), msg("foo"), nil)
	in.Deliver([]byte("A"), msg("foo"), []string{"w"})
	expect(t, "from route", c.got, []string{"1:foo:x", "1:foo:x", "3:foo:x"})
	expect(t, "forwarded again", p.got, nil)
}

func TestInterestListener(t *testing.T) {
	r := New(1)
	a := account.New("A")
	var c fakeClient
	s1 := mustSubscribe(t, r, a, &c, "foo", "", "1")
	mustSubscribe(t, r, a, &c, "bar", "q", "2")
	s3 := mustSubscribe(t, r, a, &c, "bar", "q", "3")
	var seen []string
	r.SetInterestWatcher(func(acc, subj string) { seen = append(seen, acc+"/"+subj) })
	var log interestLog
	r.SetInterestListener(&log)
	slices.Sort(log)
	expect(t, "replay", log, []string{"A/bar/q=2", "A/foo/=1"})
	log = nil
	s4 := mustSubscribe(t, r, a, &c, "foo", "", "4")
	if _, err := r.Subscribe(a, "local", "", func(*Sub, Source, *Msg) {}, SubOptions{Local: true}); err != nil {
		t.Fatal(err)
	}
	r.Unsubscribe(s1)
	r.Unsubscribe(s1)
	r.Unsubscribe(s3)
	r.Unsubscribe(s4)
	expect(t, "changes", log, []string{"A/bar/q=1", "A/foo/=0"})
	p := &fakeRemote{node: 1}
	r.RemoteInterest(p, "A", "baz", "", 1)
	r.RemotePeerGone(p)
	expect(t, "watched", seen, []string{"A/foo", "A/baz", "A/baz"})
	n := 0
	r.Subscriptions(func(acc string, s *Sub) bool { n++; return acc == "A" })
	if n != 2 {
		t.Fatalf("%d subscriptions", n)
	}
}

func TestPublishDoesNotAllocate(t *testing.T) {
	r := New(1)
	a := account.New("A")
	nop := &nopClient{}
	mustSubscribe(t, r, a, nop, "foo.*", "", "1")
	mustSubscribe(t, r, a, nop, "foo.>", "q", "2")
	mustSubscribe(t, r, a, nop, "foo.>", "q", "3")
	r.RemoteInterest(&nopRemote{}, "A", "foo.*", "w", 1)
	var b Batch
	from := FromClient(nop, false, &b)
	m := msg("foo.bar")
	if n := testing.AllocsPerRun(1000, func() { r.Publish(a, from, m); b.Flush() }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

type nopClient struct{ mark Mark }

func (c *nopClient) Receive(s *Sub, b *Batch, m *Msg) bool { b.Touch(&c.mark, c); return true }
func (c *nopClient) Ended(*Sub)                            {}
func (c *nopClient) Flush() <-chan struct{}                { return nil }
func (c *nopClient) Describe() *ClientInfo                 { return nil }

type nopRemote struct{ n int }

func (c *nopRemote) Node() base.NodeID                      { return 1 }
func (c *nopRemote) Deliver(string, *Batch, *Msg, []string) { c.n++ }
func (c *nopRemote) Flush() <-chan struct{}                 { return nil }

func BenchmarkPublish(b *testing.B) {
	r := New(1)
	a := account.New("A")
	nop := &nopClient{}
	if _, err := r.SubscribeClient(a, nop, ClientSub{Subject: "foo.*", SID: "1"}); err != nil {
		b.Fatal(err)
	}
	var batch Batch
	from := FromClient(nop, false, &batch)
	m := msg("foo.bar")
	b.ReportAllocs()
	for b.Loop() {
		r.Publish(a, from, m)
	}
}

// Several peers forward messages at a time.
func BenchmarkInbound(b *testing.B) {
	r := New(1)
	for i := range 2 {
		a := account.New(fmt.Sprint("A", i))
		if _, err := r.SubscribeClient(a, &nopClient{}, ClientSub{Subject: "foo.*", SID: "1"}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		in, acc, m := r.Inbound(new(nopRemote), new(Batch)), []byte("A1"), msg("foo.bar")
		for pb.Next() {
			in.Deliver(acc, m, nil)
		}
	})
}

func TestHasGroup(t *testing.T) {
	r := New(1)
	acc := account.New("A")
	nop := func(*Sub, Source, *Msg) {}
	plain, err := r.Subscribe(acc, "a", "", nop, SubOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.HasGroup(acc, "a", "g") {
		t.Error("a plain subscription counts as a member of a group")
	}
	if _, err := r.Subscribe(acc, "*", "g", nop, SubOptions{}); err != nil {
		t.Fatal(err)
	}
	r.Unsubscribe(plain)
	if !r.HasGroup(acc, "a", "g") || r.HasGroup(acc, "a", "h") || r.HasGroup(acc, "a.b", "g") {
		t.Error("the group is not found by its subject and name")
	}
}
