package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/base"
	"weir/internal/router"
)

func TestFullMeshFromOneSeed(t *testing.T) {
	nodes := threeNodes(t)
	for _, n := range nodes {
		for _, to := range nodes {
			if to != n {
				n.fence(to)
			}
		}
	}
	for _, n := range nodes {
		if peers := n.mesh.Peers(); len(peers) != 2 || peers[0].Cluster != "C" || peers[0].Addr == "" {
			t.Errorf("peers of n%d: %+v", n.id, peers)
		}
		stats := n.mesh.Stats()
		if len(stats) != 4 {
			t.Fatalf("links of n%d: %+v", n.id, stats)
		}
		for _, s := range stats {
			if s.OutFrames == 0 && s.Kind == "data" {
				t.Errorf("nothing sent: %+v", s)
			}
		}
	}
}

func TestMessagesGoToEachInterestedPeer(t *testing.T) {
	nodes := threeNodes(t)
	a, b, c := nodes[0], nodes[1], nodes[2]
	sub := b.subscribe("orders.*", "")
	b.subscribe("orders.eu", "")
	c.subscribe(">", "")
	b.fence(a)
	c.fence(a)
	header := []byte("NATS/1.0\r\nA: 1\r\n\r\n")
	if n := a.router.Publish(a.acc, router.Internal, &router.Msg{Subject: []byte("orders.eu"), Header: header, Payload: []byte("1")}); n != 2 {
		t.Errorf("delivered to %d", n)
	}
	a.publish("orders.us", "2")
	a.publish("other", "3")
	a.fence(b)
	a.fence(c)
	h := string(header)
	wantMessages(t, b, "n1 orders.eu "+h+"1", "n1 orders.eu "+h+"1", "n1 orders.us 2")
	wantMessages(t, c, "n3 orders.eu "+h+"1", "n3 orders.us 2", "n3 other 3")

	b.router.Unsubscribe(sub)
	b.fence(a)
	a.publish("orders.us", "4")
	a.fence(b)
	if got := b.numMessages(); got != 3 {
		t.Errorf("%d messages after the subscription's end", got)
	}
}

func wantMessages(t *testing.T, n *node, want ...string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.messages, want) {
		t.Errorf("n%d got %q, want %q", n.id, n.messages, want)
	}
}

func TestQueueGroupGetsOneCopy(t *testing.T) {
	nodes := threeNodes(t)
	a, b, c := nodes[0], nodes[1], nodes[2]
	// Three members at b, one at c.
	var members []*router.Sub
	for range 3 {
		members = append(members, b.subscribe("jobs", "workers"))
	}
	c.subscribe("jobs", "workers")
	c.subscribe("jobs", "others")
	b.fence(a)
	c.fence(a)
	const published = 400
	for range published {
		if n := a.publish("jobs", "x"); n < 1 {
			t.Fatalf("delivered to %d", n)
		}
	}
	a.fence(b)
	a.fence(c)
	atB, atC := b.numMessages(), c.numMessages()-published
	if atB+atC != published {
		t.Fatalf("%d and %d messages of %d", atB, atC, published)
	}
	if atB < atC {
		t.Errorf("three members got %d, one got %d", atB, atC)
	}
	for _, s := range members {
		b.router.Unsubscribe(s)
	}
	b.fence(a)
	a.publish("jobs", "x")
	a.fence(b)
	if b.numMessages() != atB {
		t.Error("a group without members got a message")
	}
}

func TestRequestsComeAfterInterest(t *testing.T) {
	a := startNode(t, 1)
	b := newNode(t, 2, routeTo(a))
	var missing []string
	b.onRequest = func(_ byte, payload []byte) {
		if !b.router.HasInterest(b.acc, string(payload)) {
			missing = append(missing, string(payload))
		}
	}
	if err := b.mesh.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.mesh.Shutdown)
	a.awaitUp(b)
	for i := range 500 {
		subj := fmt.Sprintf("reply.%d", i)
		a.subscribe(subj, "")
		if err := a.mesh.SendRequest(b.id, 'x', []byte(subj)); err != nil {
			t.Fatal(err)
		}
	}
	b.await(t, "500 requests", func() bool { return len(b.requests) == 500 })
	if len(missing) > 0 {
		t.Errorf("requests before the interest: %q", missing)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.IsSortedFunc(b.requests, func(x, y string) int {
		return len(x) - len(y)
	}) {
		t.Error("requests out of order")
	}
}

