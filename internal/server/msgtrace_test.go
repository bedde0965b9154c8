package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/internal/api"
)

// traceOf is a document of a trace.
type traceOf struct {
	Server  struct{ Name string }
	Request struct {
		Header nats.Header
		Size   int `json:"msgsize"`
	}
	Hops   int
	Events []struct {
		Type, Name, Hop, Sub, Queue, Stream, Subject, Error, To, From, Acc string

		Kind, CID int
		Time      time.Time `json:"ts"`
	}
}

// String is what happened, in one line.
func (d *traceOf) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s[%s] hops=%d:", d.Server.Name, d.Request.Header.Get("Nats-Trace-Hop"), d.Hops)
	for _, e := range d.Events {
		fmt.Fprintf(&b, " %s", e.Type)
		for _, field := range []string{e.Acc, e.From, e.To, e.Hop, e.Sub, e.Queue, e.Stream, e.Subject, e.Error} {
			if field != "" {
				fmt.Fprintf(&b, " %s", field)
			}
		}
		if e.Kind == 1 {
			fmt.Fprintf(&b, " %s", e.Name)
		}
		b.WriteByte(';')
	}
	return b.String()
}

// publishTraced publishes a message and returns as many documents of its trace as there are to be, by server.
func publishTraced(t *testing.T, nc *nats.Conn, subject string, documents int, headers ...string) (list []string) {
	t.Helper()
	dest := nats.NewInbox()
	sub, err := nc.SubscribeSync(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	m := nats.NewMsg(subject)
	m.Header.Set("Nats-Trace-Dest", dest)
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	for range documents {
		got, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("trace of %s: %v after %v", subject, err, list)
		}
		doc := new(traceOf)
		if err := json.Unmarshal(got.Data, doc); err != nil {
			t.Fatalf("%v in %s", err, got.Data)
		}
		list = append(list, doc.String())
	}
	slices.Sort(list)
	return list
}

// TestTraceAcrossServers follows messages from one server to subscribers and a stream on another one.
func TestTraceAcrossServers(t *testing.T) {
	r := sharedRows(t)
	there := r.as(t, "app", 1)
	sub, err := there.QueueSubscribeSync("TRC.core", "q")
	if err != nil {
		t.Fatal(err)
	}
	r.stream("TRCS", 1, func(cfg *api.StreamConfig) { cfg.Placement = &api.Placement{Tags: []string{"n2"}} })
	r.until("n1 knows of the subscription", func() bool { return r.servers[0].router.HasInterest(r.servers[0].accounts.Account("APP"), "TRC.core") })
	r.until("n1 knows of the stream", func() bool { return r.servers[0].router.HasInterest(r.servers[0].accounts.Account("APP"), "TRCS.x") })
	for _, c := range []struct {
		subject string
		headers []string
		want    []string
	}{
		{"TRC.core", nil, []string{"n1[] hops=1: in; eg 1 n2;", "n2[1] hops=0: in n1; eg TRC.core q;"}},
		{"TRC.core", []string{"Nats-Trace-Only", "true"}, []string{"n1[] hops=1: in; eg 1 n2;", "n2[1] hops=0: in n1; eg TRC.core q;"}},
		{"TRCS.x", nil, []string{"n1[] hops=1: in; eg 1 n2;", "n2[1] hops=0: in n1; js TRCS TRCS.x;"}},
		{"TRCS.x", []string{"Nats-Trace-Only", "1"}, []string{"n1[] hops=1: in; eg 1 n2;", "n2[1] hops=0: in n1; js TRCS TRCS.x;"}},
		{"TRCS.x", []string{"Nats-Expected-Stream", "OTHER"}, []string{"n1[] hops=1: in; eg 1 n2;",
			"n2[1] hops=0: in n1; js TRCS expected stream does not match (10060);"}},
		{"TRC.nobody", nil, []string{"n1[] hops=0: in;"}},
	} {
		want := slices.Clone(c.want)
		for i := range want {
			want[i] = strings.ReplaceAll(want[i], ": in", ": in APP")
		}
		if got := publishTraced(t, r.app, c.subject, len(want), c.headers...); !slices.Equal(got, want) {
			t.Errorf("%s %v\n got %q\nwant %q", c.subject, c.headers, got, want)
		}
	}
	if m, err := sub.NextMsg(patience); err != nil || m.Header.Get("Nats-Trace-Only") != "" {
		t.Errorf("%v, %v", m, err)
	}
	r.silent(there, sub)
	if got := r.info("TRCS").State.Msgs; got != 1 {
		t.Errorf("%d messages are stored", got)
	}
	m, err := r.js.Stream(r.ctx, "TRCS")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := m.GetMsg(r.ctx, 1)
	if err != nil || stored.Header.Get("Nats-Trace-Dest") != "trace disabled" || len(stored.Header) != 1 {
		t.Errorf("stored: %v, %v", stored, err)
	}
}

