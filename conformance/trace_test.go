package conformance

import (
	"context"
	"encoding/json"
	"regexp"
	"testing"

	"github.com/nats-io/nats.go"
)

// traceVaries is what differs between two traces of the same message: who tells it, when, and the words of a stream's refusal.
var traceVaries = regexp.MustCompile(`"server":\{.*?\},"|"ts":"[^"]*",?|"cid":\d+,|("error":")(last|wrong)[^"]*`)

var storedTime = regexp.MustCompile(`"time":"[^"]*"`)

// traced publishes a message and returns its trace.
func traced(ctx context.Context, t *testing.T, nc *nats.Conn, subject string, headers ...string) string {
	t.Helper()
	sub, err := nc.SubscribeSync("trace.dest")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	m := nats.NewMsg(subject)
	m.Data = []byte("x")
	m.Header.Set("Nats-Trace-Dest", "trace.dest")
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, likenessTime)
	defer cancel()
	got, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return err.Error()
	}
	var doc map[string]any
	if err := json.Unmarshal(got.Data, &doc); err != nil {
		t.Fatalf("%v in %s", err, got.Data)
	}
	delete(doc, "server")
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return traceVaries.ReplaceAllString(string(text), "$1")
}

// TestTracesLikeNatsServer has both servers trace messages of every fate.
func TestTracesLikeNatsServer(t *testing.T) {
	ctx := trialContext(t)
	p := startPair(ctx, t)
	for _, nc := range []*nats.Conn{p.weir, p.other} {
		for _, cfg := range []string{`{"name":"L","subjects":["l.*"]}`, `{"name":"I","subjects":["i.*"],"retention":"interest"}`,
			`{"name":"T","subjects":["t.*"],"subject_transform":{"src":"t.*","dest":"changed.{{wildcard(1)}}"}}`} {
			var stream struct{ Name string }
			if err := json.Unmarshal([]byte(cfg), &stream); err != nil {
				t.Fatal(err)
			}
			ask(ctx, nc, "$JS.API.STREAM.CREATE."+stream.Name, cfg)
		}
		for _, queue := range []string{"", "q"} {
			sub, err := nc.QueueSubscribeSync("c.*", queue)
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Unsubscribe()
		}
	}
	for _, c := range [][]string{
		{"c.a"},
		{"c.a", "Nats-Trace-Only", "1"},
		{"c.a", "Nats-Trace-Only", "On"},
		{"c.a", "Nats-Trace-Only", "no"},
		{"nobody"},
		{"nobody", "Nats-Trace-Dest", "no subject"},
		{"l.a"},
		{"l.a", "Nats-Trace-Only", "true"},
		{"l.a", "Nats-Expected-Last-Sequence", "9"},
		{"l.a", "Nats-Msg-Id", "1"},
		{"l.a", "Nats-Msg-Id", "1"},
		{"i.a"},
		{"t.a"},
		{"t.a", "Nats-Trace-Only", "true"},
	} {
		got, want := traced(ctx, t, p.weir, c[0], c[1:]...), traced(ctx, t, p.other, c[0], c[1:]...)
		if got != want {
			t.Errorf("%v\n got %s\nwant %s", c, got, want)
		}
	}
	stored := func(nc *nats.Conn) string {
		return storedTime.ReplaceAllString(ask(ctx, nc, "$JS.API.STREAM.MSG.GET.L", `{"seq":1}`), "")
	}
	if got, want := stored(p.weir), stored(p.other); got != want {
		t.Errorf("stored\n got %s\nwant %s", got, want)
	}
}