func TestInterestThatStoodBeforeTheLink(t *testing.T) {
	a := startNode(t, 1)
	for i := range 1000 {
		a.subscribe(fmt.Sprintf("s.%d", i), "")
	}
	b := startNode(t, 2, routeTo(a))
	b.awaitUp(a)
	for i := range 1000 {
		if !b.router.HasInterest(b.acc, fmt.Sprintf("s.%d", i)) {
			t.Fatalf("up without the interest in s.%d", i)
		}
	}
}

func TestRaftFrames(t *testing.T) {
	a := startNode(t, 1)
	b := startNode(t, 2, routeTo(a))
	a.awaitUp(b)
	b.awaitUp(a)
	large := strings.Repeat("x", 3<<20)
	for _, frame := range []string{"one", large, "two"} {
		if !a.mesh.SendRaft(b.id, []byte(frame)) {
			t.Fatal("dropped")
		}
	}
	b.await(t, "three frames", func() bool { return len(b.raft) == 3 })
	if b.raft[0] != "1 one" || b.raft[1] != "1 "+large || b.raft[2] != "1 two" {
		t.Error("frames differ")
	}
	if a.mesh.SendRaft(99, nil) {
		t.Error("sent to nobody")
	}
	if err := a.mesh.SendRequest(99, 1, nil); !errors.Is(err, ErrNoLink) {
		t.Errorf("SendRequest = %v", err)
	}
	if err := a.mesh.SendRequest(b.id, 1, make([]byte, maxFrame)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("SendRequest = %v", err)
	}
}

func TestPeerDownAndBackUp(t *testing.T) {
	nodes := threeNodes(t)
	a, b, c := nodes[0], nodes[1], nodes[2]
	b.subscribe("x", "")
	b.fence(a)
	b.mesh.Shutdown()
	a.awaitUp(c)
	c.awaitUp(a)
	a.awaitLog(`data link to "n1" ended`)
	if a.router.HasInterest(a.acc, "x") {
		t.Error("interest of a peer that is gone")
	}
	// The same node is started again, elsewhere.
	again := startNode(t, b.id, routeTo(c))
	again.awaitUp(a, c)
	a.awaitUp(again, c)
	c.awaitUp(again, a)
}

func TestRouteThatIsNotThereYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := new(memoryNetwork)
		b := memoryNode(t, network, 2, "host1")
		b.awaitLog("Cluster route host1:6222: connecting:")
		a := memoryNode(t, network, 1)
		b.awaitUp(a)
		a.mesh.Shutdown()
		b.mesh.Shutdown()
	})
}

func TestRefusals(t *testing.T) {
	a := startNode(t, 5, func(cfg *Config) {
		cfg.Authorize = func(user, password string) bool { return user == "u" && password == "p" }
	})
	login := func(cfg *Config) { cfg.User, cfg.Password = "u", "p" }
	b := startNode(t, 6, routeTo(a), login)
	b.awaitUp(a)
	for _, c := range []struct {
		what   string
		option func(*Config)
		log    string
	}{
		{"our name", func(cfg *Config) { cfg.Name = "n5" }, `duplicate server name "n5" in the cluster`},
		{"a peer's name", func(cfg *Config) { cfg.Name = "n6" }, `duplicate server name "n6" in the cluster`},
		{"another cluster", func(cfg *Config) { cfg.Cluster = "D" }, `cluster names differ: "D" of server "n4" and "C" of server "n5"`},
		{"our node id", func(cfg *Config) { cfg.Node = 5 }, `have the same node id 5`},
		{"a wrong password", func(cfg *Config) { cfg.Password = "x" }, `authorization violation by server "n4"`},
		{"a wrong password and another cluster", func(cfg *Config) { cfg.Name, cfg.Password, cfg.Cluster = "n7", "x", "D" }, `authorization violation by server "n7"`},
	} {
		t.Run(c.what, func(t *testing.T) {
			x := startNode(t, 4, routeTo(a), login, c.option)
			x.awaitLog(c.log)
			a.awaitLog(c.log)
			if peers := x.mesh.Peers(); len(peers) > 0 {
				t.Errorf("peers: %+v", peers)
			}
			x.mesh.Shutdown()
		})
	}
	a.awaitUp(b)
}

