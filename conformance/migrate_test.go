package conformance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// Streams move between the established server and this one by backup and restore with the stock command line.
// Without the two programs the tests are skipped.

func TestMigrateFromEstablishedServer(t *testing.T) {
	migrate(t, found(t, procs.NatsServer), 1, bin, 3)
}

func TestMigrateToEstablishedServer(t *testing.T) {
	migrate(t, bin, 3, found(t, procs.NatsServer), 1)
}

func TestMigrateBetweenClusters(t *testing.T) { migrate(t, bin, 1, bin, 3) }

// migrate fills a server, moves all that its account has to another one, and compares.
func migrate(t *testing.T, fromBin string, fromNodes int, toBin string, toNodes int) {
	cli := found(t, procs.NatsCLI)
	ctx := trialContext(t)
	from := newSide(ctx, t, fromBin, fromNodes, "from")
	from.fill(ctx, t)
	before := from.look(ctx, t)
	dir := filepath.Join(t.TempDir(), "backup")
	command(ctx, t, cli, "--server", from.url, "--no-context", "backup", "account", dir, "--consumers", "--force", "--critical-warnings")

	to := newSide(ctx, t, toBin, toNodes, "to")
	for _, name := range from.names(ctx, t) {
		args := []string{"--server", to.url, "--no-context", "backup", "restore", "stream", filepath.Join(dir, name), "--no-progress"}
		if toNodes >= 3 && name == "ORDERS" {
			args = append(args, "--replicas", "3")
		}
		command(ctx, t, cli, args...)
	}
	after := to.look(ctx, t)
	for name, want := range before {
		got := after[name]
		if got == nil {
			t.Errorf("%s did not come over", name)
			continue
		}
		want.differ(t, name, got)
	}
	for _, s := range []*side{from, to} {
		s.goOn(ctx, t)
	}
}

func command(ctx context.Context, t *testing.T, bin string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(ctx, bin, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(bin), strings.Join(args, " "), err, out)
	}
}

// side is a cluster with a client.
type side struct {
	url string
	js  jetstream.JetStream
}

func newSide(ctx context.Context, t *testing.T, program string, nodes int, name string) *side {
	t.Helper()
	c, err := procs.New(procs.Spec{Bin: program, Dir: filepath.Join(t.TempDir(), name), Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Kill()
		for _, node := range c.Nodes {
			if t.Failed() {
				t.Logf("log of %s %s:\n%s", name, node.Name, node.LogTail(3000))
			}
		}
	})
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(c.Nodes[len(c.Nodes)-1].URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(20*time.Second), jetstream.WithPublishAsyncMaxPending(2*migratedMsgs))
	if err != nil {
		t.Fatal(err)
	}
	return &side{url: c.Nodes[0].URL(), js: js}
}

func (s *side) stream(ctx context.Context, t *testing.T, cfg jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	st, err := s.js.CreateStream(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// Messages of the large stream.
const (
	migratedMsgs = 6000
	migratedBig  = 700 << 10
)

// fill makes streams of all kinds, with consumers in the middle of their work.
func (s *side) fill(ctx context.Context, t *testing.T) {
	t.Helper()
	orders := s.stream(ctx, t, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, AllowMsgTTL: true, AllowRollup: true,
		Compression: jetstream.S2Compression, Metadata: map[string]string{"made": "here"}, MaxMsgsPerSubject: 900})
	s.stream(ctx, t, jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{Name: "ORDERS"}})
	s.stream(ctx, t, jetstream.StreamConfig{Name: "SUM", Subjects: []string{"sum"},
		Sources: []*jetstream.StreamSource{{Name: "ORDERS", FilterSubject: "orders.3"}}})
	s.fillOrders(ctx, t, orders)
	s.fillConsumers(ctx, t, orders)

	works := s.stream(ctx, t, jetstream.StreamConfig{Name: "WORKS", Subjects: []string{"works"}, Retention: jetstream.WorkQueuePolicy})
	s.publish(ctx, t, "works", 100)
	s.work(ctx, t, works, jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy}, 30)
	wanted := s.stream(ctx, t, jetstream.StreamConfig{Name: "WANTED", Subjects: []string{"wanted"}, Retention: jetstream.InterestPolicy})
	if _, err := wanted.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "second", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	if _, err := wanted.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "first", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	s.publish(ctx, t, "wanted", 50)
	s.work(ctx, t, wanted, jetstream.ConsumerConfig{Durable: "first", AckPolicy: jetstream.AckExplicitPolicy}, 20)
	s.stream(ctx, t, jetstream.StreamConfig{Name: "MEMORY", Subjects: []string{"memory"}, Storage: jetstream.MemoryStorage})
	s.publish(ctx, t, "memory", 40)
	empty := s.stream(ctx, t, jetstream.StreamConfig{Name: "EMPTY", Subjects: []string{"empty"}})
	s.publish(ctx, t, "empty", 10)
	if err := empty.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	s.fillBuckets(ctx, t)
	s.settle(ctx, t)
}

