package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/api"
	"weir/internal/monitor"
)

const durableExplicit = `"ack_policy":"explicit"`

// durable is a body's configuration of a durable with more fields.
func durable(name, more string) string {
	s := fmt.Sprintf(`"durable_name":%q,%s`, name, durableExplicit)
	if more != "" {
		s += "," + more
	}
	return s
}

func TestRow01_NewestProposalWins(t *testing.T) {
	r := sharedRows(t)
	r.stream("R1", 3)
	a := consumerBody("R1", "create", "c", durable("c", ""))
	b := consumerBody("R1", "create", "c", durable("c", `"max_deliver":5`))
	got := r.together(r.app, 3, func(i int) (string, any) { return "CONSUMER.CREATE.R1.c", []string{a, a, b}[i] })
	if got[0].code() != 0 || got[1].code() != 0 || got[2].code() != 10148 {
		t.Errorf("answers %s %s %s", got[0].raw, got[1].raw, got[2].raw)
	}
	// Deleted and at once made anew with another configuration.
	got = r.together(r.app, 2, func(i int) (string, any) {
		return []string{"CONSUMER.DELETE.R1.c", "CONSUMER.CREATE.R1.c"}[i], []any{nil, b}[i]
	})
	if got[0].code() != 0 || got[1].code() != 0 {
		t.Errorf("answers %s %s", got[0].raw, got[1].raw)
	}
	if n := r.consumerInfo("R1", "c").Config.MaxDeliver; n != 5 {
		t.Errorf("max_deliver %d", n)
	}
}

func TestRow02_ParallelCreates(t *testing.T) {
	r := sharedRows(t)
	r.stream("R2", 3, func(c *api.StreamConfig) { c.MaxConsumers = 5 })
	got := codes(r.together(r.app, 20, func(i int) (string, any) {
		name := fmt.Sprint("c", i)
		return "CONSUMER.CREATE.R2." + name, consumerBody("R2", "", name, durable(name, ""))
	}))
	if got[0] != 5 || got[10026] != 15 {
		t.Errorf("%v, want 5 made and 15 refused with 10026", got)
	}
	// One that exists does not count.
	r.stream("R2Q", 3, func(c *api.StreamConfig) { c.Retention = api.WorkQueueRetention })
	got = codes(r.together(r.app, 10, func(i int) (string, any) {
		name := fmt.Sprint("c", i)
		return "CONSUMER.CREATE.R2Q." + name, consumerBody("R2Q", "", name, durable(name, `"filter_subjects":["R2Q.a.>","R2Q.`+fmt.Sprint(i)+`"]`))
	}))
	if got[0] != 1 || got[10100] != 9 {
		t.Errorf("%v, want 1 made and 9 refused with 10100", got)
	}
}

func TestRow03_OneServerAnswers(t *testing.T) {
	r := sharedRows(t)
	r.stream("R3", 3)
	for i := range 6 { // of any replica count, on any server
		name := fmt.Sprint("c", i)
		r.consumer("R3", name, durable(name, fmt.Sprintf(`"num_replicas":%d`, 1+2*(i%2))))
		if a := r.once(r.app, "CONSUMER.INFO.R3."+name, nil); a.Error != nil {
			t.Errorf("%s", a.raw)
		}
	}
	inbox := nats.NewInbox()
	sub, err := r.app.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	r.settle(r.app)
	// One runner takes a pull.
	if err := r.app.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.R3.c0", inbox, []byte(`{"batch":1,"no_wait":true}`)); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsg(patience); err != nil || m.Header.Get("Status") != "404" {
		t.Fatalf("%v, %v", m, err)
	}
	r.silent(r.app, sub)
	r.listedWhere("R3", "c0", "C-R1F-", 1)
	r.listedWhere("R3", "c1", "C-R3F-", 3)
}

// listedWhere waits until monitoring lists a consumer on so many servers, and wants its
// group to have one name.
func (r *rows) listedWhere(stream, consumer, group string, servers int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%s > %s is listed by %d servers", stream, consumer, servers), func() bool { return r.listed(stream, consumer) == servers })
	names := map[string]bool{}
	for _, s := range r.servers {
		d := (&source{Server: s}).jetStreamAccount("APP", monitor.JszOptions{Streams: true, Consumer: true, RaftGroups: true})
		for _, st := range d.Streams {
			for _, g := range st.ConsumerRaftGroups {
				if st.Name == stream && g.Name == consumer {
					names[g.RaftGroup] = true
					r.groupName(g.RaftGroup, group)
				}
			}
		}
	}
	if len(names) != 1 {
		r.t.Errorf("%s > %s is listed under %v", stream, consumer, names)
	}
}

