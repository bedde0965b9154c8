package conn

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"weir/internal/base"
	"weir/internal/conf"
)

func login(user string) string {
	return fmt.Sprintf(`CONNECT {"verbose":false,"headers":true,"no_responders":true,"protocol":1,"user":%q,"pass":%q}`+"\r\n", user, user)
}

// waitFor polls a condition that another goroutine is about to make true.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("still not: %s", what)
		}
	}
}

// closedReason waits until one connection has ended and returns why.
func (h *harness) closedReason(t *testing.T) Reason {
	t.Helper()
	waitFor(t, "a closed connection", func() bool { return len(h.ClosedConnections()) > 0 })
	return h.ClosedConnections()[0].Reason
}

func usersConfig() *conf.Config {
	responses := conf.ResponsePermission{MaxMsgs: 2, Expires: time.Hour}
	return &conf.Config{Authorization: conf.Authorization{Users: []conf.User{
		{Username: "a", Password: "a"},
		{Username: "p", Password: "p", Permissions: &conf.Permissions{
			Publish:   conf.SubjectPermission{Allow: []string{"ok.>", "x.*"}, Deny: []string{"ok.no"}},
			Subscribe: conf.SubjectPermission{Allow: []string{"ok.>", "q.> q1"}, Deny: []string{"ok.no", "ok.deny.*"}},
		}},
		{Username: "r", Password: "r", Permissions: &conf.Permissions{
			Subscribe: conf.SubjectPermission{Allow: []string{"svc"}}, Responses: &responses,
		}},
	}}}
}

func TestPermissionTexts(t *testing.T) {
	h := startServer(t, usersConfig(), nil)
	c := h.raw(t)
	c.expect(login("p")+"PUB no.x 1\r\na\r\n", `-ERR 'Permissions Violation for Publish to "no.x"'`)
	c.expect("PUB ok.no 1\r\na\r\n", `-ERR 'Permissions Violation for Publish to "ok.no"'`)
	c.expect("SUB bad 1\r\n", `-ERR 'Permissions Violation for Subscription to "bad"'`)
	c.expect("SUB q.a q2 1\r\n", `-ERR 'Permissions Violation for Subscription to "q.a" using queue "q2"'`)
	c.expect("SUB ok.> 2\r\nPUB ok.deny.a 1\r\na\r\nPUB ok.yes bad.reply 1\r\na\r\n", "MSG ok.yes 2 bad.reply 1", "a")
	c.expect("PUB ok.yes 0\r\n\r\nPUB ok.no 0\r\n\r\nPUB ok.yes 0\r\n\r\n",
		"MSG ok.yes 2 0", "", `-ERR 'Permissions Violation for Publish to "ok.no"'`, "MSG ok.yes 2 0", "")
}

func TestAllowResponses(t *testing.T) {
	h := startServer(t, usersConfig(), nil)
	requestor, responder := h.raw(t), h.raw(t)
	responder.expect(login("r")+"SUB svc 1\r\nPING\r\n", "PONG")
	requestor.expect(login("a")+"SUB rep 1\r\nPUB svc rep 1\r\na\r\nPING\r\n", "PONG")
	responder.expect("", "MSG svc 1 rep 1", "a")
	responder.expect("PUB rep 1\r\n1\r\nPUB rep 1\r\n2\r\nPUB rep 1\r\n3\r\n", `-ERR 'Permissions Violation for Publish to "rep"'`)
	requestor.expect("PING\r\n", "MSG rep 1 1", "1", "MSG rep 1 1", "2", "PONG")
}

