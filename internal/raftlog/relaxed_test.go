package raftlog

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
)

func relaxedBatch(group base.GroupID, index uint64) Batch {
	return Batch{Group: group, Replica: 1, Relaxed: true, Entries: entries(index, 1, fmt.Sprint(index))}
}

// lastAfterCrash is how far a group's log goes when the machine stops now; of what is not synced
// percent of the blocks survive.
func lastAfterCrash(t *testing.T, fs *vfs.MemFS, group base.GroupID, percent int, rng *rand.Rand) uint64 {
	t.Helper()
	l := mustOpen(t, crashOptions(fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})))
	defer l.Close()
	if l.LostUnknown() {
		t.Fatal("counts as damage")
	}
	for _, g := range l.Groups() {
		if g.Damaged != nil {
			t.Fatal(g.Damaged)
		}
	}
	last, err := l.Group(group, 1).LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// A relaxed batch is complete without a sync, survives the process, and becomes durable with the next
// batch that needs it, when asked for, or after a moment.
func TestRelaxed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		l := mustOpen(t, crashOptions(fs))
		defer l.Close()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		want := func(index uint64, when string) {
			t.Helper()
			if last := lastAfterCrash(t, fs, 1, 0, nil); last != index {
				t.Fatalf("%s: %d entries are durable, want %d", when, last, index)
			}
		}
		first := relaxedBatch(1, 1)
		first.Relaxed, first.HardState = false, hard(1, 1, 0)
		must(appendWait(l, first))
		syncs := l.Stats().Syncs
		for i := range 5 {
			must(appendWait(l, relaxedBatch(1, uint64(2+i))))
		}
		if n := l.Stats().Syncs - syncs; n != 0 {
			t.Fatalf("%d syncs for relaxed batches", n)
		}
		want(1, "at first")
		if last := lastAfterCrash(t, fs, 1, 100, rand.New(rand.NewPCG(1, 1))); last != 6 {
			t.Fatalf("%d entries after the end of the process, want 6", last)
		}
		must(l.SyncRelaxed())
		want(6, "asked for")
		must(appendWait(l, relaxedBatch(1, 7)))
		want(6, "one more")
		must(appendWait(l, Batch{Group: 2, Replica: 1, HardState: hard(1, 1, 0), Entries: entries(1, 1, "x")}))
		want(7, "with that of another group")
		must(appendWait(l, relaxedBatch(1, 8)))
		want(7, "one more")
		passed := make(chan struct{})
		base.SystemClock.AfterFunc(2*RelaxedDelay, func() { close(passed) })
		<-passed
		synctest.Wait()
		want(8, "after a moment")
	})
}

// What a crash of the machine leaves of relaxed batches is no damage, and whatever was completed
// before a batch that is not relaxed is there.
func TestRelaxedCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 5))
	fs := vfs.NewCrashableMem()
	l := mustOpen(t, crashOptions(fs))
	defer l.Close()
	last, durable := map[base.GroupID]uint64{}, map[base.GroupID]uint64{}
	for range 2000 {
		g := base.GroupID(1 + rng.IntN(3))
		last[g]++
		b := relaxedBatch(g, last[g])
		b.Entries[0].Data = make([]byte, rng.IntN(500))
		b.Relaxed = rng.IntN(8) > 0
		if last[g] == 1 {
			b.HardState = hard(1, 1, 0)
		}
		if err := appendWait(l, b); err != nil {
			t.Fatal(err)
		}
		if !b.Relaxed || b.HardState != nil {
			for g := range last {
				durable[g] = last[g]
			}
		}
		if rng.IntN(20) > 0 {
			continue
		}
		l.Group(g, 1).Compact(durable[g] / 2)
		for g := range last {
			got := lastAfterCrash(t, fs, g, rng.IntN(100), rng)
			if got < durable[g] || got > last[g] {
				t.Fatalf("%v has %d entries after a crash, %d were durable, %d written", g, got, durable[g], last[g])
			}
		}
	}
}
