package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/monitor"
)

// importAccounts: B and its streams use what A offers, under prefixes of its own.
const importAccounts = `accounts {
	A {
		users: [ { user: a, password: a } ], jetstream: enabled
		exports: [
			{ service: "svc.>" }, { service: "many", response: stream }, { stream: "news.>" }
			{ service: "$JS.API.>" }, { service: "$JS.ACK.>" }, { service: "$JS.FC.>" }, { service: "$KV.>" }
			{ service: "orders.*" }, { stream: "deliver.>" }
		]
	}
	B {
		users: [ { user: b, password: b } ], jetstream: enabled
		imports: [
			{ service: { account: A, subject: "svc.>" }, to: "a.svc.>" }
			{ service: { account: A, subject: "many" } }
			{ stream: { account: A, subject: "news.>" }, prefix: a }
			{ service: { account: A, subject: "$JS.API.>" }, to: "fromA.>" }
			{ service: { account: A, subject: "$KV.>" }, to: "fromA.$KV.>" }
			{ service: { account: A, subject: "$JS.ACK.>" } }
			{ service: { account: A, subject: "orders.*" } }
			{ stream: { account: A, subject: "deliver.>" } }
		]
	}
}`

func (c *testCluster) connectAs(i int, user string, opts ...nats.Option) *nats.Conn {
	c.t.Helper()
	opts = append(opts, nats.UserInfo(user, user), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	nc, err := nats.Connect(c.servers[i].ClientURL(), append(opts, nats.Timeout(patience))...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// askService asks until somebody is known to answer.
func askService(ctx context.Context, t *testing.T, nc *nats.Conn, subject string) *nats.Msg {
	t.Helper()
	for {
		m, err := nc.RequestWithContext(ctx, subject, []byte("ask"))
		switch {
		case err == nil:
			return m
		case !errors.Is(err, nats.ErrNoResponders):
			t.Fatalf("request %s: %v", subject, err)
		}
	}
}

// TestServicesAcrossNodesAndAccounts has every node's clients of one account ask
// services of another one on every node.
func TestServicesAcrossNodesAndAccounts(t *testing.T) {
	c := startClusterWith(t, 3, importAccounts)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	var asked atomic.Int64
	respond := func(i int, subject, queue string, f nats.MsgHandler) {
		t.Helper()
		nc := c.connectAs(i, "a")
		if _, err := nc.QueueSubscribe(subject, queue, f); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.connectAs(0, "b").Request("a.svc.1", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Fatalf("without a service: %v", err)
	}
	for i := range 3 {
		respond(i, fmt.Sprintf("svc.%d", i), "", func(m *nats.Msg) { m.Respond(fmt.Appendf(nil, "from %d", i)) })
		respond(i, "svc.shared", "q", func(m *nats.Msg) { asked.Add(1); m.Respond(m.Data) })
	}
	for from := range 3 {
		nc := c.connectAs(from, "b")
		for to := range 3 {
			m := askService(ctx, t, nc, fmt.Sprintf("a.svc.%d", to))
			if want := fmt.Sprintf("from %d", to); string(m.Data) != want {
				t.Fatalf("node %d asks node %d: %q", from, to, m.Data)
			}
		}
		askService(ctx, t, nc, "a.svc.shared")
		asked.Store(0)
		for range 100 {
			askService(ctx, t, nc, "a.svc.shared")
		}
		if n := asked.Load(); n != 100 {
			t.Fatalf("100 requests from node %d were taken %d times", from, n)
		}
	}
}

// TestManyAnswersAcrossNodes: the answers of a service end with an empty one.
func TestManyAnswersAcrossNodes(t *testing.T) {
	c := startClusterWith(t, 2, importAccounts)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	service := c.connectAs(1, "a")
	if _, err := service.Subscribe("many", func(m *nats.Msg) {
		for i := range 50 {
			m.Respond(fmt.Appendf(nil, "%d", i))
		}
		m.Respond(nil)
		m.Respond([]byte("too late"))
	}); err != nil {
		t.Fatal(err)
	}
	if err := service.Flush(); err != nil {
		t.Fatal(err)
	}
	nc := c.connectAs(0, "b")
	askService(ctx, t, nc, "many")
	sub, err := nc.SubscribeSync("inbox")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("many", "inbox", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 51 {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(i); i < 50 && string(m.Data) != want || i == 50 && len(m.Data) > 0 {
			t.Fatalf("answer %d is %q", i, m.Data)
		}
	}
	// What comes last on the same way: nothing stands before it.
	if err := nc.PublishRequest("a.svc.none", "inbox", nil); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsgWithContext(ctx); !errors.Is(err, nats.ErrNoResponders) {
		t.Fatalf("after the last answer: %v, %v", m, err)
	}
}

// TestStreamsAcrossNodesAndAccounts: each subscription of an importing account
// gets each message once, on whichever node they are.
func TestStreamsAcrossNodesAndAccounts(t *testing.T) {
	c := startClusterWith(t, 3, importAccounts)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	var subs []*nats.Subscription
	for i := range 3 {
		nc := c.connectAs(i, "b")
		for _, subject := range []string{"a.news.x", "a.news.*"} {
			sub, err := nc.SubscribeSync(subject)
			if err != nil {
				t.Fatal(err)
			}
			subs = append(subs, sub)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		nc := c.connectAs(i, "a")
		c.untilHeard(ctx, nc, subs)
		for n := range 10 {
			if err := nc.Publish("news.x", fmt.Appendf(nil, "%d.%d", i, n)); err != nil {
				t.Fatal(err)
			}
		}
		for _, sub := range subs {
			for n := range 10 {
				m, err := sub.NextMsgWithContext(ctx)
				if err != nil {
					t.Fatalf("%s: %v", sub.Subject, err)
				}
				if want := fmt.Sprintf("%d.%d", i, n); string(m.Data) != want || m.Subject != "a.news.x" {
					t.Fatalf("%s: got %q on %s, want %s", sub.Subject, m.Data, m.Subject, want)
				}
			}
		}
	}
}

// untilHeard publishes until every subscription gets what nc publishes, and takes
// that away.
func (c *testCluster) untilHeard(ctx context.Context, nc *nats.Conn, subs []*nats.Subscription) {
	c.t.Helper()
	inbox := nats.NewInbox()
	for _, sub := range subs {
		for heard := false; !heard; {
			if err := nc.PublishRequest("news.x", inbox, nil); err != nil {
				c.t.Fatal(err)
			}
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			m, err := sub.NextMsgWithContext(short)
			cancel()
			heard = err == nil && m.Reply == inbox
			if ctx.Err() != nil {
				c.t.Fatalf("%s hears nothing", sub.Subject)
			}
		}
	}
	// The last of what was published for others goes first everywhere.
	if err := nc.PublishRequest("news.x", "end"+inbox, nil); err != nil {
		c.t.Fatal(err)
	}
	for _, sub := range subs {
		for {
			m, err := sub.NextMsgWithContext(ctx)
			if err != nil {
				c.t.Fatalf("%s: %v", sub.Subject, err)
			}
			if m.Reply == "end"+inbox {
				break
			}
		}
	}
}

// TestJetStreamAcrossAccounts has clients of one account use the streams of
// another one from every node, while nodes go and come back.
func TestJetStreamAcrossAccounts(t *testing.T) {
	c := startClusterWith(t, 3, importAccounts)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	owner, err := jetstream.New(c.connectAs(0, "a"), jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"orders.*"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	published, seen := 0, map[uint64]bool{}
	for round := range 3 {
		js, err := jetstream.NewWithAPIPrefix(c.connectAs((round+1)%3, "b"), "fromA")
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			publish(ctx, t, js, fmt.Sprintf("orders.%d", published))
			published++
		}
		c.stop(round)
		consumeInto(ctx, t, js, seen, published)
		c.start(round)
		c.ready(round)
	}
	stream, err := owner.Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetMsg(ctx, 1)
	if err != nil || m.Header.Get("Nats-Request-Info") != "" {
		t.Fatalf("stored with header %v, %v", m.Header, err)
	}
}

// TestFastBatchAcrossAccounts publishes a fast batch into a stream of another account, from every node.
func TestFastBatchAcrossAccounts(t *testing.T) {
	c := startClusterWith(t, 3, importAccounts)
	a := c.connectAs(0, "a")
	m, err := a.Request("$JS.API.STREAM.CREATE.S", []byte(`{"name":"S","subjects":["orders.*"],"num_replicas":3,"storage":"file","allow_batched":true}`), patience)
	if err != nil || strings.Contains(string(m.Data), `"error"`) {
		t.Fatal(err, m)
	}
	for i := range 3 {
		s := c.servers[i]
		until(t, "the node knows of the stream", func() bool { return s.router.HasInterest(s.accounts.Account("A"), "orders.1") })
		b := c.connectAs(i, "b")
		inbox := b.NewInbox()
		sub, err := b.SubscribeSync(inbox + ".>")
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct{ part, answer string }{
			{"1.0", `{"type":"ack","seq":0,`},
			{"2.1", `{"type":"ack","seq":2,`},
			{"2.4", `{"type":"ack","seq":2,`}, // a ping, which is not stored
			{"3.2", fmt.Sprintf(`{"stream":"S","seq":%d,"batch":"B%d","count":3}`, 3*(i+1), i)},
		} {
			reply := fmt.Sprintf("%s.B%d.2.fail.%s.$FI", inbox, i, step.part)
			if err := b.PublishRequest("orders.1", reply, nil); err != nil {
				t.Fatal(err)
			}
			m, err := sub.NextMsg(patience)
			if err != nil || m.Subject != reply || !strings.HasPrefix(string(m.Data), step.answer) {
				t.Fatalf("answer to %s: %v, %v", reply, m, err)
			}
		}
	}
}

// TestKeyValueAcrossAccounts puts, gets and watches from every node.
func TestKeyValueAcrossAccounts(t *testing.T) {
	c := startClusterWith(t, 3, importAccounts)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	owner, err := jetstream.New(c.connectAs(0, "a"), jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "KV", Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		js, err := jetstream.NewWithAPIPrefix(c.connectAs(i, "b", nats.CustomInboxPrefix("deliver.inbox")), "fromA")
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.KeyValue(ctx, "KV")
		if err != nil {
			t.Fatal(err)
		}
		key, value := fmt.Sprintf("key%d", i), fmt.Sprintf("value%d", i)
		watcher, err := kv.Watch(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.PutString(ctx, key, value); err != nil {
			t.Fatal(err)
		}
		if e, err := kv.Get(ctx, key); err != nil || string(e.Value()) != value {
			t.Fatalf("get: %v, %v", e, err)
		}
		for watched := false; !watched; {
			select {
			case e := <-watcher.Updates(): // nil after what stood already
				watched = e != nil && string(e.Value()) == value
			case <-ctx.Done():
				t.Fatalf("the watcher on node %d saw nothing", i)
			}
		}
		if err := watcher.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCopiesAcrossAccounts has a stream mirrored and sourced by another account,
// which imports no flow control: more data than flow control would let through.
func TestCopiesAcrossAccounts(t *testing.T) {
	c := startClusterWith(t, 3, importAccounts)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	owner, err := jetstream.New(c.connectAs(0, "a"), jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.*"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	const count = 2000
	payload := make([]byte, 8<<10)
	for n := range count {
		if _, err := owner.PublishAsync(fmt.Sprintf("orders.%d", n), payload); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-owner.PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal("publishing takes too long")
	}
	js, err := jetstream.New(c.connectAs(1, "b"), jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "M", Replicas: 3, Mirror: &jetstream.StreamSource{
			Name: "ORDERS", External: &jetstream.ExternalStream{APIPrefix: "fromA", DeliverPrefix: "deliver.m"}}},
		{Name: "S", Replicas: 3, Sources: []*jetstream.StreamSource{{
			Name: "ORDERS", External: &jetstream.ExternalStream{APIPrefix: "fromA", DeliverPrefix: "deliver.s"}}}},
	} {
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			t.Fatalf("create %s: %v", cfg.Name, err)
		}
	}
	for _, name := range []string{"M", "S"} {
		untilCopied(ctx, t, js, name, count)
	}
	// Acks of the account's own consumers stay in it, although it imports acks.
	cons, err := js.CreateConsumer(ctx, "M", jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := cons.Fetch(10)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		if err := m.DoubleAck(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := cons.Info(ctx); err != nil || info.AckFloor.Stream != 10 {
		t.Fatalf("%+v, %v", info, err)
	}
}

// TestSystemRequestsAndEventsThroughImports has an account ask servers and hear of
// its own clients, as far as the system account lets it.
func TestSystemRequestsAndEventsThroughImports(t *testing.T) {
	c := startClusterWith(t, 2, `accounts {
		"$SYS" {
			users: [ { user: sys, password: sys } ]
			exports: [
				{ service: "$SYS.REQ.SERVER.PING.*", response: stream }
				{ service: "$SYS.REQ.ACCOUNT.*.CONNZ", account_token_position: 4 }
				{ stream: "$SYS.ACCOUNT.*.>", account_token_position: 3 }
			]
		}
		M {
			users: [ { user: m, password: m } ]
			imports: [
				{ service: { account: "$SYS", subject: "$SYS.REQ.SERVER.PING.*" }, to: "ping.*" }
				{ service: { account: "$SYS", subject: "$SYS.REQ.ACCOUNT.M.CONNZ" }, to: connz }
				{ stream: { account: "$SYS", subject: "$SYS.ACCOUNT.M.>" }, to: "events.>" }
			]
		}
		O { users: [ { user: o, password: o } ] }
	}`)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	nc := c.connectAs(0, "m")
	answers, err := nc.SubscribeSync("inbox")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("ping.IDZ", "inbox", nil); err != nil {
		t.Fatal(err)
	}
	servers := map[string]bool{}
	for len(servers) < 2 {
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var id struct{ Name string }
		if err := json.Unmarshal(m.Data, &id); err != nil {
			t.Fatal(err)
		}
		servers[id.Name] = true
	}
	askService(ctx, t, nc, "connz")
	events, err := nc.SubscribeSync("events.CONNECT")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c.connectAs(0, "o")
	c.connectAs(0, "m", nats.Name("second"))
	m, err := events.NextMsgWithContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var event struct{ Client struct{ Name, Acc string } }
	if err := json.Unmarshal(m.Data, &event); err != nil || event.Client.Name != "second" || event.Client.Acc != "M" {
		t.Fatalf("%+v, %v of %s", event, err, m.Data)
	}
}

// TestAccountzOfImports shows what an account offers and uses.
func TestAccountzOfImports(t *testing.T) {
	cfg, err := conf.Parse(`listen: "127.0.0.1:-1"
		accounts {
			A { exports: [ { service: "s.*.*", accounts: [B], response: stream }, { stream: "n.>" } ] }
			B { imports: [ { service: { account: A, subject: "s.*.*" }, to: "x.$2.$1", share: true }, { stream: { account: A, subject: "n.>" }, prefix: p } ] }
		}`, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, base.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		account string
		want    string
	}{
		{"A", `{"exports":[{"subject":"s.*.*","type":"service","response_type":"Streamed","approved_accounts":["B"]},{"subject":"n.\u003e","type":"stream"}],"imports":null}`},
		{"B", `{"exports":null,"imports":[{"subject":"n.\u003e","account":"A","local_subject":"p.n.\u003e","type":"stream","invalid":false,"share":false,"tracking":false},` +
			`{"subject":"s.*.*","account":"A","to":"x.*.*","local_subject":"x.*.*","type":"service","invalid":false,"share":true,"tracking":false}]}`},
	} {
		z, err := s.system.doc.Accountz(monitor.AccountzOptions{Account: c.account})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(map[string]any{"exports": z.Account.Exports, "imports": z.Account.Imports})
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != c.want {
			t.Errorf("account %s: %s", c.account, text)
		}
	}
}
