package raftlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"weir/internal/base"
)

// faults fails the operations that its function picks, while on.
func faults(fs vfs.FS, on *atomic.Bool, pick func(errorfs.Op) bool, err error) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && pick(op) {
			return err
		}
		return nil
	}))
}

func TestFailedWriteIsFatal(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileWriteAt, errorfs.OpFileSyncData} {
		var on atomic.Bool
		bad := errors.New("disk on fire")
		fs := faults(vfs.NewMem(), &on, func(op errorfs.Op) bool { return op.Kind == kind }, bad)
		l := mustOpen(t, crashOptions(fs))
		if err := appendWait(l, Batch{Group: 1, Replica: 1, Entries: entries(1, 1, "a")}); err != nil {
			t.Fatal(err)
		}
		on.Store(true)
		if err := appendWait(l, Batch{Group: 1, Replica: 1, Entries: entries(2, 1, "b")}); !errors.Is(err, bad) {
			t.Fatalf("append: %v", err)
		}
		<-l.Failed()
		on.Store(false)
		for range 2 {
			if err := appendWait(l, Batch{Group: 2, Replica: 1, Entries: entries(1, 1, "c")}); !errors.Is(err, bad) {
				t.Fatalf("append after failure: %v", err)
			}
		}
		if err := l.Group(1, 1).Remove(); !errors.Is(err, bad) {
			t.Fatalf("remove after failure: %v", err)
		}
		if err := l.Close(); !errors.Is(err, bad) || !errors.Is(l.Err(), bad) {
			t.Fatalf("close: %v, %v", err, l.Err())
		}
	}
}

