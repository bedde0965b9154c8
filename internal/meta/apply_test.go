package meta

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"weir/internal/api"
	"weir/internal/base"
)

// TestTranscripts runs the commands in testdata/apply. A command's first
// argument may be account/stream; the body of create and update is the
// configuration in JSON, completed with name and replicas. Every command is
// encoded and decoded, and the state saved and restored, before the next.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/apply", func(t *testing.T, path string) {
		r := &runner{t: t, state: New()}
		datadriven.RunTest(t, path, r.run)
	})
}

type runner struct {
	t     *testing.T
	state *State
	index uint64
}

func (r *runner) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "show":
		return r.show()
	case "entry":
		return r.entry(d)
	case "image":
		return r.restore(d)
	}
	body, err := r.parse(d)
	if err != nil {
		return "parse: " + err.Error()
	}
	r.index++
	command := Command{Proposer: 7, Seq: r.index, Time: int64(r.index) * 1000, Body: body}
	decoded, err := Decode(command.Encode())
	if err != nil {
		t.Fatal(err)
	}
	effects := r.state.Apply(r.index, decoded)
	if effects.Proposer != 7 || effects.Seq != r.index {
		t.Fatalf("effects are for %d %d", effects.Proposer, effects.Seq)
	}
	r.state = reopen(t, r.state)
	return format(&effects)
}

func reopen(t *testing.T, s *State) *State {
	t.Helper()
	restored, err := Restore(s.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if restored.Hash() != s.Hash() {
		t.Fatalf("restored\n%s\nfrom\n%s", restored.Snapshot(), s.Snapshot())
	}
	return restored
}

func (r *runner) parse(d *datadriven.TestData) (Body, error) {
	account, name := "A", ""
	if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
		name = d.CmdArgs[0].Key
		if before, after, ok := strings.Cut(name, "/"); ok {
			account, name = before, after
		}
	}
	var revision uint64
	if a := r.state.Stream(account, name); a != nil && d.HasArg("fresh") {
		revision = a.Revision
	}
	if v := scan(d, "revision"); v != "" {
		revision = number(v)
	}
	request := (*Origin)(nil)
	if v := scan(d, "reply"); v != "" {
		request = &Origin{Node: 1, Reply: v}
	}
	switch d.Cmd {
	case "init":
		return parseInit(d), nil
	case "join":
		return &NodeJoin{Name: name, Node: base.NodeID(number(scan(d, "node"))), Cluster: "C", Tags: list(d, "tags")}, nil
	case "remove-node":
		return &NodeRemove{Node: r.node(scan(d, "node")), Gone: d.HasArg("gone"), Remaps: remaps(d)}, nil
	case "create":
		return &StreamCreate{Account: account, Config: config(name, d), RaftName: scan(d, "raft"), Cluster: "C",
			Nodes: nodes(d, "nodes"), Request: request, Limits: limits(d), Restore: d.HasArg("restore")}, nil
	case "update":
		return &StreamUpdate{Account: account, Name: name, Config: config(name, d), IfRevision: revision, Cluster: "C",
			Nodes: nodes(d, "nodes"), RaftName: scan(d, "raft"), Request: request, Limits: limits(d)}, nil
	case "cancel":
		return &StreamCancelMove{Account: account, Name: name, Request: request}, nil
	case "delete":
		return &StreamDelete{Account: account, Name: name, Group: base.GroupID(number(scan(d, "group"))), Request: request}, nil
	case "purge":
		return &AccountPurge{Account: account}, nil
	case "peer-remove":
		return &PeerRemove{Account: account, Name: name, Node: base.NodeID(number(scan(d, "node"))),
			Replacement: base.NodeID(number(scan(d, "to"))), IfRevision: revision}, nil
	case "lost":
		return parseLost(d), nil
	case "members":
		return &MembersChanged{Group: base.GroupID(number(scan(d, "group"))), Members: replicas(d, "now"),
			Index: number(scan(d, "index")), Seen: r.seen(d)}, nil
	case "remains":
		told := ReplicaRemains{Group: base.GroupID(number(scan(d, "group"))), Remains: Remains{
			Replica: base.ReplicaID(number(scan(d, "replica"))), Term: number(scan(d, "term")), Index: number(scan(d, "index")),
		}}
		if a := r.state.ByGroup(told.Group); a != nil && a.Survey != nil {
			told.Since = a.Survey.Since
		}
		if v := scan(d, "since"); v != "" {
			told.Since = number(v)
		}
		return &RemainsTold{Told: []ReplicaRemains{told}}, nil
	case "ask-survey":
		if a := r.state.ByGroup(base.GroupID(number(scan(d, "group")))); a != nil && revision == 0 {
			revision = a.Revision
		}
		return &SurveyAsked{Group: base.GroupID(number(scan(d, "group"))), By: base.ReplicaID(number(scan(d, "by"))), Revision: revision}, nil
	case "restored":
		return &RestoreEnded{Group: base.GroupID(number(scan(d, "group"))), Kept: d.HasArg("kept")}, nil
	}
	return nil, fmt.Errorf("unknown command %s", d.Cmd)
}

