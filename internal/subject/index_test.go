package subject

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
)

type subscription struct {
	pattern, queue string
	v              int
}

// model is an index without any cleverness.
type model map[subscription]bool

func (m model) match(literal string) (plain []int, queues map[string][]int) {
	queues = map[string][]int{}
	for s := range m {
		switch {
		case !Match(literal, s.pattern):
		case s.queue == "":
			plain = append(plain, s.v)
		default:
			queues[s.queue] = append(queues[s.queue], s.v)
		}
	}
	return plain, queues
}

func sorted(list []int) []int {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

func checkMatch(t *testing.T, x *Index[int], m model, literal string) {
	t.Helper()
	plain, queues := m.match(literal)
	got := x.Match(literal)
	if !slices.Equal(sorted(got.Plain), sorted(plain)) {
		t.Fatalf("Match(%q).Plain = %v, want %v", literal, got.Plain, plain)
	}
	if len(got.Queues) != len(queues) {
		t.Fatalf("Match(%q).Queues = %v, want %v", literal, got.Queues, queues)
	}
	for _, g := range got.Queues {
		if !slices.Equal(sorted(g.Members), sorted(queues[g.Name])) {
			t.Fatalf("Match(%q) queue %q = %v, want %v", literal, g.Name, g.Members, queues[g.Name])
		}
	}
	if has := x.HasInterest(literal); has == got.Empty() {
		t.Fatalf("HasInterest(%q) = %v", literal, has)
	}
}

func checkVisits(t *testing.T, x *Index[int], m model, pattern string) {
	t.Helper()
	want := model{}
	for s := range m {
		if Overlap(s.pattern, pattern) {
			want[s] = true
		}
	}
	got := model{}
	x.Overlapping(pattern, func(pattern, queue string, v int) bool {
		got[subscription{pattern, queue, v}] = true
		return true
	})
	if !maps.Equal(got, want) {
		t.Fatalf("Overlapping(%q) = %v, want %v", pattern, got, want)
	}
}

// TestIndexAgainstModel makes random changes and compares every answer.
func TestIndexAgainstModel(t *testing.T) {
	literals := vocabulary([]string{"a", "b"}, 3)
	patterns := vocabulary([]string{"a", "b", "*", ">"}, 3)
	rng := rand.New(rand.NewPCG(1, 2))
	var x Index[int]
	m := model{}
	for range 20000 {
		s := subscription{
			pattern: patterns[rng.IntN(len(patterns))],
			queue:   []string{"", "q1", "q2"}[rng.IntN(3)],
			v:       rng.IntN(3),
		}
		if rng.IntN(2) == 0 {
			x.Insert(s.pattern, s.queue, s.v)
			m[s] = true
		} else if x.Remove(s.pattern, s.queue, s.v) != m[s] {
			t.Fatalf("Remove(%v) = %v", s, !m[s])
		} else {
			delete(m, s)
		}
		if x.Len() != len(m) {
			t.Fatalf("Len = %d, want %d", x.Len(), len(m))
		}
		checkMatch(t, &x, m, literals[rng.IntN(len(literals))])
		checkVisits(t, &x, m, patterns[rng.IntN(len(patterns))])
	}
	for s := range m {
		x.Remove(s.pattern, s.queue, s.v)
	}
	if !x.root.empty() {
		t.Fatal("nodes are left in an empty index")
	}
}

func TestIndexOfManyMembers(t *testing.T) {
	var x Index[int]
	m := model{}
	for v := range 200 {
		x.Insert("a", "", v)
		m[subscription{"a", "", v}] = true
	}
	for v := 0; v < 200; v += 3 {
		x.Remove("a", "", v)
		delete(m, subscription{"a", "", v})
		checkMatch(t, &x, m, "a")
	}
}

func TestIndexMatchesNoEmptyTokens(t *testing.T) {
	var x Index[int]
	x.Insert(">", "", 1)
	x.Insert("a.*.b", "", 2)
	for _, s := range []string{"", ".", "a..b", "a."} {
		if !x.Match(s).Empty() || x.HasInterest(s) {
			t.Errorf("%q matches", s)
		}
	}
}

// TestIndexSeesOwnChanges checks that no stale result outlives a change while
// others fill the cache.
func TestIndexSeesOwnChanges(t *testing.T) {
	var x Index[int]
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					x.Match("a.b")
					x.Match("c.d")
				}
			}
		})
	}
	for i := range 1000 {
		pattern := []string{"a.b", "a.*", "*.b", ">"}[i%4]
		x.Insert(pattern, "", i)
		if got := x.Match("a.b").Plain; !slices.Equal(got, []int{i}) {
			t.Fatalf("after Insert(%q): %v", pattern, got)
		}
		x.Remove(pattern, "", i)
		if !x.Match("a.b").Empty() {
			t.Fatalf("after Remove(%q): not empty", pattern)
		}
	}
	close(stop)
	readers.Wait()
}

