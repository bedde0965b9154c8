package msgstore

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
	"weir/internal/subject"
)

// model is a store as simple as can be.
type model struct {
	memory  bool
	msgs    []msg.Message // ascending
	last    uint64
	lastT   int64
	keys    map[string]string
	applied uint64
}

func newModel() *model { return &model{keys: map[string]string{}} }

func (m *model) clone() *model {
	c := *m
	c.msgs = slices.Clone(m.msgs)
	c.keys = map[string]string{}
	for k, v := range m.keys {
		c.keys[k] = v
	}
	return &c
}

func (m *model) state() msg.State {
	st := msg.State{LastSeq: m.last, LastTime: m.lastT, Msgs: uint64(len(m.msgs))}
	if m.last > 0 {
		st.FirstSeq = m.last + 1
	}
	subjects := map[string]bool{}
	for i, x := range m.msgs {
		if i == 0 {
			st.FirstSeq, st.FirstTime = x.Seq, x.Time
		}
		subjects[x.Subject] = true
		st.Bytes += uint64(messageSize(m.memory, len(x.Subject), len(x.Header), len(x.Data)))
	}
	st.NumSubjects = len(subjects)
	if len(m.msgs) > 0 {
		st.NumDeleted = int(st.LastSeq - st.FirstSeq + 1 - st.Msgs)
	}
	return st
}

func (m *model) matching(f subject.Filter) (out []msg.Message) {
	for _, x := range m.msgs {
		if f.Match(x.Subject) {
			out = append(out, x)
		}
	}
	return out
}

func (m *model) delete(seq uint64) bool {
	i, ok := slices.BinarySearchFunc(m.msgs, seq, func(x msg.Message, seq uint64) int { return cmp.Compare(x.Seq, seq) })
	if ok {
		m.msgs = slices.Delete(m.msgs, i, i+1)
	}
	return ok
}

// driver does the same random steps to a store and to a model.
type driver struct {
	t        testing.TB
	rng      *rand.Rand
	s        *Store
	m        *model
	now      int64
	subjects int
	big      bool // steps of thousands of messages too
}

func (d *driver) subject() string {
	return fmt.Sprintf("%c.%d", 'a'+d.rng.IntN(3), d.rng.IntN(d.subjects))
}

func (d *driver) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *driver) append() {
	d.now += int64(d.rng.IntN(3))
	x := msg.Message{Seq: d.m.last + 1, Time: d.now, Subject: d.subject(), Data: make([]byte, d.rng.IntN(80))}
	if d.rng.IntN(20) == 0 {
		x.Seq += uint64(d.rng.IntN(5000))
	}
	if d.rng.IntN(3) == 0 {
		x.Header = []byte("NATS/1.0\r\nA: b\r\n\r\n")
	}
	for i := range x.Data {
		x.Data[i] = byte(d.rng.Uint32())
	}
	d.must(d.s.Append(&x))
	d.m.msgs = append(d.m.msgs, x)
	d.m.last, d.m.lastT = x.Seq, x.Time
}

func (d *driver) delete() {
	seq := d.m.last - min(d.m.last, uint64(d.rng.IntN(200)))
	if len(d.m.msgs) > 0 && d.rng.IntN(4) > 0 {
		seq = d.m.msgs[d.rng.IntN(len(d.m.msgs))].Seq
		if d.rng.IntN(2) == 0 {
			seq = d.m.msgs[0].Seq
		}
	}
	remove := func() (msg.Info, bool, error) { return d.s.Delete(seq, d.rng.IntN(10) == 0) }
	i, found := slices.BinarySearchFunc(d.m.msgs, seq, func(x msg.Message, seq uint64) int { return cmp.Compare(x.Seq, seq) })
	if found && d.rng.IntN(2) == 0 {
		remove = func() (msg.Info, bool, error) { return d.s.DeleteOf(d.m.msgs[i].Subject, seq) }
	}
	_, ok, err := remove()
	d.must(err)
	if want := d.m.delete(seq); ok != want {
		d.t.Fatalf("delete %d: %v, want %v", seq, ok, want)
	}
}

