package meta

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"weir/internal/base"
)

// FuzzDecode: any bytes decode to an error or to a command that encodes to an
// equal one and can be applied.
func FuzzDecode(f *testing.F) {
	g := newGenerator(1)
	for range 200 {
		f.Add(g.command().Encode())
		g.apply(f)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Decode(c.Encode())
		if err != nil {
			t.Fatalf("%#v: %v", c, err)
		}
		if !bytes.Equal(c.Encode(), again.Encode()) {
			t.Fatalf("%#v and %#v", c, again)
		}
		s := reopen(t, g.state)
		s.Apply(s.Applied()+1, c)
		checkState(t, reopen(t, s))
	})
}

// FuzzRestore: any body under a right checksum is an error or a state.
func FuzzRestore(f *testing.F) {
	g := newGenerator(2)
	for range 8 {
		g.apply(f)
	}
	f.Add(g.state.Snapshot()[snapshotHeader:])
	f.Fuzz(func(t *testing.T, body []byte) {
		if s, err := Restore(seal(body)); err == nil {
			reopen(t, s)
		}
	})
}

func TestRestoreNoticesDamage(t *testing.T) {
	g := newGenerator(3)
	for range 30 {
		g.apply(t)
	}
	image := g.state.Snapshot()
	for i := range image {
		damaged := bytes.Clone(image)
		damaged[i] ^= 0x20
		if _, err := Restore(damaged); err == nil {
			t.Fatalf("a flipped bit at %d is not noticed", i)
		}
		if _, err := Restore(image[:i]); err == nil {
			t.Fatalf("an image cut at %d is not noticed", i)
		}
	}
}

// TestRandomCommands runs random histories on two replicas, one of which is
// saved and restored at random, and compares them.
func TestRandomCommands(t *testing.T) {
	for seed := range uint64(20) {
		g := newGenerator(seed)
		other := New()
		for range 400 {
			c, index := g.apply(t)
			other.Apply(index, c)
			if g.rng.IntN(10) == 0 {
				other = reopen(t, other)
			}
		}
		checkState(t, g.state)
		if g.state.Hash() != other.Hash() {
			t.Fatalf("seed %d: hashes differ", seed)
		}
		if !reflect.DeepEqual(g.state.loads, other.loads) {
			t.Fatalf("seed %d: loads %v and %v", seed, g.state.loads, other.loads)
		}
		t.Logf("seed %d: %d streams, %d changes", seed, g.state.Len(), g.changes)
	}
}

// checkState checks what must hold after every command.
func checkState(t testing.TB, s *State) {
	t.Helper()
	used := map[base.ReplicaID]string{}
	for _, n := range s.nodes {
		used[n.Replica] = n.Name
		if s.byNode[n.ID] != n {
			t.Fatalf("node %s is not found by %s", n.Name, n.ID)
		}
	}
	loads := map[base.NodeID]int{}
	s.All(func(a *Assignment) bool {
		checkAssignment(t, s, a, used)
		for _, r := range a.Replicas {
			loads[r.Node]++
		}
		return true
	})
	for node, n := range loads {
		if s.loads[node].Streams != n {
			t.Fatalf("node %s has %d streams, load says %d", node, n, s.loads[node].Streams)
		}
	}
}

func checkAssignment(t testing.TB, s *State, a *Assignment, used map[base.ReplicaID]string) {
	t.Helper()
	if s.Stream(a.Account, a.Name) != a || s.ByGroup(a.Group) != a || a.Group >= s.nextGroup {
		t.Fatalf("%s is not found", formatAssignment(a))
	}
	if len(a.Replicas) == 0 || len(a.Initial) == 0 || len(a.Members) == 0 {
		t.Fatalf("%s has no replicas", formatAssignment(a))
	}
	here := map[base.NodeID]bool{}
	note := func(r base.Replica) {
		if other, taken := used[r.ID]; taken || r.ID >= s.nextReplica {
			t.Fatalf("%s: replica %d is also of %s", formatAssignment(a), r.ID, other)
		}
		used[r.ID] = a.Name
		here[r.Node] = true
	}
	for i, r := range a.Replicas {
		if onNode(a.Replicas, r.Node) != i {
			t.Fatalf("%s: two on one node", formatAssignment(a))
		}
		note(r)
	}
	for _, l := range a.Leaving {
		if here[l.Node] {
			t.Fatalf("%s: one leaving and another on one node", formatAssignment(a))
		}
		note(l.Replica)
	}
	checkSurvey(t, s, a)
}

