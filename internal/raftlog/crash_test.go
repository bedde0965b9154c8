package raftlog

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// crashPoint is a file system as a crash left it and what must be in it.
type crashPoint struct {
	op    string
	fs    *vfs.MemFS
	views []modelView
}

// crasher clones the file system before every operation that changes it.
type crasher struct {
	mu     sync.Mutex
	rng    *rand.Rand
	fs     *vfs.MemFS
	groups []*modelGroup
	on     bool
	ops    int
	check  func(crashPoint)
}

func (c *crasher) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead && op.Kind != errorfs.OpOpen {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return nil
	}
	c.ops++
	// The state of the model first: what is acknowledged is in the file system.
	p := crashPoint{op: fmt.Sprintf("%d %v %s", c.ops, op.Kind, op.Path)}
	for _, m := range c.groups {
		p.views = append(p.views, m.view())
	}
	percent := []int{0, 30, 60, 90}[c.ops%4]
	p.fs = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng})
	c.check(p)
	return nil
}

func (c *crasher) String() string { return "crasher" }

func crashOptions(fs vfs.FS) Options {
	return Options{FS: fs, Dir: "raft", SegmentSize: 16 << 10, KeepSegments: 1, PressureSegments: 2,
		CacheBytes: 8 << 10, GroupCacheBytes: 4 << 10}
}

// verify opens what the crash left, compares it with the model, goes on a little
// and crashes again.
func (p *crashPoint) verify(rng *rand.Rand) error {
	l, err := Open(crashOptions(p.fs))
	if err != nil {
		return fmt.Errorf("crash before %s: open: %w", p.op, err)
	}
	defer l.Close()
	if l.LostUnknown() {
		return fmt.Errorf("crash before %s: counts as damage", p.op)
	}
	for i := range p.views {
		if err := p.views[i].check(l); err != nil {
			return fmt.Errorf("crash before %s: %w", p.op, err)
		}
	}
	// A batch of a new replica, which is durable, and then another crash.
	b := Batch{Group: 1000, Replica: 1, HardState: hard(1, 1, 0), Entries: entries(1, 1, "after")}
	if err := appendWait(l, b); err != nil {
		return err
	}
	b.Entries = entries(2, 1, "torn")
	l.Append(b, nil)
	again := crashPoint{
		op: p.op + " and again", views: p.views,
		fs: p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}),
	}
	l2, err := Open(crashOptions(again.fs))
	if err != nil {
		return err
	}
	defer l2.Close()
	if last, err := l2.Group(1000, 1).LastIndex(); last < 1 || err != nil || l2.LostUnknown() {
		return fmt.Errorf("second crash before %s: last index %d, %v", p.op, last, err)
	}
	for i := range again.views {
		if err := again.views[i].check(l2); err != nil {
			return fmt.Errorf("second crash before %s: %w", p.op, err)
		}
	}
	return nil
}

func TestCrashAtEveryWrite(t *testing.T) {
	seeds, steps := 5, 300
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runCrashes(t, uint64(seed), steps) })
	}
}

func runCrashes(t *testing.T, seed uint64, steps int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	checkRNG := rand.New(rand.NewPCG(seed, 2))
	mem := vfs.NewCrashableMem()
	var failed atomic.Pointer[error]
	c := &crasher{rng: rand.New(rand.NewPCG(seed, 3)), fs: mem, on: true}
	c.check = func(p crashPoint) {
		if err := p.verify(checkRNG); err != nil && failed.Load() == nil {
			failed.Store(&err)
		}
	}
	for id := 1; id <= 4; id++ {
		c.groups = append(c.groups, newModelGroup(id))
	}
	l := mustOpen(t, crashOptions(errorfs.Wrap(mem, c)))
	var waits sync.WaitGroup
	for step := 0; step < steps && failed.Load() == nil; step++ {
		m := c.groups[rng.IntN(len(c.groups))]
		switch n := rng.IntN(100); {
		case n < 3:
			waits.Wait()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = mustOpen(t, crashOptions(errorfs.Wrap(mem, c)))
		case n < 20:
			m.compact(l, rng)
		case n < 23 && step > steps/2:
			m.remove(t, l)
			c.mu.Lock()
			for i := range c.groups {
				if c.groups[i] == m {
					c.groups[i] = newModelGroup(10 + step)
				}
			}
			c.mu.Unlock()
		case n < 27:
			waits.Wait()
			for range 1 + rng.IntN(3) { // more than one finds a log that is not used
				for l.Trim(); l.trim.Load(); {
					runtime.Gosched()
				}
			}
		case n < 50:
			waits.Wait()
		default:
			m.append(l, rng, &waits)
		}
	}
	waits.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	t.Logf("%d crashes, %d segments", c.ops, l.Stats().Segments)
}

// append appends a random batch to the model and the log.
func (m *modelGroup) append(l *Log, rng *rand.Rand, waits *sync.WaitGroup) {
	m.mu.Lock()
	b, lazy := m.randomBatch(rng)
	number := len(m.states) - 1
	m.mu.Unlock()
	waits.Add(1)
	l.Append(b, func(err error) {
		defer waits.Done()
		m.mu.Lock()
		defer m.mu.Unlock()
		if err == nil && !lazy {
			m.durable = number
		}
	})
}

// compact lets go of some entries that are committed and durable.
func (m *modelGroup) compact(l *Log, rng *rand.Rand) {
	m.mu.Lock()
	s := m.states[m.durable]
	index := min(s.hard.commit, s.last())
	if rng.IntN(2) == 0 && index > 3 {
		index -= 3
	}
	if index > m.now().base.index {
		m.compacted = max(m.compacted, index)
	}
	m.mu.Unlock()
	l.Group(m.key.group, m.key.replica).Compact(index)
}

func (m *modelGroup) remove(t *testing.T, l *Log) {
	m.mu.Lock()
	m.removing = true
	m.mu.Unlock()
	if err := l.Group(m.key.group, m.key.replica).Remove(); err != nil {
		t.Error(err)
	}
	m.mu.Lock()
	m.removed = true
	m.mu.Unlock()
}