func TestCacheIsBounded(t *testing.T) {
	var x Index[int]
	x.Insert("a.*", "", 1)
	for i := range 2 * cacheSlotsMax {
		if len(x.Match(fmt.Sprintf("a.%d", i)).Plain) != 1 {
			t.Fatal("no match")
		}
	}
	if n := x.cache.table.Load().numSlots(); n <= cacheSlotsMin || n > cacheSlotsMax {
		t.Fatalf("%d slots", n)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	var x Index[int]
	x.Insert("orders.*", "", 1)
	literal := []byte("orders.eu")
	x.MatchBytes(literal)
	x.MatchBytes(literal)
	x.MatchBytes(literal)
	once := 0
	for name, f := range map[string]func(){
		"MatchBytes": func() { x.MatchBytes(literal) },
		"MatchBytes of a subject seen once": func() {
			once++
			x.MatchBytes(append(literal[:7], byte('A'+once/26%26), byte('A'+once%26)))
		},
		"HasInterest": func() { x.HasInterest("orders.eu") },
		"Match":       func() { Match("orders.eu", "orders.>") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkMatchBytesCached(b *testing.B) {
	var x Index[int]
	for i := range 1000 {
		x.Insert(fmt.Sprintf("orders.%d", i), "", i)
	}
	literal := []byte("orders.500")
	for range 3 { // the first makes the table, the third keeps it
		x.MatchBytes(literal)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			x.MatchBytes(literal)
		}
	})
}

func BenchmarkMatchMissed(b *testing.B) {
	var x Index[int]
	for i := range 100000 {
		x.Insert(fmt.Sprintf("orders.%d.*", i), "", i)
	}
	b.ReportAllocs()
	for i := range b.N {
		x.Match(fmt.Sprintf("orders.%d.new", i%100000))
	}
}

func BenchmarkMatchSeenOnce(b *testing.B) {
	var x Index[int]
	x.Insert("k.>", "", 1)
	b.ReportAllocs()
	literal := []byte("k.7.3.device-")
	for i := range b.N {
		x.MatchBytes(strconv.AppendInt(literal[:13], int64(i), 10))
	}
}

// TestSharedResultFollowsChanges has one pattern match alone, whose result is shared.
func TestSharedResultFollowsChanges(t *testing.T) {
	var x Index[int]
	for i := range 3 {
		x.Insert("a.*", "", i)
		x.Insert("a.*", "q", 10+i)
		r := x.Match(fmt.Sprint("a.", i))
		if len(r.Plain) != i+1 || len(r.Queues) != 1 || len(r.Queues[0].Members) != i+1 {
			t.Fatalf("%+v", r)
		}
	}
	x.Remove("a.*", "", 1)
	x.Remove("a.*", "q", 10)
	x.Insert("a.b", "", 7)
	if r := x.Match("a.c"); len(r.Plain) != 2 || len(r.Queues[0].Members) != 2 {
		t.Errorf("%+v", r)
	}
	if r := x.Match("a.b"); len(r.Plain) != 3 {
		t.Errorf("%+v", r)
	}
	if r := x.Match("b"); !r.Empty() {
		t.Errorf("%+v", r)
	}
}

func BenchmarkInsertRemove(b *testing.B) {
	var x Index[int]
	b.ReportAllocs()
	for range b.N {
		x.Insert("_INBOX.abc.def", "", 1)
		x.Remove("_INBOX.abc.def", "", 1)
	}
}
