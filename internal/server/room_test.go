package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/internal/api"
)

// fillUp publishes messages of size bytes until one is refused, and returns how many
// were stored and the error code.
func (r *rows) fillUp(nc *nats.Conn, subj string, size int) (stored, code int) {
	r.t.Helper()
	for {
		reply, err := nc.Request(subj, bytes.Repeat([]byte("x"), size), patience)
		if err != nil {
			r.t.Fatalf("publish %s: %v", subj, err)
		}
		ack := new(api.PubAck)
		if err := json.Unmarshal(reply.Data, ack); err != nil {
			r.t.Fatal(err)
		}
		if ack.Error != nil {
			return stored, errCode(ack)
		}
		if stored++; stored > 100 {
			r.t.Fatalf("%d messages were stored on %s", stored, subj)
		}
	}
}

// TestAccountIsFull fills an account with streams of either storage, of one replica
// and of three, which count three times, and wants its use to add up.
func TestAccountIsFull(t *testing.T) {
	r := sharedRows(t)
	nc := r.as(t, "small", 0)
	for _, storage := range []api.Storage{api.FileStorage, api.MemoryStorage} {
		for _, replicas := range []int{1, 3} {
			name := fmt.Sprintf("FULL%d", replicas)
			cfg := api.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Storage: storage, Retention: api.LimitsRetention, Replicas: replicas}
			r.must(nc, "STREAM.CREATE."+name, cfg)
			want := (1 << 20) / (100_033 * replicas)
			stored := 0
			r.until("the account is full", func() bool { // what was deleted elsewhere may count a little longer
				n, code := r.fillUp(nc, name+".x", 100_000)
				if stored += n; stored > want || code != 10002 {
					t.Fatalf("%s, %d replicas: %d messages, then %d; want %d and 10002", storage, replicas, stored, code, want)
				}
				return stored == want
			})
			var info api.StreamInfo
			r.must(nc, "STREAM.INFO."+name, nil).into(t, &info)
			r.until(fmt.Sprintf("the account uses the %d bytes of its stream in %s", info.State.Bytes, storage), func() bool { // and so here
				var use api.AccountInfo
				r.must(nc, "INFO", nil).into(t, &use)
				all := info.State.Bytes * uint64(replicas)
				if storage == api.MemoryStorage {
					return use.Memory == all && use.Store == 0
				}
				return use.Store == all && use.Memory == 0
			})
			// Elsewhere in the account there is no room either, once that has been heard of.
			other := cfg
			other.Name, other.Subjects, other.Replicas = "OTHER", []string{"OTHER.>"}, 1
			r.must(nc, "STREAM.CREATE.OTHER", other)
			r.until("another stream is refused as well", func() bool {
				n, code := r.fillUp(nc, "OTHER.x", 200_000)
				return n == 0 && code == 10002
			})
			r.must(nc, "STREAM.DELETE.OTHER", nil)
			r.must(nc, "STREAM.PURGE."+name, nil)
			r.until("there is room after a purge", func() bool {
				n, _ := r.fillUp(nc, name+".x", 100_000)
				return n > 0
			})
			r.must(nc, "STREAM.DELETE."+name, nil)
		}
	}
}

// TestServerIsFull fills a server, which takes one message more than it has room for.
func TestServerIsFull(t *testing.T) {
	c := &testCluster{t: t, servers: make([]*Server, 1), configs: []string{fmt.Sprintf(`
		listen: "127.0.0.1:-1"
		jetstream { store_dir: %q, max_file: 1MB, max_mem: 2MB, limits { duplicate_window: "1m" } }`, t.TempDir())}}
	c.start(0)
	t.Cleanup(c.shutdown)
	c.ready(0)
	r := &rows{testCluster: c}
	r.app, _ = c.connect(0)
	r.ctx = t.Context()
	file := func(c *api.StreamConfig) { c.Storage = api.FileStorage }
	memory := func(c *api.StreamConfig) { c.Storage = api.MemoryStorage }
	if w := r.stream("F", 1, file).Config.Duplicates; w != time.Minute {
		t.Errorf("duplicate window %v", w)
	}
	r.stream("M", 1, memory)
	if n, code := r.fillUp(r.app, "F.x", 100_000); n != 11 || code != 10023 {
		t.Errorf("files: %d messages, then %d", n, code)
	}
	if n, code := r.fillUp(r.app, "M.x", 100_000); n != 21 || code != 10023 {
		t.Errorf("memory: %d messages, then %d", n, code)
	}
	doc := (&source{Server: c.servers[0]}).varzJetStream()
	if doc.Stats.Store != r.info("F").State.Bytes || doc.Stats.Memory != r.info("M").State.Bytes {
		t.Errorf("varz has %d and %d bytes", doc.Stats.Store, doc.Stats.Memory)
	}
	cfg := api.StreamConfig{Name: "B", Subjects: []string{"B"}, Retention: api.LimitsRetention, MaxBytes: 3 << 20}
	cfg.Storage = api.FileStorage
	r.refused(r.app, "STREAM.CREATE.B", cfg, 10047)
	cfg.Storage = api.MemoryStorage
	r.refused(r.app, "STREAM.CREATE.B", cfg, 10028)
	cfg.MaxBytes, cfg.Duplicates = 0, 2*time.Minute
	r.refused(r.app, "STREAM.CREATE.B", cfg, 10052)
}
