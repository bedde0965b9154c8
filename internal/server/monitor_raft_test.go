package server

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/internal/apierr"
	"weir/internal/monitor"
)

// raftz asks all servers for their Raft groups.
func (r *rows) raftz(options string) (list []monitor.Raftz) {
	r.t.Helper()
	inbox := nats.NewInbox()
	sub, err := r.sys.SubscribeSync(inbox)
	if err != nil {
		r.t.Fatal(err)
	}
	defer sub.Unsubscribe()
	r.settle(r.sys)
	if err := r.sys.PublishRequest("$SYS.REQ.SERVER.PING.RAFTZ", inbox, []byte(options)); err != nil {
		r.t.Fatal(err)
	}
	for range r.servers {
		m, err := sub.NextMsg(time.Minute)
		if err != nil {
			r.t.Fatal(err)
		}
		var doc struct {
			Data  monitor.Raftz
			Error *apierr.Error
		}
		if err := json.Unmarshal(m.Data, &doc); err != nil || doc.Error != nil {
			r.t.Fatalf("%s: %v", m.Data, err)
		}
		list = append(list, doc.Data)
	}
	return list
}

// agreed waits until all servers know a group, and one to lead it: a replica that lags
// opens late.
func (r *rows) agreed(options, account, name string) {
	r.t.Helper()
	var why string
	defer func() {
		if r.t.Failed() {
			r.t.Log(why)
		}
	}()
	r.until("agreement on "+name, func() bool {
		why = unlike(r.raftz(options), account, name)
		return why == ""
	})
}

// unlike tells what is wrong with what servers know of a group, and of no other.
func unlike(list []monitor.Raftz, account, name string) string {
	leaders, named := 0, ""
	for _, doc := range list {
		g := doc[account][name]
		if g == nil || len(doc) != 1 {
			return fmt.Sprintf("%v has no %s", doc, name)
		}
		if g.State == "LEADER" {
			leaders, named = leaders+1, g.ID
		}
		if g.Size != 3 || g.QuorumNeeded != 2 || !g.EverHadLeader || g.Applied == 0 || g.Committed < g.Applied || len(g.Peers) != 2 {
			return fmt.Sprintf("%+v", g)
		}
	}
	for _, doc := range list {
		if g := doc[account][name]; leaders != 1 || g.Leader != named {
			return fmt.Sprintf("%s is led by %q, %d lead", name, g.Leader, leaders)
		}
	}
	return ""
}

func TestRaftGroups(t *testing.T) {
	r := sharedRows(t)
	name := r.stream("RAFTZ", 3).Cluster.RaftGroup
	r.agreed("", "SYS", "_meta_")
	r.agreed(`{"group":"_meta_"}`, "SYS", "_meta_")
	r.agreed(`{"account":"APP"}`, "APP", name)
	for _, doc := range r.raftz(`{"account":"APP","group":"` + name + `"}`) {
		if len(doc["APP"]) != 1 {
			t.Errorf("%v is more than one group", doc)
		}
	}
	for _, options := range []string{`{"account":"NONE"}`, `{"account":"APP","group":"none"}`} {
		for _, doc := range r.raftz(options) {
			if len(doc) > 0 {
				t.Errorf("%s: %v", options, doc)
			}
		}
	}
}
