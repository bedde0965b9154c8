package subject

import (
	"fmt"
	"testing"
)

// busyIndex has 10,000 subscriptions, of which several match each subject orders.N.new.
func busyIndex() *Index[int] {
	x := new(Index[int])
	for i := range 2500 {
		x.Insert(fmt.Sprintf("orders.%d.*", i), "", i)
		x.Insert(fmt.Sprintf("orders.%d.>", i), "workers", i)
		x.Insert(fmt.Sprintf("other.*.%d", i), "", i)
		x.Insert(fmt.Sprintf("orders.%d.new", i), "audit", i)
	}
	return x
}

// hotSubjects are n subjects; those that crowd have one set in a table of any size.
func hotSubjects(n int, crowd bool) (hot []string) {
	first := hashOf("orders.0.new")
	for i := 0; len(hot) < n; i++ {
		s := fmt.Sprintf("orders.%d.new", i%2500)
		if crowd {
			s = fmt.Sprintf("orders.%d.new%d", i%2500, i/2500)
		}
		if !crowd || (hashOf(s)^first)%cacheSlotsMax == 0 {
			hot = append(hot, s)
		}
	}
	return hot
}

// Subjects that are published to in turn come to be found without allocation, also
// those that meet in one set of the cache.
func TestHotSubjectsAreKept(t *testing.T) {
	for _, c := range []struct {
		n         int
		crowd     bool
		mayMiss   int // subjects of a round
		warmingUp int // rounds
	}{{2, true, 0, 10}, {cacheWays, true, 0, 10}, {10, false, 0, 200}, {1000, false, 20, 400}} {
		x, hot := busyIndex(), hotSubjects(c.n, c.crowd)
		round := func() {
			for _, s := range hot {
				x.Match(s)
			}
		}
		for range c.warmingUp {
			round()
		}
		const allocationsOfMiss = 6
		if n := testing.AllocsPerRun(10, round); n > float64(allocationsOfMiss*c.mayMiss) {
			t.Errorf("%d subjects, crowded %v: %v allocations for one round", c.n, c.crowd, n)
		}
	}
}

// Subjects are published to in turn, after so many rounds that the cache has had its
// time to grow.
func BenchmarkHotSubjects(b *testing.B) {
	for _, c := range []struct {
		n     int
		crowd bool
	}{{2, false}, {10, false}, {1000, false}, {2500, false}, {2, true}, {4, true}, {5, true}} {
		b.Run(fmt.Sprintf("%d/crowded=%v", c.n, c.crowd), func(b *testing.B) {
			x, hot := busyIndex(), hotSubjects(c.n, c.crowd)
			for range 4 * cacheSlotsMax {
				for _, s := range hot[:min(len(hot), 50)] {
					x.Match(s)
				}
			}
			for range 200 {
				for _, s := range hot {
					x.Match(s)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				x.Match(hot[i%len(hot)])
			}
			b.ReportMetric(float64(x.cache.table.Load().numSlots()), "slots")
		})
	}
}
