package raftlog

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"weir/internal/base"
)

func entries(first, term uint64, data ...string) []*pb.Entry {
	var es []*pb.Entry
	for i, d := range data {
		index := first + uint64(i)
		es = append(es, &pb.Entry{Index: &index, Term: &term, Type: pb.EntryNormal.Enum(), Data: []byte(d)})
	}
	return es
}

func hard(term, vote, commit uint64) *pb.HardState {
	return &pb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// appendWait appends b and waits for its completion.
func appendWait(l *Log, b Batch) error {
	done := make(chan error, 1)
	l.Append(b, func(err error) { done <- err })
	return <-done
}

func TestAppendReadReopen(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{FS: fs, Dir: "raft", SegmentSize: 64 << 10}
	l := mustOpen(t, o)
	want := map[base.GroupID]int{}
	for i := 1; i <= 300; i++ {
		g := base.GroupID(1 + i%3)
		want[g]++
		b := Batch{Group: g, Replica: 7, HardState: hard(1, 7, uint64(want[g]-1)),
			Entries: entries(uint64(want[g]), 1, fmt.Sprintf("%v-%d", g, want[g]))}
		if err := appendWait(l, b); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		for g, n := range want {
			got, err := l.Group(g, 7).Entries(1, uint64(n)+1, 1<<30)
			if err != nil || len(got) != n {
				t.Fatalf("%v: %d entries, %v", g, len(got), err)
			}
			for i, e := range got {
				if d := fmt.Sprintf("%v-%d", g, i+1); string(e.Data) != d || e.GetIndex() != uint64(i+1) || e.GetTerm() != 1 {
					t.Fatalf("%v: entry %d is %v", g, i+1, e)
				}
			}
		}
	}
	check()
	for range 3 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, o)
		if n := len(l.Groups()); n != 3 {
			t.Fatalf("%d groups", n)
		}
		for _, info := range l.Groups() {
			if info.Damaged != nil || info.LastIndex != 100 || info.HardState.GetCommit() != 99 {
				t.Fatalf("%+v", info)
			}
		}
		check()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
