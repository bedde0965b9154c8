package msgstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
	"weir/internal/subject"
)

// smallSubjects are all subjects of up to three of a few tokens, in order. The tokens have
// bytes before and after the dot.
func smallSubjects() (names []string) {
	tokens := []string{"a", "a-", "a/", "b", "ba"}
	level := []string{""}
	for range 3 {
		var longer []string
		for _, head := range level {
			for _, token := range tokens {
				longer = append(longer, strings.TrimPrefix(head+"."+token, "."))
			}
		}
		names, level = append(names, longer...), longer
	}
	slices.Sort(names)
	return names
}

// TestNextMatch leaps from every subject that a pattern does not match, and wants no
// match left out.
func TestNextMatch(t *testing.T) {
	names := smallSubjects()
	for _, pattern := range []string{">", "*", "*.*", "a.>", "*.a", "*.b.>", "*.b.*", "a.*.b", "a-.*.ba", "*.*.a/", "ba.*", "*.*.>", "*.a.a-"} {
		near := 0
		for i, name := range names {
			if subject.Match(name, pattern) {
				continue
			}
			to, ok := nextMatch(pattern, name)
			if ok && to <= name {
				t.Errorf("%s: from %s back to %s", pattern, name, to)
			}
			for _, later := range names[i+1:] {
				if subject.Match(later, pattern) {
					if !ok || to > later {
						t.Errorf("%s: from %s to %s, past %s", pattern, name, to, later)
					}
					break
				}
				if ok && to > later {
					near++
				}
			}
		}
		if near == 0 && strings.Trim(pattern, "*.>") != "" {
			t.Errorf("%s: nothing is left out", pattern)
		}
	}
}

// TestWalkLeaps goes through subjects in memory and in the index by patterns that
// match few of them.
func TestWalkLeaps(t *testing.T) {
	db := openTest(t, vfs.NewMem())
	defer db.Close()
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	store := func(name string) {
		t.Helper()
		if seq++; seq%1000 == 0 {
			if err := s.Commit(seq); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Append(&msg.Message{Seq: seq, Time: 1, Subject: name}); err != nil {
			t.Fatal(err)
		}
	}
	name := func(i int) string { return fmt.Sprintf("k.%d.%d.x%d", i%7, i/7%10, i) }
	var names []string
	for i := range 4 * chunkSize {
		names = append(names, name(i*7919%(4*chunkSize)))
		store(names[i])
	}
	for i := range 300 { // the newest are in memory
		names = append(names, name(1_000_000+i*3))
		store(names[len(names)-1])
	}
	if err := s.Commit(seq); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, pattern := range []string{"k.>", "k.*.3.>", "k.3.*.*", "*.6.9.*", "k.*.*.x1000000", "k.*.*.x77", "k.*.3", "k.*.11.>", "k.*.*.*.>"} {
		var want, got []string
		for _, n := range names {
			if subject.Match(n, pattern) {
				want = append(want, n)
			}
		}
		err := s.applyView().subjects(subject.NewFilter(pattern), func(n string, _ subjectTotal, _ []uint64) (bool, error) {
			got = append(got, n)
			return true, nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %d subjects, %v, want %d", pattern, len(got), err, len(want))
		}
		from, n := "", 0
		for done := false; !done; done = from == "" {
			from, err = s.PurgeMatching(pattern, from, seq+1, 0, 100, func(info msg.Info) {
				if n >= len(want) || info.Subject != want[n] {
					t.Fatalf("%s: message %d is of %s", pattern, n, info.Subject)
				}
				n++
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if seq++; s.Commit(seq) != nil {
			t.Fatal("commit fails")
		}
		if n != len(want) {
			t.Errorf("%s: %d removed, want %d", pattern, n, len(want))
		}
		names = slices.DeleteFunc(names, func(n string) bool { return subject.Match(n, pattern) })
		if len(names) > 0 {
			continue
		}
		for i := range 4 * chunkSize { // anew, for the next patterns
			names = append(names, name(i))
			store(names[i])
		}
		slices.Sort(names)
	}
}
