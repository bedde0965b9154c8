package msgstore

import (
	"fmt"
	"testing"

	"weir/internal/msg"
)

// BenchmarkPurgeMatching removes a tenth of very many subjects, as many in each Commit
// as one entry takes out.
func BenchmarkPurgeMatching(b *testing.B) {
	benchStores(b, func(b *testing.B, s *Store) {
		const most = 4096
		n := 10 * b.N
		fill(b, s, n, 64, 100, func(i int) string {
			i = int(uint64(i) * 7_368_787 % uint64(n))
			return fmt.Sprintf("k.%d.%d.device-%08d", i%100, i/100%10, i)
		})
		if _, err := s.db.Checkpoint(); err != nil {
			b.Fatal(err)
		}
		begun := cpuTime(b)
		b.ReportAllocs()
		b.ResetTimer()
		for next := ""; ; {
			var err error
			if next, err = s.PurgeMatching("k.*.3.>", next, s.cur.state.LastSeq+1, 0, most, func(msg.Info) {}); err != nil {
				b.Fatal(err)
			}
			if err := s.Commit(s.cur.applied + 1); err != nil {
				b.Fatal(err)
			}
			if next == "" {
				break
			}
		}
		b.ReportMetric(float64(cpuTime(b)-begun)/float64(b.N), "cpu-ns/op-purge")
	})
}
