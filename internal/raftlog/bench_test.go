package raftlog

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"weir/internal/base"
)

// BenchmarkAppend appends batches of 100 entries of 128 bytes, each group one
// batch at a time, and reports entries per second. "disk" syncs to the real
// file system.
func BenchmarkAppend(b *testing.B) {
	for _, kind := range []string{"disk", "mem"} {
		for _, groups := range []int{1, 2, 4, 8} {
			b.Run(fmt.Sprintf("%s/groups=%d", kind, groups), func(b *testing.B) {
				o := Options{FS: vfs.Default, Dir: b.TempDir()}
				if kind == "mem" {
					o.FS, o.Dir, o.SegmentSize = vfs.NewMem(), "raft", 8<<20
				}
				benchmarkAppend(b, o, groups, 100, 1)
			})
		}
	}
}

// BenchmarkAppendOne appends single entries, with 16 groups at once.
func BenchmarkAppendOne(b *testing.B) {
	benchmarkAppend(b, Options{FS: vfs.Default, Dir: b.TempDir()}, 16, 1, 1)
}

// BenchmarkAppendWindow lets each group have 8 batches on their way.
func BenchmarkAppendWindow(b *testing.B) {
	for _, groups := range []int{1, 8} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			benchmarkAppend(b, Options{FS: vfs.Default, Dir: b.TempDir()}, groups, 100, 8)
		})
	}
}

func benchmarkAppend(b *testing.B, o Options, groups, perBatch, window int) {
	l := mustOpen(b, o)
	defer l.Close()
	data := bytes.Repeat([]byte("x"), 128)
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan struct{})
	for id := range groups {
		n := b.N / groups
		if id == 0 {
			n += b.N % groups
		}
		go func() {
			appendLoop(b, l, base.GroupID(id+1), n, perBatch, window, data)
			done <- struct{}{}
		}()
	}
	for range groups {
		<-done
	}
	b.StopTimer()
	s := l.Stats()
	seconds := b.Elapsed().Seconds()
	b.ReportMetric(float64(b.N*perBatch)/seconds, "entries/s")
	b.ReportMetric(float64(s.Syncs)/seconds, "syncs/s")
}

func appendLoop(b *testing.B, l *Log, id base.GroupID, n, perBatch, window int, data []byte) {
	g := l.Group(id, 1)
	results := make(chan error, window)
	done := func(err error) { results <- err }
	next, waiting := uint64(1), 0
	for i := range n {
		batch := make([]storedEntry, perBatch)
		es := make([]*pb.Entry, perBatch)
		for j := range batch {
			s := &batch[j]
			s.term, s.index, s.typ = 1, next, pb.EntryNormal
			s.entry.Term, s.entry.Index, s.entry.Type, s.entry.Data = &s.term, &s.index, &s.typ, data
			es[j] = &s.entry
			next++
		}
		if waiting == window {
			if err := <-results; err != nil {
				b.Error(err)
			}
			waiting--
		}
		l.Append(Batch{Group: id, Replica: 1, Entries: es}, done)
		waiting++
		if i%64 == 0 {
			g.Compact(next - 1)
		}
	}
	for ; waiting > 0; waiting-- {
		if err := <-results; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkReadBack reads entries that have left memory.
func BenchmarkReadBack(b *testing.B) {
	l := mustOpen(b, Options{FS: vfs.Default, Dir: b.TempDir(), GroupCacheBytes: 1})
	defer l.Close()
	const first = 1
	const n = 100_000
	data := bytes.Repeat([]byte("x"), 128)
	for at := uint64(first); at < n; at += 100 {
		es := make([]*pb.Entry, 100)
		for i := range es {
			es[i] = entries(at+uint64(i), 1, string(data))[0]
		}
		if err := appendWait(l, Batch{Group: 1, Replica: 1, Entries: es}); err != nil {
			b.Fatal(err)
		}
	}
	g := l.Group(1, 1)
	b.ResetTimer()
	lo, total := uint64(first), 0
	for range b.N {
		es, err := g.Entries(lo, n, 1<<20)
		if err != nil {
			b.Fatal(err)
		}
		total += len(es)
		if lo += uint64(len(es)); lo >= n-1 {
			lo = first
		}
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "entries/s")
}
