package server

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/meta"
)

func TestRow22_OneAnswer(t *testing.T) {
	r := sharedRows(t)
	r.stream("R22", 3)
	for _, c := range []struct {
		subj string
		body any
		code int
	}{
		{"META.LEADER.STEPDOWN", nil, 0},
		{"SERVER.REMOVE", `{"peer":"nobody"}`, 10044},
		{"ACCOUNT.STREAM.MOVE.APP.NONE", `{"server":"n1"}`, 10059},
		{"ACCOUNT.STREAM.CANCEL_MOVE.APP.R22", nil, -1},
		{"ACCOUNT.PURGE.APP", nil, 0},
	} {
		a := r.once(r.sys, c.subj, c.body)
		if c.code >= 0 && a.code() != c.code || c.code < 0 && a.Error == nil {
			t.Errorf("%s: %s", c.subj, a.raw)
		}
	}
}

func TestRow23_OldMetaLeaderIsSilent(t *testing.T) {
	r := sharedRows(t)
	for _, name := range []string{"n1", "n2", "n3"} {
		if r.metaLeader().name == name {
			a := r.refused(r.sys, "META.LEADER.STEPDOWN", `{"placement":{"preferred":"`+name+`"}}`, 10005)
			if a.Error.Description != `preferred server "`+name+`" is already leader` {
				t.Errorf("%s", a.raw)
			}
			continue
		}
		r.must(r.sys, "META.LEADER.STEPDOWN", `{"placement":{"preferred":"`+name+`"}}`)
		r.until(name+" leads", func() bool { return r.servers[r.server(name)].node.MetaLeader().Here })
		if a := r.once(r.sys, "SERVER.REMOVE", `{"peer":"nobody"}`); a.code() != 10044 {
			t.Errorf("%s", a.raw)
		}
	}
	r.refused(r.sys, "META.LEADER.STEPDOWN", `{"placement":{"preferred":"n9"}}`, 10005)
	if r.metaLeader().name == "n2" {
		r.must(r.sys, "META.LEADER.STEPDOWN", nil)
		r.until("another leads", func() bool { return r.metaLeader().name != "n2" })
	}
	r.must(r.sys, "META.LEADER.STEPDOWN", `{"placement":{"tags":["n2"]}}`)
	r.until("n2 leads", func() bool { return r.servers[r.server("n2")].node.MetaLeader().Here })
	r.refused(r.sys, "META.LEADER.STEPDOWN", `{"placement":{"tags":["nowhere"]}}`, 10005)
	r.refused(r.sys, "META.LEADER.STEPDOWN", `{"placement":{"cluster":"other"}}`, 10005)
}

func TestRow24_MetaLeaderElected(t *testing.T) {
	r := sharedRows(t)
	system := r.listen(r.sys, "DOMAIN.LEADER_ELECTED")
	own := r.listen(r.app, "DOMAIN.LEADER_ELECTED")
	r.must(r.sys, "META.LEADER.STEPDOWN", nil)
	doc := r.next(system)
	leader := ""
	r.until("somebody leads", func() bool {
		for _, s := range r.servers {
			if s.node.MetaLeader().Here {
				leader = s.name
			}
		}
		return leader != ""
	})
	if doc["type"] != "io.nats.jetstream.advisory.v1.domain_leader_elected" || doc["leader"] != meta.PeerID(leader) ||
		doc["cluster"] != "test" || len(doc["replicas"].([]any)) != 3 {
		t.Errorf("%s leads: %v", leader, doc)
	}
	r.silent(r.sys, system)
	r.silent(r.app, own)
}

func TestRow31_Emptiest(t *testing.T) {
	r := sharedRows(t)
	for i, want := range []string{"n3", "n2", "n1"} {
		info := r.stream(fmt.Sprint("R31_", i), 1, func(c *api.StreamConfig) { c.MaxBytes = 60 << 30 })
		if info.Cluster.Leader != want {
			t.Errorf("stream %d is on %s, want %s", i, info.Cluster.Leader, want)
		}
	}
	a := r.refused(r.app, "STREAM.CREATE.R31", limited("R31", `,"max_bytes":60000000000`), 10005)
	if a.Error.Description != "no suitable peers for placement, insufficient storage" {
		t.Errorf("%s", a.raw)
	}
}

