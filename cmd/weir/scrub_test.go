package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/msg"
	"weir/internal/msgstore"
)

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
	if env.run([]string{"scrub", "--data", dir}) != 0 || !strings.Contains(out.String(), "1 messages in 1 replicas") {
		t.Fatalf("a whole store: %s%s", &out, &errs)
	}
	files, err := filepath.Glob(filepath.Join(streams, "segments", "*", "*.seg"))
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
