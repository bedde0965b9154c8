package raftlog

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
)

// buildLog writes a random history of several groups over several files and
// closes the log, or leaves it as a killed process would.
func buildLog(t *testing.T, seed uint64, groups, steps int, kill bool) (*vfs.MemFS, []modelView) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 11))
	fs := vfs.NewCrashableMem()
	o := crashOptions(fs)
	o.KeepSegments = 3
	l := mustOpen(t, o)
	var models []*modelGroup
	for id := range groups {
		models = append(models, newModelGroup(id+1))
	}
	var waits sync.WaitGroup
	for range steps {
		m := models[rng.IntN(len(models))]
		switch n := rng.IntN(20); {
		case n < 2:
			m.compact(l, rng)
		case n < 10:
			waits.Wait()
		default:
			m.append(l, rng, &waits)
		}
	}
	waits.Wait()
	clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if !kill {
		clone = fs
	}
	var views []modelView
	for _, m := range models {
		views = append(views, m.view())
	}
	return clone, views
}

func cloneFS(t *testing.T, fs *vfs.MemFS) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{})
}

func readAll(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func overwrite(t *testing.T, fs vfs.FS, path string, at int64, p []byte) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(p, at); err != nil {
		t.Fatal(err)
	}
}

func logFiles(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List("raft")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, segmentSuffix) })
	slices.Sort(names)
	for i := range names {
		names[i] = fs.PathJoin("raft", names[i])
	}
	return names
}

// standing is a record in a file.
type standing struct {
	path string
	h    header
}

// listRecords lists all records, in order.
func listRecords(t *testing.T, fs vfs.FS) []standing {
	t.Helper()
	var all []standing
	for _, path := range logFiles(t, fs) {
		data := readAll(t, fs, path)
		number, _ := parseSegmentName(fs.PathBase(path))
		stamp, err := parseSegmentHeader(data[:dataStart], number)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(dataStart); at < int64(len(data)); {
			h, ok := parseHeader(data[at:], stamp, at)
			if !ok {
				break
			}
			all = append(all, standing{path, h})
			at += h.size()
		}
	}
	return all
}

// checkDamaged opens a damaged log. Every group must be as the model says or be
// reported; only those in mayHit may be reported, unless it is nil.
func checkDamaged(t *testing.T, fs vfs.FS, views []modelView, mayHit map[groupKey]bool) (damaged []groupKey) {
	t.Helper()
	l, err := Open(crashOptions(fs))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer l.Close()
	known := map[groupKey]bool{}
	for _, info := range l.Groups() {
		key := groupKey{info.Group, info.Replica}
		known[key] = true
		if info.Damaged == nil {
			continue
		}
		damaged = append(damaged, key)
		if !base.IsCorrupt(info.Damaged) {
			t.Fatalf("%v: not marked as corruption: %v", key, info.Damaged)
		}
		if mayHit != nil && !mayHit[key] {
			t.Fatalf("%v is reported and was not hit: %v", key, info.Damaged)
		}
		b := Batch{Group: key.group, Replica: key.replica, Entries: entries(1, 1, "x")}
		if err := appendWait(l, b); !base.IsCorrupt(err) {
			t.Fatalf("%v: append to a damaged replica: %v", key, err)
		}
	}
	for i := range views {
		v := &views[i]
		if slices.Contains(damaged, v.key) || l.LostUnknown() && !known[v.key] {
			continue
		}
		if err := v.check(l); err != nil {
			t.Fatal(err)
		}
	}
	if mayHit != nil && l.LostUnknown() {
		t.Fatal("unknown groups are said to be hit")
	}
	return damaged
}

// One flipped bit hits at most the group whose record it is in, and never
// goes unnoticed.
func TestFlippedBitInEachRecord(t *testing.T) {
	for seed := range uint64(3) {
		fs, views := buildLog(t, seed, 6, 120, false)
		rng := rand.New(rand.NewPCG(seed, 5))
		records := listRecords(t, fs)
		hits := 0
		for i, r := range records {
			data := readAll(t, fs, r.path)
			end := headerSize + int64(r.h.bodyLen)
			for _, at := range []int64{rng.Int64N(headerSize), rng.Int64N(end)} {
				bad := cloneFS(t, fs)
				overwrite(t, bad, r.path, r.h.at+at, []byte{data[r.h.at+at] ^ 1<<rng.IntN(8)})
				mayHit := map[groupKey]bool{r.h.key: true}
				damaged := checkDamaged(t, bad, views, mayHit)
				hits += len(damaged)
				if last := i+1 == len(records); last && len(damaged) > 0 {
					t.Fatal("the mark at the end hit a group")
				}
			}
		}
		if hits < len(records)/2 {
			t.Fatalf("%d damaged replicas after %d flips", hits, 2*len(records))
		}
		t.Logf("%d records, %d hits", len(records), hits)
	}
}

