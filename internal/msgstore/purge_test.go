package msgstore

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
)

// TestPurgeStopsAlike purges by subject after other messages were deleted, in the same
// Commit or in one before, as replicas that get the same entries in other batches do.
func TestPurgeStopsAlike(t *testing.T) {
	const gone = 100
	name := func(i int) string { return fmt.Sprintf("s.%06d", i) }
	stops := func(apart bool) string {
		db := openTest(t, vfs.NewMem())
		defer db.Close()
		s, err := db.Store(1, 1)
		if err != nil {
			t.Fatal(err)
		}
		commit := func() {
			t.Helper()
			if err := s.Commit(s.Applied() + 1); err != nil {
				t.Fatal(err)
			}
		}
		for i := range purgeVisits + 2*gone {
			if err := s.Append(&msg.Message{Seq: uint64(i) + 1, Time: 1, Subject: name(i)}); err != nil {
				t.Fatal(err)
			}
			if i%chunkSize == 0 {
				commit()
			}
		}
		commit()
		for i := range gone {
			if _, ok, err := s.Delete(uint64(i)+1, false); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		if apart {
			commit()
		}
		next, err := s.PurgeMatching("s.>", "", 1, 0, 1, func(m msg.Info) { t.Errorf("message %d is removed", m.Seq) })
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	want := name(purgeVisits + gone)
	for _, apart := range []bool{false, true} {
		if got := stops(apart); got != want {
			t.Errorf("deleted in a Commit of their own: %t: the purge stops at %s, want %s", apart, got, want)
		}
	}
}
