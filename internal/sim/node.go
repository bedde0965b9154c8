package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/cluster"
	"weir/internal/conf"
	"weir/internal/jetstream"
	"weir/internal/jsapi"
	"weir/internal/router"
)

// node is one server over all its lives. The life is nil while it is down.
type node struct {
	world *world
	index int
	name  string
	disk  *disk
	life  *life
	lives int
}

// life is a node from a start to a crash.
type life struct {
	node     *node
	host     *host
	accounts *account.Registry
	router   *router.Router
	mesh     *cluster.Mesh
	js       *jetstream.Node
	api      *jsapi.Service
	log      *nodeLog

	mu   sync.Mutex
	over bool
	drop float64 // of Raft frames
	rand *rand.Rand
}

const (
	clusterName = "sim"
	storeDir    = "store"
	// logSegment is small, so that the Raft log uses its files again.
	logSegment = 256 << 10
)

func (n *node) up() bool { return n.life != nil }

// start begins a new life on what the disk holds.
func (n *node) start(skew time.Duration) error {
	n.lives++
	l := &life{
		node: n, host: &host{name: n.name, clock: new(clock)}, log: &nodeLog{node: n, world: n.world},
		rand: n.world.newRand(), router: router.New(n.world.rand.Uint64()),
	}
	l.host.clock.skew.Store(int64(skew))
	fs := n.disk.fs()
	id, err := jetstream.OpenIdentity(fs, storeDir, n.name)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	if l.accounts, err = account.NewRegistry(conf.Default()); err != nil {
		return err
	}
	if err := l.buildMesh(id.Node); err != nil {
		return err
	}
	clustered := clusterName
	if len(n.world.nodes) == 1 {
		clustered = ""
	}
	l.js, err = jetstream.New(jetstream.Config{
		Identity: id, Name: n.name, Cluster: clustered, FS: fs, Dir: storeDir,
		MaxMemory: 1 << 30, MaxStore: 1 << 30, Accounts: l.accounts, Router: l.router, Links: l,
		Expected: func() int { return len(n.world.nodes) }, Clock: l.host.clock, Logger: l.log,
		CheckpointInterval: n.world.checkpoints, LogSegment: logSegment, LogTail: n.world.logTail,
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	l.serve(clustered)
	n.world.network.reboot(n.name)
	if err := l.js.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	if err := l.js.Intercept(l.accounts.Global()); err != nil {
		return err
	}
	if err := l.mesh.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.life = l
	return nil
}

func (l *life) buildMesh(id base.NodeID) (err error) {
	w, n := l.node.world, l.node
	var routes []*url.URL
	for _, other := range w.nodes {
		if other != n {
			routes = append(routes, &url.URL{Scheme: "nats-route", Host: other.name + ":6222"})
		}
	}
	var log base.Logger = base.NopLogger{}
	if w.options.Debug {
		log = l.log
	}
	l.mesh, err = cluster.New(cluster.Config{
		Node: id, ID: fmt.Sprintf("%s-%d", n.name, n.lives), Name: n.name, Cluster: clusterName,
		Host: n.name, Port: 6222, Advertise: n.name + ":6222", Routes: routes, JetStream: true,
		Clock: l.host.clock, Log: log, Seed: w.rand.Uint64(),
		Listen: func(string) (net.Listener, error) { return w.network.listen(l.host) },
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			to, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return w.network.dial(ctx, l.host, to)
		},
	}, l.router, peers{l})
	return err
}

// crash ends the life at this moment. What the node does from now on nobody gets
// to see: not the network, not the disk, not its clients.
func (n *node) crash(power bool, percent int) {
	l := n.life
	n.world.ended(n)
	n.life = nil
	l.host.kill()
	n.world.network.disconnect(n.name, !power)
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	if !power {
		percent = 100
	}
	n.disk.loseUnsynced(percent)
	l.host.clock.resume()
	n.world.background.Go(func() { l.end() })
}

// stop ends the life in good order.
func (n *node) stop() error {
	l := n.life
	n.world.ended(n)
	n.life = nil
	l.host.clock.resume()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	l.api.Stop()
	err := l.js.Stop(ctx)
	l.mesh.Shutdown()
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	return err
}

// end frees what a life that is over holds.
func (l *life) end() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.mesh.Shutdown()
	l.api.Stop()
	_ = l.js.Stop(ctx) // nothing that it does counts any more
}

// isOver tells that the node died: its clients hear nothing any more.
func (l *life) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

func (l *life) account() *account.Account { return l.accounts.Global() }

// SendRequest and SendRaft make a life the links of its JetStream.
func (l *life) SendRequest(to base.NodeID, kind byte, payload []byte) error {
	return l.mesh.SendRequest(to, kind, payload)
}

// SendRaft loses some frames, if it is to.
func (l *life) SendRaft(to base.NodeID, frame []byte) bool {
	l.mu.Lock()
	lost := l.drop > 0 && l.rand.Float64() < l.drop
	l.mu.Unlock()
	return lost || l.mesh.SendRaft(to, frame)
}

func (l *life) setDrop(p float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop = p
}

// peers passes on what comes from other nodes.
type peers struct{ l *life }

func (p peers) PeerUp(i cluster.PeerInfo) {
	p.l.js.PeerUp(jetstream.Peer{Node: i.Node, Name: i.Name, JetStream: i.JetStream})
}
func (p peers) PeerUpdated(cluster.PeerInfo) {}
func (p peers) PeerDown(id base.NodeID)      { p.l.js.PeerDown(id) }
func (p peers) Request(from base.NodeID, kind byte, payload []byte) {
	p.l.js.HandleFrame(from, kind, payload)
}
func (p peers) Raft(from base.NodeID, frame []byte) { p.l.js.HandleRaft(from, frame) }

// nodeLog puts the node's name and the virtual time in front of each line.
type nodeLog struct {
	node  *node
	world *world
}

func (l *nodeLog) Noticef(f string, a ...any) { l.print("INF", f, a) }
func (l *nodeLog) Warnf(f string, a ...any)   { l.print("WRN", f, a) }
func (l *nodeLog) Errorf(f string, a ...any)  { l.print("ERR", f, a) }
func (l *nodeLog) Debugf(f string, a ...any) {
	if l.world.options.Debug {
		l.print("DBG", f, a)
	}
}
func (l *nodeLog) Tracef(string, ...any) {}

func (l *nodeLog) print(level, format string, args []any) {
	l.world.logf("%s/%d [%s] %s", l.node.name, l.node.lives, level, fmt.Sprintf(format, args...))
}
