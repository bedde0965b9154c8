package raftlog

import (
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"weir/internal/base"
)

// An idle, compacted group is small.
func TestIdleGroupMemory(t *testing.T) {
	l := mustOpen(t, Options{FS: vfs.Default, Dir: t.TempDir(), SegmentSize: 8 << 20})
	defer l.Close()
	const groups = 10_000
	before := heapInUse()
	for id := base.GroupID(1); id <= groups; id++ {
		b := Batch{Group: id, Replica: 7, HardState: hard(3, 7, 2), Entries: entries(1, 3, "hello", "world"),
			ConfState: &ConfMark{Index: 1, ConfState: &pb.ConfState{Voters: []uint64{7, 8, 9}}, Members: make([]byte, 24)}}
		l.Append(b, nil)
	}
	// What comes later completes later; the second one frees the queue's slices.
	for i := range uint64(2) {
		if err := appendWait(l, Batch{Group: 1, Replica: 7, HardState: hard(3, 7, 2), MustSync: i == 0}); err != nil {
			t.Fatal(err)
		}
	}
	for id := base.GroupID(1); id <= groups; id++ {
		l.Group(id, 7).Compact(2)
	}
	each := (int64(heapInUse()) - int64(before)) / groups
	t.Logf("%d bytes a group", each)
	if each > 900 {
		t.Fatalf("%d bytes a group", each)
	}
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
