package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// TestAdvisories does what advisories tell of and checks each by its schema.
func TestAdvisories(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	nc := startOne(ctx, t, weirBin, 3)
	sub, err := nc.SubscribeSync("$JS.EVENT.>")
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg := jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}
	s, err := js.CreateStream(ctx, cfg)
	must(err)
	cfg.Description = "changed"
	_, err = js.UpdateStream(ctx, cfg)
	must(err)
	for range 3 {
		_, err = js.Publish(ctx, "s", nil)
		must(err)
	}
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 1, AckWait: 300 * time.Millisecond, SampleFrequency: "100%",
	})
	must(err)
	for _, end := range []func(jetstream.Msg) error{
		func(m jetstream.Msg) error { return m.DoubleAck(ctx) },
		func(m jetstream.Msg) error { return m.TermWithReason("no") },
		func(m jetstream.Msg) error { return m.Nak() },
	} {
		m, err := c.Next(jetstream.FetchMaxWait(5 * time.Second))
		must(err)
		must(end(m))
	}
	if _, err := c.Fetch(1, jetstream.FetchMaxWait(time.Second)); err != nil { // brings the message past its limit
		t.Fatal(err)
	}
	_, err = s.PauseConsumer(ctx, "c", time.Now().Add(time.Hour))
	must(err)
	_, err = nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.S", nil, 5*time.Second)
	must(err)
	must(s.DeleteConsumer(ctx, "c"))
	must(js.DeleteStream(ctx, "S"))
	wantAdvisories(t, sub, "API", "STREAM.CREATED.S", "STREAM.UPDATED.S", "STREAM.DELETED.S", "STREAM.LEADER_ELECTED.S",
		"CONSUMER.CREATED.S.c", "CONSUMER.DELETED.S.c", "CONSUMER.LEADER_ELECTED.S.c", "CONSUMER.PAUSE.S.c",
		"CONSUMER.MSG_NAKED.S.c", "CONSUMER.MSG_TERMINATED.S.c", "CONSUMER.MAX_DELIVERIES.S.c", "CONSUMER.ACK.S.c")
}

// advisoryAccounts has a system account, which some advisories go to.
const advisoryAccounts = `
system_account: SYS
accounts {
  SYS { users: [{user: sys, password: pw}] }
  APP { jetstream: enabled, users: [{user: app, password: pw}] }
}`

// advised is a cluster with what listens to its advisories.
type advised struct {
	*procs.Cluster
	app, sys     *nats.Conn
	js           jetstream.JetStream
	inApp, inSys *nats.Subscription
}