func TestRow32_StreamGroupName(t *testing.T) {
	r := sharedRows(t)
	r.groupName(r.stream("R32", 3).Cluster.RaftGroup, "S-R3F-")
	r.groupName(r.stream("R32M", 3, func(c *api.StreamConfig) { c.Storage = api.MemoryStorage }).Cluster.RaftGroup, "S-R3M-")
}

func TestRow36_ClusterOfAStream(t *testing.T) {
	r := sharedRows(t)
	if name := r.stream("R36", 1).Cluster.Name; name != "test" {
		t.Errorf("in cluster %q", name)
	}
	in := func(p *api.Placement) api.StreamConfig {
		return api.StreamConfig{Name: "R36P", Subjects: []string{"r36p"}, Placement: p, Retention: api.LimitsRetention, Storage: api.FileStorage}
	}
	a := r.refused(r.app, "STREAM.CREATE.R36P", in(&api.Placement{Cluster: "other"}), 10005)
	if a.Error.Description != "no suitable peers for placement" {
		t.Errorf("%s", a.raw)
	}
	a = r.refused(r.app, "STREAM.CREATE.R36P", in(&api.Placement{Tags: []string{"nowhere"}}), 10005)
	if a.Error.Description != "no suitable peers for placement, tags not matched ['nowhere']" {
		t.Errorf("%s", a.raw)
	}
	info := new(api.StreamInfo)
	r.must(r.app, "STREAM.CREATE.R36P", in(&api.Placement{Tags: []string{"n2"}})).into(t, info)
	if info.Cluster.Leader != "n2" {
		t.Errorf("on %s", info.Cluster.Leader)
	}
}

func TestRow37_AccountWithoutJetStream(t *testing.T) {
	r := sharedRows(t)
	r.refused(r.as(t, "off", 1), "STREAM.CREATE.R37", `{"name":"R37"}`, 10039)
}

func limited(name, more string) string {
	return fmt.Sprintf(`{"name":%q,"subjects":[%q],"retention":"limits","storage":"file","num_replicas":1%s}`, name, name, more)
}

func TestRow38_Limits(t *testing.T) {
	r := sharedRows(t)
	lim := r.as(t, "lim", 2)
	got := codes(r.together(lim, 10, func(i int) (string, any) {
		name := fmt.Sprint("S", i)
		return "STREAM.CREATE." + name, limited(name, "")
	}))
	if got[0] != 3 || got[10027] != 7 {
		t.Errorf("%v, want 3 made and 7 refused with 10027", got)
	}
	r.must(r.sys, "ACCOUNT.PURGE.LIM", nil)
	r.refused(lim, "STREAM.CREATE.S", limited("S", `,"max_consumers":9`), 10026)
	// Row 35: 10 GB without tiers, each replica counts; a stream does not count itself.
	r.refused(lim, "STREAM.CREATE.S", strings.Replace(limited("S", `,"max_bytes":4000000000`), `"num_replicas":1`, `"num_replicas":3`, 1), 10047)
	r.must(lim, "STREAM.CREATE.S", limited("S", `,"max_bytes":9000000000`))
	r.must(lim, "STREAM.UPDATE.S", limited("S", `,"max_bytes":10000000000`))
	r.refused(lim, "STREAM.UPDATE.S", limited("S", `,"max_bytes":11000000000`), 10047)
	r.refused(lim, "STREAM.CREATE.T", limited("T", `,"max_bytes":2000000000`), 10047)
	r.refused(lim, "STREAM.CREATE.T", strings.Replace(limited("T", `,"max_bytes":2000000000`), "file", "memory", 1), 10028)
	r.must(r.sys, "ACCOUNT.PURGE.LIM", nil)
	// What each wants is there for one of them only.
	got = codes(r.together(lim, 3, func(i int) (string, any) {
		name := fmt.Sprint("S", i)
		return "STREAM.CREATE." + name, limited(name, `,"max_bytes":6000000000`)
	}))
	if got[0] != 1 || got[10047] != 2 {
		t.Errorf("%v, want 1 made and 2 refused with 10047", got)
	}
}