func parseInit(d *datadriven.TestData) Body {
	c := &MetaInit{ClusterID: "cluster"}
	for i, name := range list(d, "nodes") {
		c.Nodes = append(c.Nodes, NodeSpec{Replica: base.ReplicaID(i + 1),
			NodeJoin: NodeJoin{Name: name, Node: base.NodeID(i + 1), Cluster: "C"}})
	}
	return c
}

func parseLost(d *datadriven.TestData) Body {
	c := &ReplicasLost{}
	for _, id := range list(d, "replicas") {
		c.Lost = append(c.Lost, LostReplica{Group: base.GroupID(number(scan(d, "group"))), Replica: base.ReplicaID(number(id))})
	}
	return c
}

// seen is the present revision of the group unless the command says another.
func (r *runner) seen(d *datadriven.TestData) uint64 {
	if v := scan(d, "seen"); v != "" {
		return number(v)
	}
	if a := r.state.ByGroup(base.GroupID(number(scan(d, "group")))); a != nil {
		return a.Revision
	}
	return 0
}

func (r *runner) node(name string) base.NodeID {
	if n := r.state.Node(name); n != nil {
		return n.ID
	}
	return base.NodeID(number(name))
}

// config completes the configuration in the input.
func config(name string, d *datadriven.TestData) json.RawMessage {
	fields := map[string]any{"name": name, "num_replicas": max(len(list(d, "nodes")), 1)}
	if d.Input != "" {
		if err := json.Unmarshal([]byte(d.Input), &fields); err != nil {
			d.Fatalf(nil, "%v", err)
		}
	}
	raw, _ := json.Marshal(fields)
	return raw
}

func limits(d *datadriven.TestData) *Limits {
	l := &Limits{MaxStreams: -1, MaxConsumers: -1, MaxMemory: -1, MaxStore: -1, Tiered: d.HasArg("tiered")}
	if v := scan(d, "max-streams"); v != "" {
		l.MaxStreams = int(number(v))
	}
	if v := scan(d, "max-consumers"); v != "" {
		l.MaxConsumers = int(number(v))
	}
	if v := scan(d, "max-memory"); v != "" {
		l.MaxMemory = int64(number(v))
	}
	if v := scan(d, "max-store"); v != "" {
		l.MaxStore = int64(number(v))
	}
	return l
}

func scan(d *datadriven.TestData, key string) string {
	for _, arg := range d.CmdArgs {
		if arg.Key == key && len(arg.Vals) > 0 {
			return strings.Join(arg.Vals, ",")
		}
	}
	return ""
}

func list(d *datadriven.TestData, key string) []string {
	for _, arg := range d.CmdArgs {
		if arg.Key == key {
			return arg.Vals
		}
	}
	return nil
}

func nodes(d *datadriven.TestData, key string) (ids []base.NodeID) {
	for _, v := range list(d, key) {
		ids = append(ids, base.NodeID(number(v)))
	}
	return ids
}

// replicas reads id@node pairs.
func replicas(d *datadriven.TestData, key string) (out []base.Replica) {
	for _, v := range list(d, key) {
		id, node, _ := strings.Cut(v, "@")
		out = append(out, base.Replica{ID: base.ReplicaID(number(id)), Node: base.NodeID(number(node))})
	}
	return out
}

// remaps reads group:node pairs.
func remaps(d *datadriven.TestData) (out []Remap) {
	for _, v := range list(d, "remaps") {
		group, node, _ := strings.Cut(v, ":")
		out = append(out, Remap{Group: base.GroupID(number(group)), Node: base.NodeID(number(node))})
	}
	return out
}

func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

func format(e *Effects) string {
	var b strings.Builder
	if e.Result.Err != nil {
		fmt.Fprintf(&b, "error: %v\n", e.Result.Err)
	}
	if e.Result.Existing {
		b.WriteString("existing\n")
	}
	if e.Result.Stale {
		b.WriteString("stale\n")
	}
	for _, r := range e.Result.Refused {
		fmt.Fprintf(&b, "refused: %d of %s\n", r.Replica, r.Group)
	}
	for _, n := range e.Nodes {
		fmt.Fprintf(&b, "node %s\n", formatNode(n.After))
	}
	for _, c := range e.Changed {
		a := c.After
		if a == nil {
			a = c.Before
		}
		fmt.Fprintf(&b, "%s %s", c.Kind, formatAssignment(a))
		if c.Request != nil {
			fmt.Fprintf(&b, " reply=%s", c.Request.Reply)
		}
		b.WriteString("\n")
	}
	if b.Len() == 0 {
		return "ok\n"
	}
	return b.String()
}

func formatNode(n *Node) string {
	text := fmt.Sprintf("%s node=%d meta=%d", n.Name, n.ID, n.Replica)
	if len(n.Tags) > 0 {
		text += " tags=" + strings.Join(n.Tags, ",")
	}
	if n.Removed {
		text += " removed"
	}
	return text
}