// checkSurvey checks that who may have something is asked, and that nobody else is.
func checkSurvey(t testing.TB, s *State, a *Assignment) {
	t.Helper()
	dead := func(r base.Replica) bool {
		n := s.byNode[r.Node]
		return slices.Contains(a.Lost, r.ID) || n == nil || n.Gone
	}
	alive := slices.DeleteFunc(slices.Clone(a.Members), dead)
	if got, want := a.Survey != nil, a.Storage() == "memory" && 2*len(alive) <= len(a.Members); got != want && (want || a.Survey.By == 0) {
		t.Fatalf("%s: survey %t, want %t", formatAssignment(a), got, want)
	}
	if a.Survey == nil {
		return
	}
	for _, r := range alive {
		if !a.has(r.ID) {
			t.Fatalf("%s: %d may vote and is not asked", formatAssignment(a), r.ID)
		}
	}
	for i, r := range a.Survey.Remains {
		if !a.has(r.Replica) || slices.ContainsFunc(a.Survey.Remains[:i], func(o Remains) bool { return o.Replica == r.Replica }) {
			t.Fatalf("%s: an answer of nobody", formatAssignment(a))
		}
	}
}

// generator makes random but mostly sensible commands.
type generator struct {
	rng     *rand.Rand
	state   *State
	index   uint64
	nextID  base.NodeID
	changes int
}

func newGenerator(seed uint64) *generator {
	return &generator{rng: rand.New(rand.NewPCG(seed, 0)), state: New(), nextID: 10}
}

// apply applies the next command to the generator's state.
func (g *generator) apply(t testing.TB) (Command, uint64) {
	t.Helper()
	c, err := Decode(g.command().Encode())
	if err != nil {
		t.Fatal(err)
	}
	g.index++
	e := g.state.Apply(g.index, c)
	g.changes += len(e.Changed)
	checkState(t, g.state)
	return c, g.index
}

func (g *generator) command() Command {
	return Command{Proposer: 1, Seq: g.index, Time: int64(g.index), Body: g.body()}
}

func (g *generator) body() Body {
	if g.state.ClusterID() == "" {
		c := &MetaInit{ClusterID: "c"}
		for i := range 5 {
			c.Nodes = append(c.Nodes, NodeSpec{Replica: base.ReplicaID(i + 1),
				NodeJoin: NodeJoin{Name: fmt.Sprint("n", i), Node: base.NodeID(i + 1), Cluster: "C"}})
		}
		return c
	}
	switch g.rng.IntN(16) {
	case 0:
		g.nextID++
		return &NodeJoin{Name: fmt.Sprint("n", g.rng.IntN(6)), Node: g.nextID - base.NodeID(g.rng.IntN(2))}
	case 1:
		return &NodeRemove{Node: g.node(), Remaps: []Remap{{g.group(), g.node()}, {g.group(), g.node()}}}
	case 2, 3, 4:
		nodes := g.nodes()
		return &StreamCreate{Account: g.account(), Config: g.config(g.name(), len(nodes), ""), Nodes: nodes, Restore: g.rng.IntN(4) == 0}
	case 5, 6, 7:
		return g.update()
	case 8:
		return &StreamCancelMove{Account: g.account(), Name: g.name()}
	case 9:
		if g.rng.IntN(4) > 0 {
			return &PeerRemove{Account: g.account(), Name: g.name(), Node: g.node(), Replacement: g.node()}
		}
		return &StreamDelete{Account: g.account(), Name: g.name()}
	case 10, 11:
		return g.lost()
	case 12:
		return g.members()
	case 13, 14:
		return g.remains()
	}
	return &RestoreEnded{Group: g.group(), Kept: g.rng.IntN(2) == 0}
}

