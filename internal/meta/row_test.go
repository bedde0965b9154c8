package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
)

// The tests here show the rows of docs/clustered-consumers.md that need no server.

func TestRow19_FullIsRefusedAtOnce(t *testing.T) {
	s, _ := planned(3)
	limits := &Limits{MaxStreams: -1, MaxStore: 100, MaxMemory: 50}
	for storage, want := range map[string]*apierr.Error{"file": apierr.JSStorageResourcesExceededErr, "memory": apierr.JSMemoryResourcesExceededErr} {
		raw := fmt.Appendf(nil, `{"name":"S","num_replicas":1,"storage":%q,"max_bytes":101}`, storage)
		e := s.Apply(s.Applied()+1, Command{Body: &StreamCreate{Account: "A", Config: raw, Nodes: []base.NodeID{1}, Limits: limits}})
		if e.Result.Err != want || len(e.Changed) > 0 || s.Len() != 0 {
			t.Errorf("%s: %v", storage, e.Result.Err)
		}
	}
}

func TestRow27_PlacementErrorText(t *testing.T) {
	e := &PlacementError{Offline: true, ExcludedTag: true, NoStorage: true, NotUnique: true, Misc: true, NoJetStream: true,
		MissingTags: []string{"a", "b"}, ExcludedTags: []string{"c"}}
	const want = "no suitable peers for placement, peer offline, exclude tag set, insufficient storage, server tag not unique, " +
		"miscellaneous issue, jetstream not enabled in cluster, tags not matched ['a', 'b'], tags excluded ['c']"
	if e.Error() != want {
		t.Errorf("%s", e)
	}
	if got := apierr.JSClusterNoPeersErrF(e); got.ErrCode != 10005 || got.Code != 400 || got.Description != want {
		t.Errorf("%+v", got)
	}
	if got := new(PlacementError).Error(); got != "no suitable peers for placement" {
		t.Errorf("%s", got)
	}
}

// nodesOf makes n online candidates in cluster C that change may change.
func nodesOf(n int, change func(i int, c *Candidate)) []Candidate {
	list := make([]Candidate, n)
	for i := range list {
		list[i] = Candidate{Node: base.NodeID(i + 1), Cluster: "C", Online: true, AvailableStore: 1000, AvailableMemory: 1000, HAAssets: 1}
		if change != nil {
			change(i, &list[i])
		}
	}
	return list
}

func placeIn(candidates []Candidate, req PlacementRequest) ([]base.NodeID, error) {
	if req.Config == nil {
		req.Config = new(api.StreamConfig)
	}
	nodes, err := Place("C", req, candidates, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		return nil, err
	}
	return nodes, nil
}

func tagged(tags ...string) *api.StreamConfig {
	return &api.StreamConfig{Placement: &api.Placement{Tags: tags}}
}

func TestRow28_MissingTagOnce(t *testing.T) {
	_, err := placeIn(nodesOf(3, nil), PlacementRequest{Replicas: 1, Config: tagged("ssd")})
	if err == nil || err.Error() != "no suitable peers for placement, tags not matched ['ssd']" {
		t.Error(err)
	}
}

func TestRow29_ExcludedTag(t *testing.T) {
	ssd := nodesOf(3, func(_ int, c *Candidate) { c.Tags = []string{"ssd"} })
	_, err := placeIn(ssd, PlacementRequest{Replicas: 1, Config: tagged("!ssd")})
	if err == nil || err.Error() != "no suitable peers for placement, tags excluded ['ssd']" {
		t.Error(err)
	}
}

func TestRow30_CausesOfSeveralClusters(t *testing.T) {
	candidates := slices.Concat(nodesOf(2, nil), nodesOf(2, func(i int, c *Candidate) {
		c.Node, c.Cluster, c.Tags, c.AvailableStore = c.Node+10, "D", []string{"ssd"}, 1
	}))
	config := tagged("ssd")
	config.MaxBytes = 500
	_, _, err := PlaceIn([]string{"C", "D"}, PlacementRequest{Replicas: 1, Config: config}, candidates, rand.New(rand.NewPCG(1, 1)))
	if err == nil || err.Error() != "no suitable peers for placement, insufficient storage, tags not matched ['ssd']" {
		t.Error(err)
	}
}