func formatAssignment(a *Assignment) string {
	text := fmt.Sprintf("%s/%s %s v%d wanted=%s", a.Account, a.Name, a.Group, a.ConfigVersion, formatReplicas(a.Replicas))
	if !sameSet(a.Members, a.Replicas) {
		text += " members=" + formatReplicas(a.Members)
	}
	if !sameSet(a.Initial, a.Members) {
		text += " initial=" + formatReplicas(a.Initial)
	}
	if len(a.Leaving) > 0 {
		text += " leaving="
		for _, l := range a.Leaving {
			text += fmt.Sprintf("(%d@%d)", l.ID, l.Node)
		}
	}
	if len(a.Lost) > 0 {
		text += fmt.Sprintf(" lost=%d", a.Lost)
	}
	if a.Survey != nil {
		text += fmt.Sprintf(" survey=%d", a.Survey.Since)
		for _, r := range a.Survey.Remains {
			text += fmt.Sprintf("(%d:%d.%d)", r.Replica, r.Term, r.Index)
		}
	}
	if a.Seed != nil {
		text += fmt.Sprintf(" seed=%d:%d.%d", a.Seed.Replica, a.Seed.Term, a.Seed.Index)
	}
	if a.RaftName != "" {
		text += " raft=" + a.RaftName
	}
	if a.Reconfig != nil {
		text += fmt.Sprintf(" %s from R%d %s", a.Reconfig.Kind, a.Reconfig.FromReplicas, formatReplicas(a.Reconfig.FromMembers))
	}
	return text
}

func formatReplicas(list []base.Replica) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprintf("%d@%d", r.ID, r.Node))
	}
	return "[" + strings.Join(out, " ") + "]"
}

func (r *runner) show() string {
	var b strings.Builder
	for _, n := range r.state.Nodes() {
		l := r.state.Load(n.ID)
		fmt.Fprintf(&b, "%s streams=%d ha=%d memory=%d store=%d\n", formatNode(n), l.Streams, l.HAStreams, l.ReservedMemory, l.ReservedStore)
	}
	for _, account := range r.state.Accounts() {
		for _, a := range r.state.Streams(account) {
			fmt.Fprintf(&b, "%s R%d\n", formatAssignment(a), a.Config.Replicas)
		}
	}
	return b.String()
}

func TestConfigSurvives(t *testing.T) {
	raw := json.RawMessage(`{"name":"S","num_replicas":1,"subjects":["a"],"from_the_future":{"x":[1]}}`)
	s := New()
	s.Apply(1, Command{Body: &MetaInit{ClusterID: "c", Nodes: []NodeSpec{{NodeJoin: NodeJoin{Name: "n", Node: 1}, Replica: 1}}}})
	s.Apply(2, Command{Body: &StreamCreate{Account: "A", Config: raw, Nodes: []base.NodeID{1}}})
	a := reopen(t, s).Stream("A", "S")
	if string(a.RawConfig) != string(raw) {
		t.Errorf("config is %s", a.RawConfig)
	}
	if reason := a.Unsupported(9); !strings.Contains(reason, "from_the_future") {
		t.Errorf("unsupported: %q", reason)
	}
}

func TestUnsupportedLevel(t *testing.T) {
	a := &Assignment{Config: &api.StreamConfig{Metadata: map[string]string{"_nats.req.level": "3"}}}
	if a.Unsupported(3) != "" || a.Unsupported(2) == "" {
		t.Error("level 3 needs level 3")
	}
	a.Config.Metadata["_nats.req.level"] = "x"
	if a.Unsupported(99) == "" {
		t.Error("a level that is no number is unsupported")
	}
}

func TestSameConfig(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`{"name":"a","max_msgs":1}`, `{"max_msgs":1,"name":"a"}`, true},
		{`{"name":"a","metadata":{"_nats.ver":"1"}}`, `{"name":"a"}`, true},
		{`{"name":"a","metadata":{"_nats.ver":"1","k":"v"}}`, `{"name":"a","metadata":{"k":"v"}}`, true},
		{`{"name":"a","metadata":{"k":"v"}}`, `{"name":"a"}`, false},
		{`{"name":"a","max_bytes":9007199254740993}`, `{"name":"a","max_bytes":9007199254740992}`, false},
	} {
		if got := SameConfig([]byte(c.a), []byte(c.b)); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}

func TestReport(t *testing.T) {
	one, two := base.Replica{ID: 1, Node: 1}, base.Replica{ID: 2, Node: 2}
	a := &Assignment{Group: 5, Revision: 9, Members: []base.Replica{one, two}, Replicas: []base.Replica{one},
		Leaving: []Leaving{{two, 9}}}
	if r := a.Report([]base.Replica{two, one}, 3); r != nil {
		t.Errorf("nothing is new, but %+v", r)
	}
	r := a.Report([]base.Replica{one}, 4)
	if r == nil || r.Group != 5 || r.Index != 4 || r.Seen != 9 || len(r.Members) != 1 {
		t.Errorf("%+v", r)
	}
	a.Members = []base.Replica{one}
	if r := a.Report([]base.Replica{one}, 4); r == nil {
		t.Error("the one that left is not struck out")
	}
}
