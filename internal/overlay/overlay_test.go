package overlay

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func write(t *testing.T, fs vfs.FS, name, text string) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write([]byte(text))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, fs vfs.FS, name string) string {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestChangesStayInMemory does all kinds of changes and finds the files below as
// they were.
func TestChangesStayInMemory(t *testing.T) {
	below := vfs.NewMem()
	for _, dir := range []string{"d", "e/f"} {
		if err := below.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"d/a", "d/b", "d/c", "e/f/g"}
	for _, name := range names {
		write(t, below, name, "old "+name)
	}
	fs := New(below)
	f, err := fs.OpenReadWrite("d/a", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "old" {
		t.Fatalf("%s %v", got, err)
	}
	if _, err := f.WriteAt([]byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "new" {
		t.Fatalf("%s %v", got, err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 7 {
		t.Fatalf("%v %v", info, err)
	}
	if err := errors.Join(f.Sync(), f.Close(), fs.Remove("d/b"), fs.Rename("d/c", "d/x"), fs.RemoveAll("e"), fs.MkdirAll("h", 0o755)); err != nil {
		t.Fatal(err)
	}
	write(t, fs, "d/b", "again")
	if err := fs.Remove("d/b"); err != nil {
		t.Fatal(err)
	}
	write(t, fs, "h/new", "new")
	for name, want := range map[string]string{"d/a": "new d/a", "d/x": "old d/c", "h/new": "new"} {
		if got := read(t, fs, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"d/b", "d/c", "e/f/g"} {
		if _, err := fs.Stat(name); !oserror.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err := fs.Remove(name); !oserror.IsNotExist(err) {
			t.Errorf("removing %s again: %v", name, err)
		}
	}
	if list, err := fs.List("d"); err != nil || !slices.Equal(list, []string{"a", "x"}) {
		t.Errorf("%v %v", list, err)
	}
	for _, name := range names {
		if got := read(t, below, name); got != "old "+name {
			t.Errorf("below, %s is %q", name, got)
		}
	}
	list, err := below.List("") // in no order
	if slices.Sort(list); err != nil || fmt.Sprint(list) != "[d e]" {
		t.Errorf("below: %v %v", list, err)
	}
}