func TestAuthentication(t *testing.T) {
	h := startServer(t, usersConfig(), nil)
	for _, first := range []string{
		login("nobody"), "CONNECT {}\r\n", "PING\r\n", "PUB a 1\r\na\r\n", "SUB a 1\r\n",
		`CONNECT {"user":"a","pass":"b"}` + "\r\n",
	} {
		h.raw(t).expect(first, "-ERR 'Authorization Violation'", "EOF")
	}
	if r := h.closedReason(t); r != ReasonAuthFailure {
		t.Fatal(r)
	}
	nc := h.connect(t, nats.UserInfo("a", "a"))
	m := must[*nats.Msg](t)(nc.Request("$SYS.REQ.USER.INFO", nil, patience))
	if !strings.Contains(string(m.Data), `"data":{"user":"a","account":"$G","account_name":"$G"}`) {
		t.Fatalf("%s", m.Data)
	}
}

func TestNoAuthUser(t *testing.T) {
	cfg := usersConfig()
	cfg.NoAuthUser = "p"
	h := startServer(t, cfg, nil)
	h.raw(t).expect("PUB no.x 0\r\n\r\n", `-ERR 'Permissions Violation for Publish to "no.x"'`)
	h.raw(t).expect(login("nobody"), "-ERR 'Authorization Violation'", "EOF")
	h.raw(t).expect(login("a")+"PUB no.x 0\r\n\r\nPING\r\n", "PONG")
}

func TestNKey(t *testing.T) {
	kp := must[nkeys.KeyPair](t)(nkeys.CreateUser())
	pub := must[string](t)(kp.PublicKey())
	h := startServer(t, &conf.Config{Accounts: []conf.Account{{
		Name: "A", Users: []conf.User{{NKey: pub}},
		Limits: conf.AccountLimits{MaxConnections: -1, MaxSubscriptions: -1, MaxPayload: -1},
	}}}, nil)
	nc := h.connect(t, nats.Nkey(pub, kp.Sign))
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if c := h.Connections(); len(c) != 1 || c[0].Account != "A" || c[0].AuthorizedUser != pub {
		t.Fatalf("%+v", c[0])
	}
}

func TestAuthTimeout(t *testing.T) {
	h := startServer(t, usersConfig(), func(c *Config) { c.AuthTimeout = time.Millisecond })
	h.raw(t).expect("", "-ERR 'Authentication Timeout'", "EOF")
	if r := h.closedReason(t); r != ReasonAuthTimeout {
		t.Fatal(r)
	}
}

// A client that does not answer is sent away, one that does stays.
func TestStaleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, &conf.Config{}, base.NopLogger{}, func(c *Config) {
			c.Limits.PingInterval, c.Limits.PingMax = 5*time.Second, 2
		})
		connect := func() *rawClient { return greeted(t, must[net.Conn](t)(s.InProcessConn())) }
		for i, first := range []string{plainConnect + "SUB a 1\r\n", ""} {
			c := connect()
			c.send(first)
			for _, want := range []string{"PING", "PING", "-ERR 'Stale Connection'", "EOF"} {
				if got := c.lineOrPing(); got != want {
					t.Fatalf("after %q: got %q, want %q", first, got, want)
				}
			}
			synctest.Wait()
			if closed := s.ClosedConnections(); len(closed) != i+1 || closed[i].Reason != ReasonStale || s.Stats().StaleConnections != int64(i+1) {
				t.Fatalf("after %q: %+v", first, closed)
			}
		}
		alive := connect()
		alive.send(plainConnect)
		for range 10 {
			if got := alive.lineOrPing(); got != "PING" {
				t.Fatal(got)
			}
			time.Sleep(time.Millisecond)
			alive.send("PONG\r\n")
		}
		synctest.Wait()
		if all := s.Connections(); len(all) != 1 || all[0].RTT != time.Millisecond {
			t.Errorf("%d connections: %+v", len(all), all)
		}
	})
}

