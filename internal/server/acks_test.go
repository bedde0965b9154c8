package server

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/base"
)

const ackV2 = "feature_flags { js_ack_fc_v2: true }\n"

// scoped demands that a subject is of a kind ($JS.ACK. or $JS.FC.) and names a domain and account.
func scoped(t *testing.T, subject, kind, domain, account string) {
	t.Helper()
	if want := kind + domain + "." + base.ShortName(account) + ".S."; !strings.HasPrefix(subject, want) {
		t.Errorf("subject %s does not begin with %s", subject, want)
	}
}

// TestAcksOfVersion2 has subjects of acks name the domain and account, and takes
// acks in either form, but none that names others.
func TestAcksOfVersion2(t *testing.T) {
	s := startWith(t, ackV2+`listen: "127.0.0.1:-1", jetstream { domain: hub }
		accounts { A { users: [ { user: a, password: pw } ], jetstream: enabled } }`)
	nc := connect(t, s, "a")
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	c, err := js.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := js.Publish(ctx, "s", nil); err != nil {
			t.Fatal(err)
		}
	}
	next := func() jetstream.Msg {
		t.Helper()
		m, err := c.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := next()
	hash := base.ShortName("A")
	scoped(t, m.Reply(), "$JS.ACK.", "hub", "A")
	if meta, err := m.Metadata(); err != nil || meta.Domain != "hub" || meta.Stream != "S" || meta.Sequence.Stream != 1 || meta.NumPending != 3 {
		t.Errorf("metadata %+v, %v", meta, err)
	}
	if err := m.DoubleAck(ctx); err != nil {
		t.Error(err)
	}
	for _, foreign := range []string{"$JS.ACK._." + hash, "$JS.ACK.hub." + base.ShortName("B")} {
		subject := strings.Replace(next().Reply(), "$JS.ACK.hub."+hash, foreign, 1)
		if _, err := nc.Request(subject, []byte("+ACK"), patience); err != nats.ErrNoResponders {
			t.Errorf("ack to %s: %v", subject, err)
		}
	}
	if info, err := c.Info(ctx); err != nil || info.NumAckPending != 2 {
		t.Fatalf("%+v, %v", info, err)
	}
	older := strings.Replace(next().Reply(), "hub."+hash+".", "", 1)
	if _, err := nc.Request(older, []byte("+ACK"), patience); err != nil {
		t.Errorf("ack to %s: %v", older, err)
	}
	if info, err := c.Info(ctx); err != nil || info.NumAckPending != 2 || info.AckFloor.Stream != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestVersion2AcrossNodes has clients of every node pull from, ack to and confirm
// flow control of consumers that run on any node.
func TestVersion2AcrossNodes(t *testing.T) {
	c := startClusterWith(t, 3, ackV2)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	_, js := c.connect(0)
	const size, n = 4096, 60
	for _, replicas := range []int{1, 3} {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: replicas}); err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := js.Publish(ctx, "s", make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			nc, js := c.connect(i)
			pullAndAck(ctx, t, js, fmt.Sprint("C", i))
			pushWithFlowControl(t, nc, "_", "$G", n, nil)
			readInOrder(ctx, t, js, n)
		}
		if err := js.DeleteStream(ctx, "S"); err != nil {
			t.Fatal(err)
		}
	}
}

