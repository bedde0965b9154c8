package jetstream

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/router"
)

// testNet links nodes of this process. Frames of one sender to one receiver
// arrive in order.
type testNet struct {
	mu    sync.Mutex
	nodes map[base.NodeID]*testPeer
	cut   map[[2]base.NodeID]bool
	// filter may lose a request frame; nil loses none.
	filter func(from, to base.NodeID, kind byte, payload []byte) bool
	deaf   base.NodeID // gets no Raft frames
}

// testPeer is a node's end of the links: one queue for each who sends to it.
type testPeer struct {
	node   *Node
	name   string
	queues map[base.NodeID]chan func()
	done   chan struct{}
}

func newTestNet() *testNet {
	return &testNet{nodes: map[base.NodeID]*testPeer{}, cut: map[[2]base.NodeID]bool{}}
}

// links are those of one node.
type links struct {
	net  *testNet
	self base.NodeID
}

func (l links) SendRequest(to base.NodeID, kind byte, payload []byte) error {
	l.net.mu.Lock()
	lose := l.net.filter
	l.net.mu.Unlock()
	if lose != nil && lose(l.self, to, kind, payload) {
		return nil
	}
	frame := slices.Clone(payload)
	if !l.net.send(l.self, to, func(n *Node) { n.HandleFrame(l.self, kind, frame) }) {
		return errNoLink
	}
	return nil
}

func (l links) SendRaft(to base.NodeID, frame []byte) bool {
	l.net.mu.Lock()
	lost := to == l.net.deaf
	l.net.mu.Unlock()
	return lost || l.net.send(l.self, to, func(n *Node) { n.HandleRaft(l.self, frame) })
}

func (net *testNet) send(from, to base.NodeID, f func(*Node)) bool {
	net.mu.Lock()
	defer net.mu.Unlock()
	p := net.nodes[to]
	if p == nil || net.nodes[from] == nil || net.cut[pair(from, to)] {
		return false
	}
	q := p.queues[from]
	if q == nil {
		q = make(chan func(), 8192)
		p.queues[from] = q
		go func() {
			for {
				select {
				case f := <-q:
					f()
				case <-p.done:
					return
				}
			}
		}()
	}
	select {
	case q <- func() { f(p.node) }:
		return true
	default:
		return false
	}
}

func pair(a, b base.NodeID) [2]base.NodeID { return [2]base.NodeID{min(a, b), max(a, b)} }

// join links a node to all others but those that it is cut off from.
func (net *testNet) join(n *Node) {
	id := n.cfg.Identity.Node
	net.mu.Lock()
	p := &testPeer{node: n, name: n.cfg.Name, queues: map[base.NodeID]chan func(){}, done: make(chan struct{})}
	net.nodes[id] = p
	var others []*testPeer
	for other, q := range net.nodes {
		if other != id && !net.cut[pair(id, other)] {
			others = append(others, q)
		}
	}
	net.mu.Unlock()
	for _, o := range others {
		o.node.PeerUp(Peer{Node: id, Name: p.name, JetStream: true})
		n.PeerUp(Peer{Node: o.node.cfg.Identity.Node, Name: o.name, JetStream: true})
	}
}

// leave ends a node's links.
func (net *testNet) leave(n *Node) {
	id := n.cfg.Identity.Node
	net.mu.Lock()
	p := net.nodes[id]
	delete(net.nodes, id)
	var others []*Node
	for _, q := range net.nodes {
		delete(q.queues, id)
		others = append(others, q.node)
	}
	net.mu.Unlock()
	if p == nil {
		return
	}
	close(p.done)
	for _, o := range others {
		o.PeerDown(id)
	}
}

// testCluster is a cluster of nodes in this process.
type testCluster struct {
	balanceAfter time.Duration // 0 is the default
	logSegment   int64         // 0 is 1 MiB
	t            testing.TB
	net          *testNet
	expected     int
	all          []*harness
}

func newTestCluster(t testing.TB, expected int) *testCluster {
	c := &testCluster{t: t, net: newTestNet(), expected: expected}
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for _, h := range c.all {
			if h.node != nil {
				wg.Go(func() { c.kill(h) })
			}
		}
		wg.Wait()
	})
	return c
}

