package msgstore

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
)

// TestTableInFile reads from segments whose tables are in their files only, in
// memory, or damaged.
func TestTableInFile(t *testing.T) {
	for _, c := range []struct {
		name   string
		gaps   uint64 // between sequences
		budget int64  // of tables in memory
		damage bool
		old    bool // written before tables said which records have a header
	}{
		{"dense", 1, 1 << 20, false, false},
		{"dense, not in memory", 1, 1, false, false},
		{"sparse", 3, 1 << 20, false, false},
		{"sparse, not in memory", 3, 1, false, false},
		{"damaged", 1, 1 << 20, true, false},
		{"old dense", 1, 1 << 20, false, true},
		{"old dense, not in memory", 1, 1, false, true},
		{"old sparse", 3, 1 << 20, false, true},
	} {
		t.Run(c.name, func(t *testing.T) { testTableInFile(t, c.gaps, c.budget, c.damage, c.old) })
	}
}

func testTableInFile(t *testing.T, gaps uint64, budget int64, damage, old bool) {
	fs := vfs.NewMem()
	const n = 600
	db := openTest(t, fs)
	s, err := db.Store(1, 1)
	for i := uint64(1); err == nil && i <= n; i++ {
		m := msg.Message{Seq: i * gaps, Time: int64(i), Subject: "s", Data: fmt.Append(nil, i)}
		if i%5 == 0 {
			m.Header = []byte("NATS/1.0\r\n\r\n")
		}
		if err = s.Append(&m); err == nil {
			err = s.Commit(i)
		}
		if old {
			s.tail.tab.Load().hdrs = nil
		}
	}
	if err == nil {
		_, _, err = s.Delete(7*gaps, false)
	}
	if err == nil {
		err = s.Commit(n + 1)
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err = Open(Options{FS: fs, Dir: "node", SegmentSize: 4 << 10, TableBytes: budget})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if s, err = db.Store(1, 1); err != nil {
		t.Fatal(err)
	}
	complete := s.segs[:len(s.segs)-1]
	if len(complete) < 3 {
		t.Fatalf("%d segments", len(s.segs))
	}
	for _, g := range complete {
		if g.tabled == noTable {
			t.Fatalf("segment %d has no table", g.id)
		}
		if damage {
			if err := db.files.write(s.file(g), []byte{0xff, 0xff}, g.size+8); err != nil {
				t.Fatal(err)
			}
		}
	}
	var m msg.Message
	for seq := uint64(1); seq <= n*gaps+1; seq++ {
		ok, err := s.Reader().Load(seq, &m, nil)
		want := seq%gaps == 0 && seq != 7*gaps && seq <= n*gaps
		if err != nil || ok != want || ok && string(m.Data) != fmt.Sprint(seq/gaps) {
			t.Fatalf("message %d: %v %v %q", seq, ok, err, m.Data)
		}
	}
}

// TestOldDescriptors decodes what was written before segments had tables, and formats.
func TestOldDescriptors(t *testing.T) {
	g := &segment{id: 3, base: 10, last: 12, firstTime: 5, lastTime: 6, size: 200, count: 3, dead: 1, deadBytes: 50, marked: true,
		tabled: sparseTable, format: compactFormat}
	b := g.encode(nil)
	if now, err := decodeSegment(3, b); err != nil || now.tabled != sparseTable || now.format != compactFormat {
		t.Fatalf("%+v: %v", now, err)
	}
	if old, err := decodeSegment(3, b[:len(b)-1]); err != nil || old.tabled != sparseTable || old.format != wideFormat {
		t.Fatalf("%+v: %v", old, err)
	}
	old, err := decodeSegment(3, b[:len(b)-2])
	if err != nil || old.tabled != noTable || old.format != wideFormat || old.last != 12 || !old.marked {
		t.Fatalf("%+v: %v", old, err)
	}
}