// TestStreamsAreToldApart: the group that monitoring shows of a stream is its own, also of one replica, as nats server
// stream-check goes by it.
func TestStreamsAreToldApart(t *testing.T) {
	r := sharedRows(t)
	r.stream("APART1", 1)
	r.stream("APART2", 1)
	groups := map[string]string{}
	for _, s := range r.servers {
		d := (&source{Server: s}).jetStreamAccount("APP", monitor.JszOptions{Streams: true, RaftGroups: true})
		for _, st := range d.Streams {
			if other := groups[st.RaftGroup]; st.RaftGroup == "" || other != "" && other != st.Name {
				r.t.Errorf("%s has the group %q of %q", st.Name, st.RaftGroup, other)
			}
			groups[st.RaftGroup] = st.Name
		}
	}
	if len(groups) < 2 {
		r.t.Errorf("groups %v", groups)
	}
}

func TestRow05_DeletesUnderLoad(t *testing.T) {
	r := sharedRows(t)
	r.stream("R5", 3)
	got := codes(r.together(r.app, 200, func(i int) (string, any) {
		name := fmt.Sprint("c", i/2%10)
		if i%2 == 1 {
			return "CONSUMER.DELETE.R5." + name, nil
		}
		return "CONSUMER.CREATE.R5." + name, consumerBody("R5", "", name, durable(name, ""))
	}))
	if got[0] != 200 {
		t.Errorf("%v", got)
	}
	if n := r.info("R5").State.Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}

func TestRow06_ReplicaRule(t *testing.T) {
	r := sharedRows(t)
	r.stream("R6", 3)
	r.stream("R6I", 3, func(c *api.StreamConfig) { c.Retention = api.InterestRetention })
	for _, c := range []struct {
		stream, name, config string
		want                 int
	}{
		{"R6", "d0", durable("d0", ""), 3},
		{"R6", "d1", durable("d1", `"num_replicas":1`), 1},
		{"R6", "e0", durableExplicit, 1},
		{"R6I", "e0", durableExplicit, 3},
		{"R6I", "d0", durable("d0", ""), 3},
	} {
		info := r.consumer(c.stream, c.name, c.config)
		if n := len(members(info.Cluster)); n != c.want || info.Cluster.Leader == "" {
			t.Errorf("%s %s: %d members, want %d", c.stream, c.name, n, c.want)
		}
	}
}

func TestRow07_ClusterListsPeers(t *testing.T) {
	r := sharedRows(t)
	r.stream("R7", 3)
	r.consumer("R7", "c", durable("c", ""))
	want := slices.Sorted(slices.Values(members(r.info("R7").Cluster)))
	for range 3 {
		r.must(r.app, "CONSUMER.LEADER.STEPDOWN.R7.c", nil)
		cluster := r.consumerInfo("R7", "c").Cluster
		if got := slices.Sorted(slices.Values(members(cluster))); !slices.Equal(got, want) {
			t.Errorf("members %v, the stream's are %v", got, want)
		}
		r.until("all members are current, wherever the runner is", func() bool {
			return !slices.ContainsFunc(r.consumerInfo("R7", "c").Cluster.Replicas, func(p *api.PeerInfo) bool { return !p.Current })
		})
	}
}

func TestRow09_NoAdvisoriesOfOneReplica(t *testing.T) {
	r := sharedRows(t)
	r.stream("R9", 3)
	elected := r.listen(r.app, "*.LEADER_ELECTED.R9.>")
	r.consumer("R9", "one", durable("one", `"num_replicas":1`))
	r.consumer("R9", "ephemeral", durableExplicit)
	r.must(r.app, "CONSUMER.LEADER.STEPDOWN.R9.one", nil)
	r.silent(r.app, elected)
	r.consumer("R9", "three", durable("three", ""))
	if doc := r.next(elected); doc["consumer"] != "three" {
		t.Errorf("%v", doc)
	}
}

