package msgstore

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
	"weir/internal/subject"
)

// TestSealingIsSpread fills a chunk with as many subjects and looks at what the
// Commits after it do, each of which has one message.
func TestSealingIsSpread(t *testing.T) {
	db := openTest(t, vfs.NewMem())
	defer db.Close()
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	put := func(seq uint64) {
		t.Helper()
		if err := s.Append(&msg.Message{Seq: seq, Time: 1, Subject: fmt.Sprintf("s.%d", seq)}); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(seq); err != nil {
			t.Fatal(err)
		}
	}
	const n = chunkSize + chunkSize/sealStep
	for seq := uint64(1); seq <= n; seq++ {
		before := len(s.sealing)
		put(seq)
		if done := before - len(s.sealing); done > sealStep {
			t.Fatalf("the Commit of message %d sealed %d subjects", seq, done)
		}
		if seq == chunkSize && (len(s.sealing) == 0 || s.committed.openBase != 0) {
			t.Fatalf("after message %d: %d subjects to be sealed, base %d", seq, len(s.sealing), s.committed.openBase)
		}
		if seq > chunkSize && seq%16 == 0 {
			if n, err := s.Reader().NumPending(0, subject.NewFilter("s.*")); n != seq || err != nil {
				t.Fatalf("%d messages are found after %d: %v", n, seq, err)
			}
		}
	}
	if len(s.sealing) > 0 || s.committed.openBase != chunkSize || len(s.open.subjects) > chunkSize/sealStep+1 {
		t.Fatalf("%d subjects are still to be sealed, base %d, %d in memory", len(s.sealing), s.committed.openBase, len(s.open.subjects))
	}
}

// TestSingleMessageHasNoPosting counts the postings of a subject as its messages
// come and go.
func TestSingleMessageHasNoPosting(t *testing.T) {
	db := openTest(t, vfs.NewMem())
	defer db.Close()
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	applied := uint64(0)
	step := func(want int, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		applied++
		if err := s.Commit(applied); err != nil {
			t.Fatal(err)
		}
		got := 0
		err := db.scan(db.p, appendPrefix(nil, s.number, kindPosting), func(_, _ []byte) (bool, error) {
			got++
			return true, nil
		})
		if err != nil || got != want {
			t.Fatalf("%d postings, want %d: %v", got, want, err)
		}
	}
	add := func(seq uint64) func() error {
		return func() error { return s.Append(&msg.Message{Seq: seq, Time: 1, Subject: "a"}) }
	}
	remove := func(seq uint64) func() error {
		return func() error {
			_, ok, err := s.Delete(seq, false)
			if !ok {
				t.Fatalf("message %d is not there", seq)
			}
			return err
		}
	}
	nothing := func() error { return nil }
	step(0, add(1))
	step(0, add(chunkSize)) // seals the chunk of message 1
	step(2, func() error { s.SetLast(2*chunkSize, 0); return nil })
	step(1+1, add(2*chunkSize+1))
	step(0, remove(1)) // the other sealed one is alone
	step(0, func() error { return remove(chunkSize)() })
	step(0, func() error { s.SetLast(3*chunkSize, 0); return nil })
	step(0, nothing)
	last, ok, err := s.Reader().LastFor("a")
	if err != nil || !ok || last != 2*chunkSize+1 {
		t.Fatalf("last is %d %v %v", last, ok, err)
	}
}
