package raftlog

import (
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestTrim leaves a log that is little used with the present file and the next one, and
// one that is not used with the present one.
func TestTrim(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, Options{FS: fs, Dir: "raft", SegmentSize: 16 << 10})
	defer l.Close()
	idle := Batch{Group: 2, Replica: 1, HardState: hard(4, 1, 1), Entries: entries(1, 4, "stays")}
	if err := appendWait(l, idle); err != nil {
		t.Fatal(err)
	}
	data, next := strings.Repeat("x", 1<<10), uint64(1)
	for ; l.Stats().Segments < 6; next++ {
		if err := appendWait(l, Batch{Group: 1, Replica: 1, HardState: hard(1, 1, next), Entries: entries(next, 1, data)}); err != nil {
			t.Fatal(err)
		}
	}
	l.Group(1, 1).Compact(next - 1)
	files := func() int {
		names, err := fs.List("raft")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, name := range names {
			if info, err := fs.Stat(fs.PathJoin("raft", name)); err == nil && info.Size() >= 16<<10 {
				n++
			}
		}
		return n
	}
	before := files()
	if err := l.Group(2, 1).Remove(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); files() > 2; {
		if l.Trim(); time.Now().After(end) {
			t.Fatalf("%d files, %d before", files(), before)
		}
		// Each append is an entry behind the trim: when it is done, so is that.
		if err := appendWait(l, Batch{Group: 1, Replica: 1, HardState: hard(1, 1, next), MustSync: true}); err != nil {
			t.Fatal(err)
		}
	}
	if before <= 2 {
		t.Errorf("%d files before", before)
	}
	for end := time.Now().Add(time.Minute); files() > 1; {
		if l.Trim(); time.Now().After(end) {
			t.Fatalf("%d files of a log that is not used", files())
		}
	}
	if err := appendWait(l, Batch{Group: 1, Replica: 1, HardState: hard(1, 1, next), Entries: entries(next, 1, "behind")}); err != nil {
		t.Fatal(err)
	}
	if last, err := l.Group(1, 1).LastIndex(); last != next || err != nil {
		t.Errorf("last index %d, %v", last, err)
	}
}