func TestMaxConnections(t *testing.T) {
	h := startServer(t, &conf.Config{}, func(c *Config) { c.Limits.MaxConnections = 1 })
	first := h.connect(t)
	h.raw(t).expect(plainConnect+"PUB a 0\r\n\r\n", "-ERR 'maximum connections exceeded'", "EOF")
	if r := h.closedReason(t); r != ReasonMaxConnections {
		t.Fatal(r)
	}
	if n := h.Stats().InMsgs; n != 0 {
		t.Errorf("%d messages of a client that was sent away were taken", n)
	}
	first.Close()
	waitFor(t, "no connection", func() bool { return h.Stats().Connections == 0 })
	h.connect(t)
}

func TestAccountLimits(t *testing.T) {
	h := startServer(t, &conf.Config{Accounts: []conf.Account{{
		Name: "A", Users: []conf.User{{Username: "u", Password: "u"}},
		Limits: conf.AccountLimits{MaxConnections: 1, MaxSubscriptions: 1, MaxPayload: 10},
	}}}, nil)
	c := h.raw(t)
	c.expect(login("u")+"SUB a 1\r\nSUB a 2\r\nPING\r\n", "-ERR 'maximum account subscriptions exceeded'", "PONG")
	h.raw(t).expect(login("u"), "-ERR 'maximum account active connections exceeded'", "EOF")
	c.expect("UNSUB 1\r\nSUB a 3\r\nPING\r\nPUB x 11\r\n", "PONG", "-ERR 'Maximum Payload Violation'", "EOF")
	waitFor(t, "nothing left of the account", func() bool {
		s := h.AccountStats()
		return len(s) == 1 && s[0].Connections == 0 && s[0].Subscriptions == 0
	})
}

// arrivals is an Observer that notes whom it hears of.
type arrivals struct {
	mu   sync.Mutex
	came []uint64
	left []uint64
}

func (a *arrivals) Connected(c *ConnInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.came = append(a.came, c.CID)
}

func (a *arrivals) Disconnected(c *ConnInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left = append(a.left, c.CID)
}

// However many clients come at once, an account takes no more than it may. Of the
// others it is told that they went: they had authenticated.
func TestAccountConnectionsAtOnce(t *testing.T) {
	const limit, clients = 3, 64
	cfg := usersConfig()
	cfg.Accounts = []conf.Account{{
		Name: "A", Users: []conf.User{{Username: "few", Password: "few"}},
		Limits: conf.AccountLimits{MaxConnections: limit, MaxSubscriptions: -1, MaxPayload: -1},
	}}
	seen := new(arrivals)
	h := startServer(t, cfg, func(c *Config) { c.Observer = seen })
	var all []*rawClient
	for range clients {
		all = append(all, h.raw(t))
	}
	var asking sync.WaitGroup
	var taken atomic.Int32
	for _, c := range all {
		asking.Go(func() {
			c.send(login("few") + "PING\r\n")
			if c.line() == "PONG" {
				taken.Add(1)
			}
		})
	}
	asking.Wait()
	if n := taken.Load(); n != limit {
		t.Errorf("%d clients of an account that may have %d", n, limit)
	}
	h.Shutdown()
	if len(seen.came) != limit || len(seen.left) != clients {
		t.Errorf("came: %v, left: %v", seen.came, seen.left)
	}
}

// A subscriber that does not read loses its connection; the others go on.
func TestSlowConsumer(t *testing.T) {
	h := startServer(t, &conf.Config{}, func(c *Config) { c.Limits.MaxPending = 1 << 20 })
	slow := h.raw(t)
	slow.expect(plainConnect+"SUB a 1\r\nPING\r\n", "PONG")
	pub, good := h.connect(t), h.connect(t)
	var got atomic.Int64
	good.Subscribe("a", func(*nats.Msg) { got.Add(1) })
	good.Flush()
	data := make([]byte, 32<<10)
	sent := int64(0)
	caughtUp := func() bool { return got.Load() == sent }
	for h.Stats().SlowConsumers == 0 {
		if err := pub.Publish("a", data); err != nil {
			t.Fatal(err)
		}
		// The other subscriber never has half as much to read as it may.
		if sent++; sent%8 == 0 {
			waitFor(t, "the other subscriber got all so far", caughtUp)
		}
	}
	if r := h.closedReason(t); r != ReasonSlowPending {
		t.Fatal(r)
	}
	if h.Stats().StalledClients != 1 {
		t.Fatal("the publisher was not slowed down")
	}
	waitFor(t, "the other subscriber got all", caughtUp)
	if n := h.Stats().SlowConsumers; n != 1 {
		t.Errorf("%d slow consumers", n)
	}
}