const traceConfig = `
server_name: t1
listen: "127.0.0.1:-1"
accounts {
  A {
    users: [ {user: a, password: "pw"}, {user: limited, password: "pw", permissions: { publish: ["x.>", "bad", "_INBOX.>"], subscribe: ">" } } ]
    exports: [ {stream: "x.>"}, {service: "s.>"} ]
    mappings: { "old.*": "x.$1" }
  }
  B { users: [ {user: b, password: "pw"} ], imports: [ {stream: {account: A, subject: "x.>"}, prefix: im}, {service: {account: A, subject: "s.a"}, to: mine} ] }
}
`

// TestTraceEndsWithTheAccount: what is seen of other accounts is that a message went there.
func TestTraceEndsWithTheAccount(t *testing.T) {
	s := startWith(t, traceConfig)
	a, limited, b := connect(t, s, "a"), connect(t, s, "limited"), connect(t, s, "b")
	var subs []*nats.Subscription
	for _, c := range []struct {
		nc      *nats.Conn
		subject string
	}{{b, "im.x.>"}, {a, "s.>"}} {
		sub, err := c.nc.SubscribeSync(c.subject)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	for _, c := range []struct {
		nc      *nats.Conn
		subject string
		want    string
	}{
		{a, "x.1", "in A; se B im.x.1;"},
		{a, "old.1", "in A; sm x.1; se B im.x.1;"},
		{b, "mine", "in B; si A mine s.a;"},
		{limited, "no", `in A Permissions Violation for Publish to "no";`},
	} {
		if got := publishTraced(t, c.nc, c.subject, 1, "Nats-Trace-Only", "1"); got[0] != "t1[] hops=0: "+c.want {
			t.Errorf("%s: %s", c.subject, got[0])
		}
		got := publishTraced(t, c.nc, c.subject, 1)
		if got[0] != "t1[] hops=0: "+c.want {
			t.Errorf("%s: %s", c.subject, got[0])
		}
	}
	for i, want := range []int{2, 1} {
		for range want {
			m, err := subs[i].NextMsg(patience)
			if err != nil || m.Header.Get("Nats-Trace-Only") != "" {
				t.Errorf("%s: %v, %v", subs[i].Subject, m, err)
			} else if i == 1 && m.Header.Get("Nats-Trace-Dest") != "trace disabled" {
				t.Errorf("the service sees %v", m.Header)
			}
		}
		if n, _, err := subs[i].Pending(); err != nil || n > 0 {
			t.Errorf("%s: %d more messages, %v", subs[i].Subject, n, err)
		}
	}
}

// TestTraceNeedsPermission: documents go nowhere that the publisher may not publish to, and neither does the message.
func TestTraceNeedsPermission(t *testing.T) {
	s := startWith(t, traceConfig)
	a, limited := connect(t, s, "a"), connect(t, s, "limited")
	sub, err := a.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, dest := range []string{"elsewhere", "x.trace"} {
		m := nats.NewMsg("x.1")
		m.Header.Set("Nats-Trace-Dest", dest)
		if err := limited.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		if err := limited.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"x.1", "x.trace"} {
		if m, err := sub.NextMsg(patience); err != nil || m.Subject != want {
			t.Errorf("%v, %v instead of %s", m, err, want)
		}
	}
	if err := limited.LastError(); err == nil || !strings.Contains(err.Error(), `"elsewhere"`) {
		t.Error(err)
	}
}
