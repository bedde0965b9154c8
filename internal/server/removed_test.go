package server

import (
	"testing"

	"weir/internal/api"
)

// TestRemovedNodeHadTheOnlyReplica removes a server that is gone with the only
// replica of a stream, which goes on elsewhere, empty.
func TestRemovedNodeHadTheOnlyReplica(t *testing.T) {
	r := ownRows(t, 3)
	r.stream("ONLY", 1, onlyOn("!n1"))
	r.publish("ONLY.x", 3)
	gone := r.info("ONLY").Cluster.Leader
	r.stopServer(gone)
	r.until("the server is removed", func() bool {
		a := r.ask(r.sys, "SERVER.REMOVE", `{"peer":"`+gone+`"}`)
		return a.Success || a.code() == 10044
	})
	var info api.StreamInfo
	r.until("the stream has a leader", func() bool {
		r.ask(r.sys, "SERVER.REMOVE", `{"peer":"`+gone+`"}`) // the others may not have known yet that it is gone
		a := r.ask(r.app, "STREAM.INFO.ONLY", nil)
		if a.code() != 0 {
			return false
		}
		a.into(t, &info)
		return info.Cluster.Leader != "" && info.Cluster.Leader != gone
	})
	if info.State.LastSeq != 0 {
		t.Errorf("state %+v of a stream that lost all", info.State)
	}
	r.publish("ONLY.x", 1)
	for _, s := range r.servers {
		if s != nil {
			r.until("a healthy server", func() bool { return s.node.Healthy() == nil })
		}
	}
}