func startAdvised(ctx context.Context, t *testing.T, nodes int) *advised {
	t.Helper()
	c, err := procs.New(procs.Spec{Bin: weirBin, Dir: t.TempDir(), Nodes: nodes, Extra: advisoryAccounts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	a := &advised{Cluster: c}
	connect := func(user string) (*nats.Conn, *nats.Subscription) {
		nc, err := nats.Connect(c.Nodes[0].URL(), nats.UserInfo(user, "pw"), nats.DontRandomize(), nats.IgnoreDiscoveredServers())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		sub, err := nc.SubscribeSync("$JS.EVENT.>")
		if err != nil {
			t.Fatal(err)
		}
		return nc, sub
	}
	a.app, a.inApp = connect("app")
	a.sys, a.inSys = connect("sys")
	if a.js, err = jetstream.New(a.app); err != nil {
		t.Fatal(err)
	}
	return a
}

// request sends a request to the API and wants no error.
func (a *advised) request(t *testing.T, nc *nats.Conn, subj, body string) *nats.Msg {
	t.Helper()
	m, err := nc.Request("$JS.API."+subj, []byte(body), 20*time.Second)
	if err != nil || strings.Contains(string(m.Data), `"error"`) {
		t.Fatalf("%s: %v %s", subj, err, m.Data)
	}
	return m
}

// TestAdvisoriesOfOperation has batches dropped, clients pinned, and a stream backed up and restored.
func TestAdvisoriesOfOperation(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	a := startAdvised(ctx, t, 3)
	a.request(t, a.app, "STREAM.CREATE.S", `{"name":"S","subjects":["s"],"num_replicas":3,"storage":"file","allow_atomic":true}`)
	for _, seq := range []string{"1", "3"} {
		m := nats.NewMsg("s")
		m.Header.Set("Nats-Batch-Id", "B")
		m.Header.Set("Nats-Batch-Sequence", seq)
		if _, err := a.app.RequestMsg(m, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	wantAdvisories(t, a.inApp, "STREAM.BATCH_ABANDONED.S")
	if _, err := a.js.Publish(ctx, "s", []byte("x")); err != nil {
		t.Fatal(err)
	}
	a.request(t, a.app, "CONSUMER.CREATE.S.c", `{"stream_name":"S","config":{"durable_name":"c","name":"c","ack_policy":"explicit","priority_groups":["g"],"priority_policy":"pinned_client","priority_timeout":120000000000}}`)
	if _, err := a.app.Request("$JS.API.CONSUMER.MSG.NEXT.S.c", []byte(`{"batch":1,"group":"g","expires":5000000000}`), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	wantAdvisories(t, a.inApp, "CONSUMER.PINNED.S.c")
	a.request(t, a.app, "CONSUMER.UNPIN.S.c", `{"group":"g"}`)
	wantAdvisories(t, a.inApp, "CONSUMER.UNPINNED.S.c")
	a.request(t, a.app, "CONSUMER.DELETE.S.c", "")
	backup, config := a.backup(t)
	wantAdvisories(t, a.inApp, "STREAM.SNAPSHOT_CREATE.S", "STREAM.SNAPSHOT_COMPLETE.S")
	a.request(t, a.app, "STREAM.DELETE.S", "")
	a.restore(t, backup, config)
	wantAdvisories(t, a.inApp, "STREAM.RESTORE_CREATE.S", "STREAM.RESTORE_COMPLETE.S")
}

// backup backs up stream S and returns its archive and the request for a restore.
func (a *advised) backup(t *testing.T) (archive, request []byte) {
	t.Helper()
	inbox := a.app.NewInbox()
	chunks, err := a.app.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Config json.RawMessage `json:"config"`
		State  json.RawMessage `json:"state"`
	}
	m := a.request(t, a.app, "STREAM.SNAPSHOT.S", fmt.Sprintf(`{"deliver_subject":%q}`, inbox))
	if err := json.Unmarshal(m.Data, &doc); err != nil {
		t.Fatal(err)
	}
	if request, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := chunks.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Data) == 0 {
			return archive, request
		}
		archive = append(archive, m.Data...)
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (a *advised) restore(t *testing.T, archive, request []byte) {
	t.Helper()
	var ready struct {
		Deliver string `json:"deliver_subject"`
	}
	if err := json.Unmarshal(a.request(t, a.app, "STREAM.RESTORE.S", string(request)).Data, &ready); err != nil {
		t.Fatal(err)
	}
	for _, chunk := range [][]byte{archive, nil} {
		if m, err := a.app.Request(ready.Deliver, chunk, 20*time.Second); err != nil || strings.Contains(string(m.Data), "error") {
			t.Fatalf("%v %s", err, m.Data)
		}
	}
}

// TestAdvisoriesOfFailure takes away the meta leader's office, a server for good, and all servers but one, and sends more requests
// than a server takes.
func TestAdvisoriesOfFailure(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	a := startAdvised(ctx, t, 4)
	a.request(t, a.app, "STREAM.CREATE.S", `{"name":"S","subjects":["s"],"num_replicas":3,"storage":"file"}`)
	a.request(t, a.app, "CONSUMER.CREATE.S.c", `{"stream_name":"S","config":{"durable_name":"c","name":"c","ack_policy":"explicit"}}`)
	a.request(t, a.sys, "META.LEADER.STEPDOWN", "")
	wantAdvisories(t, a.inSys, "DOMAIN.LEADER_ELECTED")
	for range 20_000 {
		if err := a.app.PublishRequest("$JS.API.STREAM.LIST", "nobody", nil); err != nil {
			t.Fatal(err)
		}
	}
	wantAdvisories(t, a.inSys, "API.LIMIT_REACHED")
	a.Nodes[3].Kill()
	err := procs.Until(ctx, "the removal", func() error {
		m, err := a.sys.Request("$JS.API.SERVER.REMOVE", []byte(`{"peer":"n4"}`), 5*time.Second)
		if err == nil && strings.Contains(string(m.Data), `"error"`) {
			err = fmt.Errorf("%s", m.Data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantAdvisories(t, a.inSys, "SERVER.REMOVED")
	a.Nodes[1].Kill()
	a.Nodes[2].Kill()
	wantAdvisories(t, a.inApp, "STREAM.QUORUM_LOST.S", "CONSUMER.QUORUM_LOST.S.c")
	wantAdvisories(t, a.inSys, "STREAM.QUORUM_LOST.S")
}

// wantAdvisories waits for advisories and metrics, and checks all that come.
func wantAdvisories(t *testing.T, sub *nats.Subscription, wanted ...string) {
	t.Helper()
	missing := map[string]bool{}
	for _, w := range wanted {
		missing[w] = true
	}
	var documents Schemas
	for len(missing) > 0 {
		m, err := sub.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatalf("%v, waiting for %v", err, missing)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(m.Subject, "$JS.EVENT.ADVISORY."), "$JS.EVENT.METRIC.")
		delete(missing, name)
		if err := documents.Check(m.Data); err != nil && !schemaAtFault(err) {
			t.Errorf("%s: %v\n%s", m.Subject, err, m.Data)
		}
	}
}

// schemaAtFault tells whether all that a schema finds wrong is what no server sends as it says: two want
// a consumer's sequence to be a string, one a list of replicas to be an object, two a server that they do not describe.
func schemaAtFault(err error) bool {
	found := strings.Split(err.Error(), "\n")[1:]
	return len(found) == 1 && (strings.Contains(found[0], "at '/consumer_seq': got number, want string") ||
		strings.Contains(found[0], "at '/replicas': got array, want object") || strings.HasSuffix(found[0], "missing property 'server'"))
}

// startOne starts a cluster and connects to it.
func startOne(ctx context.Context, t *testing.T, bin string, nodes int) *nats.Conn {
	t.Helper()
	return connect(t, startCluster(ctx, t, procs.Spec{Bin: bin, Nodes: nodes}))
}
