package server

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/internal/api"
)

// onlyOn asks for a stream on servers by their tags.
func onlyOn(tags ...string) func(*api.StreamConfig) {
	return func(c *api.StreamConfig) { c.Placement = &api.Placement{Tags: tags} }
}

// stopServer stops the server with a name, which is not the clients' one.
func (r *rows) stopServer(name string) {
	r.t.Helper()
	i := r.server(name)
	if i == 0 {
		r.t.Fatal("the clients' server is not to be stopped")
	}
	r.stop(i)
}

// excludes are tags that keep a stream off servers.
func excludes(servers ...string) []string {
	var tags []string
	for _, s := range servers {
		tags = append(tags, "!"+s)
	}
	return tags
}

// TestRow45_AllPeersOffline also shows what of rows 17, 26, 31, 46 and 47 needs
// servers that are down: three of five, with a majority of the meta group left.
func TestRow45_AllPeersOffline(t *testing.T) {
	r := ownRows(t, 5)
	r.stream("ALL", 1, onlyOn("n5"))
	r.stream("GONE", 2, onlyOn(excludes("n1", "n2", "n3")...))
	r.stream("HERE", 3, onlyOn(excludes("n4", "n5")...))
	r.consumer("GONE", "c", durable("c", ""))
	r.stopServer("n4")
	r.stopServer("n5")
	r.until("links to n4 and n5 are gone", func() bool {
		for _, s := range r.servers[:3] {
			if len(s.mesh.Peers()) != 2 {
				return false
			}
		}
		return true
	})
	t.Run("TestRow45_Info", func(t *testing.T) {
		for subj, code := range map[string]int{
			"STREAM.INFO.GONE": 10118, "STREAM.INFO.ALL": 10118, "CONSUMER.INFO.GONE.c": 10119,
		} {
			begin := time.Now()
			r.refused(r.app, subj, nil, code)
			if d := time.Since(begin); d < 400*time.Millisecond || d > patience {
				t.Errorf("%s: answered after %v", subj, d)
			}
		}
		r.refused(r.app, "CONSUMER.CREATE.GONE.d", consumerBody("GONE", "", "d", durable("d", "")), 10119)
		r.refused(r.app, "STREAM.UPDATE.GONE", `{"name":"GONE","subjects":["GONE.>"],"num_replicas":2,"retention":"limits","storage":"file"}`, 10118)
	})
	t.Run("TestRow46_Offline", func(t *testing.T) {
		var list api.StreamListResponse
		r.must(r.app, "STREAM.LIST", nil).into(t, &list)
		if !slices.Equal(list.Missing, []string{"ALL", "GONE"}) || len(list.Streams) != 3 || list.Total != 3 {
			t.Fatalf("missing %v, %d of %d streams", list.Missing, len(list.Streams), list.Total)
		}
		gone := list.Streams[1]
		if gone.Config.Name != "GONE" || gone.Created.IsZero() || gone.State.Msgs != 0 || len(gone.Cluster.Replicas) != 2 || !gone.Cluster.Replicas[0].Offline {
			t.Errorf("%+v", gone)
		}
	})
	t.Run("TestRow31_TwoOfFiveDown", func(t *testing.T) {
		for i := range 5 {
			info := r.stream(fmt.Sprint("R31_", i), 3)
			if got := slices.Sorted(slices.Values(members(info.Cluster))); !slices.Equal(got, []string{"n1", "n2", "n3"}) {
				t.Errorf("on %v", got)
			}
		}
	})
	t.Run("TestRowL_NoRunnerOnOfflinePeer", func(t *testing.T) {
		r.stream("MIX", 5)
		for i := range 10 {
			name := fmt.Sprint("c", i)
			info := r.consumer("MIX", name, durable(name, `"num_replicas":1`))
			if l := info.Cluster.Leader; l == "n4" || l == "n5" || l == "" {
				t.Errorf("%s runs on %q", name, l)
			}
		}
	})
	t.Run("TestRow42_DeleteWithoutPeers", func(t *testing.T) {
		r.must(r.app, "STREAM.DELETE.GONE", nil)
		r.refused(r.app, "STREAM.INFO.GONE", nil, 10059)
	})
	t.Run("TestRow26_RemovedServer", func(t *testing.T) {
		r.must(r.sys, "SERVER.REMOVE", `{"peer":"n5"}`)
		r.refused(r.sys, "SERVER.REMOVE", `{"peer":"n9"}`, 10044)
	})
}