// pullAndAck acks a message and has that confirmed.
func pullAndAck(ctx context.Context, t *testing.T, js jetstream.JetStream, name string) {
	t.Helper()
	c, err := js.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	scoped(t, m.Reply(), "$JS.ACK.", "_", "$G")
	if err := m.DoubleAck(ctx); err != nil {
		t.Error(err)
	}
	if info, err := c.Info(ctx); err != nil || info.AckFloor.Stream != 1 || info.NumAckPending != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

// pushWithFlowControl takes n messages of a new push consumer, which sends them all only if what it asks for flow
// control is answered.
func pushWithFlowControl(t *testing.T, nc *nats.Conn, domain, account string, n int, opts []nats.JSOpt) {
	t.Helper()
	js, err := nc.JetStream(append(opts, nats.MaxWait(patience))...)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := nc.SubscribeSync("deliver." + nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	info, err := js.AddConsumer("S", &nats.ConsumerConfig{
		DeliverSubject: sub.Subject, AckPolicy: nats.AckNonePolicy, FlowControl: true, Heartbeat: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for got := 0; got < n; {
		m, err := sub.NextMsg(patience)
		switch {
		case err != nil:
			t.Fatalf("after %d messages: %v", got, err)
		case m.Header.Get("Status") == "":
			scoped(t, m.Reply, "$JS.ACK.", domain, account)
			got++
		case m.Reply != "":
			scoped(t, m.Reply, "$JS.FC.", domain, account)
			asked++
			if err := m.Respond(nil); err != nil {
				t.Fatal(err)
			}
		case m.Header.Get("Nats-Consumer-Stalled") != "":
			t.Fatalf("stalled after %d messages: %v", got, m.Header)
		}
	}
	if asked == 0 {
		t.Error("flow control was never asked for")
	}
	if err := js.DeleteConsumer("S", info.Name); err != nil {
		t.Error(err)
	}
}

func readInOrder(ctx context.Context, t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	c, err := js.OrderedConsumer(ctx, "S", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	for m := range batch.Messages() {
		seq++
		if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != seq {
			t.Fatalf("%+v, %v", meta, err)
		}
	}
	if seq != uint64(n) || batch.Error() != nil {
		t.Errorf("%d messages of %d, %v", seq, n, batch.Error())
	}
}

// TestVersion2AcrossAccounts: an account that has a stream of the same name as the
// one it imports acks messages of either, and of no other.
func TestVersion2AcrossAccounts(t *testing.T) {
	accounts := strings.Replace(importAccounts, `{ service: { account: A, subject: "orders.*" } }`,
		`{ service: { account: A, subject: "orders.*" } }, { service: { account: A, subject: "$JS.FC.>" } }`, 1)
	c := startClusterWith(t, 3, ackV2+accounts)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	client := func(js jetstream.JetStream, err error) jetstream.JetStream {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	owner := client(jetstream.New(c.connectAs(0, "a"), jetstream.WithDefaultTimeout(patience)))
	nc := c.connectAs(1, "b")
	own := client(jetstream.New(nc, jetstream.WithDefaultTimeout(patience)))
	imported := client(jetstream.NewWithAPIPrefix(nc, "fromA", jetstream.WithDefaultTimeout(patience)))
	for js, subject := range map[jetstream.JetStream]string{owner: "orders.*", own: "own"} {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{subject}, Replicas: 3}); err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			if _, err := js.Publish(ctx, strings.Replace(subject, "*", "1", 1), bytes.Repeat([]byte("x"), 4096)); err != nil {
				t.Fatal(err)
			}
		}
	}
	floors := func(what string, a, b uint64) {
		t.Helper()
		for js, want := range map[jetstream.JetStream]uint64{owner: a, own: b} {
			con, err := js.Consumer(ctx, "S", "C")
			if err != nil {
				t.Fatal(err)
			}
			if info, err := con.Info(ctx); err != nil || info.AckFloor.Stream != want {
				t.Errorf("%s: %+v, %v", what, info.AckFloor, err)
			}
		}
	}
	ackOne := func(js jetstream.JetStream, account string) {
		t.Helper()
		con, err := js.Consumer(ctx, "S", "C")
		if err != nil {
			t.Fatal(err)
		}
		m, err := con.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		scoped(t, m.Reply(), "$JS.ACK.", "_", account)
		if err := m.DoubleAck(ctx); err != nil {
			t.Error(err)
		}
	}
	ackOne(own, "B")
	floors("own", 0, 1)
	ackOne(imported, "A")
	floors("imported", 1, 1)
	pushWithFlowControl(t, nc, "_", "A", 60, []nats.JSOpt{nats.APIPrefix("fromA")})
}

// TestFeatureFlagsAreShown in monitoring and to those who hear of servers.
func TestFeatureFlagsAreShown(t *testing.T) {
	const want = `map[js_ack_fc_v2:true js_api_reply_v2:false js_raft_delete_range:true js_snapshot_sources:false]`
	s := startWith(t, ackV2+monitoredConfig)
	sys := connect(t, s, "sys")
	for _, request := range []string{"VARZ", "STATSZ"} {
		if got := ask(t, sys, "$SYS.REQ.SERVER.PING."+request, "", "server", "feature_flags"); got != want {
			t.Errorf("%s by %s", request, got)
		}
	}
	if got := ask(t, sys, "$SYS.REQ.SERVER.PING.VARZ", "", "data", "feature_flags"); got != want {
		t.Error("varz:", got)
	}
}

// TestNodesOfBothVersions: whoever runs a consumer decides on the form, and clients
// of every other node can answer.
func TestNodesOfBothVersions(t *testing.T) {
	c := startClusterWith(t, 3, "")
	c.stop(0)
	c.configs[0] += ackV2
	c.start(0)
	c.ready(0)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	_, js := c.connect(1)
	forms := map[bool]int{}
	for i := range 12 {
		name := fmt.Sprint("S", i)
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}}); err != nil {
			t.Fatal(err)
		}
		publish(ctx, t, js, name)
		con, err := js.CreateConsumer(ctx, name, jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			t.Fatal(err)
		}
		m, err := con.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.DoubleAck(ctx); err != nil {
			t.Error(err)
		}
		forms[strings.HasPrefix(m.Reply(), "$JS.ACK._.")]++
	}
	if forms[true] == 0 || forms[false] == 0 {
		t.Errorf("consumers by whether the form is the second: %v", forms)
	}
}