func (g *generator) update() Body {
	a := g.state.ByGroup(g.group())
	if a == nil {
		return &AccountPurge{Account: "none"}
	}
	c := &StreamUpdate{Account: a.Account, Name: a.Name}
	switch g.rng.IntN(3) {
	case 0:
		c.Config = g.config(a.Name, a.Config.Replicas, "x")
		c.Nodes = g.nodes()
	case 1:
		c.Nodes = g.nodes()
		c.Config = g.config(a.Name, len(c.Nodes), "")
	default:
		c.Config = g.config(a.Name, a.Config.Replicas, "")
	}
	return c
}

func (g *generator) lost() Body {
	c := &ReplicasLost{}
	for range g.rng.IntN(4) + 1 {
		if a := g.state.ByGroup(g.group()); a != nil {
			r := a.Replicas[g.rng.IntN(len(a.Replicas))]
			c.Lost = append(c.Lost, LostReplica{a.Group, r.ID})
		}
	}
	return c
}

func (g *generator) members() Body {
	a := g.state.ByGroup(g.group())
	if a == nil {
		return &MembersChanged{Group: 99}
	}
	members := slices.Clone(a.Replicas)
	if g.rng.IntN(3) == 0 {
		members[0] = a.Members[g.rng.IntN(len(a.Members))]
	}
	return &MembersChanged{Group: a.Group, Members: members, Index: a.MembersIndex + 1, Seen: a.Revision}
}

func (g *generator) remains() Body {
	if a := g.state.ByGroup(g.group()); a != nil && a.Storage() == "memory" && g.rng.IntN(4) == 0 {
		return &SurveyAsked{Group: a.Group, By: a.Replicas[0].ID, Revision: a.Revision}
	}
	c := &RemainsTold{}
	g.state.All(func(a *Assignment) bool {
		if a.Survey != nil && g.rng.IntN(2) == 0 {
			r := a.Replicas[g.rng.IntN(len(a.Replicas))]
			c.Told = append(c.Told, ReplicaRemains{a.Group, a.Survey.Since, Remains{r.ID, g.rng.Uint64N(3), g.rng.Uint64N(3)}})
		}
		return true
	})
	return c
}

func (g *generator) account() string { return string(rune('A' + g.rng.IntN(2))) }
func (g *generator) name() string    { return string(rune('S' + g.rng.IntN(6))) }

func (g *generator) node() base.NodeID {
	list := slices.Sorted(maps.Keys(g.state.byNode))
	return list[g.rng.IntN(len(list))]
}

func (g *generator) nodes() []base.NodeID {
	list := slices.Sorted(maps.Keys(g.state.byNode))
	g.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(1+2*g.rng.IntN(3), len(list))]
}

func (g *generator) group() base.GroupID {
	ids := g.state.groupIDs()
	if len(ids) == 0 {
		return 77
	}
	return ids[g.rng.IntN(len(ids))]
}

func (g *generator) config(name string, replicas int, tag string) json.RawMessage {
	storage := []string{"file", "memory"}[g.rng.IntN(2)]
	if a := g.state.Stream("A", name); a != nil {
		storage = string(a.Storage())
	}
	placement := ""
	if tag != "" {
		placement = fmt.Sprintf(`,"placement":{"tags":["%s%d"]}`, tag, g.rng.IntN(3))
	}
	return fmt.Appendf(nil, `{"name":%q,"num_replicas":%d,"subjects":["%s.%d"],"storage":%q,"max_bytes":%d%s}`,
		name, replicas, name, g.rng.IntN(2), storage, g.rng.IntN(100), placement)
}
