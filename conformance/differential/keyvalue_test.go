package differential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// transcript is what a client was told by one server, in words that are the same for every server that
// does the same.
type transcript struct {
	t     *testing.T
	ctx   context.Context
	nc    *nats.Conn
	js    jetstream.JetStream
	lines []string
}

func (x *transcript) say(format string, args ...any) {
	x.lines = append(x.lines, fmt.Sprintf(format, args...))
}

// did says what came of an operation.
func (x *transcript) did(what string, err error) {
	if err != nil {
		x.say("%s: %v", what, err)
		return
	}
	x.say("%s: done", what)
}

// must ends the test: the rest would make no sense.
func (x *transcript) must(what string, err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatalf("%s: %v", what, err)
	}
}

// both has a script run against each server, with one and three nodes, and compares what they say.
func both(t *testing.T, script func(x *transcript, replicas int)) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint("R", nodes), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var told [2][]string
			for i, bin := range []string{weirBin, natsBin} {
				x := &transcript{t: t, ctx: ctx, nc: startOne(ctx, t, bin, nodes)}
				var err error
				x.js, err = jetstream.New(x.nc)
				x.must("context", err)
				script(x, nodes)
				told[i] = x.lines
			}
			compareTold(t, told[0], told[1])
		})
	}
}

func compareTold(t *testing.T, weir, other []string) {
	t.Helper()
	if len(weir) == 0 {
		t.Error("nothing was said")
	}
	for i := range max(len(weir), len(other)) {
		a, b := "nothing", "nothing"
		if i < len(weir) {
			a = weir[i]
		}
		if i < len(other) {
			b = other[i]
		}
		if a != b {
			t.Errorf("line %d\n  Weir:        %s\n  nats-server: %s", i, a, b)
		}
	}
}

// entryText leaves out how many entries are still to come: the servers look at different moments.
func entryText(e jetstream.KeyValueEntry) string {
	if e == nil {
		return "end of what was there"
	}
	return fmt.Sprintf("%s %s=%q revision %d %v", e.Bucket(), e.Key(), e.Value(), e.Revision(), e.Operation())
}

// watch says what a watcher is sent before and after more is done.
func (x *transcript) watch(what string, w jetstream.KeyWatcher, err error, more func(), after int) {
	x.t.Helper()
	if err != nil {
		x.did("watch "+what, err)
		return
	}
	next := func() jetstream.KeyValueEntry {
		select {
		case e := <-w.Updates():
			x.say("%s: %s", what, entryText(e))
			return e
		case <-x.ctx.Done():
			x.t.Fatalf("%s: nothing in time", what)
			return nil
		}
	}
	if !strings.Contains(what, "updates only") {
		for next() != nil {
		}
	}
	more()
	for range after {
		next()
	}
	x.did("stop "+what, w.Stop())
}