func TestRow39_EqualCreates(t *testing.T) {
	r := sharedRows(t)
	cfg := func(name, subj string) string {
		return strings.Replace(limited(name, ""), `["`+name+`"]`, `["`+subj+`"]`, 1)
	}
	list := r.together(r.app, 10, func(int) (string, any) { return "STREAM.CREATE.R39", cfg("R39", "r39.>") })
	var first *api.StreamInfo
	for _, a := range list {
		info := new(api.StreamInfo)
		a.into(t, info)
		if first == nil {
			first = info
		}
		if a.Error != nil || !info.Created.Equal(first.Created) {
			t.Errorf("%s", a.raw)
		}
	}
	r.refused(r.app, "STREAM.CREATE.R39", cfg("R39", "other"), 10058)
	r.refused(r.app, "STREAM.CREATE.R39B", cfg("R39B", "r39.x"), 10065)
	r.refused(r.app, "STREAM.CREATE.R39S", strings.Replace(cfg("R39S", "s"), "{", `{"sealed":true,`, 1), 10052)
	got := codes(r.together(r.app, 6, func(i int) (string, any) {
		name := fmt.Sprint("R39O", i)
		return "STREAM.CREATE." + name, cfg(name, []string{"o.*", "o.>"}[i%2])
	}))
	if got[0] != 1 || got[10065] != 5 {
		t.Errorf("%v, want 1 made and 5 refused with 10065", got)
	}
}

func TestRow42_DeleteAndCreate(t *testing.T) {
	r := sharedRows(t)
	r.stream("R42", 3)
	r.publish("R42.x", 5)
	deleted := r.listen(r.app, "STREAM.DELETED.R42")
	list := r.together(r.app, 2, func(i int) (string, any) {
		return []string{"STREAM.DELETE.R42", "STREAM.CREATE.R42"}[i], []any{nil, strings.Replace(limited("R42", ""), `"num_replicas":1`, `"num_replicas":3`, 1)}[i]
	})
	if list[0].code() != 0 || list[1].code() != 0 {
		t.Fatalf("%s, %s", list[0].raw, list[1].raw)
	}
	var info *api.StreamInfo
	r.until("the new stream answers", func() bool { // a server that is behind has the old one
		info = r.info("R42")
		return info.Config.Subjects[0] == "R42"
	})
	if info.State.Msgs != 0 || info.State.LastSeq != 0 {
		t.Errorf("%+v", info)
	}
	r.next(deleted)
	r.silent(r.app, deleted)
	r.refused(r.app, "STREAM.DELETE.NONE", nil, 10059)
}

func TestRow43_PurgeUnderPublish(t *testing.T) {
	r := sharedRows(t)
	r.refused(r.app, "STREAM.PURGE.NONE", nil, 10059)
	for _, replicas := range []int{1, 3} {
		name := fmt.Sprint("R43R", replicas)
		r.stream(name, replicas)
		r.publish(name+".x", 50)
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			defer func() { done <- n }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				r.publish(name+".x", 1)
				n++
			}
		}()
		var purged api.StreamPurgeResponse
		r.must(r.app, "STREAM.PURGE."+name, nil).into(t, &purged)
		close(stop)
		more := <-done
		info := r.info(name)
		if purged.Purged < 50 || info.State.FirstSeq != purged.Purged+1 || info.State.LastSeq != uint64(50+more) ||
			info.State.Msgs != uint64(50+more)-purged.Purged {
			t.Errorf("%d purged, %d published after the first 50: %+v", purged.Purged, more, info.State)
		}
		r.sameOnAll(name)
	}
}

// sameOnAll waits until all replicas of a stream have applied the same, and wants
// them to have the same messages.
func (r *rows) sameOnAll(name string) {
	r.t.Helper()
	var last string
	r.until("equal replicas of "+name, func() bool {
		states := map[string]bool{}
		for _, s := range r.servers {
			if s == nil {
				continue
			}
			if st := s.node.Stream("APP", name); st != nil {
				hash, err := st.Store().Hash()
				last = fmt.Sprint(st.Store().Applied(), hash, err)
				states[last] = true
			}
		}
		return len(states) == 1
	})
}

