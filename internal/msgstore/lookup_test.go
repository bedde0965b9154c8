package msgstore

import (
	"fmt"
	"math"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
)

// TestTotalsAfterFlush counts subjects whose totals are in the memory of the DB, on
// the way to the disk, in tables, and gone with a purge of everything.
func TestTotalsAfterFlush(t *testing.T) {
	db := openTest(t, vfs.NewMem())
	defer db.Close()
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	const n = resetThreshold + 500
	commit := func() {
		t.Helper()
		if err := s.Commit(s.Applied() + 1); err != nil {
			t.Fatal(err)
		}
	}
	fill := func(subjects int) {
		t.Helper()
		first := s.State().LastSeq + 1
		for i := range subjects {
			m := msg.Message{Seq: first + uint64(i), Time: 1, Subject: fmt.Sprint("s.", i)}
			if err := s.Append(&m); err != nil {
				t.Fatal(err)
			}
		}
		s.SetLast(s.State().LastSeq+2*chunkSize, 0)
		commit()
		for len(s.sealing) > 0 { // seals, and drops the subjects from memory
			commit()
		}
	}
	count := func(want func(i int) uint64) {
		t.Helper()
		for i := range n {
			got, err := s.CountFor(fmt.Sprint("s.", i))
			if err != nil || got != want(i) {
				t.Fatalf("subject %d has %d messages, want %d: %v", i, got, want(i), err)
			}
		}
		if err := s.evictEntries(); err != nil {
			t.Fatal(err)
		}
	}
	flush := func() {
		t.Helper()
		if _, err := db.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	fill(n)
	count(func(int) uint64 { return 1 })
	flush()
	count(func(int) uint64 { return 1 })
	fill(n / 2)
	of := func(i int) uint64 {
		if i < n/2 {
			return 2
		}
		return 1
	}
	count(of)
	if _, err := db.flushIndex(); err != nil {
		t.Fatal(err)
	}
	count(of)
	flush()
	count(of)
	if _, _, err := s.Purge(s.State().LastSeq+1, math.MaxInt); err != nil {
		t.Fatal(err)
	}
	commit()
	none := func(int) uint64 { return 0 }
	count(none)
	fill(10)
	few := func(i int) uint64 {
		if i < 10 {
			return 1
		}
		return 0
	}
	count(few)
	flush()
	count(few)
}