func (x *transcript) keys(what string, list func() (jetstream.KeyLister, error)) {
	l, err := list()
	if err != nil {
		x.did(what, err)
		return
	}
	var keys []string
	for k := range l.Keys() {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	x.say("%s: %v", what, keys)
}

// TestKeyValueLikeNatsServer does every operation of the stock client's key-value store on both servers.
func TestKeyValueLikeNatsServer(t *testing.T) {
	both(t, func(x *transcript, replicas int) {
		for _, storage := range []jetstream.StorageType{jetstream.FileStorage, jetstream.MemoryStorage} {
			bucket := fmt.Sprint("B", storage)
			kv, err := x.js.CreateKeyValue(x.ctx, jetstream.KeyValueConfig{
				Bucket: bucket, History: 4, Replicas: replicas, Storage: storage, MaxValueSize: 100, MaxBytes: 1 << 20, Description: "d",
				LimitMarkerTTL: time.Hour, Compression: storage == jetstream.FileStorage, Metadata: map[string]string{"a": "b"},
			})
			x.must("create", err)
			x.takes("$KV." + bucket + ".a")
			x.writes(kv)
			x.settled("KV_" + bucket)
			x.reads(kv)
			x.watches(kv)
			x.deletes(kv)
			x.settled("KV_" + bucket)
			x.bucketState(bucket, kv)
		}
		x.buckets(replicas)
	})
}

// writes puts, creates and updates, rightly and not.
func (x *transcript) writes(kv jetstream.KeyValue) {
	revision := func(what string, rev uint64, err error) {
		x.did(fmt.Sprintf("%s gives %d", what, rev), err)
	}
	for i := range 6 {
		rev, err := kv.Put(x.ctx, "a.b", fmt.Append(nil, i))
		revision("put", rev, err)
	}
	rev, err := kv.PutString(x.ctx, "a.c", "text")
	revision("put string", rev, err)
	rev, err = kv.Create(x.ctx, "new", []byte("1"))
	revision("create", rev, err)
	rev, err = kv.Create(x.ctx, "new", []byte("2"))
	revision("create again", rev, err)
	rev, err = kv.Update(x.ctx, "new", []byte("3"), 8)
	revision("update", rev, err)
	rev, err = kv.Update(x.ctx, "new", []byte("4"), 8)
	revision("update of an old revision", rev, err)
	rev, err = kv.Create(x.ctx, "ttl", []byte("t"), jetstream.KeyTTL(time.Hour))
	revision("create with a TTL", rev, err)
	for _, key := range []string{"", ".a", "a.", "a b", "a*", ">"} {
		_, err = kv.Put(x.ctx, key, nil)
		x.did(fmt.Sprintf("put %q", key), err)
	}
	_, err = kv.Put(x.ctx, "large", make([]byte, 101))
	x.did("a value that is too large", err)
}

func (x *transcript) reads(kv jetstream.KeyValue) {
	get := func(what string, e jetstream.KeyValueEntry, err error) {
		if err != nil {
			x.did(what, err)
			return
		}
		x.say("%s: %s", what, entryText(e))
	}
	for _, key := range []string{"a.b", "a.c", "none", "ttl"} {
		e, err := kv.Get(x.ctx, key)
		get("get "+key, e, err)
	}
	for _, rev := range []uint64{1, 3, 6, 7, 100} {
		e, err := kv.GetRevision(x.ctx, "a.b", rev)
		get(fmt.Sprint("revision ", rev), e, err)
	}
	for _, key := range []string{"a.b", "new", "none"} {
		list, err := kv.History(x.ctx, key)
		x.did("history "+key, err)
		for _, e := range list {
			x.say("  %s", entryText(e))
		}
	}
	x.keys("keys", func() (jetstream.KeyLister, error) { return kv.ListKeys(x.ctx) })
	x.keys("keys a.>", func() (jetstream.KeyLister, error) { return kv.ListKeysFiltered(x.ctx, "a.>", "new") })
	x.keys("keys none", func() (jetstream.KeyLister, error) { return kv.ListKeysFiltered(x.ctx, "none.*") })
}

func (x *transcript) watches(kv jetstream.KeyValue) {
	put := func(n int) func() {
		return func() {
			for i := range n {
				_, err := kv.Put(x.ctx, "a.w", fmt.Append(nil, i))
				x.must("put", err)
			}
			x.must("delete", kv.Delete(x.ctx, "a.w"))
		}
	}
	for _, o := range []struct {
		what  string
		opts  []jetstream.WatchOpt
		after int
	}{
		{"all", nil, 3},
		{"history", []jetstream.WatchOpt{jetstream.IncludeHistory()}, 3},
		{"updates only", []jetstream.WatchOpt{jetstream.UpdatesOnly()}, 3},
		{"no deletes", []jetstream.WatchOpt{jetstream.IgnoreDeletes()}, 2},
		{"keys alone", []jetstream.WatchOpt{jetstream.MetaOnly()}, 3},
		{"from a revision", []jetstream.WatchOpt{jetstream.ResumeFromRevision(5)}, 3},
		{"history from a revision", []jetstream.WatchOpt{jetstream.IncludeHistory(), jetstream.ResumeFromRevision(5)}, 3},
	} {
		x.settled("KV_" + kv.Bucket())
		w, err := kv.WatchAll(x.ctx, o.opts...)
		x.watch(o.what, w, err, put(2), o.after)
		x.settled("KV_" + kv.Bucket())
		w, err = kv.WatchFiltered(x.ctx, []string{"a.*", "none"}, o.opts...)
		x.watch(o.what+", two filters", w, err, put(2), o.after)
	}
}

func (x *transcript) deletes(kv jetstream.KeyValue) {
	x.did("delete", kv.Delete(x.ctx, "a.c"))
	x.did("delete of a revision", kv.Delete(x.ctx, "new", jetstream.LastRevision(9)))
	x.did("delete of an old one", kv.Delete(x.ctx, "new", jetstream.LastRevision(8)))
	x.did("delete of nothing", kv.Delete(x.ctx, "none"))
	x.did("purge", kv.Purge(x.ctx, "a.b"))
	x.did("purge of an old revision", kv.Purge(x.ctx, "a.c", jetstream.LastRevision(1)))
	x.did("purge with a TTL", kv.Purge(x.ctx, "ttl", jetstream.PurgeTTL(time.Hour)))
	_, err := kv.Get(x.ctx, "a.b")
	x.did("get what was purged", err)
	rev, err := kv.Create(x.ctx, "a.c", []byte("again"))
	x.did(fmt.Sprint("create after a delete gives ", rev), err)
	x.settled("KV_" + kv.Bucket())
	list, err := kv.History(x.ctx, "a.b")
	x.did("history of what was purged", err)
	for _, e := range list {
		x.say("  %s", entryText(e))
	}
	x.settled("KV_" + kv.Bucket())
	x.did("purge of old markers", kv.PurgeDeletes(x.ctx, jetstream.DeleteMarkersOlderThan(time.Hour)))
	x.did("purge of all markers", kv.PurgeDeletes(x.ctx, jetstream.DeleteMarkersOlderThan(-1)))
	x.settled("KV_" + kv.Bucket())
	w, err := kv.WatchAll(x.ctx, jetstream.IncludeHistory())
	x.watch("what is left", w, err, func() {}, 0)
}

func (x *transcript) bucketState(bucket string, kv jetstream.KeyValue) {
	st, err := kv.Status(x.ctx)
	x.must("status", err)
	x.say("%s: %d values, history %d, ttl %v, %s, compressed %v, marker %v, bytes %d", st.Bucket(), st.Values(), st.History(), st.TTL(), st.BackingStore(),
		st.IsCompressed(), st.LimitMarkerTTL(), st.Bytes())
	s, err := x.js.Stream(x.ctx, "KV_"+bucket)
	x.must("stream", err)
	info := s.CachedInfo()
	x.say("state %d %d..%d, %d deleted, %d subjects", info.State.Msgs, info.State.FirstSeq, info.State.LastSeq, info.State.NumDeleted, info.State.NumSubjects)
	cfg := info.Config
	cfg.Metadata = nil
	x.say("config %+v", cfg)
}

// buckets makes, changes, mirrors, lists and deletes buckets.
func (x *transcript) buckets(replicas int) {
	cfg := jetstream.KeyValueConfig{Bucket: "C", Replicas: replicas}
	kv, err := x.js.CreateKeyValue(x.ctx, cfg)
	x.must("create", err)
	x.takes("$KV.C.k")
	_, err = x.js.CreateKeyValue(x.ctx, cfg)
	x.did("create again", err)
	cfg.History = 5
	_, err = x.js.CreateKeyValue(x.ctx, cfg)
	x.did("create another one of that name", err)
	_, err = x.js.UpdateKeyValue(x.ctx, cfg)
	x.did("update", err)
	_, err = x.js.UpdateKeyValue(x.ctx, jetstream.KeyValueConfig{Bucket: "none"})
	x.did("update of none", err)
	_, err = x.js.KeyValue(x.ctx, "none")
	x.did("bind to none", err)
	_, err = kv.Put(x.ctx, "k", []byte("v"))
	x.did("put", err)
	mirror, err := x.js.CreateKeyValue(x.ctx, jetstream.KeyValueConfig{Bucket: "M", Mirror: &jetstream.StreamSource{Name: "C"}, Replicas: replicas})
	x.did("mirror", err)
	x.eventually("the mirror", func() bool {
		s, err := x.js.Stream(x.ctx, "KV_M")
		return err == nil && s.CachedInfo().State.Msgs == 1
	})
	rev, err := mirror.Put(x.ctx, "k", []byte("through the mirror"))
	x.did(fmt.Sprint("put through the mirror gives ", rev), err)
	names := x.js.KeyValueStoreNames(x.ctx)
	var list []string
	for n := range names.Name() {
		list = append(list, n)
	}
	slices.Sort(list)
	x.say("buckets %v", list)
	x.did("delete", x.js.DeleteKeyValue(x.ctx, "C"))
	x.did("delete again", x.js.DeleteKeyValue(x.ctx, "C"))
}

// takes waits until a new stream answers publishers, with a message that it refuses.
func (x *transcript) takes(subject string) {
	x.t.Helper()
	x.eventually("stream of "+subject, func() bool {
		_, err := x.js.Publish(x.ctx, subject, nil, jetstream.WithExpectLastSequence(1000))
		var refused *jetstream.APIError
		return errors.As(err, &refused)
	})
}

// settled waits until all replicas of a stream have everything: nats-server's followers run consumers and answer direct
// gets, from what they have.
func (x *transcript) settled(stream string) {
	x.t.Helper()
	x.eventually("replicas of "+stream, func() bool {
		s, err := x.js.Stream(x.ctx, stream)
		if err != nil {
			return false
		}
		c := s.CachedInfo().Cluster
		return c == nil || !slices.ContainsFunc(c.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current || p.Lag > 0 })
	})
}

// eventually waits for what a server does in its own time.
func (x *transcript) eventually(what string, ok func() bool) {
	x.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-x.ctx.Done():
			x.t.Fatalf("%s: not in time", what)
		}
	}
}