func TestRouteToItself(t *testing.T) {
	a := startNode(t, 1)
	a.mesh.addRoute(&url.URL{Host: a.mesh.Addr().String()})
	b := startNode(t, 2, routeTo(a))
	a.awaitUp(b)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, line := range a.log {
		if strings.Contains(line, "[ERR]") || strings.Contains(line, "[WRN]") {
			t.Error(line)
		}
	}
}

func TestForeignProtocols(t *testing.T) {
	a := startNode(t, 1)
	for _, c := range []struct{ sent, log string }{
		{"INFO {\"server_id\":\"N\"}\r\nCONNECT {}\r\n", `does not speak Weir's cluster protocol: it begins with "I`},
		{"\x16\x03\x01\x02", `it begins with "\x16`},
		{"WEIR\x09", "it has version 9 of it, this node 1"},
		{"WEIR\x01\x00\x00\x00\x00\x01", "malformed frame: 0 bytes in the handshake"},
		{"WEIR\x01\xff\xff\xff\xff\x01", "malformed frame: 4294967295 bytes in the handshake"},
		{"WEIR\x01\x01\x00\x00\x00\x07", "malformed frame: type 7 in the handshake"},
		{"WEIR\x01\x03\x00\x00\x00\x01{}", "hello without node id or name"},
		{"WEIR\x01\x02\x00\x00\x00\x01{", "malformed frame: hello"},
	} {
		conn, err := net.Dial("tcp", a.mesh.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(c.sent)); err != nil {
			t.Fatal(err)
		}
		// Ends when the mesh closes; a reset is as good as an end.
		answer, _ := io.ReadAll(conn)
		if !strings.HasPrefix(c.sent, magic) && len(answer) > 0 && !strings.HasPrefix(string(answer), "-ERR '") {
			t.Errorf("answer %q", answer)
		}
		conn.Close()
		a.awaitLog(c.log)
	}
}

func TestRouteToForeignServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "INFO {}\r\n")
			conn.Close()
		}
	}()
	a := startNode(t, 1, func(cfg *Config) { cfg.Routes = []*url.URL{{Host: listener.Addr().String()}} })
	a.awaitLog("does not speak Weir's cluster protocol")
}

func TestPeerUpdated(t *testing.T) {
	var urls atomic.Pointer[[]string]
	urls.Store(&[]string{"a:1"})
	a := startNode(t, 1, func(cfg *Config) { cfg.ClientURLs = func() []string { return *urls.Load() } })
	b := startNode(t, 2, routeTo(a))
	a.awaitUp(b)
	b.awaitUp(a)
	if got := b.mesh.Peers()[0].ClientURLs; !slices.Equal(got, []string{"a:1"}) {
		t.Errorf("client URLs: %q", got)
	}
	urls.Store(&[]string{"a:1", "a:2"})
	a.mesh.Announce()
	b.awaitEvent("updated n1 [a:1 a:2]")
}

func TestMalformedFrameEndsLink(t *testing.T) {
	a := startNode(t, 1)
	b := startNode(t, 2, routeTo(a))
	a.awaitUp(b)
	b.awaitUp(a)
	b.mesh.link(1, linkData).sendControl(appendInterest(nil, "A", "bad..subject", "", 1))
	a.awaitLog(`malformed frame: interest of account "A" in "bad..subject"`)
	a.awaitEvent("down n2")
	a.awaitUp(b)
	b.mesh.link(1, linkRaft).sendControl(appendRequest(nil, 1, nil))
	a.awaitLog(`malformed frame: type 10 on the raft link`)
}

// memoryNode is a node on a network without sockets.
func memoryNode(t *testing.T, network *memoryNetwork, id base.NodeID, routes ...string) *node {
	return startNode(t, id, network.node(id, routes...))
}