func TestRow46_StreamList(t *testing.T) {
	r := sharedRows(t)
	const n = 300
	list := r.together(r.app, n, func(i int) (string, any) {
		name := fmt.Sprintf("L%03d", i)
		return "STREAM.CREATE." + name, strings.Replace(limited(name, ""), `"file"`, `"memory"`, 1)
	})
	if got := codes(list); got[0] != n {
		t.Fatalf("%v", got)
	}
	page := func(subj, body string) (doc api.StreamListResponse) {
		t.Helper()
		r.must(r.app, subj, body).into(t, &doc)
		return doc
	}
	for _, c := range []struct{ offset, want, first int }{{0, 256, 0}, {256, 44, 256}, {-5, 256, 0}, {999, 0, 0}} {
		doc := page("STREAM.LIST", fmt.Sprintf(`{"offset":%d}`, c.offset))
		if len(doc.Streams) != c.want || doc.Limit != 256 {
			t.Fatalf("offset %d: %d streams, limit %d", c.offset, len(doc.Streams), doc.Limit)
		}
		if c.want > 0 && (doc.Streams[0].Config.Name != fmt.Sprintf("L%03d", c.first) || doc.Total != n) {
			t.Errorf("offset %d begins with %s of %d", c.offset, doc.Streams[0].Config.Name, doc.Total)
		}
	}
	if doc := page("STREAM.LIST", `{"subject":"L01*"}`); doc.Total != 0 {
		t.Errorf("%d streams for a part of a token", doc.Total)
	}
	if doc := page("STREAM.LIST", `{"subject":"L017"}`); doc.Total != 1 || doc.Streams[0].Config.Name != "L017" {
		t.Errorf("%+v", doc)
	}
	if doc := page("STREAM.LIST", `{"subject":"*"}`); doc.Total != n {
		t.Errorf("%d match *", doc.Total)
	}
}

func TestRow47_ConsumerList(t *testing.T) {
	r := sharedRows(t)
	r.stream("R47", 3)
	r.refused(r.app, "CONSUMER.LIST.NONE", nil, 10059)
	const n = 300
	list := r.together(r.app, n, func(i int) (string, any) {
		name := fmt.Sprintf("c%03d", i)
		return "CONSUMER.CREATE.R47." + name, consumerBody("R47", "", name, durable(name, ""))
	})
	if got := codes(list); got[0] != n {
		t.Fatalf("%v", got)
	}
	for _, c := range []struct{ offset, want int }{{0, 256}, {256, 44}, {999, 0}} {
		var doc api.ConsumerListResponse
		r.must(r.app, "CONSUMER.LIST.R47", fmt.Sprintf(`{"offset":%d}`, c.offset)).into(t, &doc)
		if len(doc.Consumers) != c.want || doc.Limit != 256 || c.want > 0 && doc.Consumers[0].Name != fmt.Sprintf("c%03d", c.offset) {
			t.Errorf("offset %d: %d consumers, limit %d", c.offset, len(doc.Consumers), doc.Limit)
		}
	}
}

func TestRow53_DeleteMessage(t *testing.T) {
	r := sharedRows(t)
	for _, replicas := range []int{1, 3} {
		name := fmt.Sprint("R53R", replicas)
		r.stream(name, replicas)
		r.publish(name+".x", 3)
		r.must(r.app, "STREAM.MSG.DELETE."+name, `{"seq":2}`)
		a := r.refused(r.app, "STREAM.MSG.DELETE."+name, `{"seq":2}`, 10043)
		if !strings.Contains(a.Error.Description, "2") {
			t.Errorf("%s", a.raw)
		}
		r.must(r.app, "STREAM.MSG.DELETE."+name, `{"seq":3,"no_erase":true}`)
		r.sameOnAll(name)
	}
	r.refused(r.app, "STREAM.MSG.DELETE.NONE", `{"seq":2}`, 10059)
	r.stream("R53S", 3)
	r.publish("R53S.x", 1)
	if a := r.update("R53S", func(c *api.StreamConfig) { c.Sealed = true }); a.Error != nil {
		t.Fatalf("%s", a.raw)
	}
	r.refused(r.app, "STREAM.MSG.DELETE.R53S", `{"seq":1}`, 10109)
}

