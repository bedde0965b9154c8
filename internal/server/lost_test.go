package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/api"
)

// TestOnlyStoreReplaced brings a server back with an empty store: a stream that was
// only there can have no leader any more, and everybody who asks is told why.
func TestOnlyStoreReplaced(t *testing.T) {
	dir := t.TempDir()
	r := &rows{testCluster: newRowCluster(t, dir, 3)}
	t.Cleanup(func() { r.shutdown() })
	r.connectAll(t)
	r.stream("ONLY", 1, onlyOn("n3"))
	r.consumer("ONLY", "c", durable("c", ""))
	r.publish("ONLY.x", 1)
	r.stop(2)
	if err := os.RemoveAll(filepath.Join(dir, "2")); err != nil {
		t.Fatal(err)
	}
	r.start(2)
	told := func(err error) bool { return err != nil && strings.Contains(err.Error(), "its data is gone") }
	r.until("the server says what is wrong", func() bool { return told(r.servers[2].node.Healthy()) })
	for subj, code := range map[string]int{"STREAM.INFO.ONLY": 10194, "CONSUMER.INFO.ONLY.c": 10195} {
		if a := r.refused(r.app, subj, nil, code); !strings.Contains(string(a.raw), "its data is gone") {
			t.Errorf("%s: %s", subj, a.raw)
		}
	}
	var list api.StreamListResponse
	r.must(r.app, "STREAM.LIST", nil).into(t, &list)
	if len(list.Missing) != 1 || !strings.Contains(list.Offline["ONLY"], "its data is gone") {
		t.Errorf("missing %v, offline %v", list.Missing, list.Offline)
	}
	r.must(r.app, "STREAM.DELETE.ONLY", nil)
	r.until("a healthy server", func() bool { return r.servers[2].node.Healthy() == nil })
}
