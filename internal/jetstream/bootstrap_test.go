package jetstream

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
)

// bootNode is a node before it is a member, without anything but its bootstrap.
type bootNode struct {
	*bootstrap
	fs   vfs.FS
	sees []*bootNode // those linked to it
}

// bootWorld calls between bootstraps directly.
type bootWorld struct {
	t        *testing.T
	expected int
	all      []*bootNode
	// refuse may make a call fail; nil: none does.
	refuse func(from, to base.NodeID, m method) bool
}

func newBootWorld(t *testing.T, names ...string) *bootWorld {
	w := &bootWorld{t: t, expected: len(names)}
	for _, name := range names {
		w.add(name)
	}
	w.linkAll()
	return w
}

// add starts a node with an empty store; those added first have lower identities.
func (w *bootWorld) add(name string) *bootNode {
	n := &bootNode{fs: vfs.NewMem()}
	if err := n.fs.MkdirAll("store", 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.all = append(w.all, n)
	w.start(n, Identity{Node: base.NodeID(len(w.all)), Name: name})
	return n
}

// start begins a new life of a node on what it stored.
func (w *bootWorld) start(n *bootNode, id Identity) {
	stands, err := readMembership(n.fs, "store")
	if err != nil {
		w.t.Fatal(err)
	}
	n.bootstrap = &bootstrap{
		fs: n.fs, dir: "store", id: id, log: testLogger{w.t}, stands: stands, self: joinRequest{Node: id.Node, Name: id.Name},
		expected: func() int { return w.expected },
		peers: func() (list []base.NodeID) {
			for _, p := range n.sees {
				list = append(list, p.id.Node)
			}
			return list
		},
		call: func(ctx context.Context, to base.NodeID, m method, body []byte) ([]byte, error) {
			return w.call(ctx, n, to, m, body)
		},
	}
}

func (w *bootWorld) restart(n *bootNode) { w.start(n, n.id) }

func (w *bootWorld) call(ctx context.Context, from *bootNode, to base.NodeID, m method, body []byte) ([]byte, error) {
	i := slices.IndexFunc(from.sees, func(p *bootNode) bool { return p.id.Node == to })
	if i < 0 || w.refuse != nil && w.refuse(from.id.Node, to, m) {
		return nil, errNoLink
	}
	p := from.sees[i]
	switch m {
	case methodHello:
		return p.handleHello(ctx, from.id.Node, body)
	case methodPlan:
		return p.handlePlan(ctx, from.id.Node, body)
	}
	a, ok := p.admitFirst(from.id.Node)
	if !ok {
		return nil, errors.New("only the meta leader can admit this node")
	}
	return mustJSON(w.t, a), nil
}

func (w *bootWorld) linkAll() { w.link(w.all...) }

// link makes the nodes see each other and nobody else.
func (w *bootWorld) link(nodes ...*bootNode) {
	for _, n := range nodes {
		n.sees = slices.DeleteFunc(slices.Clone(nodes), func(p *bootNode) bool { return p == n })
	}
}

// run has all nodes attempt in turn, a number of times.
func (w *bootWorld) run(rounds int) {
	for range rounds {
		for _, n := range w.all {
			if !n.isDecided() {
				_ = n.attempt(context.Background()) // what failed is tried again
			}
		}
	}
}

// groups are the distinct meta groups that nodes are members of.
func (w *bootWorld) groups() []string {
	var list []string
	for _, n := range w.all {
		if m := n.standing(); m != nil && m.Decided {
			list = append(list, m.ClusterID)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (w *bootWorld) wantMembers(nodes ...*bootNode) {
	w.t.Helper()
	if len(w.groups()) > 1 {
		w.t.Fatalf("%d meta groups", len(w.groups()))
	}
	for _, n := range w.all {
		if got, want := n.isDecided(), slices.Contains(nodes, n); got != want {
			w.t.Errorf("node %s is member: %v, want %v", n.id.Name, got, want)
		}
	}
}

func TestBootstrapThreeFreshNodes(t *testing.T) {
	w := newBootWorld(t, "a", "b", "c")
	w.run(3)
	w.wantMembers(w.all...)
	for _, n := range w.all {
		if n.standing().replicaOf(n.id.Node) != n.standing().Replica {
			t.Fatalf("%s: %+v", n.id.Name, n.standing())
		}
	}
}

func TestBootstrapWaitsForAll(t *testing.T) {
	w := newBootWorld(t, "a", "b", "c")
	w.link(w.all[0], w.all[1])
	w.all[2].sees = nil
	w.run(3)
	w.wantMembers()
}

// The coordinator dies when some have promised.
func TestBootstrapCoordinatorCrashesAfterPartialPromises(t *testing.T) {
	w := newBootWorld(t, "a", "b", "c")
	w.refuse = func(_, to base.NodeID, m method) bool { return m == methodPlan && to == 3 }
	w.run(1)
	w.restart(w.all[0])
	w.refuse = nil
	w.run(4)
	w.wantMembers(w.all...)
}

// The promise of a coordinator that lost its store is taken back once everybody
// has said that nothing was decided, and not before.
func TestBootstrapCoordinatorWiped(t *testing.T) {
	w := newBootWorld(t, "a", "b", "c")
	w.refuse = func(_, to base.NodeID, m method) bool { return m == methodPlan && to == 3 }
	w.run(1)
	w.refuse = nil
	a, b, c := w.all[0], w.all[1], w.all[2]
	wiped := w.add("a")
	w.all = []*bootNode{wiped, b, c}
	_ = a
	w.linkAll()
	w.run(4)
	w.wantMembers(wiped, b, c)
}

// The coordinator decided and died before anybody heard of it. Another node makes
// up the number, but the promises stand.
func TestBootstrapPromiseOutlivesAbsentCoordinator(t *testing.T) {
	w := newBootWorld(t, "a", "b", "c")
	_ = w.all[0].attempt(context.Background()) // a decides
	a, b, c := w.all[0], w.all[1], w.all[2]
	if !a.isDecided() || b.isDecided() {
		t.Fatal("want only a to have decided")
	}
	d := w.add("d")
	w.link(b, c, d)
	a.sees = nil
	w.run(4)
	w.wantMembers(a)
	w.linkAll()
	w.run(2)
	w.wantMembers(a, b, c) // and d by way of the leader
}

// The same, but the coordinator's store is gone: only a voter that heard of the
// decision could tell, so that the others wait for all of them.
func TestBootstrapWipedCoordinatorWithVoterAway(t *testing.T) {
	w := newBootWorld(t, "a", "b", "c")
	_ = w.all[0].attempt(context.Background())
	_ = w.all[1].attempt(context.Background()) // b hears of it
	b, c := w.all[1], w.all[2]
	wiped, d := w.add("a"), w.add("d")
	w.all = []*bootNode{b, c, wiped, d}
	w.link(c, wiped, d)
	b.sees = nil
	w.run(4)
	w.wantMembers(b)
	w.linkAll()
	w.run(2)
	w.wantMembers(b, c)
}

// Two coordinators with different views promise each other's nodes away; when
// everybody sees everybody, one of them succeeds.
func TestBootstrapTwoCoordinators(t *testing.T) {
	w := newBootWorld(t, "a", "b", "c", "d")
	w.expected = 3
	a, b, c, d := w.all[0], w.all[1], w.all[2], w.all[3]
	w.link(b, c, d)
	w.refuse = func(_, to base.NodeID, m method) bool { return m == methodPlan && to == 3 }
	a.sees = []*bootNode{c, d}
	_ = b.attempt(context.Background()) // c does not promise, so d would not be asked
	w.refuse = nil
	d.stands = &membership{ClusterID: b.standing().ClusterID, Coordinator: b.id.Node, Initial: b.standing().Initial, Names: b.standing().Names}
	_ = a.attempt(context.Background()) // sees that d promised elsewhere
	w.linkAll()
	w.run(6)
	w.wantMembers(a, b, c, d)
}

// A node with a promise of a plan that was replaced gets the new one.
func TestBootstrapOldPlan(t *testing.T) {
	w := newBootWorld(t, "a", "b", "c")
	w.refuse = func(_, to base.NodeID, m method) bool { return m == methodPlan && to == 3 }
	w.run(1)
	old := w.all[1].standing()
	w.refuse = nil
	w.restart(w.all[1])
	w.run(4)
	w.wantMembers(w.all...)
	if id := w.all[1].standing().ClusterID; id == old.ClusterID {
		t.Fatal("the old plan was decided")
	}
}
