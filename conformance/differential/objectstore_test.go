package differential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// objects is an object store of one server. Its replicas have everything before each operation.
type objects struct {
	*transcript
	store  jetstream.ObjectStore
	bucket string
}

// TestObjectStoreLikeNatsServer does every operation of the stock client's object store on both servers.
func TestObjectStoreLikeNatsServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("of a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	both(t, func(x *transcript, replicas int) {
		for _, storage := range []jetstream.StorageType{jetstream.FileStorage, jetstream.MemoryStorage} {
			o := x.objectStore(jetstream.ObjectStoreConfig{
				Bucket: fmt.Sprint("B", storage), Replicas: replicas, Storage: storage, MaxBytes: 1 << 20, Description: "d", TTL: time.Hour,
				Compression: storage == jetstream.FileStorage, Metadata: map[string]string{"a": "b"},
			})
			o.puts(file)
			o.gets(file + ".got")
			o.updatesMeta()
			o.watches()
			o.links(x.objectStore(jetstream.ObjectStoreConfig{Bucket: fmt.Sprint("Other", storage), Replicas: replicas, Storage: storage}))
			o.deletes()
			o.state()
			o.fills()
			o.seals()
		}
		x.objectStores(replicas)
	})
}

func (x *transcript) objectStore(cfg jetstream.ObjectStoreConfig) *objects {
	x.t.Helper()
	s, err := x.js.CreateObjectStore(x.ctx, cfg)
	x.must("create", err)
	x.takes("$O." + cfg.Bucket + ".M.none")
	return &objects{x, s, cfg.Bucket}
}

// settle waits until what was done is everywhere.
func (o *objects) settle() { o.settled("OBJ_" + o.bucket) }

// objectText leaves out the random id and the time.
func objectText(i *jetstream.ObjectInfo) string {
	if i == nil {
		return "end of what was there"
	}
	var link jetstream.ObjectLink
	var chunk uint32
	if i.Opts != nil {
		chunk = i.Opts.ChunkSize
		if i.Opts.Link != nil {
			link = *i.Opts.Link
		}
	}
	return fmt.Sprintf("%s %q %q %v %v: %d bytes in %d chunks of %d, %s, deleted %v, link %+v", i.Bucket, i.Name, i.Description, i.Headers, i.Metadata,
		i.Size, i.Chunks, chunk, i.Digest, i.Deleted, link)
}

// object says what an operation told of an object, and waits for the replicas.
func (o *objects) object(what string, i *jetstream.ObjectInfo, err error) {
	o.t.Helper()
	if err != nil {
		o.did(what, err)
	} else {
		o.say("%s: %s", what, objectText(i))
	}
	o.settle()
}

func (o *objects) puts(file string) {
	for _, name := range []string{"text", "with spaces/and ü.*>", "text", ""} {
		i, err := o.store.PutString(o.ctx, name, "text of "+name)
		o.object(fmt.Sprintf("put %q", name), i, err)
	}
	for _, size := range []int{0, 1, 128 << 10, 300_000} {
		i, err := o.store.PutBytes(o.ctx, fmt.Sprint("size ", size), bytes.Repeat([]byte("z"), size))
		o.object(fmt.Sprint("put bytes ", size), i, err)
	}
	meta := jetstream.ObjectMeta{
		Name: "chunks", Description: "described", Headers: nats.Header{"H": {"1", "2"}}, Metadata: map[string]string{"k": "v"},
		Opts: &jetstream.ObjectMetaOptions{ChunkSize: 100},
	}
	for _, size := range []int{1050, 200, 1000} {
		i, err := o.store.Put(o.ctx, meta, strings.NewReader(strings.Repeat("c", size)))
		o.object(fmt.Sprintf("put %d bytes in chunks", size), i, err)
	}
	broken := io.MultiReader(strings.NewReader(strings.Repeat("b", 250)), iotest.ErrReader(errors.New("read of the source failed")))
	i, err := o.store.Put(o.ctx, meta, broken)
	o.object("put of what can not be read", i, err)
	meta.Opts = &jetstream.ObjectMetaOptions{Link: &jetstream.ObjectLink{Bucket: o.bucket, Name: "text"}}
	i, err = o.store.Put(o.ctx, meta, strings.NewReader(""))
	o.object("put of a link", i, err)
	i, err = o.store.PutFile(o.ctx, file)
	o.object("put file", i, err)
	_, err = o.store.PutFile(o.ctx, file+".none")
	o.did("put of no file", err)
}

