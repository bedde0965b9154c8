package msgstore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

// TestReadersSeeWholeCommits overwrites keys, one message each, while readers get
// them: a key is never missing, and its value never goes back.
func TestReadersSeeWholeCommits(t *testing.T) {
	db := openTest(t, vfs.NewMem())
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	const keys = 50
	rounds := 400
	if testing.Short() {
		rounds = 60 // they take long under the race detector
	}
	name := func(i int) string { return fmt.Sprintf("kv.%d", i) }
	put := func(i int, round int) {
		last, ok, err := s.LastFor(name(i))
		if err == nil && ok {
			_, _, err = s.Delete(last, false)
		}
		if err == nil {
			err = s.Append(&msg.Message{Seq: s.State().LastSeq + 1, Time: 1, Subject: name(i), Data: fmt.Append(nil, round)})
		}
		if err == nil && i%7 == 0 {
			err = s.Commit(uint64(round*keys + i))
		}
		if err != nil {
			t.Error(err)
		}
	}
	for i := range keys {
		put(i, 0)
	}
	if err := s.Commit(1); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	reads := append(keyReads(keys, name), func(Reader) error { _, err := db.Checkpoint(); return err })
	for _, read := range reads {
		wg.Go(func() {
			for !stop.Load() {
				if err := read(s.Reader()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for round := range rounds {
		for i := range keys {
			put(i, round+1)
		}
	}
	stop.Store(true)
	wg.Wait()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// keyReads are reads that find every key, each once, at any time.
func keyReads(keys int, name func(int) string) []func(Reader) error {
	all := subject.NewFilter("kv.*")
	return []func(Reader) error{
		func(r Reader) error {
			for i := range keys {
				var m msg.Message
				if ok, err := r.LoadLast(name(i), &m, nil); err != nil || !ok {
					return fmt.Errorf("%s: %v %w", name(i), ok, err)
				}
			}
			return nil
		},
		func(r Reader) error {
			n, err := r.NumPending(0, all)
			if err == nil && n != uint64(keys) {
				err = fmt.Errorf("%d messages for %d keys", n, keys)
			}
			return err
		},
		func(r Reader) error {
			var m msg.Message
			for from, ok := uint64(0), true; ok; from = m.Seq + 1 {
				var err error
				if ok, err = r.Next(from, all, &m, nil); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// TestDiskFails wants a DB whose disk has failed to say so, and to close.
func TestDiskFails(t *testing.T) {
	t.Run("sync", func(t *testing.T) {
		testDiskFails(t, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync
		})
	})
	t.Run("new table of the index", func(t *testing.T) {
		testDiskFails(t, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst")
		})
	})
	for name, kind := range map[string]errorfs.OpKind{"write": errorfs.OpFileWrite, "sync": errorfs.OpFileSync} {
		t.Run(name+" of the manifest", func(t *testing.T) {
			testDiskFails(t, func(op errorfs.Op) bool { return op.Kind == kind && strings.Contains(op.Path, "MANIFEST-") })
		})
	}
}

// TestDiskIsFullAtOpen wants an error at whatever write it is that the disk is full, of the open or the close.
func TestDiskIsFullAtOpen(t *testing.T) {
	mem := vfs.NewMem()
	for again := range 2 { // the first time, there is nothing yet
		for at := int32(0); ; at++ {
			if again == 0 {
				mem = vfs.NewMem()
			}
			var writes atomic.Int32 // the index writes from goroutines of its own
			fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if k := op.Kind; k == errorfs.OpCreate || k == errorfs.OpFileWrite || k == errorfs.OpMkdirAll {
					if writes.Add(1) > at {
						return syscall.ENOSPC
					}
				}
				return nil
			}))
			db, err := Open(Options{FS: fs, Dir: "db"})
			if err == nil {
				err = db.Close()
			}
			if err == nil {
				break
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("after %d writes: %v", at, err)
			}
		}
	}
}

func testDiskFails(t *testing.T, fails func(errorfs.Op) bool) {
	broken := errors.New("disk is on fire")
	var on atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && fails(op) {
			return broken
		}
		return nil
	}))
	db := openTest(t, fs)
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(&msg.Message{Seq: 1, Subject: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(1); err != nil {
		t.Fatal(err)
	}
	on.Store(true)
	if _, err := db.p.AsyncFlush(); err != nil { // as Pebble does when a memtable is full
		t.Fatal(err)
	}
	<-db.failedCh
	if err := s.Commit(2); !errors.Is(err, broken) {
		t.Fatalf("commit: %v", err)
	}
	if _, err := db.Checkpoint(); !errors.Is(err, broken) {
		t.Fatalf("checkpoint: %v", err)
	}
	if err := db.Close(); !errors.Is(err, broken) {
		t.Fatalf("close: %v", err)
	}
}

// TestDamage flips every bit of a segment in turn: what is read is the message or
// an error that is marked as corruption.
func TestDamage(t *testing.T) {
	fs := vfs.NewMem()
	db := openTest(t, fs)
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, s: s}
	for seq := range uint64(3) {
		d.must(s.Append(&msg.Message{Seq: seq + 1, Subject: "a.b", Header: []byte("h"), Data: []byte("data")}))
	}
	d.must(s.Commit(1))
	path := db.files.path(s.file(s.segs[0]))
	d.must(db.Close())
	raw, err := fs.UnsafeGetFileDataBuffer(path)
	d.must(err)
	for bit := segmentHead * 8; bit < len(raw)*8; bit++ {
		raw[bit/8] ^= 1 << (bit % 8)
		found := 0
		db := openTest(t, fs)
		s, err := db.Store(1, 1)
		for seq := uint64(1); seq <= 3 && err == nil; seq++ {
			var m msg.Message
			var ok bool
			if ok, err = s.Reader().Load(seq, &m, nil); ok {
				found++
				equalMessage(t, ok, m, &msg.Message{Seq: seq, Subject: "a.b", Header: []byte("h"), Data: []byte("data")})
			}
		}
		if !base.IsCorrupt(err) {
			t.Fatalf("bit %d: %d messages found, %v", bit, found, err)
		}
		d.must(db.Close())
		raw[bit/8] ^= 1 << (bit % 8)
	}
}
