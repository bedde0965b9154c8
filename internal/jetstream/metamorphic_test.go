package jetstream

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/msg"
	"weir/internal/msgstore"
	"weir/internal/stream"
	"weir/internal/stream/storetest"
	"weir/internal/subject"
)

var (
	logSeeds = flag.Int("logs", 6, "how many random logs to apply in different ways")
	logFirst = flag.Uint64("first-log", 1, "the seed of the first of them")
)

const logEntries = 250

// TestEqualLogsEqualStates applies random logs in different ways: to the store that
// is the model, to one on a disk entry by entry, several entries to a commit, with
// restarts, and with images taken and restored. Effects and states are equal
// wherever they can be compared.
func TestEqualLogsEqualStates(t *testing.T) {
	for seed := *logFirst; seed < *logFirst+uint64(*logSeeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			log := newRandomLog(t, seed)
			variants := []*variant{
				newVariant(t, "entry by entry", log, 1, 0, 0),
				newVariant(t, "with restarts", log, 1, 3, 0),
				newVariant(t, "seven entries to a commit", log, 7, 21, 0),
				newVariant(t, "with images", log, 1, 0, 5),
			}
			for index := uint64(1); index <= logEntries; index++ {
				cmd := log.next()
				want := log.apply(index, cmd)
				for _, v := range variants {
					if got := v.apply(index, cmd); got != want {
						t.Fatalf("%s, entry %d, %s:\n%sto repeat: go test ./internal/jetstream -run TestEqualLogsEqualStates -first-log %d -logs 1",
							v.name, index, log.text, unlike(got, want), seed)
					}
				}
			}
		})
	}
}

// unlike shows the first lines that differ.
func unlike(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < min(len(g), len(w)) && g[i] == w[i] {
		i++
	}
	return fmt.Sprintf("line %d\ngot  %.2000q\nwant %.2000q\n", i, strings.Join(g[i:], "\n"), strings.Join(w[i:], "\n"))
}

// variant is a way to apply a log.
type variant struct {
	t    testing.TB
	name string
	// commit, restart and image say after how many entries each is done, 0 is never.
	commit, restart, image uint64

	fs      vfs.FS
	memory  bool
	db      *msgstore.DB
	store   *msgstore.Store
	replica base.ReplicaID
	machine *machine.Machine
	step    int // stream.Stream.StepMost
}