func TestDiskFull(t *testing.T) {
	var on atomic.Bool
	full := errors.New("no space left on device")
	isNew := func(op errorfs.Op) bool {
		return strings.HasSuffix(op.Path, temporaryName) && op.Kind == errorfs.OpFileWrite
	}
	fs := faults(vfs.NewMem(), &on, isNew, full)
	l := mustOpen(t, crashOptions(fs))
	on.Store(true)
	var err error
	n := uint64(0)
	for err == nil {
		n++
		err = appendWait(l, Batch{Group: 1, Replica: 1, Entries: entries(n, 1, strings.Repeat("x", 500))})
		if early := l.SpaceErr(); early != nil && !errors.Is(early, full) {
			t.Fatal(early)
		}
	}
	if !errors.Is(err, full) || !errors.Is(l.SpaceErr(), full) || n < 15 {
		t.Fatalf("after %d appends: %v, %v", n, err, l.SpaceErr())
	}
	if err := l.Close(); !errors.Is(err, full) {
		t.Fatal(err)
	}
	on.Store(false)
	l = mustOpen(t, crashOptions(fs))
	defer l.Close()
	if last, err := l.Group(1, 1).LastIndex(); last != n-1 || err != nil {
		t.Fatalf("last index %d of %d, %v", last, n-1, err)
	}
	for ; l.currentFile() < 5; n++ {
		if err := appendWait(l, Batch{Group: 1, Replica: 1, Entries: entries(n, 1, strings.Repeat("x", 500))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.SpaceErr(); err != nil {
		t.Fatalf("with space again: %v", err)
	}
}

// TestSpaceAgain wants a log that nobody writes to to find out that there is space again.
func TestSpaceAgain(t *testing.T) {
	var on atomic.Bool
	isNew := func(op errorfs.Op) bool {
		return strings.HasSuffix(op.Path, temporaryName) && op.Kind == errorfs.OpFileWrite
	}
	o := crashOptions(faults(vfs.NewMem(), &on, isNew, errors.New("no space left on device")))
	o.SegmentSize = 4 << 20
	l := mustOpen(t, o)
	defer l.Close()
	on.Store(true)
	// So much that the next file is due.
	if err := appendWait(l, Batch{Group: 1, Replica: 1, Entries: entries(1, 1, strings.Repeat("x", 2<<20))}); err != nil {
		t.Fatal(err)
	}
	until := func(what string, ok func() bool) {
		for deadline := time.Now().Add(time.Minute); !ok(); l.Trim() {
			if time.Now().After(deadline) {
				t.Fatalf("no %s: %v", what, l.SpaceErr())
			}
			runtime.Gosched()
		}
	}
	until("lack of space", func() bool { return l.SpaceErr() != nil })
	on.Store(false)
	until("space again", func() bool { return l.SpaceErr() == nil })
}

func TestInUse(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, crashOptions(fs))
	if _, err := Open(crashOptions(fs)); !errors.Is(err, ErrInUse) {
		t.Fatalf("second open: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := appendWait(l, Batch{Group: 1, Replica: 1, Entries: entries(1, 1, "x")}); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	if err := l.Close(); !errors.Is(err, ErrClosed) {
		t.Fatalf("second close: %v", err)
	}
}

func TestUnknownVersionIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, crashOptions(fs))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	page := make([]byte, dataStart)
	putSegmentHeader(page, 1, 5)
	page[8], page[dataStart/2+8] = 9, 9
	for _, at := range []int{0, dataStart / 2} {
		sealPage(page[at:])
	}
	overwrite(t, fs, logFiles(t, fs)[0], 0, page)
	if _, err := Open(crashOptions(fs)); err == nil || base.IsCorrupt(err) || !strings.Contains(err.Error(), "version 9") {
		t.Fatalf("open of a newer format: %v", err)
	}
}

// An anchor that counts on entries which were compacted later is replaced before
// their file goes, even if its own file stays.
func TestAnchorCountsOnOlderEntries(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := crashOptions(fs)
	l := mustOpen(t, o)
	fill := func(g base.GroupID, first *uint64, until uint64) {
		for ; l.currentFile() < until; *first++ {
			b := Batch{Group: g, Replica: 1, Entries: entries(*first, 1, strings.Repeat("x", 800))}
			if err := appendWait(l, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	next := uint64(1)
	fill(1, &next, 2)
	middle := next
	fill(1, &next, 5)
	// The first file goes; the anchor comes into the fifth and counts on the second.
	l.Group(1, 1).Compact(middle + 1)
	if err := appendWait(l, Batch{Group: 2, Replica: 1, Entries: entries(1, 1, "x")}); err != nil {
		t.Fatal(err)
	}
	// Now the others go as well, while the fifth is still the present one.
	l.Group(1, 1).Compact(next - 1)
	if err := appendWait(l, Batch{Group: 2, Replica: 1, Entries: entries(2, 1, "x")}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	defer l.Close()
	for _, info := range l.Groups() {
		if info.Damaged != nil {
			t.Fatal(info.Damaged)
		}
	}
	if last, err := l.Group(1, 1).LastIndex(); last != next-1 || err != nil {
		t.Fatalf("last index %d, %v", last, err)
	}
}

// A payload that holds the bytes of a record, even of this very file, is never
// taken for one.
func TestForgedRecordInPayload(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := crashOptions(fs)
	l := mustOpen(t, o)
	if err := appendWait(l, Batch{Group: 1, Replica: 1, Entries: entries(1, 1, "a")}); err != nil {
		t.Fatal(err)
	}
	records := listRecords(t, fs)
	data := readAll(t, fs, records[0].path)
	forged := string(data[records[0].h.at:][:500])
	for i := range uint64(7) {
		b := Batch{Group: 2, Replica: 1, Entries: entries(i+1, 1, strings.Repeat("p", int(i))+forged)}
		if err := appendWait(l, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range listRecords(t, fs) {
		bad := fs.CrashClone(vfs.CrashCloneCfg{})
		overwrite(t, bad, r.path, r.h.at, make([]byte, headerSize))
		l := mustOpen(t, o.on(bad))
		for _, info := range l.Groups() {
			if info.Group == 1 && info.Damaged == nil && info.LastIndex != 1 || info.Group > 2 {
				t.Fatalf("%+v", info)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (o Options) on(fs vfs.FS) Options {
	o.FS = fs
	return o
}

// Many groups append, read and compact at once; batches complete in order.
func TestConcurrentGroups(t *testing.T) {
	fs := vfs.NewMem()
	o := crashOptions(fs)
	o.SegmentSize, o.QueueBytes = 64<<10, 32<<10
	l := mustOpen(t, o)
	var wg sync.WaitGroup
	const groups, batches = 8, 300
	for id := base.GroupID(1); id <= groups; id++ {
		wg.Go(func() { appendAndRead(t, l, id, batches) })
	}
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
				l.Pressure()
				l.Groups()
				l.Stats()
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-watched
	// Files are recycled between two rounds of the writer.
	for i := range uint64(2) {
		if err := appendWait(l, Batch{Group: 1, Replica: 1, HardState: hard(1, 0, i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	if s := l.Stats(); s.Segments > 2 {
		t.Fatalf("%d files are left of a log that is compacted", s.Segments)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	defer l.Close()
	if n := len(l.Groups()); n != groups {
		t.Fatalf("%d groups", n)
	}
	for _, info := range l.Groups() {
		if info.Damaged != nil || info.LastIndex != batches*3 {
			t.Fatalf("%+v", info)
		}
	}
}

// appendAndRead appends batches of three entries each and reads back older ones.
func appendAndRead(t *testing.T, l *Log, id base.GroupID, batches int) {
	rng := rand.New(rand.NewPCG(uint64(id), 0))
	g := l.Group(id, 1)
	var mu sync.Mutex
	completed := 0
	var waits sync.WaitGroup
	for i := range batches {
		first := uint64(i*3 + 1)
		data := fmt.Sprintf("%v %d", id, first)
		waits.Add(1)
		l.Append(Batch{Group: id, Replica: 1, Entries: entries(first, 1, data, data, strings.Repeat("z", rng.IntN(200)))},
			func(err error) {
				defer waits.Done()
				mu.Lock()
				defer mu.Unlock()
				if err != nil || completed != i {
					t.Errorf("batch %d completes after %d: %v", i, completed, err)
				}
				completed++
			})
		lo := uint64(max(0, i-rng.IntN(40))*3 + 1)
		if from, _ := g.FirstIndex(); lo < from {
			lo = from
		}
		es, err := g.Entries(lo, first+1, 1<<20)
		if err != nil || len(es) == 0 {
			t.Errorf("%v: read of [%d, %d]: %d, %v", id, lo, first, len(es), err)
			return
		}
		if lo%3 == 1 && string(es[0].Data) != fmt.Sprintf("%v %d", id, lo) {
			t.Errorf("%v: entry %d is %q", id, lo, es[0].Data)
		}
		if i%16 == 15 {
			g.Compact(first - 60)
		}
	}
	waits.Wait()
	g.Compact(uint64(batches * 3))
}