// TestRow11_LeadershipChange hands a consumer over: a pull that waits hears of it, what was acked does not
// come again, and what was not comes with a higher count.
func TestRow11_LeadershipChange(t *testing.T) {
	r := sharedRows(t)
	r.stream("R11", 3)
	r.consumer("R11", "c", durable("c", `"ack_wait":500000000`))
	r.publish("R11.x", 2)
	inbox := nats.NewInbox()
	sub, err := r.app.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	r.settle(r.app)
	if err := r.app.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.R11.c", inbox, []byte(`{"batch":1000,"expires":80000000000}`)); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := m.AckSync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.must(r.app, "CONSUMER.LEADER.STEPDOWN.R11.c", nil)
	m, err := sub.NextMsg(patience)
	for err == nil && m.Header.Get("Status") == "" { // the one without an ack, again
		m, err = sub.NextMsg(patience)
	}
	if err != nil || m.Header.Get("Status") != "409" || m.Header.Get("Description") != "Leadership Change" {
		t.Fatalf("%v, %v", m, err)
	}
	cons, err := r.js.Consumer(r.ctx, "R11", "c")
	if err != nil {
		t.Fatal(err)
	}
	next, err := cons.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := next.Metadata()
	if err != nil || meta.Sequence.Stream != 2 || meta.NumDelivered < 2 {
		t.Errorf("%+v, %v", meta, err)
	}
}

// TestRow11_PinIsKept hands a consumer with a pinned client over: the client goes on with its pin, others
// wait, every server shows who it is, and advisories tell of it once.
func TestRow11_PinIsKept(t *testing.T) {
	r := sharedRows(t)
	r.stream("R11P", 3)
	r.consumer("R11P", "c", durable("c", `"priority_policy":"pinned_client","priority_groups":["g"],"priority_timeout":60000000000`))
	r.publish("R11P.x", 4)
	pinned, unpinned := r.listen(r.app, "CONSUMER.PINNED.R11P.c"), r.listen(r.app, "CONSUMER.UNPINNED.R11P.c")
	var ask func(request string) *nats.Msg
	ask = func(request string) *nats.Msg {
		t.Helper()
		inbox := nats.NewInbox()
		sub, err := r.app.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
		r.settle(r.app)
		if err := r.app.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.R11P.c", inbox, []byte(request)); err != nil {
			t.Fatal(err)
		}
		m, err := sub.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Description") == "Leadership Change" { // it came to the runner before
			return ask(request)
		}
		return m
	}
	id := ask(`{"group":"g","batch":1,"expires":30000000000}`).Header.Get("Nats-Pin-Id")
	doc := r.next(pinned)
	if id == "" || doc["pinned_id"] != id {
		t.Fatalf("pin %q, advisory %v", id, doc)
	}
	for _, preferred := range []string{"n1", "n2", "n3"} {
		if r.consumerInfo("R11P", "c").Cluster.Leader == preferred {
			continue
		}
		r.must(r.app, "CONSUMER.LEADER.STEPDOWN.R11P.c", `{"placement":{"preferred":"`+preferred+`"}}`)
		if m := ask(`{"group":"g","batch":1,"expires":500000000}`); m.Header.Get("Status") != "408" {
			t.Fatalf("another client got %v", m.Header)
		}
		if m := ask(`{"group":"g","id":"` + id + `","batch":1,"expires":30000000000}`); m.Header.Get("Nats-Pin-Id") != id {
			t.Fatalf("the pinned client got %v", m.Header)
		}
		state := r.consumerInfo("R11P", "c").PriorityGroups
		if len(state) != 1 || state[0].PinnedClientID != id || state[0].PinnedTS.IsZero() {
			t.Errorf("groups %+v", state)
		}
	}
	r.must(r.app, "CONSUMER.UNPIN.R11P.c", `{"group":"g"}`)
	if doc := r.next(unpinned); doc["reason"] != "admin" {
		t.Errorf("%v", doc)
	}
	r.silent(r.app, pinned)
	r.silent(r.app, unpinned)
}

