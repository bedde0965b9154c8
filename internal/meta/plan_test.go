package meta

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"weir/internal/api"
	"weir/internal/base"
)

// planned is a state of n nodes in cluster C, tagged t1, t2 …
func planned(n int, offline ...base.NodeID) (*State, *Planner) {
	s, init := New(), &MetaInit{ClusterID: "c"}
	for i := range n {
		init.Nodes = append(init.Nodes, NodeSpec{Replica: base.ReplicaID(i + 1), NodeJoin: NodeJoin{
			Name: fmt.Sprint("n", i+1), Node: base.NodeID(i + 1), Cluster: "C", Tags: []string{fmt.Sprint("t", i+1)}}})
	}
	s.Apply(1, Command{Body: init})
	status := func(n *Node) NodeStatus {
		return NodeStatus{Online: !slices.Contains(offline, n.ID), MaxStore: 1 << 40}
	}
	return s, &Planner{State: s, Status: status, Rand: rand.New(rand.NewPCG(1, 2))}
}

func addStream(t *testing.T, s *State, name string, nodes ...base.NodeID) *Assignment {
	t.Helper()
	raw := fmt.Appendf(nil, `{"name":%q,"num_replicas":%d,"subjects":[%q]}`, name, len(nodes), name)
	e := s.Apply(s.Applied()+1, Command{Body: &StreamCreate{Account: "A", Config: raw, Cluster: "C", Nodes: nodes}})
	if e.Result.Err != nil {
		t.Fatal(e.Result.Err)
	}
	return e.Result.Assignment
}

func TestPlanUpdate(t *testing.T) {
	s, p := planned(5, 3)
	a := addStream(t, s, "S", 1, 2, 3)
	for _, c := range []struct {
		name   string
		next   api.StreamConfig
		leader base.NodeID
		want   []base.NodeID
		err    uint16
	}{
		{name: "no change", next: api.StreamConfig{Replicas: 3}},
		{name: "to 1 keeps the leader", next: api.StreamConfig{Replicas: 1}, leader: 2, want: []base.NodeID{2}},
		{name: "to 1 drops a leader that is gone", next: api.StreamConfig{Replicas: 1}, leader: 3, want: []base.NodeID{1}},
		{name: "to 2 drops the offline one", next: api.StreamConfig{Replicas: 2}, leader: 2, want: []base.NodeID{2, 1}},
		{name: "to 5 keeps all", next: api.StreamConfig{Replicas: 5}, want: []base.NodeID{1, 2, 3, 4, 5}},
		{name: "to 7", next: api.StreamConfig{Replicas: 7}, err: 10005},
		{name: "move", next: api.StreamConfig{Replicas: 3, Placement: &api.Placement{Tags: []string{"!t2"}}}, want: []base.NodeID{1, 4, 5}},
		{name: "room for more bytes", next: api.StreamConfig{Replicas: 3, MaxBytes: 1 << 39}},
		{name: "more bytes than there are", next: api.StreamConfig{Replicas: 3, MaxBytes: 1 << 41}, err: 10047},
		{name: "more bytes than those have that stay", next: api.StreamConfig{Replicas: 1, MaxBytes: 1 << 41}, leader: 2, err: 10047},
		{name: "scale and move, to nowhere", next: api.StreamConfig{Replicas: 1, Placement: &api.Placement{Tags: []string{"t9"}}}, err: 10123},
		{name: "move nowhere", next: api.StreamConfig{Replicas: 3, Placement: &api.Placement{Tags: []string{"t2"}}}, err: 10005},
	} {
		_, nodes, err := p.Update(a, &c.next, c.leader)
		if c.err != 0 {
			if err == nil || err.ErrCode != c.err {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if c.name == "to 5 keeps all" || c.name == "move" {
			slices.Sort(nodes)
		}
		if err != nil || !slices.Equal(nodes, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, nodes, err, c.want)
		}
	}
}

func TestPlanCreatePrefersOnline(t *testing.T) {
	_, p := planned(3, 1, 2)
	for range 20 {
		_, nodes, preferred, err := p.Create(&api.StreamConfig{Replicas: 1}, []string{"X", "C"})
		if err != nil || preferred != 3 || nodes[0] != 3 {
			t.Fatalf("%v %v %v", nodes, preferred, err)
		}
	}
	if _, _, _, err := p.Create(&api.StreamConfig{Replicas: 3}, []string{"C"}); err == nil || err.ErrCode != 10005 {
		t.Error(err)
	}
}

func TestPlanRemoveNode(t *testing.T) {
	s, p := planned(5)
	for i := range 10 {
		addStream(t, s, fmt.Sprint("S", i), 1, 2, 3)
	}
	full := addStream(t, s, "full", 1, 2, 3, 4, 5)
	remaps := p.RemoveNode(1)
	e := s.Apply(s.Applied()+1, Command{Body: &NodeRemove{Node: 1, Remaps: remaps}})
	if e.Result.Err != nil || len(remaps) != 10 {
		t.Fatalf("%v, %d remaps", e.Result.Err, len(remaps))
	}
	if l4, l5 := s.Load(4).HAStreams, s.Load(5).HAStreams; l4 != 6 || l5 != 6 {
		t.Errorf("nodes 4 and 5 have %d and %d streams", l4, l5)
	}
	if got := len(s.ByGroup(full.Group).Replicas); got != 4 {
		t.Errorf("the stream on all nodes has %d replicas", got)
	}
}