// Whatever is destroyed, a replica is reported or it is right.
func TestWideDamage(t *testing.T) {
	for seed := range uint64(3) {
		fs, views := buildLog(t, seed, 6, 150, seed == 2)
		rng := rand.New(rand.NewPCG(seed, 6))
		files := logFiles(t, fs)
		records := listRecords(t, fs)
		// The last epoch cannot be proven if what proves it is destroyed as well.
		lastEpoch := records[len(records)-1]
		reported := 0
		for round := range 300 {
			bad := cloneFS(t, fs)
			path := files[rng.IntN(len(files))]
			size := int64(len(readAll(t, bad, path)))
			n := []int64{64, 512, 4096, size}[rng.IntN(4)]
			at := rng.Int64N(size) / n * n
			limit := size
			if path == lastEpoch.path {
				limit = records[len(records)-2].h.epochStart
			}
			if n = min(n, limit-at); n <= 0 || path > lastEpoch.path {
				continue
			}
			p := make([]byte, n)
			if round%2 == 0 {
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
			}
			overwrite(t, bad, path, at, p)
			reported += len(checkDamaged(t, bad, views, nil))
		}
		t.Logf("%d replicas reported", reported)
	}
}

func TestMissingFile(t *testing.T) {
	fs, views := buildLog(t, 1, 6, 200, false)
	files := logFiles(t, fs)
	for _, path := range files[:len(files)-2] {
		bad := cloneFS(t, fs)
		if err := bad.Remove(path); err != nil {
			t.Fatal(err)
		}
		if damaged := checkDamaged(t, bad, views, nil); len(damaged) == 0 {
			t.Fatalf("%s is missing and nobody is damaged", path)
		}
	}
}

// Damage is remembered when the damaged file is gone, and a damaged replica can
// be removed.
func TestDamageOutlivesItsFile(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := crashOptions(fs)
	l := mustOpen(t, o)
	for i := range uint64(5) {
		for g := base.GroupID(1); g <= 3; g++ {
			if err := appendWait(l, Batch{Group: g, Replica: 1, Entries: entries(i+1, 1, "data")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range listRecords(t, fs) {
		if r.h.key.group == 2 && r.h.seq == 3 {
			overwrite(t, fs, r.path, r.h.at+headerSize, []byte{0xff})
		}
	}
	damaged := func() (ids []base.GroupID) {
		for _, info := range l.Groups() {
			if info.Damaged != nil {
				ids = append(ids, info.Group)
			}
		}
		return ids
	}
	for round := range 3 {
		l = mustOpen(t, o)
		if ids := damaged(); len(ids) != 1 || ids[0] != 2 {
			t.Fatalf("round %d: damaged are %v", round, ids)
		}
		l.Group(3, 1).Compact(100)
		fillFiles(t, l, base.GroupID(10+round), 3)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l = mustOpen(t, o)
	if err := l.Group(2, 1).Remove(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	defer l.Close()
	if ids := damaged(); len(ids) != 0 {
		t.Fatalf("damaged after removal: %v", ids)
	}
}

// fillFiles appends to a group and compacts it, until so many files were used up.
func fillFiles(t *testing.T, l *Log, g base.GroupID, files int) {
	t.Helper()
	start := l.currentFile()
	for i := uint64(1); l.currentFile() < start+uint64(files); i++ {
		b := Batch{Group: g, Replica: 1, Entries: entries(i, 1, strings.Repeat("x", 1000))}
		if err := appendWait(l, b); err != nil {
			t.Fatal(err)
		}
		l.Group(g, 1).Compact(i)
	}
}

func (l *Log) currentFile() uint64 {
	l.segmentsMu.Lock()
	defer l.segmentsMu.Unlock()
	return l.segments[len(l.segments)-1].number
}

// A replica whose entry cannot be read back is taken out of use.
func TestDamageMetByReader(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := crashOptions(fs)
	o.GroupCacheBytes = 1
	l := mustOpen(t, o)
	defer l.Close()
	for i := range uint64(10) {
		for g := base.GroupID(1); g <= 2; g++ {
			if err := appendWait(l, Batch{Group: g, Replica: 1, Entries: entries(i+1, 1, "data")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, r := range listRecords(t, fs) {
		if r.h.key.group == 1 && r.h.seq == 5 {
			// In the header, so that the other group has to read across it.
			overwrite(t, fs, r.path, r.h.at+20, []byte{0xff})
		}
	}
	if _, err := l.Group(1, 1).Entries(1, 11, 1<<20); !base.IsCorrupt(err) {
		t.Fatalf("read of a damaged entry: %v", err)
	}
	if err := appendWait(l, Batch{Group: 1, Replica: 1, Entries: entries(11, 1, "x")}); !base.IsCorrupt(err) {
		t.Fatalf("append to a damaged replica: %v", err)
	}
	if es, err := l.Group(2, 1).Entries(1, 11, 1<<20); err != nil || len(es) != 10 {
		t.Fatalf("the other group: %d entries, %v", len(es), err)
	}
	if err := l.Group(1, 1).Remove(); err != nil {
		t.Fatal(err)
	}
	if err := l.Group(1, 1).Err(); !errors.Is(err, ErrRemoved) {
		t.Fatal(err)
	}
}
