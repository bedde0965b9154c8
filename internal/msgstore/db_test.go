package msgstore

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
	"weir/internal/msg"
)

// A number of the next store that can not be read is damage: to count from 1 again
// would give out numbers twice.
func TestDamagedNextNumber(t *testing.T) {
	fs := vfs.NewMem()
	db := openTest(t, fs)
	if err := db.p.Set(appendPrefix(nil, 0, kindNextNumber), []byte{1, 2}, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{FS: fs, Dir: "node"}); !base.IsCorrupt(err) {
		t.Fatalf("opened with %v", err)
	}
}

// unlisted is a filesystem that can not list the directories of segments.
type unlisted struct{ vfs.FS }

var errUnlisted = errors.New("input/output error")

func (f unlisted) List(dir string) ([]string, error) {
	if strings.Contains(dir, "segments/") {
		return nil, errUnlisted
	}
	return f.FS.List(dir)
}

// A store whose files can not be listed is not opened as one that has none.
func TestSegmentsThatCanNotBeListed(t *testing.T) {
	fs := vfs.NewMem()
	db := openTest(t, fs)
	s, err := db.Store(7, 3)
	if err == nil {
		err = errors.Join(s.Append(&msg.Message{Seq: 1, Subject: "a"}), s.Commit(1), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	db = openTest(t, unlisted{fs})
	defer db.Close()
	if _, err := db.Store(7, 3); !errors.Is(err, errUnlisted) {
		t.Fatalf("opened with %v", err)
	}
}
