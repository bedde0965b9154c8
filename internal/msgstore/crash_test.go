package msgstore

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// crash is a filesystem as it could be after the power went at one write.
type crash struct {
	fs      *vfs.MemFS
	op      string
	durable uint64 // applied index that a checkpoint had reported
}

// crasher takes crashes at the writes of a run.
type crasher struct {
	mem   *vfs.MemFS
	every int // one in so many writes

	mu      sync.Mutex
	rng     *rand.Rand
	durable uint64
	crashes []crash
}

func (c *crasher) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rng.IntN(c.every) > 0 {
		return nil
	}
	survives := []int{0, 50, 90, 100}[c.rng.IntN(4)]
	fs := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: survives, RNG: c.rng})
	c.crashes = append(c.crashes, crash{fs: fs, op: fmt.Sprintf("%v %s, %d %%", op.Kind, op.Path, survives), durable: c.durable})
	return nil
}

func (c *crasher) String() string { return "crasher" }

func (c *crasher) setEvery(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.every = n
}

func errorfsWrap(mem *vfs.MemFS, c *crasher) vfs.FS { return errorfs.Wrap(mem, c) }

func (c *crasher) checkpointed(applied uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.durable = applied
}

// TestCrash cuts the power at writes of a random run, opens what is left, and
// wants to find the state as of some applied index that is not below the last
// checkpoint; and that the store can go on from there.
func TestCrash(t *testing.T) {
	for seed := range seeds(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testCrash(t, seed) })
	}
}

func testCrash(t *testing.T, seed uint64) {
	mem := vfs.NewCrashableMem()
	every := 12
	if testing.Short() {
		every = 120 // see seeds
	}
	c := &crasher{mem: mem, every: every, rng: rand.New(rand.NewPCG(seed, 7))}
	db := openTest(t, errorfs.Wrap(mem, c))
	s, err := db.Store(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, rng: rand.New(rand.NewPCG(seed, 2)), s: s, m: newModel(), subjects: []int{4, 400}[seed%2], big: seed%3 == 0}
	history := []*model{d.m.clone()}
	for range 120 {
		d.entry()
		history = append(history, d.m.clone())
		switch d.rng.IntN(20) {
		case 0:
			applied, err := db.Checkpoint()
			d.must(err)
			c.checkpointed(applied[s.ID()])
		case 1: // Pebble may flush whenever it likes
			_, err := db.p.AsyncFlush()
			d.must(err)
		}
	}
	d.must(db.Close())
	t.Logf("%d crashes", len(c.crashes))
	for i, crash := range c.crashes {
		checkCrash(t, crash, history, rand.New(rand.NewPCG(seed, uint64(i))), d.subjects)
	}
}

func checkCrash(t *testing.T, c crash, history []*model, rng *rand.Rand, subjects int) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("after a crash at %s", c.op)
		}
	}()
	db := openTest(t, c.fs)
	s, err := db.Store(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	applied := s.Applied()
	if applied < c.durable || applied >= uint64(len(history)) || history[applied] == nil {
		t.Fatalf("applied %d, checkpoint said %d", applied, c.durable)
	}
	d := &driver{t: t, rng: rng, s: s, m: history[applied].clone(), subjects: subjects, now: history[len(history)-1].lastT}
	d.checkReader()
	for range 5 {
		d.entry()
	}
	d.checkReader()
	d.must(db.Close())
}