func (d *driver) purge() {
	below := d.m.last + uint64(d.rng.IntN(3))
	if len(d.m.msgs) > 0 && d.rng.IntN(2) == 0 {
		below = d.m.msgs[d.rng.IntN(len(d.m.msgs))].Seq
	}
	n := d.inSteps(func(most int) (uint64, bool) {
		n, done, err := d.s.Purge(below, most)
		d.must(err)
		return n, done
	})
	before := len(d.m.msgs)
	d.m.msgs = slices.DeleteFunc(d.m.msgs, func(x msg.Message) bool { return x.Seq < below })
	if int(n) != before-len(d.m.msgs) {
		d.t.Fatalf("purge below %d: %d, want %d", below, n, before-len(d.m.msgs))
	}
}

// purgeMatching purges by a random filter, sparing some of each subject.
func (d *driver) purgeMatching() {
	patterns := []string{d.subject(), "", ">", "a.1", "a.*", "b.>", "*.3", "nothing", "nothing.*"}
	pattern := patterns[d.rng.IntN(len(patterns))]
	f := subject.NewFilter(cmp.Or(pattern, ">"))
	below, keep := d.m.last+1, uint64(d.rng.IntN(3))
	if d.rng.IntN(2) == 0 {
		below = uint64(d.rng.Int64N(int64(below)))
	}
	left := map[string]uint64{}
	for _, x := range d.m.matching(f) {
		left[x.Subject]++
	}
	gone := map[uint64]bool{}
	d.m.msgs = slices.DeleteFunc(d.m.msgs, func(x msg.Message) bool {
		if x.Seq >= below || left[x.Subject] <= keep {
			return false
		}
		left[x.Subject]--
		gone[x.Seq] = true
		return true
	})
	want, before := len(gone), ""
	from := ""
	n := d.inSteps(func(most int) (n uint64, done bool) {
		var err error
		from, err = d.s.PurgeMatching(pattern, from, below, keep, most, func(info msg.Info) {
			if !gone[info.Seq] || info.Subject < before {
				d.t.Fatalf("purge of %v below %d but for %d removes message %d of %s after %s", pattern, below, keep, info.Seq, info.Subject, before)
			}
			delete(gone, info.Seq)
			before = info.Subject
			n++
		})
		d.must(err)
		return n, from == ""
	})
	if int(n) != want || len(gone) > 0 {
		d.t.Fatalf("purge of %v below %d but for %d: %d, want %d", f.Subjects(), below, keep, n, want)
	}
}

// inSteps repeats a removal until it is done.
func (d *driver) inSteps(remove func(most int) (uint64, bool)) (n uint64) {
	for most := []int{1, 7, 100, math.MaxInt}[d.rng.IntN(4)]; ; most *= 2 {
		k, done := remove(most)
		if n += k; done {
			return n
		}
		if int(k) != most {
			d.t.Fatalf("%d removed, which is not all, instead of %d", k, most)
		}
	}
}

// checkNthLast compares a random question with the model.
func (d *driver) checkNthLast(f subject.Filter, want []msg.Message, ask func(f subject.Filter, upTo, n uint64) (uint64, bool, error)) {
	d.t.Helper()
	upTo, n := uint64(d.rng.Int64N(int64(d.m.last)+2)), 1+d.rng.IntN(len(want)+2)
	if d.rng.IntN(2) == 0 {
		upTo = math.MaxUint64
	}
	i, _ := slices.BinarySearchFunc(want, upTo, func(x msg.Message, seq uint64) int { return cmp.Compare(x.Seq, seq) })
	if i < len(want) && want[i].Seq == upTo {
		i++
	}
	seq, ok, err := ask(f, upTo, uint64(n))
	d.must(err)
	if ok != (n <= i) || ok && seq != want[i-n].Seq {
		d.t.Fatalf("%v: %d. last up to %d of %d is %d %v", f.Subjects(), n, upTo, i, seq, ok)
	}
}

func (d *driver) key() {
	k, v := fmt.Sprintf("k%d", d.rng.IntN(20)), fmt.Sprint(d.rng.Uint32())
	if d.rng.IntN(3) == 0 {
		d.must(d.s.Unset([]byte(k)))
		delete(d.m.keys, k)
		return
	}
	d.must(d.s.Set([]byte(k), []byte(v)))
	d.m.keys[k] = v
}

