package server

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"

	"weir/internal/api"
)

// The stores that older programs wrote: NAME.tar.zst has the store directories of
// a cluster of three as newRowCluster makes it, NAME.json what its streams hold. They are kept for ever.
const upgradeDir = "../../testdata/upgrade"

var writeUpgrade = flag.String("write-upgrade", "", "have TestUpgrade write the stores of this program under that `name`")

// upgradeStreams are the streams of every store.
var upgradeStreams = []string{"UPGRADE1", "UPGRADE3", "UPGRADECOPY"}

// TestUpgrade opens every store of an older program and wants all that was in it, and to go on.
func TestUpgrade(t *testing.T) {
	if *writeUpgrade != "" {
		writeStores(t, filepath.Join(upgradeDir, *writeUpgrade))
	}
	stores, err := filepath.Glob(filepath.Join(upgradeDir, "*.tar.zst"))
	if err != nil || len(stores) == 0 {
		t.Fatalf("no stores: %v", err)
	}
	for _, store := range stores {
		t.Run(filepath.Base(store), func(t *testing.T) { openStores(t, strings.TrimSuffix(store, ".tar.zst")) })
	}
}

func openStores(t *testing.T, name string) {
	dir := t.TempDir()
	unpack(t, name+".tar.zst", dir)
	want, err := os.ReadFile(name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	r := &rows{testCluster: newRowCluster(t, dir, 3)}
	t.Cleanup(r.shutdown)
	r.connectAll(t)
	if got := r.upgradeContents(); !bytes.Equal(got, want) {
		t.Errorf("the stores hold\n%s\nwhere the older program had\n%s", got, want)
	}
	r.sameOnAll("UPGRADE3")
	last := r.info("UPGRADE3").State.LastSeq
	ack, err := r.js.Publish(r.ctx, "UPGRADE3.1", []byte("newer"))
	if err != nil || ack.Sequence != last+1 {
		t.Fatalf("published as %+v: %v", ack, err)
	}
	fresh, err := r.js.Consumer(r.ctx, "UPGRADE3", "fresh")
	if err != nil {
		t.Fatal(err)
	}
	if m := r.fetch(fresh, 2)[1]; string(m.Data()) != "newer" {
		t.Errorf("the consumer of new messages got %q", m.Data())
	}
	r.until("the copy has the new message", func() bool { return r.info("UPGRADECOPY").State.LastSeq == last+1 })
}

// upgradeContents is what the streams hold, as JSON.
func (r *rows) upgradeContents() []byte {
	r.t.Helper()
	contents := map[string]content{}
	for _, name := range upgradeStreams {
		r.until(name+" has a leader", func() bool { return r.ask(r.app, "STREAM.INFO."+name, nil).Error == nil })
		contents[name] = r.content(name)
	}
	return append(indented(r.t, contents), '\n')
}

func indented(t testing.TB, doc any) []byte {
	raw, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// writeStores makes the streams, stops the cluster and packs its directories.
func writeStores(t *testing.T, name string) {
	dir := t.TempDir()
	r := &rows{testCluster: newRowCluster(t, dir, 3)}
	r.connectAll(t)
	for stream, replicas := range map[string]int{"UPGRADE1": 1, "UPGRADE3": 3} {
		r.fill(stream, replicas)
		r.must(r.app, "STREAM.MSG.DELETE."+stream, `{"seq":51}`) // it would have expired
		m := nats.NewMsg(stream + ".ttl")
		m.Header.Set("Nats-TTL", "876000h")
		if _, err := r.js.PublishMsg(r.ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	r.stream("UPGRADECOPY", 3, func(c *api.StreamConfig) {
		c.Subjects, c.Mirror = nil, &api.StreamSource{Name: "UPGRADE3"}
	})
	last := r.info("UPGRADE3").State.LastSeq
	r.until("the copy has all", func() bool { return r.info("UPGRADECOPY").State.LastSeq == last })
	for _, consumer := range []string{"busy", "filtered", "fresh"} {
		r.consumer("UPGRADECOPY", consumer, durable(consumer, ""))
	}
	contents := r.upgradeContents()
	r.shutdown()
	if err := os.WriteFile(name+".json", contents, 0o644); err != nil {
		t.Fatal(err)
	}
	pack(t, dir, name+".tar.zst")
}

func pack(t *testing.T, dir, path string) {
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), z.Close(), os.WriteFile(path, packed.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// unpack fills dir. The zeros at the end of a file take no space.
func unpack(t *testing.T, path, dir string) {
	t.Helper()
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := zstd.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, h.Name)
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(to, 0o755)
		} else {
			err = unpackFile(to, r, h.FileInfo())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func unpackFile(to string, from io.Reader, info fs.FileInfo) error {
	data, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	full := bytes.TrimRight(data, "\x00")
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, full, 0o644), os.Truncate(to, info.Size()))
}