func (o *objects) gets(file string) {
	for _, name := range []string{"text", "with spaces/and ü.*>", "size 0", "size 300000", "chunks", "none", ""} {
		data, err := o.store.GetBytes(o.ctx, name)
		o.did(fmt.Sprintf("get %q: %d bytes, %.20q", name, len(data), data), err)
		i, err := o.store.GetInfo(o.ctx, name)
		o.object("info", i, err)
	}
	text, err := o.store.GetString(o.ctx, "text")
	o.did("get string "+text, err)
	o.did("get file", o.store.GetFile(o.ctx, "chunks", file))
	data, err := os.ReadFile(file)
	o.did(fmt.Sprintf("a file of %d bytes", len(data)), err)
	result, err := o.store.Get(o.ctx, "chunks")
	o.must("get", err)
	part := make([]byte, 150)
	_, err = io.ReadFull(result, part)
	o.did(fmt.Sprintf("read %.10q", part), err)
	i, err := result.Info()
	o.object("info of what is read", i, err)
	o.did("close before the end", result.Close())
}

func (o *objects) updatesMeta() {
	update := func(what, name string, meta jetstream.ObjectMeta) {
		o.did(what, o.store.UpdateMeta(o.ctx, name, meta))
		o.settle()
	}
	update("describe", "chunks", jetstream.ObjectMeta{Name: "chunks", Description: "anew", Metadata: map[string]string{"k": "w"}})
	update("rename", "chunks", jetstream.ObjectMeta{Name: "renamed", Description: "anew"})
	update("rename to one that is there", "renamed", jetstream.ObjectMeta{Name: "text"})
	update("update of none", "none", jetstream.ObjectMeta{Name: "none"})
	for _, name := range []string{"chunks", "renamed"} {
		i, err := o.store.GetInfo(o.ctx, name)
		o.object("info of "+name, i, err)
		data, err := o.store.GetBytes(o.ctx, name)
		o.did(fmt.Sprintf("get %s: %d bytes", name, len(data)), err)
	}
}

func (o *objects) watches() {
	for _, w := range []struct {
		what  string
		opts  []jetstream.WatchOpt
		after int
	}{
		{"all", nil, 3},
		{"history", []jetstream.WatchOpt{jetstream.IncludeHistory()}, 3},
		{"updates only", []jetstream.WatchOpt{jetstream.UpdatesOnly()}, 3},
		{"no deletes", []jetstream.WatchOpt{jetstream.IgnoreDeletes()}, 2},
	} {
		o.settle()
		watcher, err := o.store.Watch(o.ctx, w.opts...)
		if err != nil {
			o.did("watch "+w.what, err)
			continue
		}
		o.follow(w.what, watcher, w.after)
	}
}

// follow says what a watcher is sent of what is there, and of two puts and a delete.
func (o *objects) follow(what string, w jetstream.ObjectWatcher, after int) {
	o.t.Helper()
	next := func() *jetstream.ObjectInfo {
		select {
		case i := <-w.Updates():
			o.say("%s: %s", what, objectText(i))
			return i
		case <-o.ctx.Done():
			o.t.Fatalf("%s: nothing in time", what)
			return nil
		}
	}
	if what != "updates only" {
		for next() != nil {
		}
	}
	for _, text := range []string{"one", "two more"} {
		_, err := o.store.PutString(o.ctx, "watched", text)
		o.must("put", err)
		o.settle()
	}
	o.must("delete", o.store.Delete(o.ctx, "watched"))
	for range after {
		next()
	}
	o.did("stop "+what, w.Stop())
}

