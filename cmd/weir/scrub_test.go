package main

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
	"weir/internal/msgstore"
)

// contents reads all files below a directory.
func contents(t *testing.T, dir string) map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			files[name] = "directory"
			return err
		}
		b, err := os.ReadFile(name)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestScrub(t *testing.T) {
	dir := t.TempDir()
	var out, errs bytes.Buffer
	env := &environment{stdout: &out, stderr: &errs}
	if env.run([]string{"scrub", "--data", dir}) != 1 || !strings.Contains(errs.String(), "nothing is stored") {
		t.Fatalf("an empty directory: %s", &errs)
	}
	streams := filepath.Join(dir, "weir", "streams")
	db, err := msgstore.Open(msgstore.Options{FS: vfs.Default, Dir: streams})
	if err != nil {
		t.Fatal(err)
	}
	s, err := db.Store(1, 1)
	if err == nil {
		err = s.Append(&msg.Message{Seq: 1, Subject: "orders.new", Data: []byte("one pallet")})
	}
	if err == nil {
		err = s.Commit(1)
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	// What a crash left, and a server would remove when it starts.
	orphan := filepath.Join(streams, "segments", "77", "00000001.seg")
	if err := errors.Join(os.MkdirAll(filepath.Dir(orphan), 0o755), os.WriteFile(orphan, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	if env.run([]string{"scrub", "--data", dir}) != 0 || !strings.Contains(out.String(), "1 messages in 1 replicas") {
		t.Fatalf("a whole store: %s%s", &out, &errs)
	}
	if after := contents(t, dir); !maps.Equal(before, after) {
		t.Errorf("scrub changed %v to %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
	files, err := filepath.Glob(filepath.Join(streams, "segments", "1", "*.seg"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err == nil {
		err = os.WriteFile(files[0], bytes.Replace(b, []byte("pallet"), []byte("wallet"), 1), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	out.Reset()
	config := filepath.Join(t.TempDir(), "server.conf")
	if err := os.WriteFile(config, []byte("jetstream { store_dir: \""+dir+"\" }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if env.run([]string{"scrub", "-c", config}) != 1 || !strings.Contains(out.String(), "damaged: ") {
		t.Fatalf("a damaged store: %s%s", &out, &errs)
	}
	for _, args := range [][]string{{"scrub"}, {"scrub", "-c", config, "--data", dir}, {"scrub", "--nonsense"}} {
		if env.run(args) != 1 {
			t.Errorf("%v is accepted", args)
		}
	}
}
