package msgstore

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
	"weir/internal/subject"
)

// TestReadAhead reads messages one after the other, which come from the file by many
// at a time, while others are stored behind them and some are removed.
func TestReadAhead(t *testing.T) {
	fs := vfs.NewMem()
	db := openTest(t, fs)
	defer db.Close()
	s, err := db.Store(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, s: s}
	data := func(seq uint64) []byte { return bytes.Repeat([]byte(fmt.Sprint(seq, " ")), 200) }
	store := func(n int) {
		for range n {
			seq := s.State().LastSeq + 1
			d.must(s.Append(&msg.Message{Seq: seq, Subject: fmt.Sprint("s.", seq%3), Data: data(seq)}))
		}
		d.must(s.Commit(s.Applied() + 1))
	}
	store(200)
	var m msg.Message
	buf := make([]byte, 64<<10)
	held := 0
	for seq := uint64(1); seq <= 1000; seq++ {
		if seq%50 == 0 {
			store(50)
		}
		ok, err := s.Reader().Load(seq, &m, buf)
		if err != nil || !ok || m.Seq != seq || !bytes.Equal(m.Data, data(seq)) {
			t.Fatalf("message %d: %v, %v, %d %q", seq, ok, err, m.Seq, m.Data)
		}
		at, _, err := s.readView().find(seq)
		d.must(err)
		if db.ahead.slot(s.number, at.seg).held(at) != nil {
			held++
		}
		ok, err = s.Reader().Next(seq, subject.NewFilter(fmt.Sprint("s.", seq%3)), &m, buf)
		if err != nil || !ok || m.Seq != seq {
			t.Fatalf("message %d is the next by its subject: %v, %v, %d", seq, ok, err, m.Seq)
		}
	}
	if held < 500 {
		t.Errorf("%d of 1000 messages were there with another", held)
	}
	if _, ok, err := s.Delete(1000, true); err != nil || !ok {
		t.Fatal(ok, err)
	}
	d.must(s.Commit(s.Applied() + 1))
	if ok, err := s.Reader().Load(1000, &m, buf); ok || err != nil {
		t.Errorf("a message that was removed is there: %v, %v", ok, err)
	}
}
