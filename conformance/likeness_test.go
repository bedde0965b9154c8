package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/conformance/procs"
)

// found is a program that a test needs; without it the test is skipped.
func found(t *testing.T, find func() (string, error)) string {
	t.Helper()
	path, err := find()
	if err != nil {
		t.Skip(err)
	}
	return path
}

// pair is a server under test and the established one, each with a client.
type pair struct {
	weir, other *nats.Conn
}

func startPair(ctx context.Context, t *testing.T) *pair {
	t.Helper()
	return &pair{weir: startOne(ctx, t, bin), other: startOne(ctx, t, found(t, procs.NatsServer))}
}

func startOne(ctx context.Context, t *testing.T, program string) *nats.Conn {
	t.Helper()
	c, err := procs.New(procs.Spec{Bin: program, Dir: filepath.Join(t.TempDir(), "one"), Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	nc, _ := connect(t, c.URLs())
	return nc
}

// likenessTime bounds the wait for one answer.
const likenessTime = 5 * time.Second

// same sends a request to both and compares the answers.
func (p *pair) same(ctx context.Context, t *testing.T, subject, body string) {
	t.Helper()
	got, want := ask(ctx, p.weir, subject, body), ask(ctx, p.other, subject, body)
	if got != want {
		t.Errorf("%s %s\n got %s\nwant %s", subject, body, got, want)
	}
}

func ask(ctx context.Context, nc *nats.Conn, subject, body string) string {
	ctx, cancel := context.WithTimeout(ctx, likenessTime)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, subject, []byte(body))
	if err != nil {
		return err.Error()
	}
	return normalized(m)
}

var changing = regexp.MustCompile(`"(created|ts|timestamp|last_active|first_ts|last_ts)":"[^"]*"|"(pause_remaining|active)":\d+|"id":"[^"]*"|"_nats.ver":"[^"]*"`)

// goNames are of the type that a program decodes into.
var goNames = regexp.MustCompile(`Go (struct field \w+|value of type [\w.]+)`)

// normalized is a message as text, without what differs from run to run.
func normalized(m *nats.Msg) string {
	var b strings.Builder
	for _, key := range sortedKeys(m.Header) {
		fmt.Fprintf(&b, "%s: %s; ", key, goNames.ReplaceAllString(strings.Join(m.Header[key], ","), "Go"))
	}
	var doc any
	if json.Unmarshal(m.Data, &doc) != nil {
		b.Write(m.Data)
		return b.String()
	}
	text, err := json.Marshal(doc) // keys in order
	if err != nil {
		return err.Error()
	}
	b.WriteString(goNames.ReplaceAllString(changing.ReplaceAllString(string(text), `"$1$2":"-"`), "Go"))
	return b.String()
}