func TestRow12_AckAllReleases(t *testing.T) {
	r := sharedRows(t)
	r.stream("R12", 3, func(c *api.StreamConfig) { c.Retention = api.InterestRetention })
	r.consumer("R12", "c", `"durable_name":"c","ack_policy":"all"`)
	r.publish("R12.x", 100)
	cons, err := r.js.Consumer(r.ctx, "R12", "c")
	if err != nil {
		t.Fatal(err)
	}
	batch, err := cons.Fetch(100)
	if err != nil {
		t.Fatal(err)
	}
	var last jetstream.Msg
	for m := range batch.Messages() {
		last = m
	}
	if last == nil {
		t.Fatal(batch.Error())
	}
	if err := last.DoubleAck(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.emptyOnAll("R12")
}

func TestRow15_CreatedOnce(t *testing.T) {
	r := sharedRows(t)
	r.stream("R15", 3)
	made := r.listen(r.app, "CONSUMER.CREATED.R15.>")
	elected := r.listen(r.app, "CONSUMER.LEADER_ELECTED.R15.>")
	if a := r.once(r.app, "CONSUMER.CREATE.R15.c", consumerBody("R15", "", "c", durable("c", ""))); a.Error != nil {
		t.Fatalf("%s", a.raw)
	} else if !strings.Contains(string(a.raw), "_nats.ver") {
		t.Errorf("no version metadata in %s", a.raw)
	}
	r.next(made)
	r.next(elected)
	r.must(r.app, "CONSUMER.LEADER.STEPDOWN.R15.c", nil)
	r.next(elected)
	r.silent(r.app, made)
	r.silent(r.app, elected)
}

func TestRow15_CreatedPaused(t *testing.T) {
	r := sharedRows(t)
	r.stream("R15P", 3)
	paused := r.listen(r.app, "CONSUMER.PAUSE.R15P.>")
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	r.consumer("R15P", "c", durable("c", fmt.Sprintf(`"pause_until":%q`, until)))
	if doc := r.next(paused); doc["paused"] != true {
		t.Errorf("%v", doc)
	}
}

// TestRow18_LeaderElected also shows the rule of both accounts, which row 17 has too.
func TestRow18_LeaderElected(t *testing.T) {
	r := sharedRows(t)
	r.stream("R18", 3)
	info := r.consumer("R18", "c", durable("c", ""))
	own := r.listen(r.app, "CONSUMER.LEADER_ELECTED.R18.c")
	system := r.listen(r.sys, "CONSUMER.LEADER_ELECTED.R18.c")
	before := info.Cluster.Leader
	r.must(r.app, "CONSUMER.LEADER.STEPDOWN.R18.c", nil)
	doc, sys := r.next(own), r.next(system)
	now := r.consumerInfo("R18", "c").Cluster.Leader
	if now == before || doc["leader"] != now || len(doc["replicas"].([]any)) != 3 {
		t.Errorf("from %s to %s: %v", before, now, doc)
	}
	if doc["type"] != "io.nats.jetstream.advisory.v1.consumer_leader_elected" || doc["stream"] != "R18" || doc["consumer"] != "c" {
		t.Errorf("%v", doc)
	}
	if _, named := doc["account"]; named || sys["account"] != "APP" {
		t.Errorf("account in its own: %v, in the system account: %v", doc["account"], sys["account"])
	}
	for _, preferred := range []string{"n1", "n2", "n3"} {
		if r.consumerInfo("R18", "c").Cluster.Leader == preferred {
			r.refused(r.app, "CONSUMER.LEADER.STEPDOWN.R18.c", `{"placement":{"preferred":"`+preferred+`"}}`, 10005)
			continue
		}
		r.must(r.app, "CONSUMER.LEADER.STEPDOWN.R18.c", `{"placement":{"preferred":"`+preferred+`"}}`)
		if now := r.consumerInfo("R18", "c").Cluster.Leader; now != preferred {
			t.Errorf("%s leads, not %s", now, preferred)
		}
	}
	r.refused(r.app, "CONSUMER.LEADER.STEPDOWN.R18.c", `{"placement":{"preferred":"n9"}}`, 10005)
}

func TestRow33_ConsumerGroupName(t *testing.T) {
	r := sharedRows(t)
	r.stream("R33", 3)
	r.groupName(r.consumer("R33", "file", durable("file", "")).Cluster.RaftGroup, "C-R3F-")
	r.groupName(r.consumer("R33", "mem", durable("mem", `"mem_storage":true`)).Cluster.RaftGroup, "C-R3M-")
	if a, b := r.consumerInfo("R33", "file"), r.consumerInfo("R33", "file"); a.Cluster.RaftGroup != b.Cluster.RaftGroup {
		t.Errorf("the name changes: %s, %s", a.Cluster.RaftGroup, b.Cluster.RaftGroup)
	}
}

// groupName wants a prefix and 8 characters.
func (r *rows) groupName(name, prefix string) {
	r.t.Helper()
	if !strings.HasPrefix(name, prefix) || len(name) != len(prefix)+8 {
		r.t.Errorf("group %q, want %s and 8 characters", name, prefix)
	}
}

func TestRow50_DeleteConsumer(t *testing.T) {
	r := sharedRows(t)
	r.stream("R50", 3, func(c *api.StreamConfig) { c.Retention = api.InterestRetention })
	r.consumer("R50", "c", durable("c", ""))
	r.publish("R50.x", 10)
	deleted := r.listen(r.app, "CONSUMER.DELETED.R50.c")
	r.refused(r.app, "CONSUMER.DELETE.NONE.c", nil, 10059)
	r.refused(r.app, "CONSUMER.DELETE.R50.none", nil, 10014)
	if a := r.once(r.app, "CONSUMER.DELETE.R50.c", nil); !a.Success {
		t.Errorf("%s", a.raw)
	}
	r.next(deleted)
	r.silent(r.app, deleted)
	r.emptyOnAll("R50")
}

// emptyOnAll waits until no replica of a stream has messages.
func (r *rows) emptyOnAll(name string) {
	r.t.Helper()
	for i, s := range r.servers {
		r.until(fmt.Sprintf("nothing is left on server %d", i+1), func() bool {
			st := s.node.Stream("APP", name) // none while a replica that lags has not opened it
			return st != nil && st.Store().Reader().State().Msgs == 0
		})
	}
}

func TestRowL_OrderOfChecks(t *testing.T) {
	r := sharedRows(t)
	r.stream("L", 3)
	r.stream("LQ", 3, func(c *api.StreamConfig) { c.Retention = api.WorkQueueRetention })
	create := func(stream, action, name, config string, code int) {
		t.Helper()
		r.refused(r.app, "CONSUMER.CREATE."+stream+"."+name, consumerBody(stream, action, name, config), code)
	}
	create("NONE", "", "c", durable("c", ""), 10059)
	create("L", "", "c", durable("c", `"num_replicas":5`), 10126)
	create("L", "", "c", durable("c", `"deliver_policy":"last_per_subject"`), 10094)
	create("L", "update", "c", durable("c", ""), 10149)
	create("L", "", "c", durable("c", ""), 0)
	create("L", "create", "c", durable("c", `"description":"x"`), 10148)
	create("L", "", "c", durable("c", `"deliver_policy":"new"`), 10012)
	create("LQ", "", "c", `"durable_name":"c","ack_policy":"all"`, 10098)
	create("LQ", "", "c", durable("c", ""), 0)
	create("LQ", "", "d", `"durable_name":"d","rate_limit_bps":5`, 10084)
	create("L", "", "d", `"durable_name":"d","deliver_subject":"x","max_ack_pending":5`, 10082)
	create("L", "", "d", durable("d", `"sample_freq":"x","deliver_policy":"by_start_time","filter_subjects":[""]`), 10139)
	create("L", "", "d", durable("d", `"sample_freq":"x","deliver_policy":"by_start_time"`), 10094)
	create("L", "", "d", durable("d", `"sample_freq":"x","priority_policy":"overflow"`), 10095)
	create("LQ", "", "d", durable("d", ""), 10099)
	create("LQ", "", "d", durable("d", `"filter_subject":"LQ.x"`), 10100)
	// A refused create does not touch the consumer that is there.
	info := r.consumerInfo("L", "c")
	if info.Config.Description != "" || info.Config.DeliverPolicy != api.DeliverAll {
		t.Errorf("%+v", info.Config)
	}
	if info.Config.AckWait != 30*time.Second || info.Config.MaxDeliver != -1 || info.Config.MaxAckPending != 1000 {
		t.Errorf("defaults %+v", info.Config)
	}
	// The account's limit counts when it is the lower one.
	lim := r.as(t, "lim", 1)
	r.must(lim, "STREAM.CREATE.LL", `{"name":"LL","subjects":["ll"],"num_replicas":1,"retention":"limits","storage":"file","max_bytes":1000}`)
	got := codes(r.together(lim, 6, func(i int) (string, any) {
		name := fmt.Sprint("c", i)
		return "CONSUMER.CREATE.LL." + name, consumerBody("LL", "", name, durable(name, ""))
	}))
	if got[0] != 4 || got[10026] != 2 {
		t.Errorf("%v", got)
	}
	r.must(lim, "STREAM.DELETE.LL", nil)
}

func TestRowL_InterestReplicas(t *testing.T) {
	r := sharedRows(t)
	r.stream("LI", 3, func(c *api.StreamConfig) { c.Retention = api.InterestRetention })
	r.refused(r.app, "CONSUMER.CREATE.LI.c", consumerBody("LI", "", "c", durable("c", `"num_replicas":1`)), 10134)
	r.consumer("LI", "c", durable("c", `"num_replicas":3`))
}

func TestRowL_UpdateRules(t *testing.T) {
	r := sharedRows(t)
	r.stream("LU", 3)
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	r.consumer("LU", "c", durable("c", `"num_replicas":1`))
	if n := len(members(r.consumer("LU", "c", durable("c", `"num_replicas":3`)).Cluster)); n != 3 {
		t.Errorf("%d members after a scale up", n)
	}
	if n := len(members(r.consumer("LU", "c", durable("c", `"num_replicas":1`)).Cluster)); n != 1 {
		t.Errorf("%d members after a scale down", n)
	}
	r.consumer("LU", "c", durable("c", fmt.Sprintf(`"pause_until":%q`, until)))
	if r.consumerInfo("LU", "c").Paused {
		t.Error("an update has paused the consumer")
	}
}

// TestPushIntoAPI makes push consumers that deliver to the subjects of JetStream's own requests: nobody is bound
// there, so nothing is delivered.
func TestPushIntoAPI(t *testing.T) {
	r := sharedRows(t)
	r.stream("PAPI", 1, func(c *api.StreamConfig) { c.Subjects = []string{"papi"} })
	r.publish("papi", 1)
	for i, deliver := range []string{"$JS.API.STREAM.PURGE.PAPI", "$JS.ACK.PAPI.x", "$JS.FC.PAPI.x", "papi.listened"} {
		sub, err := r.app.SubscribeSync("papi.listened")
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("c", i)
		r.consumer("PAPI", name, durable(name, fmt.Sprintf(`"deliver_subject":%q`, deliver)))
		if i < 3 {
			if info := r.consumerInfo("PAPI", name); info.PushBound || info.Delivered.Consumer != 0 {
				t.Errorf("delivery to %s: bound %v, delivered %d", deliver, info.PushBound, info.Delivered.Consumer)
			}
		} else if _, err := sub.NextMsg(patience); err != nil {
			t.Errorf("delivery to %s: %v", deliver, err)
		}
		_ = sub.Unsubscribe()
	}
	if n := r.info("PAPI").State.Msgs; n != 1 {
		t.Errorf("%d messages left, the delivery to the API was taken as a request", n)
	}
}

// TestAckToNobody asks for the confirmation of acks that no consumer listens to.
func TestAckToNobody(t *testing.T) {
	r := sharedRows(t)
	r.stream("ACKN", 3)
	r.consumer("ACKN", "none", `"durable_name":"none","ack_policy":"none"`)
	for _, consumer := range []string{"none", "missing"} {
		if _, err := r.app.Request("$JS.ACK.ACKN."+consumer+".1.1.1.1.0", []byte("+ACK"), patience); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("ack to consumer %s: %v", consumer, err)
		}
	}
}

// TestConsumersAreCountedOnce: a consumer of one replica is on one server, though the group of its stream has it everywhere.
func TestConsumersAreCountedOnce(t *testing.T) {
	r := sharedRows(t)
	r.stream("CCO", 3)
	r.consumer("CCO", "one", `"num_replicas":1`)
	r.consumer("CCO", "all", "")
	r.until("all servers have the consumers", func() bool {
		replicas, counted, led := 0, 0, 0
		for _, s := range r.servers {
			if st := s.node.Stream("APP", "CCO"); st != nil {
				all, here := consumersOf(st)
				replicas, counted, led = replicas+1, counted+all, led+here
			}
		}
		return replicas == 3 && counted == 4 && led == 2
	})
}
