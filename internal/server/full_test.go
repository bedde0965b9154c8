package server

import (
	"fmt"
	"syscall"
	"testing"

	"weir/internal/api"
	"weir/internal/jetstream"
)

// TestFullDiskIsTold has a replica stop as there is no space left: the system account hears of it, and
// the stream goes on.
func TestFullDiskIsTold(t *testing.T) {
	r := ownRows(t, 3)
	r.stream("FULL", 3)
	told := r.listen(r.sys, "SERVER.OUT_OF_STORAGE")
	follower := 0
	if r.info("FULL").Cluster.Leader == "n1" {
		follower = 1
	}
	var st *jetstream.Stream
	r.until("the replica is open", func() bool {
		st = r.servers[follower].node.Stream("APP", "FULL")
		return st != nil
	})
	st.Stopped(fmt.Errorf("apply entry 7: writing segment 1: %w", syscall.ENOSPC))
	doc := r.next(told)
	if doc["type"] != api.ServerOutOfSpaceAdvisoryType || doc["server"] != fmt.Sprint("n", follower+1) || doc["stream"] != "FULL" || doc["server_id"] == "" {
		t.Errorf("%v", doc)
	}
	if _, err := r.js.Publish(r.ctx, "FULL.x", nil); err != nil {
		t.Error(err)
	}
}
