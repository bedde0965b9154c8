package server

import (
	"fmt"
	"syscall"
	"testing"

	"weir/internal/api"
)

// TestFullDiskIsTold has a replica stop as there is no space left: the system account hears of it, and
// the stream goes on.
func TestFullDiskIsTold(t *testing.T) {
	r := ownRows(t, 3)
	r.stream("FULL", 3)
	told := r.listen(r.sys, "SERVER.OUT_OF_STORAGE")
	follower := 0
	for _, st := range r.servers[0].node.Streams() {
		if st.Leads() {
			follower = 1
		}
	}
	for _, st := range r.servers[follower].node.Streams() {
		st.Stopped(fmt.Errorf("apply entry 7: writing segment 1: %w", syscall.ENOSPC))
	}
	doc := r.next(told)
	if doc["type"] != api.ServerOutOfSpaceAdvisoryType || doc["server"] != fmt.Sprint("n", follower+1) || doc["stream"] != "FULL" || doc["server_id"] == "" {
		t.Errorf("%v", doc)
	}
	if _, err := r.js.Publish(r.ctx, "FULL.x", nil); err != nil {
		t.Error(err)
	}
}