// TestRow58_FromTheFuture hands the meta group streams that a newer version made.
func TestRow58_FromTheFuture(t *testing.T) {
	r := sharedRows(t)
	r.stream("R58", 3)
	for name, more := range map[string]string{
		"R58L": `,"metadata":{"_nats.req.level":"99"}`, "R58N": `,"metadata":{"_nats.req.level":"much"}`, "R58F": `,"a_field_of_tomorrow":1`,
	} {
		var nodes []base.NodeID
		r.metaLeader().node.View(func(s *meta.State) {
			for _, n := range s.Nodes() {
				nodes = append(nodes, n.ID)
			}
		})
		raw := strings.Replace(limited(name, more), `"num_replicas":1`, `"num_replicas":3`, 1)
		create := &meta.StreamCreate{Account: "APP", Config: []byte(raw), RaftName: "S-R3F-00000000", Cluster: "test", Nodes: nodes}
		r.until(name+" is made", func() bool { // another may lead meanwhile
			result, err := r.metaLeader().node.ProposeMeta(r.ctx, create)
			if err == nil && result.Err != nil {
				t.Fatal(result.Err)
			}
			return err == nil
		})
	}
	var list api.StreamListResponse
	r.must(r.app, "STREAM.LIST", nil).into(t, &list)
	if len(list.Offline) != 3 || len(list.Missing) != 3 || len(list.Streams) != 1 ||
		list.Offline["R58L"] != "unsupported - required API level: 99, current API level: 5" || !strings.Contains(list.Offline["R58F"], "a_field_of_tomorrow") {
		t.Errorf("offline %v, missing %v, %d streams", list.Offline, list.Missing, len(list.Streams))
	}
	a := r.refused(r.app, "STREAM.INFO.R58L", nil, 10194)
	if a.Error != nil && !strings.HasPrefix(a.Error.Description, "stream is offline: unsupported - required API level: 99") {
		t.Errorf("%s", a.raw)
	}
	a = r.refused(r.app, "CONSUMER.INFO.R58L.c", nil, 10195)
	if a.Error != nil && !strings.HasPrefix(a.Error.Description, "consumer is offline: unsupported - required API level: 99") {
		t.Errorf("%s", a.raw)
	}
	r.refused(r.app, "CONSUMER.CREATE.R58F.c", consumerBody("R58F", "", "c", durable("c", "")), 10195)
	r.refused(r.app, "STREAM.CREATE.R58X", limited("R58L.x", "")[:0]+`{"name":"R58X","subjects":["R58L"],"retention":"limits","storage":"file"}`, 10065)
	r.refused(r.app, "STREAM.CREATE.R58L", limited("R58L", ""), 10058)
	r.publish("R58.x", 1) // others go on
	r.must(r.app, "STREAM.DELETE.R58L", nil)
	r.refused(r.app, "STREAM.INFO.R58L", nil, 10059)
}

// metaLeader is the server that leads the meta group.
func (r *rows) metaLeader() (leader *Server) {
	r.t.Helper()
	r.until("a meta leader", func() bool {
		for _, s := range r.servers {
			if s != nil && s.node.MetaLeader().Here {
				leader = s
			}
		}
		return leader != nil
	})
	return leader
}

// TestAccountLimitBeforePlacement: a stream that is more than the account may have says so, also where no server has room for it.
func TestAccountLimitBeforePlacement(t *testing.T) {
	r := sharedRows(t)
	lim := r.as(t, "lim", 0)
	r.refused(lim, "STREAM.CREATE.HUGE", `{"name":"HUGE","num_replicas":1,"storage":"file","max_bytes":500000000000}`, 10047)
	r.refused(r.app, "STREAM.CREATE.HUGE", `{"name":"HUGE","num_replicas":1,"storage":"file","max_bytes":500000000000}`, 10005)
}

// TestAuditOfAServer: what a mirror asks of its origin is told as the request of a server.
func TestAuditOfAServer(t *testing.T) {
	r := sharedRows(t)
	r.stream("AUDO", 1)
	sub := r.listen(r.app, "API")
	r.must(r.app, "STREAM.CREATE.AUDM", `{"name":"AUDM","mirror":{"name":"AUDO"},"num_replicas":1,"storage":"file","placement":{"tags":["n2"]}}`)
	for {
		doc := r.next(sub)
		if request, _ := doc["request"].(string); !strings.Contains(request, `"stream_name":"AUDO"`) {
			continue
		}
		client, _ := doc["client"].(map[string]any)
		if client["acc"] != "APP" || client["kind"] != "JetStream" || client["server"] != "n2" || client["user"] != nil {
			t.Errorf("client is %v", client)
		}
		return
	}
}
