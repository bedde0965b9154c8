package meta

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"weir/internal/api"
	"weir/internal/base"
)

// TestPlacement runs testdata/placement:
//
//	node <number> [cluster=] [tags=()] [store=] [memory=] [ha=] [streams=] [offline] [unknown]
//	reset
//	place r=<n> [clusters=()] [keep=()] [prefer=()] [ignore=()] [tags=()] [cluster=] [max-bytes=] [memory-storage] [max-ha=] [unique=] [times=<n>]
//
// The answer is the set of nodes ever chosen in many tries, in the order of
// their numbers, as all or some; kept ones are listed apart.
func TestPlacement(t *testing.T) {
	datadriven.Walk(t, "testdata/placement", func(t *testing.T, path string) {
		var candidates []Candidate
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "reset":
				candidates = nil
			case "node":
				candidates = append(candidates, parseCandidate(d))
			case "place":
				return place(d, candidates)
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return ""
		})
	})
}

func parseCandidate(d *datadriven.TestData) Candidate {
	c := Candidate{Node: base.NodeID(number(d.CmdArgs[0].Key)), Cluster: scan(d, "cluster"), Tags: list(d, "tags"),
		Online: !d.HasArg("offline"), AvailableMemory: 1000, AvailableStore: 1000, HAAssets: 1}
	for key, to := range map[string]func(n uint64){
		"store":   func(n uint64) { c.AvailableStore = int64(n) },
		"memory":  func(n uint64) { c.AvailableMemory = int64(n) },
		"ha":      func(n uint64) { c.HAAssets = int(n) },
		"streams": func(n uint64) { c.Streams = int(n) },
	} {
		if v := scan(d, key); v != "" {
			to(number(v))
		}
	}
	if c.Cluster == "" {
		c.Cluster = "C"
	}
	return c
}

func place(d *datadriven.TestData, candidates []Candidate) string {
	req := PlacementRequest{
		Replicas: int(number(scan(d, "r"))), Keep: nodes(d, "keep"), Prefer: nodes(d, "prefer"), Ignore: nodes(d, "ignore"),
		MaxHAAssets: int(number(scan(d, "max-ha"))), UniqueTag: scan(d, "unique"),
		Config: &api.StreamConfig{MaxBytes: int64(number(scan(d, "max-bytes"))), Storage: api.FileStorage},
	}
	if d.HasArg("memory-storage") {
		req.Config.Storage = api.MemoryStorage
	}
	if tags, cluster := list(d, "tags"), scan(d, "cluster"); tags != nil || cluster != "" {
		req.Config.Placement = &api.Placement{Tags: tags, Cluster: cluster}
	}
	clusters := list(d, "clusters")
	if clusters == nil {
		clusters = []string{"C"}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	times := map[base.NodeID]int{}
	const tries = 100
	var in string
	for range tries {
		cluster, nodes, err := PlaceIn(clusters, req, candidates, rng)
		if err != nil {
			return err.Error() + "\n"
		}
		in = cluster
		for _, n := range nodes {
			times[n]++
		}
	}
	var always, sometimes []string
	for _, c := range candidates {
		switch n := times[c.Node]; {
		case n == tries:
			always = append(always, fmt.Sprint(uint64(c.Node)))
		case n > 0:
			sometimes = append(sometimes, fmt.Sprint(uint64(c.Node)))
		}
	}
	out := fmt.Sprintf("in %s always [%s]", in, strings.Join(always, " "))
	if len(sometimes) > 0 {
		out += fmt.Sprintf(" sometimes [%s]", strings.Join(sometimes, " "))
	}
	return out + "\n"
}

// TestPlacementBalances: 60 streams of three replicas on six equal nodes.
func TestPlacementBalances(t *testing.T) {
	s := New()
	init := &MetaInit{ClusterID: "c"}
	for i := range 6 {
		init.Nodes = append(init.Nodes, NodeSpec{Replica: base.ReplicaID(i + 1),
			NodeJoin: NodeJoin{Name: fmt.Sprintf("n%d", i), Node: base.NodeID(i + 1), Cluster: "C"}})
	}
	s.Apply(1, Command{Body: init})
	rng := rand.New(rand.NewPCG(3, 4))
	status := func(*Node) NodeStatus { return NodeStatus{Online: true, MaxStore: 1 << 40} }
	for i := range 60 {
		raw := fmt.Appendf(nil, `{"name":"S%d","num_replicas":3,"subjects":["s.%d"]}`, i, i)
		config, _, _ := parseConfig(raw)
		nodes, err := Place("C", PlacementRequest{Replicas: 3, Config: config}, s.Candidates(status), rng)
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(uint64(i+2), Command{Body: &StreamCreate{Account: "A", Config: raw, Nodes: nodes}})
	}
	for _, n := range s.Nodes() {
		if l := s.Load(n.ID); l.HAStreams < 29 || l.HAStreams > 31 {
			t.Errorf("%s has %d of 180 replicas", n.Name, l.HAStreams)
		}
	}
}

func TestKeptComeFirst(t *testing.T) {
	candidates := []Candidate{{Node: 1, Cluster: "C", Online: true}, {Node: 2, Cluster: "C", Online: true},
		{Node: 3, Cluster: "C", Online: true}}
	rng := rand.New(rand.NewPCG(1, 1))
	got, err := Place("C", PlacementRequest{Replicas: 3, Config: new(api.StreamConfig), Keep: []base.NodeID{3, 1}}, candidates, rng)
	if err != nil || !slices.Equal(got, []base.NodeID{3, 1, 2}) {
		t.Errorf("%v, %v", got, err)
	}
	got, err = Place("C", PlacementRequest{Replicas: 1, Config: new(api.StreamConfig), Keep: []base.NodeID{3, 1}}, candidates, rng)
	if err != nil || !slices.Equal(got, []base.NodeID{3}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNames(t *testing.T) {
	// As the established server shows them.
	for name, want := range map[string]string{"n1": "fjFyEjc1", "n2": "44jzkV9D", "n3": "BXScrY9i"} {
		if got := PeerID(name); got != want {
			t.Errorf("PeerID(%s) is %s, want %s", name, got, want)
		}
	}
	if got := RaftName(3, api.MemoryStorage, "aOFefLOW"); got != "S-R3M-aOFefLOW" {
		t.Error(got)
	}
}