// entry is one applied index: some steps and a Commit.
func (d *driver) entry() {
	steps := d.rng.IntN(12)
	for range steps {
		switch n := d.rng.IntN(1000); {
		case n < 600:
			d.append()
		case n < 850:
			d.delete()
		case n < 855:
			d.purge()
		case n < 857:
			d.purgeMatching()
		case n < 865:
			to := d.m.last + uint64(d.rng.IntN(3000))
			d.now += int64(d.rng.IntN(3))
			if d.s.SetLast(to, d.now); to > d.m.last && d.now > 0 {
				d.m.lastT = d.now
			}
			d.m.last = to
		case n < 880 && d.big:
			for range 1200 {
				d.append()
			}
		default:
			d.key()
		}
	}
	if d.rng.IntN(4) == 0 {
		d.checkApply()
	}
	d.m.applied++
	d.must(d.s.Commit(d.m.applied))
	if d.rng.IntN(20) == 0 {
		d.widen()
	}
}

func (d *driver) checkApply() {
	d.t.Helper()
	if got, want := d.s.State(), d.m.state(); got != want {
		d.t.Fatalf("apply state\n%+v, want\n%+v", got, want)
	}
	subj := d.subject()
	of := d.m.matching(subject.NewFilter(subj))
	n, err := d.s.CountFor(subj)
	d.must(err)
	first, ok1, err := d.s.FirstFor(subj)
	d.must(err)
	last, ok2, err := d.s.LastFor(subj)
	d.must(err)
	if int(n) != len(of) || ok1 != (len(of) > 0) || ok2 != ok1 || ok1 && (first != of[0].Seq || last != of[len(of)-1].Seq) {
		d.t.Fatalf("%s: count %d first %d %v last %d %v, want %d of %v", subj, n, first, ok1, last, ok2, len(of), of)
	}
	if len(d.m.msgs) > 0 {
		x := d.m.msgs[d.rng.IntN(len(d.m.msgs))]
		var got msg.Message
		ok, err := d.s.Load(x.Seq, &got, nil)
		d.must(err)
		equalMessage(d.t, ok, got, &x)
	}
	f := subject.NewFilter(testFilters[d.rng.IntN(len(testFilters))]...)
	d.checkNthLast(f, d.m.matching(f), d.s.NthLast)
	d.checkKeys(d.s.ScanKeys)
}

func (d *driver) checkKeys(scan func([]byte, func(k, v []byte) bool) error) {
	d.t.Helper()
	keys := map[string]string{}
	prev := ""
	d.must(scan([]byte("k"), func(k, v []byte) bool {
		if string(k) <= prev {
			d.t.Fatalf("key %s after %s", k, prev)
		}
		prev = string(k)
		keys[prev] = string(v)
		return true
	}))
	if fmt.Sprint(keys) != fmt.Sprint(d.m.keys) {
		d.t.Fatalf("keys %v, want %v", keys, d.m.keys)
	}
}

func equalMessage(t testing.TB, ok bool, got msg.Message, want *msg.Message) {
	t.Helper()
	if !ok || got.Seq != want.Seq || got.Time != want.Time || got.Subject != want.Subject ||
		string(got.Header) != string(want.Header) || string(got.Data) != string(want.Data) {
		t.Fatalf("message %v %+v, want %+v", ok, got, *want)
	}
}

var testFilters = [][]string{
	nil, {">"}, {"a.1"}, {"a.*"}, {"b.>"}, {"*.3"}, {"a.1", "b.2", "c.3"}, {"a.*", "*.2"}, {"nothing"}, {"nothing.*"},
}

// checkReader compares every read with the model, which must be committed.
func (d *driver) checkReader() {
	d.t.Helper()
	r := d.s.Reader()
	if got, want := r.State(), d.m.state(); got != want {
		d.t.Fatalf("state\n%+v, want\n%+v", got, want)
	}
	if r.Applied() != d.m.applied {
		d.t.Fatalf("applied %d, want %d", r.Applied(), d.m.applied)
	}
	d.checkKeys(r.ScanKeys)
	buf := make([]byte, 100)
	for _, subjects := range testFilters {
		f := subject.NewFilter(subjects...)
		want := d.m.matching(f)
		from := uint64(0)
		for i := range want {
			var got msg.Message
			ok, err := r.Next(from, f, &got, buf)
			d.must(err)
			equalMessage(d.t, ok, got, &want[i])
			from = got.Seq + 1
		}
		if ok, err := r.Next(from, f, &msg.Message{}, buf); ok || err != nil {
			d.t.Fatalf("%v: message after the last: %v %v", subjects, ok, err)
		}
		d.checkFilter(r, f, want)
	}
	d.checkTimes(r)
	d.checkDeleted(r)
}