// links makes links within the bucket and to another one.
func (o *objects) links(other *objects) {
	text, err := o.store.GetInfo(o.ctx, "text")
	o.must("info", err)
	link, err := o.store.AddLink(o.ctx, "link", text)
	o.object("link", link, err)
	i, err := o.store.AddLink(o.ctx, "link to a link", link)
	o.object("link to a link", i, err)
	i, err = o.store.AddLink(o.ctx, "text", text)
	o.object("link with the name of an object", i, err)
	i, err = o.store.AddLink(o.ctx, "link", text)
	o.object("link again", i, err)
	_, err = o.store.AddLink(o.ctx, "nothing", nil)
	o.did("link to nothing", err)
	_, err = o.store.AddLink(o.ctx, "", text)
	o.did("link without a name", err)
	far, err := other.store.PutString(o.ctx, "far", "from far")
	other.object("put elsewhere", far, err)
	i, err = o.store.AddLink(o.ctx, "far", far)
	o.object("link to elsewhere", i, err)
	i, err = o.store.AddBucketLink(o.ctx, "bucket", other.store)
	o.object("link to a bucket", i, err)
	_, err = o.store.AddBucketLink(o.ctx, "no bucket", nil)
	o.did("link to no bucket", err)
	for _, name := range []string{"link", "far", "bucket"} {
		data, err := o.store.GetString(o.ctx, name)
		o.did(fmt.Sprintf("get %s: %q", name, data), err)
		i, err := o.store.GetInfo(o.ctx, name)
		o.object("info of "+name, i, err)
	}
	_, err = o.store.PutString(o.ctx, "link", "no link")
	o.did("put in place of a link", err)
	o.settle()
	i, err = o.store.GetInfo(o.ctx, "link")
	o.object("what was a link", i, err)
}

func (o *objects) deletes() {
	far, err := o.store.GetInfo(o.ctx, "text")
	o.must("info", err)
	for _, name := range []string{"text", "text", "none", "", "far", "size 300000"} {
		o.did(fmt.Sprintf("delete %q", name), o.store.Delete(o.ctx, name))
		o.settle()
	}
	i, err := o.store.GetInfo(o.ctx, "text")
	o.object("info of a deleted one", i, err)
	i, err = o.store.GetInfo(o.ctx, "text", jetstream.GetObjectInfoShowDeleted())
	o.object("info of a deleted one, shown", i, err)
	data, err := o.store.GetBytes(o.ctx, "text", jetstream.GetObjectShowDeleted())
	o.did(fmt.Sprintf("get of a deleted one, shown: %q", data), err)
	far.Deleted = true
	_, err = o.store.AddLink(o.ctx, "to a deleted one", far)
	o.did("link to a deleted one", err)
	o.did("update of a deleted one", o.store.UpdateMeta(o.ctx, "text", jetstream.ObjectMeta{Name: "text", Description: "x"}))
	i, err = o.store.PutString(o.ctx, "text", "again")
	o.object("put of a deleted one", i, err)
	o.list("list")
	o.list("list with deleted ones", jetstream.ListObjectsShowDeleted())
}

func (o *objects) list(what string, opts ...jetstream.ListObjectsOpt) {
	list, err := o.store.List(o.ctx, opts...)
	o.did(what, err)
	slices.SortFunc(list, func(a, b *jetstream.ObjectInfo) int { return strings.Compare(a.Name, b.Name) })
	for _, i := range list {
		o.say("  %s", objectText(i))
	}
}