func newVariant(t testing.TB, name string, log *randomLog, commit, restart, image uint64) *variant {
	v := &variant{t: t, name: name, commit: commit, restart: restart, image: image, fs: vfs.NewMem(), memory: log.memory, replica: 1}
	v.step = log.machine.Stream().StepMost
	v.open()
	t.Cleanup(func() {
		if err := v.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func (v *variant) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatalf("%s: %v", v.name, err)
	}
}

func (v *variant) open() {
	var err error
	v.db, err = msgstore.Open(msgstore.Options{FS: v.fs, Dir: "node", Memory: v.memory, SegmentSize: 2 << 10, MemTableSize: 1 << 20, TableBytes: 1 << 10})
	v.must(err)
	v.load()
}

func (v *variant) load() {
	var err error
	v.store, err = v.db.Store(1, v.replica)
	v.must(err)
	v.machine, err = machine.New(v.store, 1)
	v.must(err)
	v.machine.Stream().StepMost = v.step
}

// apply does an entry and what the variant does besides; the result describes what
// the entry did and what is there after it.
func (v *variant) apply(index uint64, cmd []byte) string {
	var out machine.Effects
	v.must(v.machine.Apply(index, cmd, &out))
	done := described(&out)
	if index%v.commit == 0 {
		v.must(v.store.Commit(index))
	}
	if v.restart > 0 && index%v.restart == 0 {
		v.must(v.db.Close())
		v.open()
	}
	if v.image > 0 && index%v.image == 0 {
		v.move()
	}
	return done + content(v.t, v.machine, v.store)
}

// move goes on with another replica that got an image of this one.
func (v *variant) move() {
	image, err := v.store.Snapshot()
	v.must(err)
	var b bytes.Buffer
	_, err = image.WriteTo(&b)
	v.must(err)
	v.must(image.Close())
	v.must(v.db.Remove(1, v.replica))
	v.replica++
	v.load()
	v.must(v.store.Restore(&b))
	v.load()
}

// described is what an entry did, in words.
func described(out *machine.Effects) string {
	var b bytes.Buffer
	for _, p := range out.Published {
		fmt.Fprintf(&b, "published %d: %d %v %v %q %d %v\n", p.Request, p.Seq, p.Duplicate, p.Published.Stored, p.Counter, p.Previous, p.Err)
	}
	for _, r := range out.Replies {
		fmt.Fprintf(&b, "reply %d: %v purged %d made %v start %d\n", r.Request, r.Err, r.Purged, r.Made, r.Start)
	}
	fmt.Fprintln(&b, "unfinished", out.Unfinished)
	for i := range out.Stored {
		s := &out.Stored[i]
		fmt.Fprintf(&b, "stored %d %d %s %q %q\n", s.Seq, s.Time, s.Subject, s.Header, s.Data)
	}
	fmt.Fprintln(&b, "previous", out.Previous)
	for _, d := range out.Deltas {
		fmt.Fprintf(&b, "delta of %d: %d %d %v\n", d.ID, d.Epoch, d.Ticket, d.Verdict)
	}
	for _, c := range out.Consumers {
		fmt.Fprintf(&b, "consumer %s: %v\n", c.Consumer.Name, c.Change)
	}
	var lost []string
	for _, l := range out.Lost {
		lost = append(lost, fmt.Sprint(l.Consumer.Name, " lost ", l.Seq))
	}
	slices.Sort(lost)
	fmt.Fprintln(&b, lost, out.StreamChanged, out.Trimmed)
	return b.String()
}

// content is what a machine and its store have.
func content(t testing.TB, m *machine.Machine, store stream.Store) string {
	var b bytes.Buffer
	state := store.State()
	subjects := state.NumSubjects
	state.NumSubjects = 0
	fmt.Fprintf(&b, "%+v hash %x\n", state, m.Hash())
	counts := map[string]uint64{}
	for from := uint64(0); ; {
		info, ok, err := store.NextInfo(from)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		var got msg.Message
		if ok, err := store.Load(info.Seq, &got, nil); err != nil || !ok {
			t.Fatalf("message %d: %v %v", info.Seq, ok, err)
		}
		fmt.Fprintf(&b, "%d %d %s %q %q\n", got.Seq, got.Time, got.Subject, got.Header, got.Data)
		counts[got.Subject]++
		from = info.Seq + 1
	}
	if _, plain := store.(*storetest.Store); !plain && subjects != len(counts) {
		t.Fatalf("%d subjects, want %d", subjects, len(counts))
	}
	for subj, want := range counts {
		last, ok, err := store.LastMatching(subject.NewFilter(subj), math.MaxUint64)
		n, err2 := store.CountFor(subj)
		if err != nil || err2 != nil || !ok || n != want {
			t.Fatalf("%s: last %d %v, %d of %d messages, %v %v", subj, last, ok, n, want, err, err2)
		}
	}
	if err := store.ScanKeys(nil, func(k, v []byte) bool {
		fmt.Fprintf(&b, "%x=%x ", k, v)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// model is the machine that says what is right.
type model struct {
	t       testing.TB
	memory  bool
	store   *storetest.Store
	machine *machine.Machine
}

func newModel(t testing.TB, memory bool) model {
	store := storetest.New()
	store.Memory = memory
	m, err := machine.New(store, 1)
	if err != nil {
		t.Fatal(err)
	}
	return model{t, memory, store, m}
}

func (m *model) apply(index uint64, cmd []byte) string {
	var out machine.Effects
	if err := m.machine.Apply(index, cmd, &out); err != nil {
		m.t.Fatal(err)
	}
	return described(&out) + content(m.t, m.machine, m.store)
}
