package msgstore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
)

// TestDiskFollowsWhatIsLive overwrites random keys many times and wants the files,
// when rewriting is done, to be hardly larger than what is live.
func TestDiskFollowsWhatIsLive(t *testing.T) {
	fs := vfs.NewMem()
	db, err := Open(Options{FS: fs, Dir: "node", SegmentSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	const keys, rounds = 5000, 4
	rng := rand.New(rand.NewPCG(1, 1))
	live := map[string]string{}
	for i := range uint64(keys * rounds) {
		key, value := fmt.Sprintf("kv.%d", rng.IntN(keys)), fmt.Sprintf("%0500d", i)
		last, ok, err := s.LastFor(key)
		if err == nil && ok {
			_, _, err = s.Delete(last, false)
		}
		if err == nil {
			err = s.Append(&msg.Message{Seq: i + 1, Time: 1, Subject: key, Data: []byte(value)})
		}
		if err == nil {
			err = s.Commit(i + 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		live[key] = value
	}
	for more := true; more; {
		if more, err = s.rewriteSome(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(db.files.storeDir(s.number))
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(db.files.storeDir(s.number), name))
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if want := int64(len(live)) * 540 * 13 / 10; total > want {
		t.Errorf("%d bytes in %d files, want at most %d", total, len(names), want)
	}
	for key, value := range live {
		var m msg.Message
		if ok, err := s.Reader().LoadLast(key, &m, nil); !ok || err != nil || string(m.Data) != value {
			t.Fatalf("%s: %v %v", key, ok, err)
		}
	}
}
