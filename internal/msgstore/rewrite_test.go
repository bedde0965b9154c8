package msgstore

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

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

// TestTidy leaves less dead in a store that is calm than in one that is written to.
func TestTidy(t *testing.T) {
	db, err := Open(Options{FS: vfs.NewMem(), Dir: "node", SegmentSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := db.Store(1, 1)
	const keys = 5000
	for i := uint64(0); err == nil && i < keys*11/10; i++ {
		key := fmt.Sprint("kv.", i%keys)
		if i >= keys {
			key = fmt.Sprint("kv.", (i-keys)*10)
			if last, ok, e := s.LastFor(key); e == nil && ok {
				_, _, err = s.Delete(last, false)
			}
		}
		if err == nil {
			err = s.Append(&msg.Message{Seq: i + 1, Time: 1, Subject: key, Data: make([]byte, 500)})
		}
		if err == nil {
			err = s.Commit(i + 1)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	share := func() float64 {
		s.mu.RLock()
		defer s.mu.RUnlock()
		var live, dead int64
		for _, g := range s.segs {
			live, dead = live+g.liveBytes(), dead+g.deadBytes
		}
		return float64(dead) / float64(live)
	}
	db.Tidy() // the first has nothing to compare with
	if before := share(); before < 0.09 {
		t.Fatalf("share of dead records is %.3f while the store is in use", before)
	}
	for end := time.Now().Add(time.Minute); share() > 1.0/12; {
		if db.Tidy(); time.Now().After(end) {
			t.Fatalf("share of dead records is %.3f", share())
		}
	}
}