func (o *objects) state() {
	st, err := o.store.Status(o.ctx)
	o.must("status", err)
	o.say("%s %q: ttl %v, %v, %d replicas, sealed %v, %d bytes, %s, compressed %v, metadata %q", st.Bucket(), st.Description(), st.TTL(), st.Storage(),
		st.Replicas(), st.Sealed(), st.Size(), st.BackingStore(), st.IsCompressed(), st.Metadata()["a"])
	s, err := o.js.Stream(o.ctx, "OBJ_"+o.bucket)
	o.must("stream", err)
	info := s.CachedInfo()
	o.say("state %d %d..%d, %d deleted, %d subjects", info.State.Msgs, info.State.FirstSeq, info.State.LastSeq, info.State.NumDeleted, info.State.NumSubjects)
	cfg := info.Config
	cfg.Metadata = nil
	o.say("config %+v", cfg)
}

// fills puts more than there is room for. How much of it goes out before the client hears of the refusal is a matter of time.
func (o *objects) fills() {
	_, err := o.store.PutBytes(o.ctx, "too large", make([]byte, 2<<20))
	o.did("put of more than there is room for", err)
	o.settle()
	i, err := o.store.PutString(o.ctx, "small", "fits")
	o.object("put of what fits", i, err)
}

func (o *objects) seals() {
	o.did("seal", o.store.Seal(o.ctx))
	o.settle()
	_, err := o.store.PutString(o.ctx, "late", "x")
	o.did("put in a sealed one", err)
	o.did("delete in a sealed one", o.store.Delete(o.ctx, "small"))
	o.did("update in a sealed one", o.store.UpdateMeta(o.ctx, "small", jetstream.ObjectMeta{Name: "small", Description: "x"}))
	text, err := o.store.GetString(o.ctx, "small")
	o.did("get from a sealed one "+text, err)
	st, err := o.store.Status(o.ctx)
	o.must("status", err)
	o.say("sealed %v", st.Sealed())
	o.did("seal again", o.store.Seal(o.ctx))
}

// objectStores makes, changes, lists and deletes stores.
func (x *transcript) objectStores(replicas int) {
	cfg := jetstream.ObjectStoreConfig{Bucket: "C", Replicas: replicas}
	o := x.objectStore(cfg)
	o.list("list of an empty one")
	w, err := o.store.Watch(x.ctx)
	x.must("watch", err)
	o.follow("an empty one", w, 3)
	_, err = x.js.CreateObjectStore(x.ctx, cfg)
	x.did("create again", err)
	cfg.MaxBytes = 5000
	_, err = x.js.CreateObjectStore(x.ctx, cfg)
	x.did("create another one of that name", err)
	_, err = x.js.UpdateObjectStore(x.ctx, cfg)
	x.did("update", err)
	cfg.Description = "described"
	_, err = x.js.CreateOrUpdateObjectStore(x.ctx, cfg)
	x.did("create or update", err)
	_, err = x.js.CreateOrUpdateObjectStore(x.ctx, jetstream.ObjectStoreConfig{Bucket: "D", Replicas: replicas})
	x.did("create or update of a new one", err)
	_, err = x.js.UpdateObjectStore(x.ctx, jetstream.ObjectStoreConfig{Bucket: "none"})
	x.did("update of none", err)
	_, err = x.js.CreateObjectStore(x.ctx, jetstream.ObjectStoreConfig{Bucket: "a b"})
	x.did("create with a bad name", err)
	_, err = x.js.ObjectStore(x.ctx, "none")
	x.did("bind to none", err)
	o.state()
	var list []string
	for name := range x.js.ObjectStoreNames(x.ctx).Name() {
		list = append(list, name)
	}
	for st := range x.js.ObjectStores(x.ctx).Status() {
		list = append(list, fmt.Sprint(st.Bucket(), " sealed ", st.Sealed()))
	}
	slices.Sort(list)
	x.say("stores %v", list)
	x.did("delete", x.js.DeleteObjectStore(x.ctx, "C"))
	x.did("delete again", x.js.DeleteObjectStore(x.ctx, "C"))
}