func (d *driver) checkDeleted(r Reader) {
	d.t.Helper()
	var want, got []seqRange
	next := d.m.state().FirstSeq
	for _, x := range append(slices.Clone(d.m.msgs), msg.Message{Seq: d.m.last + 1}) {
		if x.Seq > next && next > 0 {
			want = append(want, seqRange{next, x.Seq - 1})
		}
		next = x.Seq + 1
	}
	d.must(r.Deleted(func(first, last uint64) bool {
		got = append(got, seqRange{first, last})
		return true
	}))
	if !slices.Equal(got, want) {
		d.t.Fatalf("without a message: %v, want %v", got, want)
	}
}

func (d *driver) checkFilter(r Reader, f subject.Filter, want []msg.Message) {
	d.t.Helper()
	for range 5 {
		from := uint64(d.rng.Int64N(int64(d.m.last) + 2))
		i, _ := slices.BinarySearchFunc(want, from, func(x msg.Message, seq uint64) int { return cmp.Compare(x.Seq, seq) })
		n, err := r.NumPending(from, f)
		d.must(err)
		if int(n) != len(want)-i {
			d.t.Fatalf("%v: %d pending from %d, want %d", f.Subjects(), n, from, len(want)-i)
		}
		last, ok, err := r.LastMatching(f, from)
		d.must(err)
		if i < len(want) && want[i].Seq == from {
			i++
		}
		if ok != (i > 0) || ok && last != want[i-1].Seq {
			d.t.Fatalf("%v: last up to %d is %d %v", f.Subjects(), from, last, ok)
		}
	}
	d.checkNthLast(f, want, r.NthLast)
	lasts, counts := map[string]uint64{}, map[string]uint64{}
	for _, x := range want {
		lasts[x.Subject] = x.Seq
		counts[x.Subject]++
	}
	d.must(r.AllLast(f, math.MaxUint64, func(subj string, seq uint64) bool {
		if lasts[subj] != seq {
			d.t.Fatalf("last of %s is %d, want %d", subj, seq, lasts[subj])
		}
		delete(lasts, subj)
		return true
	}))
	d.must(r.Subjects(f, func(subj string, n uint64) bool {
		if counts[subj] != n {
			d.t.Fatalf("%s has %d, want %d", subj, n, counts[subj])
		}
		delete(counts, subj)
		return true
	}))
	if len(lasts)+len(counts) > 0 {
		d.t.Fatalf("%v: subjects not visited: %v %v", f.Subjects(), lasts, counts)
	}
}

func (d *driver) checkTimes(r Reader) {
	d.t.Helper()
	for range 5 {
		t := d.rng.Int64N(d.now + 2)
		want := d.m.last + 1
		for _, x := range d.m.msgs {
			if x.Time >= t {
				want = x.Seq
				break
			}
		}
		got, err := r.SeqAtTime(t)
		d.must(err)
		if got != want {
			d.t.Fatalf("first at %d is %d, want %d", t, got, want)
		}
	}
}

func openTest(t testing.TB, fs vfs.FS) *DB {
	t.Helper()
	db, err := Open(Options{FS: fs, Dir: "node", SegmentSize: 4 << 10, MemTableSize: 1 << 20, MaxOpenFiles: 4, TableBytes: 2 << 10})
	if err != nil {
		t.Fatal(err)
	}
	db.leastRun = 1
	return db
}

// seeds is how many random runs a test makes; with -short one, as these tests have
// one goroutine, so that the race detector only makes them slow.
func seeds(n uint64) uint64 {
	if testing.Short() {
		return 1
	}
	return n
}

func TestAgainstModel(t *testing.T) {
	for seed := range seeds(9) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			fs := vfs.NewMem()
			db := openTest(t, fs)
			s, err := db.Store(7, 3)
			if err != nil {
				t.Fatal(err)
			}
			d := &driver{t: t, rng: rand.New(rand.NewPCG(seed, 1)), s: s, m: newModel(), subjects: []int{4, 40, 4000}[seed%3], big: true}
			for i := range 300 {
				d.entry()
				if d.rng.IntN(40) == 0 {
					d.checkReader()
				}
				if i%100 == 99 {
					d.must(db.Close())
					db = openTest(t, fs)
					d.s, err = db.Store(7, 3)
					d.must(err)
					d.checkReader()
				}
			}
			d.must(db.Close())
		})
	}
}
