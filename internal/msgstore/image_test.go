package msgstore

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
	"weir/internal/msg"
)

// TestImage restores images, taken while writes go on, into another store with
// other content, and compares.
func TestImage(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testImage(t, seed) })
	}
}

func testImage(t *testing.T, seed uint64) {
	db := openTest(t, vfs.NewMem())
	newDriver := func(group base.GroupID) *driver {
		s, err := db.Store(group, 1)
		if err != nil {
			t.Fatal(err)
		}
		return &driver{t: t, rng: rand.New(rand.NewPCG(seed, uint64(group))), s: s, m: newModel(), subjects: 50, big: true}
	}
	from, to := newDriver(1), newDriver(2)
	for range 60 {
		from.entry()
		to.entry()
	}
	image, err := from.s.Snapshot()
	from.must(err)
	then := from.m.clone()
	hash, err := from.s.Hash()
	from.must(err)
	for range 60 {
		from.entry()
	}
	_, err = db.Checkpoint()
	from.must(err)
	var b bytes.Buffer
	n, err := image.WriteTo(&b)
	from.must(err)
	if int(n) != b.Len() || image.Index() != then.applied {
		t.Fatalf("image of %d bytes at %d, want %d at %d", n, image.Index(), b.Len(), then.applied)
	}
	checkContent(t, image, then)
	from.must(image.Close())
	checkBroken(t, to, b.Bytes())
	to.checkReader()
	to.must(to.s.Restore(&b))
	to.m, to.now = then, from.now
	to.checkReader()
	if got, err := to.s.Hash(); err != nil || got != hash {
		t.Fatalf("hash %x %v, want %x", got, err, hash)
	}
	for range 30 {
		to.entry()
	}
	to.checkReader()
	_, err = db.Checkpoint()
	to.must(err)
	names, err := db.opts.FS.List(db.files.dir)
	to.must(err)
	if len(names) != 2 {
		t.Fatalf("segment directories %v, want two", names)
	}
	to.must(db.Close())
}

// checkContent compares what an image shows with the model of its time.
func checkContent(t *testing.T, image *Image, want *model) {
	t.Helper()
	var got []msg.Message
	err := image.Messages(func(m *msg.Message) error {
		got = append(got, msg.Message{Seq: m.Seq, Time: m.Time, Subject: m.Subject, Header: bytes.Clone(m.Header), Data: bytes.Clone(m.Data)})
		return nil
	})
	if err != nil || len(got) != len(want.msgs) {
		t.Fatalf("%d messages of %d: %v", len(got), len(want.msgs), err)
	}
	for i, m := range want.msgs {
		if g := got[i]; g.Seq != m.Seq || g.Time != m.Time || g.Subject != m.Subject || !bytes.Equal(g.Header, m.Header) || !bytes.Equal(g.Data, m.Data) {
			t.Fatalf("message %+v of %+v", g, m)
		}
	}
	if st := image.State(); st.Msgs != uint64(len(want.msgs)) || st.LastSeq != want.last {
		t.Fatalf("state %+v", st)
	}
	keys := map[string]string{}
	err = image.ScanKeys(nil, func(key, value []byte) bool {
		keys[string(key)] = string(value)
		return true
	})
	if err != nil || !maps.Equal(keys, want.keys) {
		t.Fatalf("%d keys of %d: %v", len(keys), len(want.keys), err)
	}
}

// checkBroken restores damaged and cut images, which must change nothing.
func checkBroken(t *testing.T, d *driver, image []byte) {
	t.Helper()
	for range 8 {
		flipped := bytes.Clone(image)
		flipped[d.rng.IntN(len(flipped))] ^= 1 << d.rng.IntN(8)
		if err := d.s.Restore(bytes.NewReader(flipped)); err == nil {
			t.Fatal("a damaged image was restored")
		}
		if err := d.s.Restore(bytes.NewReader(image[:d.rng.IntN(len(image))])); err == nil {
			t.Fatal("a cut image was restored")
		}
	}
}

