package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// fullStreams are filled by TestFullDisk: messages of any size, and many keys.
var fullStreams = []jetstream.StreamConfig{
	{Name: "MANY", Subjects: []string{"many.>"}, AllowDirect: true},
	{Name: "LARGE", Subjects: []string{"large.>"}, AllowDirect: true},
	{Name: "KEYS", Subjects: []string{"keys.>"}, AllowDirect: true, MaxMsgsPerSubject: 1},
}

// smallDisk is a directory on a file system of some 500 MiB of its own.
func smallDisk(t *testing.T) string {
	t.Helper()
	disk := os.Getenv("WEIR_SMALL_DISK")
	if disk == "" {
		t.Skip("needs WEIR_SMALL_DISK, a directory on a file system of 500 MiB")
	}
	dir, err := os.MkdirTemp(disk, "store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // whoever made the file system ends it
	return dir
}

// startOnSmallDisk starts nodes of which the first stores in dir.
func startOnSmallDisk(ctx context.Context, t *testing.T, dir string, nodes int) *procs.Cluster {
	t.Helper()
	spec := procs.Spec{Bin: bin, Dir: t.TempDir(), Nodes: nodes}
	if err := os.MkdirAll(filepath.Join(spec.Dir, "n1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(spec.Dir, "n1", "store")); err != nil {
		t.Fatal(err)
	}
	return startPrepared(ctx, t, spec)
}

// TestFullDisk fills the disk of one server of one or three with a file that leaves little room, while publishers
// work, and takes the file away. With three servers the publishers go on meanwhile. After a restart nothing that
// was acknowledged is missing, and the replicas are equal. WEIR_FULL_ROUNDS is how often it is done.
func TestFullDisk(t *testing.T) {
	rounds := 1
	if text := os.Getenv("WEIR_FULL_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for round := range rounds {
		for _, nodes := range []int{1, 3} {
			t.Run(fmt.Sprintf("%d nodes round %d", nodes, round), func(t *testing.T) { fillDisk(t, nodes) })
		}
	}
}

func fillDisk(t *testing.T, nodes int) {
	ctx, dir := trialContext(t), smallDisk(t)
	c := startOnSmallDisk(ctx, t, dir, nodes)
	nc, js := connect(t, c.URLs())
	f := &filler{t: t, ctx: ctx, c: c, acked: map[string]map[string]uint64{}, errs: map[string]int{}, stop: make(chan struct{})}
	for _, cfg := range fullStreams {
		cfg.Replicas = nodes
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		f.acked[cfg.Name] = map[string]uint64{}
		for range 2 {
			_, js := connect(t, c.URLs())
			f.running.Go(func() { f.publish(js, cfg) })
		}
	}
	f.more(100)
	room := uint64(rand.IntN(100)) << 20
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, room)
	t.Logf("%d MiB are left", room>>20)
	f.untilFull()
	if nodes == 1 || rand.IntN(2) == 0 {
		f.end()
	} else {
		f.more(100)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	restart(ctx, t, c.Nodes[0])
	f.end()
	f.check(nc, js)
}

// restart ends a node in one way or another and starts it.
func restart(ctx context.Context, t *testing.T, n *procs.Node) {
	t.Helper()
	if rand.IntN(2) == 0 {
		n.Kill()
	} else if err := n.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestQueueOnFullDisk acks the messages of a queue while there is no room at all, until the server can not go on. It
// starts all the same, or says why not; when there is room again, nothing that was acked is there.
func TestQueueOnFullDisk(t *testing.T) {
	ctx, dir := trialContext(t), smallDisk(t)
	c := startOnSmallDisk(ctx, t, dir, 1)
	n := c.Nodes[0]
	_, js := connect(t, c.URLs())
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: jetstream.WorkQueuePolicy})
	if err != nil {
		t.Fatal(err)
	}
	const messages = 200_000
	for i := range messages {
		if _, err := js.PublishAsync(fmt.Sprint("s.", i), nil, jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	consumer, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, 0)
	w := &worker{consumer: consumer, delivered: map[uint64]int{}, confirmed: map[uint64]time.Time{}}
	for more := true; more; { // an ack that fails takes a second
		before := len(w.confirmed)
		w.fetch(ctx, time.Second)
		more = len(w.confirmed) > before
	}
	n.Kill()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "it is up, or down for good", func(ctx context.Context) error {
		var health struct{ Status string }
		if err := n.Get(ctx, "/healthz", &health); err != nil && n.Running() {
			return err
		}
		return nil
	})
	if log := n.Log(); strings.Contains(log, "goroutine ") {
		t.Error("it has crashed")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	restart(ctx, t, n)
	info, err := s.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d messages are left, %d acks were confirmed", info.State.Msgs, messages, len(w.confirmed))
	if left := messages - uint64(len(w.confirmed)); len(w.confirmed) == 0 || info.State.Msgs > left {
		t.Errorf("%d messages are left, want at most %d", info.State.Msgs, left)
	}
}

// filler publishes to all streams.
type filler struct {
	t       *testing.T
	ctx     context.Context
	c       *procs.Cluster
	running sync.WaitGroup
	once    sync.Once
	stop    chan struct{}

	mu    sync.Mutex
	next  int                          // the last id
	count int                          // of acks
	acked map[string]map[string]uint64 // sequences by stream and id
	errs  map[string]int
}

func (f *filler) publish(js jetstream.JetStream, cfg jetstream.StreamConfig) {
	for f.ctx.Err() == nil {
		select {
		case <-f.stop:
			return
		default:
		}
		f.mu.Lock()
		f.next++
		id := fmt.Sprint(f.next)
		f.mu.Unlock()
		size := rand.IntN(1000)
		subject := cfg.Subjects[0][:len(cfg.Subjects[0])-1] + "x"
		switch cfg.Name {
		case "LARGE":
			size *= 500
		case "KEYS":
			subject = "keys." + fmt.Sprint(rand.IntN(1000), ".", rand.IntN(100))
		}
		m := nats.NewMsg(subject)
		m.Data = make([]byte, size)
		ctx, cancel := context.WithTimeout(f.ctx, 2*time.Second)
		ack, err := js.PublishMsg(ctx, m, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
		cancel()
		f.mu.Lock()
		if err == nil {
			f.count++
			f.acked[cfg.Name][id] = ack.Sequence
		} else {
			f.errs[err.Error()]++
		}
		f.mu.Unlock()
	}
}

func (f *filler) more(n int) {
	f.t.Helper()
	f.mu.Lock()
	want := f.count + n
	f.mu.Unlock()
	eventually(f.ctx, f.t, "publishers go on", func(context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.count < want {
			return fmt.Errorf("%d of %d", f.count, want)
		}
		return nil
	})
}

func (f *filler) untilFull() {
	f.t.Helper()
	eventually(f.ctx, f.t, "the disk is full", func(ctx context.Context) error {
		var health struct{ Status, Error string }
		if err := f.c.Nodes[0].Get(ctx, "/healthz", &health); err != nil {
			return err
		}
		if health.Status == "ok" {
			return errors.New("it is healthy")
		}
		return nil
	})
}

func (f *filler) end() {
	f.once.Do(func() { close(f.stop) })
	f.running.Wait()
}

// check wants what was acknowledged where it was, once, and the same on every node.
func (f *filler) check(nc *nats.Conn, js jetstream.JetStream) {
	f.t.Helper()
	for _, cfg := range fullStreams {
		if len(f.c.Nodes) > 1 {
			leaderOf(f.ctx, f.t, f.c, js, cfg.Name)
		}
		acked, at := f.acked[cfg.Name], map[string]uint64{}
		for _, m := range readStream(f.ctx, f.t, nc, cfg.Name) {
			at[m.ID] = m.Seq
		}
		for id, seq := range acked {
			if got, ok := at[id]; (ok || cfg.MaxMsgsPerSubject == 0) && got != seq {
				f.t.Errorf("%s: %s was acknowledged at %d and is at %d", cfg.Name, id, seq, got)
			}
		}
		f.t.Logf("%s: %d messages, %d acknowledged", cfg.Name, len(at), len(acked))
		eventually(f.ctx, f.t, "replicas of "+cfg.Name+" are equal", func(ctx context.Context) error { return equalReplicas(ctx, f.c, cfg.Name) })
	}
	f.t.Logf("errors: %v", f.errs)
}

func equalReplicas(ctx context.Context, c *procs.Cluster, stream string) error {
	var first *replica
	for _, n := range c.Nodes {
		r, err := replicaOn(ctx, n, stream)
		if err != nil {
			return err
		}
		if first == nil {
			first = r
		}
		if first.Applied != r.Applied || first.StateHash != r.StateHash {
			return fmt.Errorf("%s has %s at %d, %s has %s at %d", c.Nodes[0].Name, first.StateHash, first.Applied, n.Name, r.StateHash, r.Applied)
		}
	}
	return nil
}

// fill makes a file that leaves room bytes of the file system, in steps, as others take room at the same time.
func fill(t *testing.T, file string, room uint64) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it has no content
	const step = 1 << 20
	for size := int64(0); ; size += step {
		var st syscall.Statfs_t
		if err := syscall.Statfs(filepath.Dir(file), &st); err != nil {
			t.Fatal(err)
		}
		if st.Bavail*uint64(st.Bsize) <= room+step {
			return
		}
		if err := syscall.Fallocate(int(f.Fd()), 0, size, step); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}