// startCluster starts n nodes and waits until each is a member.
func startCluster(t testing.TB, n int) *testCluster {
	t.Helper()
	c := newTestCluster(t, n)
	for i := range n {
		c.add(fmt.Sprintf("n%d", i+1))
	}
	c.untilHealthy()
	return c
}

// add starts a new node.
func (c *testCluster) add(name string) *harness {
	c.t.Helper()
	h := &harness{t: c.t, fs: vfs.NewMem(), name: name}
	c.all = append(c.all, h)
	c.start(h)
	return h
}

func (c *testCluster) start(h *harness) {
	c.t.Helper()
	c.create(h)
	c.launch(h)
}

// create opens a node without starting it.
func (c *testCluster) create(h *harness) {
	c.t.Helper()
	registry, err := account.NewRegistry(conf.Default())
	if err != nil {
		c.t.Fatal(err)
	}
	id, err := OpenIdentity(h.fs, "store", h.name)
	if err != nil {
		c.t.Fatal(err)
	}
	h.rt, h.acc = router.New(1), registry.Global()
	h.node, err = New(Config{
		Identity: id, Name: h.name, Cluster: "test", FS: h.fs, Dir: "store", MaxMemory: 1 << 30, MaxStore: 1 << 30, Tags: h.tags,
		Accounts: registry, Router: h.rt, Links: links{c.net, id.Node}, Expected: func() int { return c.expected },
		Clock: base.SystemClock, Logger: testLogger{c.t}, TickInterval: 30 * time.Millisecond,
		LogSegment: cmp.Or(c.logSegment, 1<<20), BalanceAfter: c.balanceAfter,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	h.node.SetRequestHandler(func(*Request) {})
}

func (c *testCluster) launch(h *harness) {
	c.t.Helper()
	if err := h.node.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.net.join(h.node)
}

// stop stops a node in good order: its links end last.
func (c *testCluster) stop(h *harness) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n := h.node
	if err := n.Stop(ctx); err != nil {
		c.t.Error(err)
	}
	c.net.leave(n)
	h.node = nil
}

// kill ends a node as its death would: the others hear nothing of it but that
// its links are gone.
func (c *testCluster) kill(h *harness) {
	n := h.node
	c.net.leave(n)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = n.Stop(ctx)
	h.node = nil
}

// wipe forgets what a dead node stored.
func (c *testCluster) wipe(h *harness) { h.fs = vfs.NewMem() }

func (c *testCluster) live() []*harness {
	return slices.DeleteFunc(slices.Clone(c.all), func(h *harness) bool { return h.node == nil })
}

func (c *testCluster) until(what string, ok func() bool) {
	c.t.Helper()
	(&harness{t: c.t}).until(what, ok)
}

func (c *testCluster) untilHealthy() {
	c.t.Helper()
	var last error
	defer func() {
		if c.t.Failed() {
			c.t.Logf("unhealthy: %v", last)
			c.describe()
		}
	}()
	c.until("healthy cluster", func() bool {
		for _, h := range c.live() {
			if last = h.node.Healthy(); last != nil {
				return false
			}
		}
		return c.metaLeader() != nil
	})
}

// describe logs what every node knows of every group.
func (c *testCluster) describe() {
	for _, h := range c.live() {
		for _, s := range h.node.Streams() {
			c.t.Logf("%s (node %s) %s: %+v; wanted %v", h.name, h.node.cfg.Identity.Node, s.Name(), s.Group().Status(), s.Assignment().Replicas)
		}
	}
}

func (c *testCluster) metaLeader() *harness {
	for _, h := range c.live() {
		if h.node.MetaLeader().Here {
			return h
		}
	}
	return nil
}

func (c *testCluster) propose(body meta.Body) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		l := c.metaLeader()
		if l != nil {
			r, err := l.node.ProposeMeta(ctx, body)
			if err == nil && r.Err == nil {
				return
			}
			if err == nil || ctx.Err() != nil {
				c.t.Fatal(err, r.Err)
			}
		}
		select {
		case <-ctx.Done():
			c.t.Fatal("no meta leader")
		case <-time.After(time.Millisecond):
		}
	}
}

