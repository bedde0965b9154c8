package conn

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/router"
)

// patience bounds every wait of the tests.
const patience = 90 * time.Second

type harness struct {
	*Server
	url string
}

func startServer(t testing.TB, accounts *conf.Config, change func(*Config)) *harness {
	t.Helper()
	return startServerWithLog(t, accounts, base.NopLogger{}, change)
}

func startServerWithLog(t testing.TB, accounts *conf.Config, log base.Logger, change func(*Config)) *harness {
	t.Helper()
	s := newServer(t, accounts, log, change)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return &harness{s, "nats://" + s.Addr().String()}
}

// newServer is a server that does not listen.
func newServer(t testing.TB, accounts *conf.Config, log base.Logger, change func(*Config)) *Server {
	t.Helper()
	registry, err := account.NewRegistry(accounts)
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		Host: "127.0.0.1", ServerID: "NTEST", ServerName: "test", Version: "2.15.2", Go: "go1",
		AuthTimeout: patience,
	}
	if change != nil {
		change(&config)
	}
	s := NewServer(config, registry, router.New(1), log, base.SystemClock)
	t.Cleanup(s.Shutdown)
	return s
}

func (h *harness) connect(t testing.TB, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(h.url, append(options, nats.Timeout(patience))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// rawClient speaks the protocol by hand.
type rawClient struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

func (h *harness) raw(t *testing.T) *rawClient {
	t.Helper()
	nc, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return greeted(t, nc)
}

// greeted is a client that has read INFO.
func greeted(t *testing.T, nc net.Conn) *rawClient {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	c := &rawClient{t, nc, bufio.NewReader(nc)}
	if info := c.line(); !strings.HasPrefix(info, "INFO {") {
		t.Fatalf("got %q instead of INFO", info)
	}
	return c
}

func (c *rawClient) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, text); err != nil {
		c.t.Fatal(err)
	}
}

// line returns the next line, "EOF" at the end. PING is skipped: it comes when it is due.
func (c *rawClient) line() string {
	for {
		if line := c.lineOrPing(); line != "PING" {
			return line
		}
	}
}

func (c *rawClient) lineOrPing() string {
	c.nc.SetReadDeadline(base.SystemClock.Now().Add(patience))
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "EOF"
	}
	return strings.TrimSuffix(line, "\r\n")
}

// expect sends text and compares the lines that follow; INFO is skipped.
func (c *rawClient) expect(text string, lines ...string) {
	c.t.Helper()
	c.send(text)
	for i, want := range lines {
		got := c.line()
		for strings.HasPrefix(got, "INFO ") {
			got = c.line()
		}
		if got != want {
			c.t.Fatalf("after %q line %d: got %q, want %q", text, i, got, want)
		}
	}
}

const plainConnect = `CONNECT {"verbose":false,"headers":true,"no_responders":true,"protocol":1}` + "\r\n"

