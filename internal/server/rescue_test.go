package server

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"weir/internal/api"
)

// TestRescueIsRefused by every server that is up, with or without a meta leader, and says what to do.
func TestRescueIsRefused(t *testing.T) {
	c := startClusterWith(t, 3, `accounts { $SYS { users: [ { user: sys, password: sys } ] } }`)
	nc := c.connectAs(0, "sys")
	refused := func(body string, code uint16, servers int) {
		t.Helper()
		inbox := nats.NewInbox()
		sub, err := nc.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
		if err := nc.PublishRequest("$JS.API.META.RESCUE", inbox, []byte(body)); err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for len(names) < servers {
			m, err := sub.NextMsg(patience)
			if err != nil {
				t.Fatalf("%d of %d servers answered: %v", len(names), servers, err)
			}
			var r api.MetaRescueResponse
			if err := json.Unmarshal(m.Data, &r); err != nil || r.Error == nil || r.Error.ErrCode != code || !strings.HasPrefix(r.ServerID, "N") || names[r.Server] {
				t.Fatalf("answer %s, %v", m.Data, err)
			}
			if code == 10224 && !strings.Contains(r.Error.Description, "not supported by this server: start the other servers") {
				t.Errorf("answer %s", m.Data)
			}
			names[r.Server] = true
		}
	}
	refused(`{"quorum_needed":1}`, 10224, 3)
	refused("", 10003, 3)
	refused("{", 10025, 3)
	c.stop(1)
	c.stop(2)
	refused(`{"quorum_needed":1}`, 10224, 1)
}
