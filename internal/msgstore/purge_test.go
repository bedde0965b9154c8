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
	const gone = 103
	flat := func(i int) string { return fmt.Sprintf("s.%06d", i) }
	deep := func(i int) string { return fmt.Sprintf("s.%06d.%d", i/10, i%10) }
	for _, p := range []struct {
		pattern string
		n       int
		name    func(i int) string
		want    string
	}{
		{"s.>", purgeVisits + 2*gone, flat, flat(purgeVisits + gone)},
		// Eight of ten are looked at. Of those that are left in the eleventh ten there are seven, so that the next one is the eighth.
		{"s.*.x", purgeVisits/8*10 + 5*gone, deep, deep((12 + (purgeVisits-8)/8) * 10)},
	} {
		for _, apart := range []bool{false, true} {
			if got := purgeStop(t, p.n, p.name, gone, p.pattern, apart); got != p.want {
				t.Errorf("%s, deleted in a Commit of their own: %t: the purge stops at %q, want %q", p.pattern, apart, got, p.want)
			}
		}
	}
}

// purgeStop is where a purge of nothing stops in a stream with a message for each
// subject, of which the first ones are gone.
func purgeStop(t *testing.T, n int, name func(i int) string, gone int, pattern string, apart bool) string {
	t.Helper()
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
	for i := range n {
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
	next, err := s.PurgeMatching(pattern, "", 1, 0, 1, func(m msg.Info) { t.Errorf("message %d is removed", m.Seq) })
	if err != nil {
		t.Fatal(err)
	}
	return next
}
