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

// TestPurgedRuns asks for subjects that were purged by ranges of the index, with the
// totals of some not flushed yet, and stores some anew.
func TestPurgedRuns(t *testing.T) {
	db := openTest(t, vfs.NewMem())
	defer db.Close()
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	count := map[string]uint64{}
	store := func(name string) {
		t.Helper()
		must(s.Append(&msg.Message{Seq: s.State().LastSeq + 1, Time: 1, Subject: name}))
		count[name]++
	}
	name := func(i int) string { return fmt.Sprintf("r.%d.%04d", i%3, i) }
	for i := range 3 * chunkSize {
		store(name(i))
		if i%1000 == 0 {
			must(s.Commit(s.Applied() + 1))
		}
		if i == chunkSize*3/2 {
			if _, err := db.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	purge := func(pattern string, keep ...string) {
		t.Helper()
		for from := ""; ; {
			from, err = s.PurgeMatching(pattern, from, s.State().LastSeq+1, 0, 1000, func(info msg.Info) { count[info.Subject]-- })
			must(err)
			for _, again := range keep {
				store(again)
			}
			must(s.Commit(s.Applied() + 1))
			if from == "" {
				return
			}
		}
	}
	check := func(when string) {
		t.Helper()
		must(s.evictEntries())
		live := 0
		for name, want := range count {
			if n, err := s.CountFor(name); err != nil || n != want {
				t.Fatalf("%s: %d messages of %s, %v, want %d", when, n, name, err, want)
			}
			if want > 0 {
				live++
			}
		}
		if n := s.State().NumSubjects; n != live {
			t.Fatalf("%s: %d subjects, want %d", when, n, live)
		}
		must(s.Commit(s.Applied() + 1))
	}
	check("before")
	purge("r.1.>", name(1), name(4), name(4), "r.1.between")
	check("after a purge")
	store(name(7))
	must(s.Commit(s.Applied() + 1))
	purge("r.*.>", name(2), name(30000))
	check("after a second one")
	if _, err := db.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	check("flushed")
	purge("r.2.>")
	check("after a third one")
	must(db.Close())
	db = openTest(t, db.opts.FS)
	if s, err = db.Store(1, 1); err != nil {
		t.Fatal(err)
	}
	check("opened again")
}