func TestPublishSubscribe(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	a, b := h.connect(t, nats.Name("one")), h.connect(t)
	sub := must[*nats.Subscription](t)(a.SubscribeSync("foo.*"))
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	const n = 10_000
	for i := range n {
		if err := b.PublishMsg(&nats.Msg{Subject: "foo.bar", Reply: "r", Data: fmt.Append(nil, i), Header: nats.Header{"K": {"v"}}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		m := must[*nats.Msg](t)(sub.NextMsg(patience))
		if string(m.Data) != fmt.Sprint(i) || m.Header.Get("K") != "v" || m.Reply != "r" {
			t.Fatalf("message %d: %q %v %q", i, m.Data, m.Header, m.Reply)
		}
	}
	waitFor(t, "all is counted", func() bool { return h.Stats().InMsgs >= n })
	if stats := h.Stats(); stats.InMsgs != n || stats.OutMsgs != n || stats.InBytes != stats.OutBytes || stats.Subscriptions != 1 || stats.Connections != 2 {
		t.Fatalf("%+v", stats)
	}
}

func TestRequestsAndNoResponders(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	a, b := h.connect(t), h.connect(t)
	_, err := a.Subscribe("svc", func(m *nats.Msg) { m.Respond(append([]byte("re: "), m.Data...)) })
	if err != nil {
		t.Fatal(err)
	}
	a.Flush()
	for range 100 {
		m := must[*nats.Msg](t)(b.Request("svc", []byte("x"), patience))
		if string(m.Data) != "re: x" {
			t.Fatalf("%q", m.Data)
		}
	}
	if _, err := b.Request("nobody", nil, patience); err != nats.ErrNoResponders {
		t.Fatalf("got %v", err)
	}
}

func TestLargeMessages(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	a := h.connect(t)
	sub := must[*nats.Subscription](t)(a.SubscribeSync("big"))
	for size := 1; size <= 1<<20; size *= 4 {
		data := []byte(strings.Repeat("x", size))
		if err := a.Publish("big", data); err != nil {
			t.Fatal(err)
		}
		if m := must[*nats.Msg](t)(sub.NextMsg(patience)); len(m.Data) != size {
			t.Fatalf("got %d bytes of %d", len(m.Data), size)
		}
	}
}

func TestQueueGroups(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	pub := h.connect(t)
	var subs []*nats.Subscription
	var members []*nats.Conn
	for range 4 {
		nc := h.connect(t)
		members = append(members, nc)
		subs = append(subs, must[*nats.Subscription](t)(nc.QueueSubscribeSync("work", "q")))
		nc.Flush()
	}
	const n = 1000
	for range n {
		pub.Publish("work", nil)
	}
	pub.Flush()
	for _, nc := range members {
		nc.Flush()
	}
	total := 0
	for i, s := range subs {
		got, _, _ := s.Pending()
		if got < n/8 {
			t.Errorf("member %d got %d of %d", i, got, n)
		}
		total += got
	}
	if total != n {
		t.Fatalf("got %d of %d", total, n)
	}
}

func TestProtocolTexts(t *testing.T) {
	h := startServer(t, &conf.Config{}, func(c *Config) {
		c.Limits = conf.Limits{MaxPayload: 1024, MaxSubTokens: 3, MaxControlLine: 512, MaxSubscriptions: 3, PingInterval: time.Hour}
	})
	for name, c := range map[string]struct {
		send string
		want []string
	}{
		"verbose by default": {"PUB a 1\r\na\r\nPING\r\nSUB a 1\r\n", []string{"+OK", "PONG", "+OK"}},
		"verbose":            {"CONNECT {\"verbose\":true}\r\nSUB a 1\r\nPUB a b 2\r\nab\r\nUNSUB 1\r\nUNSUB 9\r\n", []string{"+OK", "+OK", "+OK", "MSG a 1 b 2", "ab", "+OK", "+OK"}},
		"headers":            {plainConnect + "SUB a 1\r\nHPUB a r 12 14\r\nNATS/1.0\r\n\r\nab\r\n", []string{"HMSG a 1 r 12 14", "NATS/1.0", "", "ab"}},
		"no responders":      {plainConnect + "SUB inbox.* 1\r\nPUB none inbox.1 0\r\n\r\nPING\r\n", []string{"HMSG inbox.1 1 36 36", "NATS/1.0 503", "Nats-Subject: none", "", "", "PONG"}},
		"needs headers":      {"CONNECT {\"headers\":false,\"no_responders\":true}\r\n", []string{"-ERR 'no responders requires headers support'", "EOF"}},
		"no echo":            {"CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB a 1\r\nPUB a 1\r\na\r\nPING\r\n", []string{"PONG"}},
		"publish subject":    {plainConnect + "SUB > 1\r\nPUB a.* 1\r\na\r\nPUB a..b 1\r\na\r\nPING\r\n", []string{"MSG a.* 1 1", "a", "PONG"}},
		"pedantic subject":   {"CONNECT {\"verbose\":false,\"pedantic\":true}\r\nSUB > 1\r\nPUB a.* 1\r\na\r\nPUB a..b 1\r\na\r\nPING\r\n", []string{"-ERR 'Invalid Publish Subject'", "MSG a.* 1 1", "a", "-ERR 'Invalid Publish Subject'", "PONG"}},
		"subject":            {plainConnect + "SUB a..b 1\r\nSUB a.>.b 1\r\nPING\r\n", []string{"-ERR 'Invalid Subject'", "-ERR 'Invalid Subject'", "PONG"}},
		"unknown operation":  {plainConnect + "FOO\r\n", []string{"-ERR 'Unknown Protocol Operation'", "EOF"}},
		"parser error":       {plainConnect + "PUB a xx\r\n", []string{"EOF"}},
		"bad connect":        {"CONNECT {xx\r\n", []string{"EOF"}},
		"payload":            {plainConnect + "PUB a 2000\r\n" + strings.Repeat("x", 2000) + "\r\n", []string{"-ERR 'Maximum Payload Violation'", "EOF"}},
		"control line":       {plainConnect + "PUB " + strings.Repeat("a", 600) + " 1\r\n", []string{"-ERR 'maximum control line exceeded'", "EOF"}},
		"subscriptions":      {plainConnect + "SUB a 1\r\nSUB a 2\r\nSUB a 3\r\nSUB a 4\r\nPING\r\n", []string{"-ERR 'maximum subscriptions exceeded'", "PONG"}},
		"tokens":             {plainConnect + "SUB a.b.c.d 1\r\n", []string{`-ERR 'Permissions Violation for Subscription to "a.b.c.d", too many tokens'`}},
		"auto-unsubscribe":   {plainConnect + "SUB a 1\r\nUNSUB 1 2\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\nPING\r\n", []string{"MSG a 1 0", "", "MSG a 1 0", "", "PONG"}},
		"already over":       {plainConnect + "SUB a 1\r\nPUB a 0\r\n\r\nUNSUB 1 1\r\nPUB a 0\r\n\r\nPING\r\n", []string{"MSG a 1 0", "", "PONG"}},
		"sid in use":         {plainConnect + "SUB a 1\r\nSUB b 1\r\nPUB b 0\r\n\r\nPUB a 0\r\n\r\nPING\r\n", []string{"MSG a 1 0", "", "PONG"}},
		"headers not agreed": {"CONNECT {\"verbose\":false}\r\nHPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n", []string{"EOF"}},
		"second CONNECT":     {plainConnect + "CONNECT {\"verbose\":true}\r\nPING\r\n", []string{"+OK", "PONG"}},
		"protocol":           {"CONNECT {\"protocol\":2}\r\n", []string{"-ERR 'invalid client protocol'", "EOF"}},
		"client says -ERR":   {plainConnect + "-ERR 'x'\r\n", []string{"EOF"}},
	} {
		t.Run(name, func(t *testing.T) { h.raw(t).expect(c.send, c.want...) })
	}
}

func TestInfo(t *testing.T) {
	h := startServer(t, &conf.Config{}, func(c *Config) { c.Advertise = "example.org:99"; c.Cluster = "C"; c.JetStream = true })
	c := h.raw(t)
	c.send(plainConnect + "PING\r\n")
	if got := c.line(); got != "PONG" {
		t.Fatal(got)
	}
	next := func() (doc clientInfo) {
		t.Helper()
		line := c.line()
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &doc); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return doc
	}
	if doc := next(); !doc.ConnectInfo || doc.RemoteAccount != "$G" || doc.Host != "example.org" || doc.Port != 99 || doc.Cluster != "C" || !doc.JetStream {
		t.Fatalf("%+v", doc)
	}
	h.SetConnectURLs([]string{"1.2.3.4:1", "1.2.3.5:1"})
	if doc := next(); len(doc.ConnectURLs) != 2 {
		t.Fatalf("%+v", doc)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.LameDuck(ctx, time.Millisecond, 2*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if doc := next(); !doc.LameDuck {
		t.Fatalf("%+v", doc)
	}
	if got := c.line(); got != "EOF" {
		t.Fatal(got)
	}
}

func TestInProcess(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	nc := must[*nats.Conn](t)(nats.Connect("", nats.InProcessServer(h), nats.Timeout(patience)))
	defer nc.Close()
	nc.Subscribe("svc", func(m *nats.Msg) { m.Respond(m.Data) })
	nc.Flush()
	if m := must[*nats.Msg](t)(h.connect(t).Request("svc", []byte("x"), patience)); string(m.Data) != "x" {
		t.Fatal(m)
	}
}

// TestHalfClosed sends all that a client wants at once and ends its side.
func TestHalfClosed(t *testing.T) {
	h := startServer(t, conf.Default(), nil)
	nc, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte(plainConnect + "PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	if err != nil || !strings.Contains(string(got), "PONG") {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestLastInfoHolds changes what clients are told from several goroutines while clients
// come: what each hears last is what holds in the end.
func TestLastInfoHolds(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	var changes, clients sync.WaitGroup
	for range 4 {
		changes.Go(func() {
			for i := range 200 {
				h.Update(func(c *Config) { c.Domain += "x" })
				h.SetJetStream(i%2 == 0)
			}
		})
	}
	done := make(chan struct{})
	for range 20 {
		c := h.raw(t)
		clients.Go(func() {
			c.expect(plainConnect+"PING\r\n", "PONG")
			<-done
			c.send("SUB end 1\r\nPUB end 0\r\n\r\n")
			last := ""
			for line := c.line(); !strings.HasPrefix(line, "MSG end") && line != "EOF"; line = c.line() {
				last = line
			}
			if !strings.Contains(last, `"domain":"`+strings.Repeat("x", 800)+`"`) {
				t.Errorf("the last a client heard is %q", last)
			}
		})
	}
	changes.Wait()
	close(done)
	clients.Wait()
}