func TestWriteDeadline(t *testing.T) {
	h := startServer(t, &conf.Config{}, func(c *Config) { c.NoFastProducerStall = true })
	h.raw(t).expect(plainConnect+"SUB a 1\r\nPING\r\n", "PONG")
	pub := h.connect(t)
	h.Update(func(c *Config) { c.Limits.WriteDeadline = 20 * time.Millisecond })
	data := make([]byte, 512<<10)
	for h.Stats().SlowConsumers == 0 {
		pub.Publish("a", data)
		pub.Flush()
	}
	if r := h.closedReason(t); r != ReasonSlowWrite {
		t.Fatal(r)
	}
}

func TestConnectionFacts(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	nc := h.connect(t, nats.Name("me"))
	nc.QueueSubscribe("foo", "q", func(*nats.Msg) {})
	nc.Publish("foo", []byte("12345"))
	nc.Flush()
	waitFor(t, "the message is counted", func() bool { return h.Connections()[0].InMsgs > 0 })
	facts := h.Connections()[0]
	if facts.Name != "me" || facts.Lang != "go" || facts.InMsgs != 1 || facts.OutBytes != 5 || facts.NumSubs != 1 || facts.IP != "127.0.0.1" || facts.RTT <= 0 {
		t.Fatalf("%+v", facts)
	}
	if s := facts.Subs[0]; s.Subject != "foo" || s.Queue != "q" || s.Msgs != 1 {
		t.Fatalf("%+v", s)
	}
	if !h.Kick(facts.CID) || h.Kick(12345) {
		t.Fatal("kick")
	}
	if r := h.closedReason(t); r != ReasonKicked {
		t.Fatal(r)
	}
	closed := h.ClosedConnections()[0]
	if closed.Stop.IsZero() || closed.NumSubs != 1 || closed.OutMsgs != 1 {
		t.Fatalf("%+v", closed)
	}
}

func TestClosedRing(t *testing.T) {
	r := closedRing{limit: 3}
	for i := range uint64(5) {
		r.add(&ConnInfo{CID: i})
	}
	if all := r.all(); len(all) != 3 || all[0].CID != 2 || all[2].CID != 4 {
		t.Fatalf("%v", all)
	}
}

func TestUpdate(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	nc := h.connect(t)
	nc.Flush()
	h.Update(func(c *Config) { c.Limits.MaxPayload = 1000; c.Limits.MaxSubscriptions = 1 })
	waitFor(t, "the client knows the new limit", func() bool { return nc.MaxPayload() == 1000 })
	h.raw(t).expect(plainConnect+"SUB a 1\r\nSUB a 2\r\nPING\r\n", "-ERR 'maximum subscriptions exceeded'", "PONG")
}

func TestReauthenticate(t *testing.T) {
	cfg := func(password string) *conf.Config {
		return &conf.Config{Authorization: conf.Authorization{Users: []conf.User{
			{Username: "same", Password: "x"}, {Username: "changed", Password: password},
		}}}
	}
	h := startServer(t, cfg("1"), nil)
	same, changed := h.connect(t, nats.UserInfo("same", "x")), h.connect(t, nats.UserInfo("changed", "1"), nats.NoReconnect())
	if err := h.registry.Update(cfg("2")); err != nil {
		t.Fatal(err)
	}
	h.Reauthenticate()
	waitFor(t, "the changed user is sent away", changed.IsClosed)
	if err := same.Flush(); err != nil {
		t.Fatal(err)
	}
}