// TestRow16_QuorumLost stops two of three servers: the one left tells of it, for
// streams and consumers of more than one replica, once and not again for a while.
// Row 12: nothing is confirmed without a majority.
func TestRow16_QuorumLost(t *testing.T) {
	r := ownRows(t, 3)
	r.stream("THREE", 3)
	r.stream("ONE", 1, onlyOn("n1"))
	r.consumer("THREE", "three", durable("three", ""))
	r.consumer("THREE", "one", durable("one", `"num_replicas":1`))
	r.must(r.app, "CONSUMER.LEADER.STEPDOWN.THREE.three", nil) // to whoever it is not
	if r.consumerInfo("THREE", "three").Cluster.Leader != "n1" {
		r.must(r.app, "CONSUMER.LEADER.STEPDOWN.THREE.three", `{"placement":{"preferred":"n1"}}`)
	}
	r.publish("THREE.x", 1)
	inbox := nats.NewInbox()
	sub, err := r.app.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.app.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.THREE.three", inbox, []byte(`{"batch":1,"expires":80000000000}`)); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(patience)
	if err != nil || m.Header.Get("Status") != "" {
		t.Fatalf("%v, %v", m, err)
	}
	lost, system := r.listen(r.app, "*.QUORUM_LOST.>"), r.listen(r.sys, "CONSUMER.QUORUM_LOST.>")
	r.stop(1)
	r.stop(2)
	t.Run("TestRow12_NoConfirmationWithoutQuorum", func(t *testing.T) {
		if err := m.AckSync(nats.AckWait(2 * time.Second)); err == nil {
			t.Error("an ack was confirmed by one of three")
		}
	})
	t.Run("TestRow17_Advisories", func(t *testing.T) {
		r := rows{testCluster: r.in(t), ctx: r.ctx, sys: r.sys, app: r.app, js: r.js}
		docs := map[string]map[string]any{}
		for range 2 {
			doc := r.next(lost)
			docs[doc["subject"].(string)] = doc
		}
		stream := docs["$JS.EVENT.ADVISORY.STREAM.QUORUM_LOST.THREE"]
		consumer := docs["$JS.EVENT.ADVISORY.CONSUMER.QUORUM_LOST.THREE.three"]
		if stream["type"] != "io.nats.jetstream.advisory.v1.stream_quorum_lost" ||
			consumer["type"] != "io.nats.jetstream.advisory.v1.consumer_quorum_lost" || consumer["stream"] != "THREE" || consumer["consumer"] != "three" {
			t.Fatalf("%v", docs)
		}
		if list, _ := consumer["replicas"].([]any); len(list) != 3 {
			t.Errorf("replicas %v", consumer["replicas"])
		}
		if _, named := consumer["account"]; named || r.next(system)["account"] != "APP" {
			t.Errorf("%v", consumer)
		}
		r.silent(r.app, lost)
	})
}

// TestRow25_MetaLeaderDies stops the meta leader amid creates: clients that ask
// again have each stream in the end, once.
func TestRow25_MetaLeaderDies(t *testing.T) {
	r := ownRows(t, 3)
	if r.metaLeader().name == "n1" {
		r.must(r.sys, "META.LEADER.STEPDOWN", nil)
		r.until("another leads", func() bool { return r.metaLeader().name != "n1" })
	}
	leader := r.server(r.metaLeader().name)
	const n = 60
	var clients sync.WaitGroup
	half := make(chan struct{})
	replicated := func(name string) []byte { // elsewhere, too, than where the leader was
		return []byte(strings.Replace(limited(name, ""), `"num_replicas":1`, `"num_replicas":3`, 1))
	}
	for i := range n {
		clients.Go(func() {
			if i == n/2 {
				close(half)
			}
			name := fmt.Sprint("S", i)
			for {
				m, err := r.app.Request("$JS.API.STREAM.CREATE."+name, replicated(name), 2*time.Second)
				if err == nil && strings.Contains(string(m.Data), `"config"`) {
					return
				}
				if r.ctx.Err() != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	<-half
	s := r.servers[leader]
	r.servers[leader] = nil
	s.Shutdown()
	clients.Wait()
	var names api.StreamNamesResponse
	r.must(r.app, "STREAM.NAMES", nil).into(t, &names)
	if names.Total != n {
		t.Errorf("%d streams, want %d", names.Total, n)
	}
}