func (w *memoryNetwork) node(id base.NodeID, routes ...string) func(*Config) {
	return func(cfg *Config) {
		cfg.Host, cfg.Port = fmt.Sprintf("host%d", id), 6222
		cfg.Listen = w.listen
		cfg.Dial = w.dial
		for _, host := range routes {
			cfg.Routes = append(cfg.Routes, &url.URL{Host: host})
		}
	}
}

func (w *memoryNetwork) dial(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	l, stalled := w.listeners[address], w.stalled
	w.mu.Unlock()
	if stalled {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l == nil {
		return nil, errors.New("connection refused")
	}
	mine, theirs := net.Pipe()
	wrap := func(c net.Conn) net.Conn {
		return &memoryConn{Conn: c, network: w, closed: make(chan struct{})}
	}
	select {
	case l.conns <- wrap(theirs):
		return wrap(mine), nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSilenceMeansDown stalls the network: both sides notice within the time
// that is promised, and find each other again.
func TestSilenceMeansDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := new(memoryNetwork)
		a := memoryNode(t, network, 1)
		b := memoryNode(t, network, 2, "host1")
		a.awaitUp(b)
		b.awaitUp(a)
		// Idle links stay up.
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, s := range a.mesh.Stats() {
			if time.Since(s.LastRead) > heartbeatEvery {
				t.Errorf("last heard %v ago", time.Since(s.LastRead))
			}
		}
		network.setStalled(true)
		start := time.Now()
		a.awaitEvent("down n2")
		b.awaitEvent("down n1")
		if d := time.Since(start); d < deadAfter-heartbeatEvery || d > deadAfter+heartbeatEvery {
			t.Errorf("noticed after %v", d)
		}
		time.Sleep(time.Minute)
		network.setStalled(false)
		healed := time.Now()
		a.awaitUp(b)
		b.awaitUp(a)
		if d := time.Since(healed); d > dialTimeout+handshakeTimeout+2*backoffMax {
			t.Errorf("linked again after %v", d)
		}
		b.mesh.Shutdown()
		a.mesh.Shutdown()
	})
}

// TestSimultaneousDials starts nodes that all know each other: each pair ends
// with one link of each kind and nobody is reported twice.
func TestSimultaneousDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := new(memoryNetwork)
		hosts := []string{"host1", "host2", "host3", "host4", "host5"}
		var nodes []*node
		for id := range hosts {
			nodes = append(nodes, memoryNode(t, network, base.NodeID(id+1), hosts...))
		}
		for _, n := range nodes {
			n.awaitUp(slices.DeleteFunc(slices.Clone(nodes), func(other *node) bool { return other == n })...)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, n := range nodes {
			n.mu.Lock()
			if len(n.events) != len(nodes)-1 {
				t.Errorf("n%d: %q", n.id, n.events)
			}
			n.mu.Unlock()
		}
		for _, n := range nodes {
			n.mesh.Shutdown()
		}
	})
}

func BenchmarkDeliver(b *testing.B) {
	m := &Mesh{cfg: Config{MaxPendingData: 1 << 30}}
	l := &link{mesh: m, kind: linkData, wake: make(chan struct{}, 1)}
	msg := &router.Msg{Subject: []byte("orders.eu"), Payload: make([]byte, 128)}
	b.ReportAllocs()
	for range b.N {
		l.Deliver("A", nil, msg, nil)
		if len(l.pending) > 1<<20 {
			l.pending = l.pending[:0]
		}
	}
}

// TestNobodyThereYet: an address where nobody was met yet is no reason to warn for a short time, and then once.
func TestNobodyThereYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := memoryNode(t, new(memoryNetwork), 1, "host9")
		lines := func(level string) (n int) {
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, line := range a.log {
				if strings.HasPrefix(line, level+" Cluster route host9") {
					n++
				}
			}
			return n
		}
		time.Sleep(firstPatience / 2)
		synctest.Wait()
		if info, warn := lines("[INF]"), lines("[WRN]"); info != 1 || warn != 0 {
			t.Errorf("%d notices and %d warnings at first", info, warn)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if info, warn := lines("[INF]"), lines("[WRN]"); info != 1 || warn != 1 {
			t.Errorf("%d notices and %d warnings", info, warn)
		}
		a.mesh.Shutdown()
	})
}