// TestCrashInRestore cuts the power during a restore: the store has the old
// content or the new.
func TestCrashInRestore(t *testing.T) {
	mem := vfs.NewCrashableMem()
	c := &crasher{mem: mem, every: 1 << 30, rng: rand.New(rand.NewPCG(1, 7))}
	db := openTest(t, errorfsWrap(mem, c))
	s, err := db.Store(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, rng: rand.New(rand.NewPCG(5, 2)), s: s, m: newModel(), subjects: 30, big: true}
	for range 40 {
		d.entry()
	}
	var b bytes.Buffer
	image, err := s.Snapshot()
	d.must(err)
	_, err = image.WriteTo(&b)
	d.must(err)
	d.must(image.Close())
	imaged := d.m.clone()
	for range 40 {
		d.entry()
	}
	_, err = db.Checkpoint()
	d.must(err)
	c.setEvery(4)
	d.must(s.Restore(&b))
	c.setEvery(1 << 30)
	history := make([]*model, d.m.applied+1)
	history[imaged.applied], history[d.m.applied] = imaged, d.m
	t.Logf("%d crashes", len(c.crashes))
	for i, crash := range c.crashes {
		checkCrash(t, crash, history, rand.New(rand.NewPCG(1, uint64(i))), d.subjects)
	}
}

// TestErase looks for the bytes of an erased message on the disk.
func TestErase(t *testing.T) {
	fs := vfs.NewMem()
	db := openTest(t, fs)
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, s: s}
	for seq := range uint64(10) {
		d.must(s.Append(&msg.Message{Seq: seq + 1, Time: int64(seq), Subject: "a.secret", Data: fmt.Appendf(nil, "secret-%d", seq+1)}))
	}
	d.must(s.Commit(1))
	_, ok, err := s.Delete(5, true)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	d.must(s.Commit(2))
	_, err = db.Checkpoint()
	d.must(err)
	f, err := fs.Open(db.files.path(s.file(s.segs[0])))
	d.must(err)
	b, err := io.ReadAll(f)
	d.must(err)
	d.must(f.Close())
	if bytes.Contains(b, []byte("secret-5")) || !bytes.Contains(b, []byte("secret-6")) {
		t.Fatal("the message was not erased, or another was")
	}
	d.must(db.Close())
	db = openTest(t, fs)
	s, err = db.Store(1, 1)
	d.must(err)
	if st := s.Reader().State(); st.Msgs != 9 || st.NumDeleted != 1 {
		t.Fatalf("state %+v", st)
	}
	if seq, err := s.Reader().SeqAtTime(4); err != nil || seq != 6 {
		t.Fatal(seq, err)
	}
	d.must(db.Close())
}

// TestEraseInFileThatGoes erases a message in a segment that is dropped at the same
// time: what is unlinked must not have its bytes any more.
func TestEraseInFileThatGoes(t *testing.T) {
	fs := vfs.NewMem()
	db := openTest(t, fs)
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, s: s}
	for seq := range uint64(10) {
		d.must(s.Append(&msg.Message{Seq: seq + 1, Subject: "a", Data: bytes.Repeat([]byte("secret"), 400)}))
		d.must(s.Commit(seq + 1))
	}
	f, err := fs.Open(db.files.path(s.file(s.segs[0])))
	d.must(err)
	for g := s.segs[0]; g.live() > 0; {
		_, _, err := s.Delete(s.State().FirstSeq, true)
		d.must(err)
		d.must(s.Commit(s.Applied() + 1))
	}
	_, err = db.Checkpoint()
	d.must(err)
	b, err := io.ReadAll(f)
	d.must(err)
	d.must(f.Close())
	if bytes.Contains(b, []byte("secret")) || len(b) == 0 {
		t.Fatalf("%d bytes of an unlinked file still have the message", len(b))
	}
	d.must(db.Close())
}
