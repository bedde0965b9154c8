package msgstore

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
	"weir/internal/subject"
)

// benchStores runs f on file and on memory storage.
func benchStores(b *testing.B, f func(b *testing.B, s *Store)) {
	for _, kind := range []string{"file", "memory"} {
		b.Run(kind, func(b *testing.B) {
			o := Options{FS: vfs.Default, Dir: b.TempDir()}
			if kind == "memory" {
				o.FS, o.Memory = vfs.NewMem(), true
			}
			db, err := Open(o)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			s, err := db.Store(1, 1)
			if err != nil {
				b.Fatal(err)
			}
			start := cpuTime(b)
			f(b, s)
			// Of the whole process, with set-up, flushes and compactions: on a busy
			// machine the time that passes says little.
			b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is the processor time that the process has used, in ns.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func fill(b *testing.B, s *Store, n, size, batch int, subj func(i int) string) {
	data := make([]byte, size)
	last := s.State().LastSeq
	for i := range n {
		m := msg.Message{Seq: last + uint64(i) + 1, Time: int64(i), Subject: subj(i), Data: data}
		if err := s.Append(&m); err != nil {
			b.Fatal(err)
		}
		if i%batch == batch-1 || i == n-1 {
			if err := s.Commit(s.cur.applied + 1); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, subj := range benchSubjects {
		for _, size := range []int{128, 1024} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				benchStores(b, func(b *testing.B, s *Store) {
					b.ReportAllocs()
					b.SetBytes(int64(size))
					b.ResetTimer()
					fill(b, s, b.N, size, 100, subj)
				})
			})
		}
	}
}

var benchSubjects = map[string]func(i int) string{
	"one":    func(i int) string { return "orders.new" },
	"1000":   func(i int) string { return manySubjects[i*7919%1000] },
	"unique": func(i int) string { return fmt.Sprintf("orders.%d.new", i) },
}

var manySubjects = func() (out [1000]string) {
	for i := range out {
		out[i] = fmt.Sprintf("orders.%d.new", i)
	}
	return out
}()

// BenchmarkKeyValue overwrites keys: each append deletes the key's last message.
func BenchmarkKeyValue(b *testing.B) {
	benchStores(b, func(b *testing.B, s *Store) {
		const keys = 20000
		key := func(i int) string { return fmt.Sprintf("kv.key.%d", i*7919%keys) }
		fill(b, s, keys, 128, 100, key)
		b.ReportAllocs()
		b.ResetTimer()
		data := make([]byte, 128)
		for i := range b.N {
			k := key(i)
			last, ok, err := s.LastFor(k)
			if err != nil || !ok {
				b.Fatal(k, ok, err)
			}
			if _, _, err := s.Delete(last, false); err != nil {
				b.Fatal(err)
			}
			if err := s.Append(&msg.Message{Seq: s.cur.state.LastSeq + 1, Subject: k, Data: data}); err != nil {
				b.Fatal(err)
			}
			if i%100 == 99 {
				if err := s.Commit(s.cur.applied + 1); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// BenchmarkFIFO keeps the last 10,000 messages.
func BenchmarkFIFO(b *testing.B) {
	benchStores(b, func(b *testing.B, s *Store) {
		fill(b, s, 10000, 128, 100, benchSubjects["1000"])
		b.ReportAllocs()
		b.ResetTimer()
		data := make([]byte, 128)
		for i := range b.N {
			st := &s.cur.state
			if _, _, err := s.Delete(st.FirstSeq, false); err != nil {
				b.Fatal(err)
			}
			if err := s.Append(&msg.Message{Seq: st.LastSeq + 1, Subject: benchSubjects["1000"](i), Data: data}); err != nil {
				b.Fatal(err)
			}
			if i%100 == 99 {
				if err := s.Commit(s.cur.applied + 1); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkNext(b *testing.B) {
	const n = 200000
	for name, filter := range map[string]string{"all": ">", "literal-1-in-1000": "orders.7.new", "wildcard-dense": "orders.*.new"} {
		b.Run(name, func(b *testing.B) {
			benchStores(b, func(b *testing.B, s *Store) {
				fill(b, s, n, 128, 100, benchSubjects["1000"])
				f, r, buf := subject.NewFilter(filter), s.Reader(), make([]byte, 64<<10)
				var m msg.Message
				b.ReportAllocs()
				b.ResetTimer()
				from := uint64(1)
				for range b.N {
					ok, err := r.Next(from, f, &m, buf)
					if err != nil {
						b.Fatal(err)
					}
					from = m.Seq + 1
					if !ok {
						from = 1
					}
				}
			})
		})
	}
}

func BenchmarkLoadLast(b *testing.B) {
	benchStores(b, func(b *testing.B, s *Store) {
		const n = 200000
		fill(b, s, n, 128, 100, benchSubjects["unique"])
		r, buf := s.Reader(), make([]byte, 4096)
		var m msg.Message
		b.ResetTimer()
		for i := range b.N {
			if ok, err := r.LoadLast(benchSubjects["unique"](i*7919%n), &m, buf); err != nil || !ok {
				b.Fatal(ok, err)
			}
		}
	})
}
