package rafthost

import (
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"weir/internal/base"
	"weir/internal/raftlog"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// machine is a Machine whose state is the chained hash of what it applied.
type machine struct {
	mu      sync.Mutex
	s       machineState
	durable machineState // what a crash leaves
	history map[uint64]uint64
	leader  LeaderInfo
	seen    []LeaderInfo
	voters  []base.Replica
	learn   []base.Replica
	stopped error
	restore int

	block chan struct{} // Apply waits for it to be closed
	// switched, if set, is called by Restore after it has switched.
	switched func()
	fault    error // returned by the next Apply with data
}

type machineState struct {
	Index, Hash uint64
	Count       int
	Last        string
	Pad         []byte // makes images large
}

func newMachine() *machine { return &machine{history: map[uint64]uint64{}} }

func (m *machine) Apply(entries []Entry) error {
	m.mu.Lock()
	block := m.block
	m.mu.Unlock()
	if block != nil {
		<-block
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		base.Assert(e.Index == m.s.Index+1 || m.s.Index == 0 && e.Index == bootstrapIndex+1, "entry %d after %d", e.Index, m.s.Index)
		if e.Data != nil {
			if m.fault != nil {
				return m.fault
			}
			m.s.Count++
			m.s.Last = string(e.Data)
		}
		h := fnv.New64a()
		_ = binary.Write(h, binary.LittleEndian, []uint64{m.s.Hash, e.Index, e.Term})
		h.Write(e.Data)
		m.s.Hash, m.s.Index = h.Sum64(), e.Index
		m.history[e.Index] = m.s.Hash
	}
	return nil
}

func (m *machine) Applied() uint64 { m.mu.Lock(); defer m.mu.Unlock(); return m.s.Index }

func (m *machine) Snapshot() (Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &machineImage{m.s}, nil
}

type machineImage struct{ s machineState }

func (i *machineImage) Index() uint64 { return i.s.Index }
func (i *machineImage) WriteTo(w io.Writer) (int64, error) {
	return 0, gob.NewEncoder(w).Encode(i.s)
}
func (i *machineImage) Close() error { return nil }

func (m *machine) Restore(index uint64, r io.Reader) error {
	var s machineState
	if err := gob.NewDecoder(r).Decode(&s); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	base.Assert(s.Index == index, "image %d named %d", s.Index, index)
	m.s, m.durable = s, s
	m.history[s.Index] = s.Hash
	m.restore++
	switched := m.switched
	m.mu.Unlock()
	if switched != nil {
		switched()
	}
	m.mu.Lock()
	return nil
}

func (m *machine) LeaderChange(i LeaderInfo) {
	m.mu.Lock()
	m.leader = i
	m.seen = append(m.seen, i)
	m.mu.Unlock()
}

func (m *machine) MembersChange(v, l []base.Replica) {
	m.mu.Lock()
	m.voters, m.learn = v, l
	m.mu.Unlock()
}

func (m *machine) Stopped(err error) { m.mu.Lock(); m.stopped = err; m.mu.Unlock() }

func (m *machine) get() machineState { m.mu.Lock(); defer m.mu.Unlock(); return m.s }

func (m *machine) lead() LeaderInfo { m.mu.Lock(); defer m.mu.Unlock(); return m.leader }

// checkpoint makes the present state survive a crash.
func (m *machine) checkpoint() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.durable = m.s
	return m.s.Index
}

// network connects hosts; links keep the order of frames.
type network struct {
	t     *testing.T
	mu    sync.Mutex
	hosts map[base.NodeID]*Host
	cut   map[[2]base.NodeID]bool
	delay time.Duration
	drop  float64
	rand  *rand.Rand
	links map[[2]base.NodeID]chan delivery
	sent  int
	done  chan struct{}
	wg    sync.WaitGroup
}

type delivery struct {
	at    time.Time
	frame []byte
}

func newNetwork(t *testing.T) *network {
	return &network{
		t: t, hosts: map[base.NodeID]*Host{}, cut: map[[2]base.NodeID]bool{}, delay: time.Millisecond,
		rand: rand.New(rand.NewPCG(1, 2)), links: map[[2]base.NodeID]chan delivery{}, done: make(chan struct{}),
	}
}

type port struct {
	n    *network
	from base.NodeID
}

func (p port) Send(to base.NodeID, frame []byte) bool { return p.n.send(p.from, to, frame) }

func (n *network) send(from, to base.NodeID, frame []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := [2]base.NodeID{from, to}
	if n.cut[k] || n.hosts[to] == nil {
		return false
	}
	if n.drop > 0 && n.rand.Float64() < n.drop {
		return true
	}
	n.sent++
	link := n.links[k]
	if link == nil {
		link = make(chan delivery, 4096)
		n.links[k] = link
		n.wg.Go(func() { n.carry(k, link) })
	}
	select {
	case link <- delivery{time.Now().Add(n.delay), frame}:
		return true
	default:
		return false
	}
}

