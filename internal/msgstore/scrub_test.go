package msgstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
)

// TestScrub damages messages and the index and wants exactly that to be found.
func TestScrub(t *testing.T) {
	db := openTest(t, vfs.NewMem())
	defer db.Close()
	const n = 200
	for group := range uint64(2) {
		s, err := db.Store(1, 1)
		if group == 1 {
			s, err = db.Store(2, 1)
		}
		for i := uint64(1); err == nil && i <= n; i++ {
			if err = s.Append(&msg.Message{Seq: i, Subject: fmt.Sprint("s.", i%7), Data: fmt.Append(nil, "payload ", i)}); err == nil {
				err = s.Commit(i)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	scrub := func() (msgs uint64, damage []string) {
		t.Helper()
		stores, msgs, err := db.Scrub(func(err error) { damage = append(damage, err.Error()) })
		if err != nil || stores != 2 {
			t.Fatalf("%d stores: %v", stores, err)
		}
		return msgs, damage
	}
	if msgs, damage := scrub(); msgs != 2*n || len(damage) > 0 {
		t.Fatalf("%d messages are whole, %v", msgs, damage)
	}
	s, _ := db.Store(2, 1)
	for _, seq := range []uint64{3, n} {
		at, ok, err := s.readView().find(seq)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if err := db.files.write(s.file(at.seg), []byte{'X'}, at.off+int64(at.size)-1); err != nil {
			t.Fatal(err)
		}
	}
	msgs, damage := scrub()
	if msgs != 2*n-2 || len(damage) != 2 || !strings.Contains(damage[0], "message 3 ") || !strings.Contains(damage[1], fmt.Sprintf("message %d ", n)) {
		t.Fatalf("%d messages are whole, %v", msgs, damage)
	}
	total := subjectTotal{count: 1, first: 1, last: 1}
	if err := db.p.Set(appendSubjectKey(nil, s.number, kindTotal, "other"), total.encode(nil), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if _, damage := scrub(); len(damage) != 3 || !strings.Contains(damage[2], "the index has") {
		t.Fatal(damage)
	}
}