func streamConfig(name string, storage api.Storage, replicas int) api.StreamConfig {
	return api.StreamConfig{
		Name: name, Subjects: []string{name + ".>"}, Retention: "limits", Storage: storage, Discard: "old", Replicas: replicas,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPer: -1, MaxMsgSize: -1, MaxConsumers: -1, Compression: "none",
	}
}

// createStream makes a stream on the given nodes and waits for its leader, and until
// the other replicas are open.
func (c *testCluster) createStream(cfg api.StreamConfig, on ...*harness) {
	c.t.Helper()
	raw, err := json.Marshal(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.propose(&meta.StreamCreate{Account: on[0].acc.Name(), Config: raw, Nodes: ids(on)})
	c.leader(cfg.Name)
	c.until("replicas of "+cfg.Name, func() bool {
		return !slices.ContainsFunc(on, func(h *harness) bool { return h.stream(cfg.Name) == nil })
	})
}

func ids(on []*harness) (nodes []base.NodeID) {
	for _, h := range on {
		nodes = append(nodes, h.node.cfg.Identity.Node)
	}
	return nodes
}

// leader waits for a stream's leader that takes requests.
func (c *testCluster) leader(stream string) (h *harness) {
	c.t.Helper()
	c.until("leader of "+stream, func() bool {
		for _, h = range c.live() {
			if s := h.stream(stream); s != nil && s.Ready() {
				return true
			}
		}
		return false
	})
	return h
}

func (h *harness) stream(name string) *Stream { return h.node.Stream(h.acc.Name(), name) }

// createConsumer makes a consumer and waits for its runner.
func (c *testCluster) createConsumer(stream, name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.until("consumer "+name, func() bool {
		s := c.leader(stream).stream(stream)
		r, err := s.Propose(ctx, &machine.ConsumerCreate{
			Time: time.Now().UnixNano(), Runner: s.ChooseRunner(),
			Config: api.ConsumerConfig{Name: name, Durable: name, AckPolicy: "explicit", DeliverPolicy: "all", ReplayPolicy: "instant", AckWait: time.Minute},
		})
		if r.Err != nil {
			c.t.Fatal(r.Err)
		}
		return err == nil // another may lead meanwhile
	})
	c.runner(stream, name)
}

// runner waits for the node that runs a consumer.
func (c *testCluster) runner(stream, name string) (h *harness) {
	c.t.Helper()
	c.until("runner of "+name, func() bool {
		for _, h = range c.live() {
			if s := h.stream(stream); s != nil && s.Runner(name) != nil && s.live() {
				return true
			}
		}
		return false
	})
	return h
}

// publish publishes a message and waits for its ack, again with whoever leads
// when none comes.
func (c *testCluster) publish(stream string) {
	c.t.Helper()
	c.publishData(stream, []byte("hello"))
}

func (c *testCluster) publishData(stream string, payload []byte) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for wait := 300 * time.Millisecond; time.Now().Before(deadline); wait *= 2 {
		h := c.leader(stream)
		ack := make(chan struct{}, 10)
		sub, err := h.rt.Subscribe(h.acc, "ack", "", func(*router.Sub, router.Source, *router.Msg) { ack <- struct{}{} }, router.SubOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		h.rt.Publish(h.acc, router.Internal, &router.Msg{Subject: []byte(stream + ".x"), Reply: []byte("ack"), Payload: payload})
		ok := false
		select {
		case <-ack:
			ok = true
		case <-time.After(wait):
		}
		h.rt.Unsubscribe(sub)
		if ok {
			return
		}
	}
	c.t.Fatalf("no ack from stream %s in time", stream)
}

// voters are the nodes that vote in a stream's group, as its leader knows.
func (c *testCluster) voters(stream string) []base.NodeID {
	voters, _ := c.leader(stream).stream(stream).Members()
	var nodes []base.NodeID
	for _, r := range voters {
		nodes = append(nodes, r.Node)
	}
	slices.Sort(nodes)
	return nodes
}

// routerInternal is the source of the tests' messages.
var routerInternal = router.Internal

func testMessage(subj, reply string) *router.Msg {
	return &router.Msg{Subject: []byte(subj), Reply: []byte(reply), Payload: []byte("hello")}
}

func (c *testCluster) eachLive() iter.Seq[*harness] { return slices.Values(c.live()) }