func (n *network) carry(k [2]base.NodeID, link chan delivery) {
	for {
		select {
		case <-n.done:
			return
		case d := <-link:
			if wait := time.Until(d.at); wait > 0 {
				time.Sleep(wait)
			}
			n.mu.Lock()
			h := n.hosts[k[1]]
			cut := n.cut[k]
			n.mu.Unlock()
			if h != nil && !cut {
				h.HandleFrame(k[0], d.frame)
			}
		}
	}
}

func (n *network) set(a, b base.NodeID, cut bool) {
	n.mu.Lock()
	n.cut[[2]base.NodeID{a, b}], n.cut[[2]base.NodeID{b, a}] = cut, cut
	n.mu.Unlock()
}

func (n *network) isolate(a base.NodeID, cut bool) {
	for b := base.NodeID(1); b <= 9; b++ {
		if a != b {
			n.set(a, b, cut)
		}
	}
}

func (n *network) frames() int { n.mu.Lock(); defer n.mu.Unlock(); return n.sent }

// cluster is a set of nodes with their disks.
type cluster struct {
	t     *testing.T
	net   *network
	nodes map[base.NodeID]*testNode
	tune  func(*Options)
	// relaxed is the Relaxed of groups that are opened.
	relaxed func([]byte) bool
}

type testNode struct {
	id       base.NodeID
	fs       *vfs.MemFS
	disk     *disk
	log      *raftlog.Log
	host     *Host
	machines map[base.GroupID]*machine
}

func newCluster(t *testing.T, nodes int) *cluster {
	c := &cluster{t: t, net: newNetwork(t), nodes: map[base.NodeID]*testNode{}}
	for i := range nodes {
		c.add(base.NodeID(i + 1))
	}
	t.Cleanup(c.close)
	return c
}

func (c *cluster) close() {
	for id := range c.nodes {
		if c.nodes[id].host != nil {
			c.crash(id)
		}
	}
	close(c.net.done)
	c.net.wg.Wait()
}

func (c *cluster) add(id base.NodeID) *testNode {
	n := &testNode{id: id, fs: vfs.NewCrashableMem(), machines: map[base.GroupID]*machine{}}
	c.nodes[id] = n
	c.boot(n)
	return n
}

func (c *cluster) boot(n *testNode) {
	c.t.Helper()
	var err error
	n.disk = &disk{}
	n.log, err = raftlog.Open(raftlog.Options{FS: n.disk.wrap(n.fs), Dir: "log", SegmentSize: 1 << 20})
	c.must(err)
	o := Options{
		Node: n.id, FileLog: n.log, Transport: port{c.net, n.id}, Workers: 2, ApplyWorkers: 2,
		Rand: rand.New(rand.NewPCG(uint64(n.id), 7)), Logger: testLogger{c.t, n.id},
	}
	if c.tune != nil {
		c.tune(&o)
	}
	n.host, err = New(o)
	c.must(err)
	n.host.Start()
	c.net.mu.Lock()
	c.net.hosts[n.id] = n.host
	c.net.mu.Unlock()
}

// disk can get stuck: no sync returns before it is let go.
type disk struct {
	mu    sync.Mutex
	stuck chan struct{}
}

func (d *disk) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			d.mu.Lock()
			wait := d.stuck
			d.mu.Unlock()
			if wait != nil {
				<-wait
			}
		}
		return nil
	}))
}

func (d *disk) stick(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if on {
		d.stuck = make(chan struct{})
	} else if d.stuck != nil {
		close(d.stuck)
		d.stuck = nil
	}
}

// crash stops a node; what was not synced is gone.
func (c *cluster) crash(id base.NodeID) {
	n := c.nodes[id]
	c.net.mu.Lock()
	delete(c.net.hosts, id)
	c.net.mu.Unlock()
	fs := n.fs.CrashClone(vfs.CrashCloneCfg{})
	n.host.Stop()
	c.must(n.log.Close())
	n.host, n.log, n.fs = nil, nil, fs
	for _, m := range n.machines {
		m.mu.Lock()
		m.s = m.durable
		m.leader = LeaderInfo{}
		m.mu.Unlock()
	}
}

// tell says to every other node that id is gone, or there again.
func (c *cluster) tell(id base.NodeID, down bool) {
	for other, n := range c.nodes {
		if other == id || n.host == nil {
			continue
		}
		if down {
			n.host.PeerDown(id)
		} else {
			n.host.PeerUp(id)
		}
	}
}

func (c *cluster) kill(id base.NodeID) {
	c.crash(id)
	c.tell(id, true)
}

