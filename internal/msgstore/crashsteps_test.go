package msgstore

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crashSteps takes a store through everything that writes, one kind after the other.
type crashSteps struct {
	driver
	db      *DB
	fs      vfs.FS
	c       *crasher
	history []*model // by applied index
	image   []byte
	imaged  *model
}

// TestCrashAtEveryWrite cuts the power at every write, sync, rename and removal of every
// kind of work, and wants what TestCrash wants.
func TestCrashAtEveryWrite(t *testing.T) {
	mem := vfs.NewCrashableMem()
	c := &crasher{mem: mem, every: 1, rng: rand.New(rand.NewPCG(3, 7))}
	if testing.Short() {
		c.every = 15 // see seeds
	}
	s := &crashSteps{fs: errorfsWrap(mem, c), c: c, history: make([]*model, 4000)}
	s.driver = driver{t: t, rng: rand.New(rand.NewPCG(9, 2)), m: newModel(), subjects: 12}
	s.db = openTest(t, s.fs)
	s.open()
	s.history[0] = s.m.clone()
	checked := 0
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"segments", func() { s.commits(6, 25) }},
		{"checkpoint", s.checkpoint},
		{"deletes and rewriting", func() { s.deletes(); s.rewriteAll() }},
		{"unlinking", s.checkpoint},
		{"erasing", s.erase},
		{"the first format", func() { s.widen(); s.widen(); s.deletes(); s.rewriteAll(); s.checkpoint() }},
		{"sealing", s.seal},
		{"flush", s.flush},
		{"image", s.snapshot},
		{"reopening", s.reopen},
		{"purge of a part", func() { s.purge(); s.commit(); s.checkpoint() }},
		{"purge by subject", s.purges},
		{"purge of all", s.reset},
		{"restore", s.restore},
		{"after the restore", func() { s.commits(3, 20); s.checkpoint() }},
		{"removal", s.remove},
	} {
		step.do()
		s.checkReader()
		c.mu.Lock()
		crashes := c.crashes
		c.crashes = nil
		c.mu.Unlock()
		if len(crashes) == 0 && !testing.Short() && step.name != "image" {
			t.Errorf("%s: nothing was written", step.name)
		}
		for i, crash := range crashes {
			crash.op = step.name + ": " + crash.op
			checkCrash(t, crash, s.history[:s.m.applied+1], rand.New(rand.NewPCG(4, uint64(i))), s.subjects)
		}
		checked += len(crashes)
	}
	s.must(s.db.Close())
	t.Logf("%d crashes", checked)
}

func (s *crashSteps) open() {
	var err error
	s.s, err = s.db.Store(1, 2)
	s.must(err)
}

// commit ends an entry.
func (s *crashSteps) commit() {
	s.m.applied++
	s.history[s.m.applied] = s.m.clone() // before it is done, as a crash may come in it
	s.must(s.s.Commit(s.m.applied))
}

func (s *crashSteps) commits(n, msgs int) {
	for range n {
		for range msgs {
			s.append()
		}
		s.key()
		s.commit()
	}
}

func (s *crashSteps) checkpoint() {
	applied, err := s.db.Checkpoint()
	s.must(err)
	s.c.checkpointed(applied[s.s.ID()])
}

func (s *crashSteps) deletes() {
	for range 3 {
		for range 20 {
			s.delete()
		}
		s.commit()
	}
}

func (s *crashSteps) rewriteAll() {
	for more := true; more; {
		var err error
		more, err = s.s.rewriteSome()
		s.must(err)
	}
}

func (s *crashSteps) erase() {
	for range 3 {
		seq := s.m.msgs[s.rng.IntN(len(s.m.msgs))].Seq
		_, ok, err := s.s.Delete(seq, true)
		if s.must(err); !ok || !s.m.delete(seq) {
			s.t.Fatalf("message %d is not there", seq)
		}
	}
	s.commit()
	s.checkpoint()
}

// seal completes two chunks.
func (s *crashSteps) seal() {
	for range 2 {
		s.m.last += chunkSize
		s.s.SetLast(s.m.last, 0)
		s.commits(3, 10)
	}
}

func (s *crashSteps) flush() {
	done, err := s.db.p.AsyncFlush()
	s.must(err)
	<-done
}

func (s *crashSteps) snapshot() {
	var b bytes.Buffer
	i, err := s.s.Snapshot()
	s.must(err)
	_, err = i.WriteTo(&b)
	s.must(err)
	s.must(i.Close())
	s.image, s.imaged = b.Bytes(), s.m.clone()
}

func (s *crashSteps) reopen() {
	s.must(s.db.Close())
	s.c.checkpointed(s.m.applied)
	s.db = openTest(s.t, s.fs)
	s.open()
	s.commits(2, 10)
}

// purges removes by subject what is in memory and what is flushed.
func (s *crashSteps) purges() {
	for range 4 {
		s.commits(3, 25)
		s.flush()
		s.purgeMatching()
		s.append()
		s.commit()
	}
	s.checkpoint()
}

// reset purges everything, in one step as there are very many.
func (s *crashSteps) reset() {
	s.commits(2, resetThreshold)
	n, done, err := s.s.Purge(s.m.last+1, 1)
	if s.must(err); !done || int(n) != len(s.m.msgs) {
		s.t.Fatalf("%d of %d messages purged, done %v", n, len(s.m.msgs), done)
	}
	s.m.msgs = nil
	s.commits(2, 10)
	s.checkpoint()
}

// restore goes back to the image; the entries that follow have numbers of their own.
func (s *crashSteps) restore() {
	s.checkpoint()
	s.c.checkpointed(s.imaged.applied)
	s.must(s.s.Restore(bytes.NewReader(s.image)))
	s.m = s.imaged.clone()
	if got := s.s.Applied(); got != s.m.applied {
		s.t.Fatalf("restored to %d, not %d", got, s.m.applied)
	}
	s.m.applied = uint64(len(s.history)) / 2
	s.commits(1, 5)
}

func (s *crashSteps) remove() {
	s.c.checkpointed(0)
	s.must(s.db.Remove(1, 2))
	_, err := s.db.Checkpoint()
	s.must(err)
	s.m = newModel()
	s.m.applied = uint64(len(s.history)) - 10
	s.open()
	s.commits(2, 10)
	s.checkpoint()
}