func TestRow31_PeerSelection(t *testing.T) {
	offline := func(from int) func(int, *Candidate) { return func(i int, c *Candidate) { c.Online = i < from } }
	for _, c := range []struct {
		name       string
		candidates []Candidate
		req        PlacementRequest
		want       []base.NodeID // in any order; nil with an error
		err        string
	}{
		{name: "the emptiest", candidates: nodesOf(5, func(i int, c *Candidate) { c.AvailableStore = int64(100 * (i + 1)) }),
			req: PlacementRequest{Replicas: 1, Config: &api.StreamConfig{MaxBytes: 50}}, want: []base.NodeID{5}},
		{name: "equal room: the fewest streams", candidates: nodesOf(3, func(i int, c *Candidate) { c.Streams = 3 - i }),
			req: PlacementRequest{Replicas: 1}, want: []base.NodeID{3}},
		{name: "several: the fewest HA streams", candidates: nodesOf(4, func(i int, c *Candidate) { c.HAAssets, c.AvailableStore = 4-i, int64(100+i) }),
			req: PlacementRequest{Replicas: 3}, want: []base.NodeID{2, 3, 4}},
		{name: "two of five down", candidates: nodesOf(5, offline(3)), req: PlacementRequest{Replicas: 3}, want: []base.NodeID{1, 2, 3}},
		{name: "an offline one may be chosen", candidates: nodesOf(3, offline(2)), req: PlacementRequest{Replicas: 3}, want: []base.NodeID{1, 2, 3}},
		{name: "three of five down", candidates: nodesOf(5, offline(2)), req: PlacementRequest{Replicas: 5}, err: "peer offline"},
		{name: "kept are enough", candidates: nodesOf(5, nil), req: PlacementRequest{Replicas: 2, Keep: []base.NodeID{4, 2, 1}}, want: []base.NodeID{4, 2}},
		{name: "kept count for the majority", candidates: nodesOf(3, offline(1)), req: PlacementRequest{Replicas: 3, Keep: []base.NodeID{3}}, want: []base.NodeID{3, 1, 2}},
		{name: "ignored", candidates: nodesOf(3, nil), req: PlacementRequest{Replicas: 2, Ignore: []base.NodeID{1}}, want: []base.NodeID{2, 3}},
		{name: "no jetstream", candidates: nodesOf(1, func(_ int, c *Candidate) { c.Tags = []string{"!jetstream"} }), req: PlacementRequest{Replicas: 1}, err: "exclude tag set"},
		{name: "HA assets, the meta group counts", candidates: nodesOf(2, func(i int, c *Candidate) { c.HAAssets = 2 + i }), req: PlacementRequest{Replicas: 1, MaxHAAssets: 2}, want: []base.NodeID{1}},
		{name: "too many HA assets", candidates: nodesOf(1, func(_ int, c *Candidate) { c.HAAssets = 3 }), req: PlacementRequest{Replicas: 1, MaxHAAssets: 2}, err: "miscellaneous issue"},
		{name: "nobody", req: PlacementRequest{Replicas: 1}, err: "jetstream not enabled in cluster"},
	} {
		got, err := placeIn(c.candidates, c.req)
		if c.err != "" {
			if err == nil || err.Error() != "no suitable peers for placement, "+c.err {
				t.Errorf("%s: %v, %v", c.name, got, err)
			}
			continue
		}
		if len(c.req.Keep) > 0 && len(got) > 0 && got[0] != c.req.Keep[0] {
			t.Errorf("%s: %v does not begin with the kept", c.name, got)
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

func TestRow31_UniqueTag(t *testing.T) {
	zones := nodesOf(3, func(i int, c *Candidate) { c.Tags = []string{[]string{"az:1", "az:1", "az:2"}[i]} })
	got, err := placeIn(zones, PlacementRequest{Replicas: 2, UniqueTag: "az:"})
	if err != nil || !slices.Contains(got, 3) {
		t.Error(got, err)
	}
	if _, err = placeIn(zones, PlacementRequest{Replicas: 3, UniqueTag: "az:"}); err == nil || !strings.HasSuffix(err.Error(), "server tag not unique") {
		t.Error(err)
	}
	if got, err = placeIn(zones, PlacementRequest{Replicas: 2, UniqueTag: "az:", Config: tagged("az:1")}); err != nil || slices.Contains(got, 3) {
		t.Error("the rule is off with a placement tag of that prefix:", got, err)
	}
	if got, err = placeIn(zones, PlacementRequest{Replicas: 2, UniqueTag: "az:", Keep: []base.NodeID{1}}); err != nil || !slices.Equal(got, []base.NodeID{1, 3}) {
		t.Error(got, err)
	}
}

func TestRow32_GroupNames(t *testing.T) {
	for name, pattern := range map[string]string{
		RaftName(3, api.FileStorage, "abcdefgh"):   `^S-R3F-[0-9A-Za-z]{8}$`,
		RaftName(1, api.MemoryStorage, "ABCD1234"): `^S-R1M-[0-9A-Za-z]{8}$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(name) {
			t.Error(name)
		}
	}
}

// TestRow34_NewNameFromAndToOne scales 1, 3, 5, 3, 1.
func TestRow34_NewNameFromAndToOne(t *testing.T) {
	s, _ := planned(5)
	addStream(t, s, "S", 1)
	for i, c := range []struct {
		nodes []base.NodeID
		fresh bool
	}{{[]base.NodeID{1, 2, 3}, true}, {[]base.NodeID{1, 2, 3, 4, 5}, false}, {[]base.NodeID{1, 2, 3}, false}, {[]base.NodeID{2}, true}} {
		raw := fmt.Appendf(nil, `{"name":"S","num_replicas":%d,"subjects":["S"]}`, len(c.nodes))
		name := fmt.Sprint("S-", i)
		e := s.Apply(s.Applied()+1, Command{Body: &StreamUpdate{Account: "A", Name: "S", Config: raw, Nodes: c.nodes, Cluster: "C", RaftName: name}})
		if e.Result.Err != nil {
			t.Fatal(e.Result.Err)
		}
		if got := e.Result.Assignment.RaftName; (got == name) != c.fresh {
			t.Errorf("step %d: %s", i, got)
		}
		a := e.Result.Assignment
		s.Apply(s.Applied()+1, Command{Body: &MembersChanged{Group: a.Group, Members: a.Replicas, Index: uint64(i + 1), Seen: a.Revision}})
	}
}

func TestRow35_Reservations(t *testing.T) {
	const gib = int64(1) << 30
	create := func(limits *Limits, replicas int, bytes int64, streams ...string) *apierr.Error {
		s, _ := planned(3)
		var last *apierr.Error
		for _, name := range streams {
			raw := fmt.Appendf(nil, `{"name":%q,"num_replicas":%d,"max_bytes":%d,"subjects":[%q]}`, name, replicas, bytes, name)
			nodes := []base.NodeID{1, 2, 3}[:replicas]
			last = s.Apply(s.Applied()+1, Command{Body: &StreamCreate{Account: "A", Config: raw, Nodes: nodes, Limits: limits}}).Result.Err
		}
		return last
	}
	flat := &Limits{MaxStreams: -1, MaxConsumers: -1, MaxStore: 10 * gib, MaxMemory: -1}
	tier := *flat
	tier.Tiered = true
	if err := create(flat, 3, 4*gib, "S"); err != apierr.JSStorageResourcesExceededErr {
		t.Errorf("three times 4 GiB of 10: %v", err)
	}
	if err := create(&tier, 3, 10*gib, "S"); err != nil {
		t.Errorf("10 GiB in a tier of 10: %v", err)
	}
	if err := create(&tier, 3, 6*gib, "S", "T"); err != apierr.JSStorageResourcesExceededErr {
		t.Errorf("two of 6 GiB in a tier of 10: %v", err)
	}
	if err := create(flat, 1, 10*gib, "S", "S"); err != nil {
		t.Errorf("a stream counts itself: %v", err)
	}
}

func TestRow36_FirstClusterWithRoom(t *testing.T) {
	candidates := slices.Concat(nodesOf(2, nil), nodesOf(3, func(i int, c *Candidate) { c.Node, c.Cluster = c.Node+10, "D" }))
	rng := rand.New(rand.NewPCG(1, 1))
	in := func(replicas int, p *api.Placement) (string, error) {
		cluster, _, err := PlaceIn([]string{"C", "D"}, PlacementRequest{Replicas: replicas, Config: &api.StreamConfig{Placement: p}}, candidates, rng)
		if err != nil {
			return "", err
		}
		return cluster, nil
	}
	for replicas, want := range map[int]string{0: "C", 1: "C", 3: "D"} {
		if got, err := in(replicas, nil); err != nil || got != want {
			t.Errorf("%d replicas in %q, %v; want %s", replicas, got, err, want)
		}
	}
	if _, err := in(3, &api.Placement{Cluster: "C"}); err == nil {
		t.Error("three replicas on two servers")
	}
}

func TestRow37_LimitsOfATier(t *testing.T) {
	s, _ := planned(3)
	addStream(t, s, "R3", 1, 2, 3)
	raw := []byte(`{"name":"R1","num_replicas":1,"subjects":["R1"]}`)
	limits := &Limits{MaxStreams: 1, MaxConsumers: -1, MaxStore: -1, MaxMemory: -1, Tiered: true}
	if err := s.Apply(s.Applied()+1, Command{Body: &StreamCreate{Account: "A", Config: raw, Nodes: []base.NodeID{1}, Limits: limits}}).Result.Err; err != nil {
		t.Errorf("a stream of another tier counts: %v", err)
	}
}

// rawAssignment has a field that this version does not know.
var rawAssignment = json.RawMessage(`{"name":"S","num_replicas":1,"subjects":["s"],"of_tomorrow":{"x":1}}`)

var assignmentOrigin = &Origin{Node: 1, Subject: "$JS.API.STREAM.CREATE.S", Reply: "_INBOX.x"}

// assignmentRecord wants a command to be read as it was written, and to be short; it returns the entry.
func assignmentRecord(t *testing.T, body Body) []byte {
	t.Helper()
	in := Command{Proposer: 1 << 60, Seq: 1<<64 - 1, Time: -1 << 63, Body: body}
	data := in.Encode()
	out, err := Decode(data)
	if err != nil || !bytes.Equal(out.Encode(), data) {
		t.Fatalf("%T: %v", body, err)
	}
	if len(data) > 400 {
		t.Errorf("%T takes %d bytes", body, len(data))
	}
	return data
}

func TestRow54_CreateRecord(t *testing.T) {
	assignmentRecord(t, &StreamCreate{Account: "A", Config: rawAssignment, Nodes: []base.NodeID{1}, Request: assignmentOrigin})
	s, _ := planned(1)
	e := s.Apply(s.Applied()+1, Command{Body: &StreamCreate{Account: "A", Config: rawAssignment, Nodes: []base.NodeID{1}}})
	if e.Result.Err != nil || !strings.Contains(string(reopen(t, s).Stream("A", "S").RawConfig), "of_tomorrow") {
		t.Error("an unknown field is lost:", e.Result.Err)
	}
}

func TestRow55_UpdateRecord(t *testing.T) {
	assignmentRecord(t, &StreamUpdate{Account: "A", Name: "S", Config: rawAssignment, Request: assignmentOrigin})
}

func TestRow56_DeleteRecord(t *testing.T) {
	assignmentRecord(t, &StreamDelete{Account: "A", Name: "S", Request: assignmentOrigin})
}

// TestRow57_BadRecord: what is cut or changed is an error, and a newer version is one that says so.
func TestRow57_BadRecord(t *testing.T) {
	for _, body := range []Body{
		&StreamCreate{Account: "A", Config: rawAssignment, Nodes: []base.NodeID{1}},
		&StreamUpdate{Account: "A", Name: "S", Config: rawAssignment},
		&StreamDelete{Account: "A", Name: "S"},
	} {
		data := assignmentRecord(t, body)
		for _, bad := range [][]byte{nil, data[:1], data[:8], append(slices.Clone(data[:len(data)-1]), '!')} {
			if _, err := Decode(bad); err == nil {
				t.Errorf("%T: %q is accepted", body, bad)
			}
		}
		if _, err := Decode([]byte{commandVersion + 1, data[1]}); err == nil || errors.Is(err, base.ErrCorrupt) {
			t.Errorf("a newer version: %v", err)
		}
	}
}

func TestRow58_Unsupported(t *testing.T) {
	for more, want := range map[string]string{
		``:                                     "",
		`,"metadata":{"_nats.req.level":"5"}`:  "",
		`,"metadata":{"_nats.req.level":"99"}`: "unsupported - required API level: 99, current API level: 5",
		`,"metadata":{"_nats.req.level":"plenty"}`: "unsupported - required API level: plenty, current API level: 5",
		`,"of_tomorrow":1`:                         `unsupported - config error: json: unknown field "of_tomorrow"`,
	} {
		s, _ := planned(1)
		raw := []byte(`{"name":"S","subjects":["s.>"]` + more + `}`)
		e := s.Apply(s.Applied()+1, Command{Body: &StreamCreate{Account: "A", Config: raw, Nodes: []base.NodeID{1}}})
		if e.Result.Err != nil {
			t.Fatal(e.Result.Err)
		}
		a := reopen(t, s).Stream("A", "S")
		if got := a.Unsupported(5); got != want {
			t.Errorf("%s: %q", more, got)
		}
		if want != "" && a.Unsupported(99) != "" && strings.Contains(more, "99") {
			t.Errorf("not brought back by an upgrade: %q", a.Unsupported(99))
		}
		overlap := []byte(`{"name":"T","subjects":["s.x"]}`)
		if err := s.Apply(s.Applied()+1, Command{Body: &StreamCreate{Account: "A", Config: overlap, Nodes: []base.NodeID{1}}}).Result.Err; err != apierr.JSStreamSubjectOverlapErr {
			t.Errorf("%s: its subjects are not reserved: %v", more, err)
		}
	}
	s, _ := planned(1)
	if err := s.Apply(s.Applied()+1, Command{Body: &StreamCreate{Account: "A", Config: []byte(`{"name":7}`), Nodes: []base.NodeID{1}}}).Result.Err; err == nil {
		t.Error("a configuration that can not be read at all is accepted")
	}
}

// TestCorrectionAfterRemoval: what a node had on its way when it was removed does
// not bring it back.
func TestCorrectionAfterRemoval(t *testing.T) {
	s, _ := planned(3)
	n := s.Nodes()[0]
	apply := func(b Body) Effects { return s.Apply(s.Applied()+1, Command{Body: b}) }
	correction := &NodeJoin{Name: n.Name, Node: n.ID, Cluster: n.Cluster, Tags: []string{"new"}, Member: true}
	if e := apply(correction); e.Result.Err != nil || s.Node(n.Name).Tags[0] != "new" {
		t.Fatal("a correction was not taken", e.Result.Err)
	}
	apply(&NodeRemove{Node: n.ID})
	if e := apply(correction); e.Result.Err == nil || !s.Node(n.Name).Removed {
		t.Error("a correction brought a removed node back")
	}
}
