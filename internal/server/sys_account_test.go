package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/monitor"
	"weir/internal/router"
)

const monitoredConfig = `
server_name: m1
listen: "127.0.0.1:-1"
http: "127.0.0.1:-1"
server_tags: ["az:1"]
jetstream: enabled
accounts {
  $SYS { users: [{user: "sys", password: "pw"}] }
  APP { jetstream: enabled, users: [{user: "app", password: "pw"}], mappings: { "old.*": [ { destination: "new.$1", weight: 40% } ] } }
  OFF { users: [{user: "off", password: "pw"}] }
}
`

// monitored starts a server with a system user and one of JetStream's.
func monitored(t *testing.T) *Server {
	t.Helper()
	return startWith(t, monitoredConfig)
}

// startWith starts a server with a configuration, in memory.
func startWith(t *testing.T, text string) *Server {
	t.Helper()
	cfg, err := conf.Parse(text, "test", func(c *conf.Config) { c.JetStream.InMemory = true })
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, base.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func connect(t *testing.T, s *Server, user string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, "pw"), nats.Name(user), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// ask sends a system request and returns the value at path in the answer, or
// "no answer".
func ask(t *testing.T, nc *nats.Conn, subject, body string, path ...string) string {
	t.Helper()
	m, err := nc.Request(subject, []byte(body), patience)
	if err != nil {
		return err.Error()
	}
	return pick(t, m.Data, path...)
}

func pick(t *testing.T, document []byte, path ...string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal(document, &value); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	for _, key := range path {
		if list, ok := value.([]any); ok && len(list) > 0 {
			value = list[0]
		}
		fields, _ := value.(map[string]any)
		value = fields[key]
	}
	return fmt.Sprint(value)
}

// A request is what it was published to, whatever subject a stored message that came
// on the way of one had: of that there may be no document.
func TestSystemRequestByRoute(t *testing.T) {
	s := monitored(t)
	sys := connect(t, s, "sys")
	answers, err := sys.SubscribeSync("answers")
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.Flush(); err != nil {
		t.Fatal(err)
	}
	s.router.Publish(s.accounts.System(), router.Internal, &router.Msg{
		Subject: []byte("$SYS.REQ.SERVER.PING.NOTHING"), To: []byte("$SYS.REQ.SERVER.PING.IDZ"), Reply: []byte("answers"),
	})
	m, err := answers.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	if name := pick(t, m.Data, "name"); name != "m1" {
		t.Errorf("answer %s", m.Data)
	}
}

func TestSystemRequests(t *testing.T) {
	s := monitored(t)
	sys, app := connect(t, s, "sys"), connect(t, s, "app")
	js, err := app.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddConsumer("S", &nats.ConsumerConfig{Durable: "C", AckPolicy: nats.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish("s.a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		nc            *nats.Conn
		subject, body string
		path          string
		want          string
	}{
		{sys, "$SYS.REQ.SERVER.PING", "", "server name", "m1"},
		{sys, "$SYS.REQ.SERVER.PING.IDZ", "", "id", s.id},
		{sys, "$SYS.REQ.SERVER.PING.STATSZ", `{"server_name":"m","tags":["AZ:1"]}`, "statsz connections", "2"},
		{sys, "$SYS.REQ.SERVER.ID.VARZ", "", "data jetstream stats api level", "5"},
		{sys, "$SYS.REQ.SERVER.ID.CONNZ", `{"acc":"APP","auth":true}`, "data connections authorized_user", "app"},
		{sys, "$SYS.REQ.SERVER.ID.CONNZ", `{"state":1}`, "data num_connections", "0"},
		{sys, "$SYS.REQ.SERVER.ID.CONNZ", `{"state":3}`, "error description", "no connection state 3"},
		{sys, "$SYS.REQ.SERVER.ID.CONNZ", `{"sort":"up"}`, "error description", "invalid sorting option: up"},
		{sys, "$SYS.REQ.SERVER.ID.CONNZ", `{"sort":"up"}`, "error code", "500"},
		{sys, "$SYS.REQ.SERVER.ID.CONNZ", `{`, "error code", "400"},
		{sys, "$SYS.REQ.SERVER.ID.SUBSZ", `{"acc":"APP"}`, "data total", "0"},
		{sys, "$SYS.REQ.SERVER.ID.ROUTEZ", "", "data num_routes", "0"},
		{sys, "$SYS.REQ.SERVER.ID.ACCOUNTZ", "", "data accounts", "[$G $SYS APP OFF]"},
		{sys, "$SYS.REQ.SERVER.ID.JSZ", `{"consumer":true}`, "data account_details stream_detail consumer_detail name", "C"},
		{sys, "$SYS.REQ.SERVER.ID.JSZ", `{"streams":true}`, "data account_details stream_detail state messages", "1"},
		{sys, "$SYS.REQ.SERVER.ID.JSZ", `{"streams":true}`, "data account_details stream_detail cluster", "map[leader:m1]"},
		{sys, "$SYS.REQ.SERVER.ID.JSZ", "", "data streams_leader", "<nil>"},
		{sys, "$SYS.REQ.SERVER.ID.HEALTHZ", "", "data status_code", "200"},
		{sys, "$SYS.REQ.SERVER.ID.HEALTHZ", `{"account":"OFF"}`, "data error", `JetStream account "OFF" not found`},
		{sys, "$SYS.REQ.SERVER.ID.HEALTHZ", `{"account":"APP","stream":"S","consumer":"X"}`, "data error",
			`JetStream consumer "X" not found for stream "S" on account "APP"`},
		{sys, "$SYS.REQ.SERVER.ID.CONNZ", `{"filter_subject":"a"}`, "error description", "filter by subject only valid with account filtering"},
		{sys, "$SYS.REQ.SERVER.ID.PROFILEZ", `{"name":"nope"}`, "data error", `profile "nope" not found`},
		{sys, "$SYS.REQ.SERVER.ID.PROFILEZ", `{"name":"cpu","duration":16000000000}`, "data error", "duration 16s should be between 0s and 15s"},
		{sys, "$SYS.REQ.SERVER.ID.PROFILEZ", `{"name":"cpu","duration":1000000}`, "data error", "<nil>"},
		{sys, "$SYS.REQ.SERVER.ID.PROFILEZ", `{"name":"threadcreate","debug":1}`, "data error", "<nil>"},
		{sys, "$SYS.REQ.SERVER.ID.IPQUEUESZ", "", "data", "map[]"},
		{sys, "$SYS.REQ.SERVER.ID.EXPVARZ", "", "data memstats Lookups", "0"},
		{sys, "$SYS.REQ.SERVER.ID.KICK", `{"cid":999}`, "error description", "no connection with the id 999"},
		{sys, "$SYS.REQ.SERVER.ID.NOPE", "", "", nats.ErrNoResponders.Error()},
		{sys, "$SYS.REQ.ACCOUNT.APP.INFO", "", "data jetstream_enabled", "true"},
		{sys, "$SYS.REQ.ACCOUNT.APP.INFO", "", "data mappings old.* subject", "new.$1"},
		{sys, "$SYS.REQ.ACCOUNT.APP.INFO", "", "data mappings old.* weight", "40"},
		{sys, "$SYS.REQ.ACCOUNT.NOPE.INFO", "", "error description", "Account NOPE does not exist"},
		{sys, "$SYS.REQ.ACCOUNT.APP.CONNZ", "", "data connections name", "app"},
		{sys, "$SYS.REQ.ACCOUNT.APP.JSZ", "", "data id", "APP"},
		{sys, "$SYS.REQ.ACCOUNT.OFF.JSZ", "", "error description", `account "OFF" not jetstream enabled`},
		{sys, "$SYS.REQ.ACCOUNT.NOPE.JSZ", "", "error description", `account "NOPE" not found`},
		{sys, "$SYS.REQ.ACCOUNT.APP.LEAFZ", "", "data leafnodes", "0"},
		{sys, "$SYS.REQ.ACCOUNT.APP.STATZ", "", "data account_statz conns", "1"},
		{sys, "$SYS.REQ.ACCOUNT.APP.CONNS", "", "conns", "1"},
		{sys, "$SYS.REQ.ACCOUNT.PING.STATZ", `{"accounts":["OFF"],"include_unused":true}`, "data account_statz acc", "OFF"},
		{app, "$SYS.REQ.ACCOUNT.PING.STATZ", "", "data account_statz acc", "APP"},
		{app, "$SYS.REQ.SERVER.PING.CONNZ", `{"acc":"$SYS"}`, "data connections name", "app"},
		{app, "$SYS.REQ.SERVER.PING", "", "", nats.ErrNoResponders.Error()},
	} {
		subject := strings.Replace(c.subject, ".ID.", "."+s.id+".", 1)
		if got := ask(t, c.nc, subject, c.body, strings.Fields(c.path)...); got != c.want {
			t.Errorf("%s %s: %s is %s, not %s", c.subject, c.body, c.path, got, c.want)
		}
	}
}

// An account whose name is the word for all of them hears of itself alone.
func TestAccountNamedPing(t *testing.T) {
	s := startWith(t, `
listen: "127.0.0.1:-1"
accounts {
  $SYS { users: [{user: "sys", password: "pw"}] }
  PING { users: [{user: "ping", password: "pw"}] }
  APP { users: [{user: "app", password: "pw"}] }
}`)
	const subject, all = "$SYS.REQ.ACCOUNT.PING.STATZ", `{"include_unused":true}`
	ping := connect(t, s, "ping")
	for _, body := range []string{"", all, `{"accounts":["APP"],"include_unused":true}`} {
		if got := ask(t, ping, subject, body, "data", "account_statz", "acc"); got != "PING" {
			t.Errorf("%s: account %s", body, got)
		}
	}
	for user, accounts := range map[string]int{"ping": 1, "app": 1, "sys": len(s.accounts.Accounts())} {
		m, err := connect(t, s, user).Request(subject, []byte(all), patience)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Data monitor.Accstatz }
		if err := json.Unmarshal(m.Data, &doc); err != nil {
			t.Fatal(err)
		}
		if n := len(doc.Data.Accounts); n != accounts {
			t.Errorf("user %s hears of %d accounts, not %d", user, n, accounts)
		}
	}
}

// TestDirectConsumersAreApart: what a mirror reads through is no consumer of the application's.
func TestDirectConsumersAreApart(t *testing.T) {
	s := monitored(t)
	sys, app := connect(t, s, "sys"), connect(t, s, "app")
	js, err := app.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []nats.StreamConfig{{Name: "S"}, {Name: "T", Mirror: &nats.StreamSource{Name: "S"}}} {
		if _, err := js.AddStream(&cfg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.AddConsumer("S", &nats.ConsumerConfig{Durable: "C", AckPolicy: nats.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	const subject = "$SYS.REQ.SERVER.PING.JSZ"
	direct := func() string {
		return ask(t, sys, subject, `{"streams":true,"direct_consumer":true}`, "data", "account_details", "stream_detail", "direct_consumer_detail")
	}
	for deadline := time.Now().Add(patience); direct() == "<nil>"; {
		if time.Now().After(deadline) {
			t.Fatal("the mirror's consumer is not shown")
		}
	}
	if got := ask(t, sys, subject, "", "data", "consumers"); got != "1" {
		t.Errorf("%s consumers are counted, not 1", got)
	}
	m, err := sys.Request(subject, []byte(`{"consumer":true}`), patience)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Data monitor.Jsz }
	if err := json.Unmarshal(m.Data, &doc); err != nil {
		t.Fatal(err)
	}
	if of := doc.Data.AccountDetails[0].Streams[0]; of.Name != "S" || len(of.Consumer) != 1 || of.DirectConsumer != nil {
		t.Errorf("stream %s has %d consumers, %d direct ones", of.Name, len(of.Consumer), len(of.DirectConsumer))
	}
	if got := ask(t, sys, subject, `{"direct_consumer":true}`, "data", "account_details"); got != "<nil>" {
		t.Errorf("direct_consumer alone shows %s", got)
	}
}

// TestFilteredServersAreSilent: a server that the filter does not let pass says
// nothing, so that the next answer is the one to the next request.
func TestFilteredServersAreSilent(t *testing.T) {
	s := monitored(t)
	sys := connect(t, s, "sys")
	inbox := nats.NewInbox()
	answers, err := sys.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"server_name":"other"}`, `{"server_name":"m","exact_match":true}`, `{"tags":["az:2"]}`, `{"domain":"d"}`, `{"server_name":"m1"}`} {
		if err := sys.PublishRequest("$SYS.REQ.SERVER.PING.HEALTHZ", inbox, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := answers.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	if got := pick(t, m.Data, "server", "seq"); got != "1" {
		t.Errorf("answer number %s came; a filtered server has answered", got)
	}
}

func TestSystemEvents(t *testing.T) {
	s := monitored(t)
	sys := connect(t, s, "sys")
	events := make(chan *nats.Msg, 64)
	for _, subject := range []string{"$SYS.ACCOUNT.OFF.>", "$SYS.SERVER.*.STATSZ", "$SYS.SERVER.*.SHUTDOWN"} {
		if _, err := sys.ChanSubscribe(subject, events); err != nil {
			t.Fatal(err)
		}
	}
	if err := sys.Flush(); err != nil {
		t.Fatal(err)
	}
	expect := func(subject, want string, path ...string) {
		t.Helper()
		for deadline := time.After(patience); ; {
			select {
			case m := <-events:
				if m.Subject != subject {
					continue
				}
				if got := pick(t, m.Data, path...); got != want {
					t.Errorf("%s: %v is %s, not %s", subject, path, got, want)
				}
				return
			case <-deadline:
				t.Fatalf("%s did not come", subject)
			}
		}
	}
	off := connect(t, s, "off")
	expect("$SYS.ACCOUNT.OFF.CONNECT", "off", "client", "name")
	off.Close()
	expect("$SYS.ACCOUNT.OFF.DISCONNECT", "Client Closed", "reason")
	expect("$SYS.SERVER."+s.id+".STATSZ", "m1", "server", "name")
	go s.Shutdown()
	expect("$SYS.SERVER."+s.id+".SHUTDOWN", "m1", "name")
}

func TestMonitoringPort(t *testing.T) {
	s := monitored(t)
	_, addr, _ := s.Addrs()
	for path, want := range map[string]string{
		"/varz": "server_name", "/connz": "connections", "/routez": "routes", "/subsz?subs=1": "subscriptions_list",
		"/jsz": "config", "/accountz": "accounts", "/accstatz?unused=1": "account_statz", "/healthz": "status",
	} {
		response, err := http.Get("http://" + addr.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK || pick(t, body, want) == "<nil>" {
			t.Errorf("%s: status %d, %s", path, response.StatusCode, body)
		}
	}
}