// revive starts a node and opens the groups that it had.
func (c *cluster) revive(id base.NodeID) {
	c.t.Helper()
	c.boot(c.nodes[id])
	for g := range c.nodes[id].machines {
		c.open(id, g, nil)
	}
	c.tell(id, false)
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// replicas names one replica per node, replica id = 10·group + node.
func replicas(g base.GroupID, nodes ...base.NodeID) []base.Replica {
	var out []base.Replica
	for _, n := range nodes {
		out = append(out, replica(g, n))
	}
	return out
}

func replica(g base.GroupID, n base.NodeID) base.Replica {
	return base.Replica{ID: base.ReplicaID(uint64(g)*10 + uint64(n)), Node: n}
}

func (c *cluster) open(node base.NodeID, g base.GroupID, members []base.Replica) *Group {
	c.t.Helper()
	n := c.nodes[node]
	m := n.machines[g]
	if m == nil {
		m = newMachine()
		n.machines[g] = m
	}
	group, err := n.host.Open(GroupConfig{ID: g, Replica: replica(g, node).ID, Members: members, Machine: m, Relaxed: c.relaxed})
	c.must(err)
	return group
}

func (c *cluster) openAll(g base.GroupID, nodes ...base.NodeID) {
	c.t.Helper()
	for _, n := range nodes {
		c.open(n, g, replicas(g, nodes...))
	}
}

func (c *cluster) group(node base.NodeID, g base.GroupID) *Group { return c.nodes[node].host.Group(g) }

func (c *cluster) machine(node base.NodeID, g base.GroupID) *machine {
	return c.nodes[node].machines[g]
}

// leader waits for a leader that is ready, among the nodes that run.
func (c *cluster) leader(g base.GroupID) base.NodeID {
	c.t.Helper()
	var found base.NodeID
	c.until("a leader of "+g.String(), func() bool {
		found = 0
		for id, n := range c.nodes {
			if n.host != nil && n.machines[g] != nil && n.machines[g].lead().Ready && n.host.Group(g) != nil {
				if found != 0 {
					return false
				}
				found = id
			}
		}
		return found != 0
	})
	return found
}

func (c *cluster) until(what string, cond func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			for id, n := range c.nodes {
				for g, m := range n.machines {
					if n.host != nil && n.host.Group(g) != nil {
						c.t.Logf("node %v: %+v machine %+v", id, n.host.Group(g).Status(), m.get().Index)
					}
				}
			}
			c.t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// put proposes at the leader and waits until it has applied.
func (c *cluster) put(g base.GroupID, data string) {
	c.t.Helper()
	c.until("proposal "+data, func() bool {
		n := c.nodes[c.leader(g)]
		m := n.machines[g]
		before := m.get().Count
		err := n.host.Group(g).Propose([]byte(data))
		if errors.Is(err, ErrNotLeader) {
			return false
		}
		c.must(err)
		for range 2000 {
			if s := m.get(); s.Count > before && s.Last == data {
				return true
			}
			time.Sleep(time.Millisecond)
		}
		return false
	})
}

func (c *cluster) putMany(g base.GroupID, n int) {
	c.t.Helper()
	for i := range n {
		c.put(g, fmt.Sprintf("%v-%d-%d", g, i, c.net.frames()))
	}
}

// converged waits until the nodes have applied the same, and checks that no two
// replicas ever differed at any index.
func (c *cluster) converged(g base.GroupID, nodes ...base.NodeID) {
	c.t.Helper()
	c.until("convergence", func() bool {
		first := c.machine(nodes[0], g).get()
		for _, n := range nodes[1:] {
			if s := c.machine(n, g).get(); s.Index != first.Index || s.Hash != first.Hash {
				return false
			}
		}
		return true
	})
	c.agree(g)
}

func (c *cluster) agree(g base.GroupID) {
	c.t.Helper()
	all := map[uint64]uint64{}
	for id, n := range c.nodes {
		m := n.machines[g]
		if m == nil {
			continue
		}
		m.mu.Lock()
		for i, h := range m.history {
			if have, ok := all[i]; ok && have != h {
				c.t.Errorf("node %v differs at %d", id, i)
			}
			all[i] = h
		}
		m.mu.Unlock()
	}
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	c.t.Cleanup(cancel)
	return ctx
}

type testLogger struct {
	t    *testing.T
	node base.NodeID
}

func (l testLogger) Noticef(f string, a ...any) { l.t.Logf("%v: "+f, append([]any{l.node}, a...)...) }
func (l testLogger) Warnf(f string, a ...any)   { l.Noticef(f, a...) }
func (l testLogger) Errorf(f string, a ...any)  { l.Noticef(f, a...) }
func (l testLogger) Debugf(f string, a ...any) {
	if testing.Verbose() {
		l.Noticef(time.Now().Format("05.000 ")+f, a...)
	}
}
func (l testLogger) Tracef(f string, a ...any) { l.Debugf(f, a...) }