func (s *side) publish(ctx context.Context, t *testing.T, subj string, n int) {
	t.Helper()
	for i := range n {
		if _, err := s.js.Publish(ctx, subj, fmt.Appendf(nil, "%s %d", subj, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// fillOrders publishes messages of all sizes and deletes some.
func (s *side) fillOrders(ctx context.Context, t *testing.T, orders jetstream.Stream) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range migratedMsgs {
		m := &nats.Msg{Subject: fmt.Sprint("orders.", i%8), Header: nats.Header{}, Data: make([]byte, rng.IntN(700))}
		if i%1000 == 999 {
			m.Data = make([]byte, migratedBig)
		}
		for j := range m.Data {
			m.Data[j] = byte(rng.Uint32())
		}
		if i%5 == 0 {
			m.Header.Set("Kind", fmt.Sprint(i))
		}
		if i%50 == 1 {
			m.Header.Set("Nats-TTL", []string{"1h", "never"}[i/50%2])
		}
		if i == 4000 {
			m.Subject = "orders.rolled"
			m.Header.Set("Nats-Rollup", "sub")
		}
		if _, err := s.js.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-s.js.PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal("messages were not acknowledged")
	}
	for range 300 {
		if err := orders.DeleteMsg(ctx, 1+rng.Uint64N(migratedMsgs)); err != nil && !strings.Contains(err.Error(), "not found") &&
			!strings.Contains(err.Error(), "sequence") {
			t.Fatal(err)
		}
	}
	if err := orders.Purge(ctx, jetstream.WithPurgeSubject("orders.5"), jetstream.WithPurgeKeep(10)); err != nil {
		t.Fatal(err)
	}
}

func (s *side) fillConsumers(ctx context.Context, t *testing.T, orders jetstream.Stream) {
	t.Helper()
	start := time.Now().Add(-time.Hour)
	for _, cfg := range []jetstream.ConsumerConfig{
		{Durable: "explicit", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 20},
		{Durable: "filtered", AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"orders.1", "orders.2"}},
		{Durable: "all", AckPolicy: jetstream.AckAllPolicy},
		{Durable: "none", AckPolicy: jetstream.AckNonePolicy},
		{Durable: "late", AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 3000},
		{Durable: "since", AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &start},
		{Durable: "headers", AckPolicy: jetstream.AckExplicitPolicy, HeadersOnly: true, Description: "of headers"},
	} {
		s.work(ctx, t, orders, cfg, 200)
	}
	for _, cfg := range []jetstream.ConsumerConfig{
		{Durable: "fresh", AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverNewPolicy},
		{Durable: "last", AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverLastPolicy},
		{Durable: "untouched", AckPolicy: jetstream.AckExplicitPolicy},
	} {
		if _, err := orders.CreateConsumer(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	push := jetstream.ConsumerConfig{Durable: "push", AckPolicy: jetstream.AckExplicitPolicy, DeliverSubject: "push.here", DeliverGroup: "q"}
	if _, err := orders.CreatePushConsumer(ctx, push); err != nil {
		t.Fatal(err)
	}
}

// work fetches messages and settles them in various ways.
func (s *side) work(ctx context.Context, t *testing.T, st jetstream.Stream, cfg jetstream.ConsumerConfig, n int) {
	t.Helper()
	cfg.AckWait = time.Hour
	c, err := st.CreateOrUpdateConsumer(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range fetch(ctx, t, c, n) {
		switch {
		case cfg.AckPolicy == jetstream.AckNonePolicy:
		case cfg.AckPolicy == jetstream.AckAllPolicy:
			if i == n/2 {
				err = m.DoubleAck(ctx)
			}
		case i%7 == 3: // pending
		case i%11 == 5:
			err = m.Nak()
		case i%13 == 6:
			err = m.Term()
		default:
			err = m.DoubleAck(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if cfg.AckPolicy == jetstream.AckExplicitPolicy {
		fetch(ctx, t, c, 1) // one that was not wanted
	}
}

func fetch(ctx context.Context, t *testing.T, c jetstream.Consumer, n int) (list []jetstream.Msg) {
	t.Helper()
	for len(list) < n {
		batch, err := c.Fetch(n-len(list), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			list = append(list, m)
		}
		if err := cmp.Or(batch.Error(), ctx.Err()); err != nil {
			t.Fatalf("%d messages of %d: %v", len(list), n, err)
		}
	}
	return list
}

func (s *side) fillBuckets(ctx context.Context, t *testing.T) {
	t.Helper()
	kv, err := s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "CONF", History: 5, LimitMarkerTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		if _, err := kv.Put(ctx, fmt.Sprint("key.", i%9), fmt.Appendf(nil, "value %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(ctx, "key.3"); err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(ctx, "key.4"); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(ctx, "short", []byte("lived"), jetstream.KeyTTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	files, err := s.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "FILES"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.PutBytes(ctx, "big", object()); err != nil {
		t.Fatal(err)
	}
	if _, err := files.PutString(ctx, "gone", "soon"); err != nil {
		t.Fatal(err)
	}
	if err := files.Delete(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
}

// object is what the object store holds.
func object() []byte {
	b := make([]byte, 3<<20)
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// settle waits until the copies have all of what they copy.
func (s *side) settle(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, name := range []string{"COPY", "SUM"} {
		s.until(ctx, t, name+" is complete", func() bool {
			st, err := s.js.Stream(ctx, name)
			if err != nil {
				return false
			}
			info := st.CachedInfo()
			for _, from := range append(info.Sources, info.Mirror) {
				if from != nil && (from.Lag != 0 || from.Active < 0) {
					return false
				}
			}
			return info.State.Msgs > 0
		})
	}
}

func (s *side) until(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	err := procs.Until(ctx, what, func() error {
		if !holds() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sight is what a client sees of a stream.
type sight struct {
	config    string
	state     jetstream.StreamState
	messages  map[uint64]string
	consumers map[string]string
}

func (s *side) names(ctx context.Context, t *testing.T) (names []string) {
	t.Helper()
	list := s.js.StreamNames(ctx)
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	// Origins before what copies them, so that the copies find them.
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names
}

func rank(name string) int {
	if name == "COPY" || name == "SUM" {
		return 1
	}
	return 0
}

func (s *side) look(ctx context.Context, t *testing.T) map[string]*sight {
	t.Helper()
	all := map[string]*sight{}
	for _, name := range s.names(ctx, t) {
		st, err := s.js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		info := st.CachedInfo()
		x := &sight{state: info.State, messages: map[uint64]string{}, consumers: map[string]string{}}
		cfg := info.Config
		cfg.Replicas, cfg.Placement = 0, nil
		for key := range cfg.Metadata {
			if strings.HasPrefix(key, "_nats.") {
				delete(cfg.Metadata, key)
			}
		}
		doc, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		x.config = string(doc)
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
			m, err := st.GetMsg(ctx, seq)
			if err != nil {
				continue // deleted: the counts tell
			}
			x.messages[seq] = fmt.Sprintf("%s %v %v %x", m.Subject, m.Time.UnixNano(), m.Header, sha256.Sum256(m.Data))
		}
		consumers := st.ListConsumers(ctx)
		for c := range consumers.Info() {
			cc := c.Config
			x.consumers[c.Name] = fmt.Sprintf("%v %v %v %v delivered %d/%d floor %d/%d pending %d redelivered %d waiting %d", cc.AckPolicy,
				cc.DeliverPolicy, cc.FilterSubjects, cc.DeliverSubject, c.Delivered.Consumer, c.Delivered.Stream, c.AckFloor.Consumer,
				c.AckFloor.Stream, c.NumAckPending, c.NumRedelivered, c.NumPending)
		}
		if err := consumers.Err(); err != nil {
			t.Fatal(err)
		}
		all[name] = x
	}
	return all
}

func (x *sight) differ(t *testing.T, name string, got *sight) {
	t.Helper()
	if got.config != x.config {
		t.Errorf("%s: configuration\n%s\nof\n%s", name, got.config, x.config)
	}
	want, have := x.state, got.state
	if x.messages[want.LastSeq] == "" { // the time of a deleted message is in no backup
		want.LastTime, have.LastTime = time.Time{}, time.Time{}
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("%s: state %+v of %+v", name, have, want)
	}
	wrong := 0
	for seq, m := range x.messages {
		if got.messages[seq] != m {
			if wrong++; wrong < 5 {
				t.Errorf("%s: message %d is %q of %q", name, seq, got.messages[seq], m)
			}
		}
	}
	if len(got.messages) != len(x.messages) || wrong > 0 {
		t.Errorf("%s: %d messages of %d, %d are wrong", name, len(got.messages), len(x.messages), wrong)
	}
	for consumer, c := range x.consumers {
		if got.consumers[consumer] != c {
			t.Errorf("%s > %s: %s\nof %s", name, consumer, got.consumers[consumer], c)
		}
	}
	if len(got.consumers) != len(x.consumers) {
		t.Errorf("%s: %d consumers of %d", name, len(got.consumers), len(x.consumers))
	}
}

// goOn wants everything to work on: it does the same on either side.
func (s *side) goOn(ctx context.Context, t *testing.T) {
	t.Helper()
	ack, err := s.js.Publish(ctx, "orders.3", []byte("after"))
	if err != nil || ack.Sequence != migratedMsgs+1 {
		t.Errorf("published as %+v: %v", ack, err)
	}
	fresh, err := s.js.Consumer(ctx, "ORDERS", "fresh")
	if err != nil {
		t.Fatal(err)
	}
	if m := fetch(ctx, t, fresh, 1)[0]; string(m.Data()) != "after" {
		t.Errorf("a consumer of new messages gets %q", m.Data())
	}
	for _, name := range []string{"COPY", "SUM"} {
		s.until(ctx, t, name+" has it", func() bool {
			st, err := s.js.Stream(ctx, name)
			if err != nil {
				return false
			}
			m, err := st.GetLastMsgForSubject(ctx, "orders.3")
			return err == nil && string(m.Data) == "after"
		})
	}
	s.goOnBuckets(ctx, t)
}

func (s *side) goOnBuckets(ctx context.Context, t *testing.T) {
	t.Helper()
	kv, err := s.js.KeyValue(ctx, "CONF")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(ctx, "key.2")
	if err != nil || string(entry.Value()) != "value 56" {
		t.Fatalf("%v: %v", entry, err)
	}
	if _, err := kv.Update(ctx, "key.2", []byte("new"), entry.Revision()); err != nil {
		t.Error(err)
	}
	if _, err := kv.Update(ctx, "key.2", []byte("newer"), entry.Revision()); err == nil {
		t.Error("an update with an old revision was taken")
	}
	if _, err := kv.Get(ctx, "key.3"); err == nil {
		t.Error("a deleted key is back")
	}
	if history, err := kv.History(ctx, "key.8"); err != nil || len(history) != 5 {
		t.Errorf("%d revisions: %v", len(history), err)
	}
	files, err := s.js.ObjectStore(ctx, "FILES")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := files.GetBytes(ctx, "big"); err != nil || !bytes.Equal(b, object()) {
		t.Errorf("an object of %d bytes: %v", len(b), err)
	}
	if list, err := files.List(ctx); err != nil || len(list) != 1 {
		t.Errorf("objects %v: %v", list, err)
	}
}
