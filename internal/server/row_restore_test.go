package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/api"
)

// backedUp is a backup as a client has it.
type backedUp struct {
	Config  api.StreamConfig `json:"config"`
	State   api.StreamState  `json:"state"`
	archive []byte
}

// backup makes a backup as the stock client does, with chunks of 1 KiB.
func (r *rows) backup(nc *nats.Conn, name string) *backedUp {
	r.t.Helper()
	return r.backupAround(nc, name, func() {})
}

// backupAround makes a backup and does something when the first chunk has come.
func (r *rows) backupAround(nc *nats.Conn, name string, meanwhile func()) *backedUp {
	r.t.Helper()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		r.t.Fatal(err)
	}
	defer sub.Unsubscribe()
	b := new(backedUp)
	r.must(nc, "STREAM.SNAPSHOT."+name, api.StreamSnapshotRequest{DeliverSubject: inbox, ChunkSize: 1024, WindowSize: 4096}).into(r.t, b)
	for {
		m, err := sub.NextMsg(patience)
		if err != nil {
			r.t.Fatalf("backup of %s: %v", name, err)
		}
		if len(m.Data) == 0 {
			if got := m.Header.Get("Status"); got != "204" {
				r.t.Fatalf("backup of %s ends with %q", name, got)
			}
			return b
		}
		if len(b.archive) == 0 {
			meanwhile()
		}
		b.archive = append(b.archive, m.Data...)
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// restoring begins a restore and returns the subject of the chunks.
func (r *rows) restoring(nc *nats.Conn, b *backedUp) string {
	r.t.Helper()
	var doc api.StreamRestoreResponse
	r.must(nc, "STREAM.RESTORE."+b.Config.Name, b).into(r.t, &doc)
	return doc.DeliverSubject
}

// send sends a part of an archive and returns the answer to its last chunk.
func (r *rows) send(nc *nats.Conn, deliver string, part []byte) *nats.Msg {
	r.t.Helper()
	for {
		n := min(len(part), 700)
		m, err := nc.Request(deliver, part[:n], patience)
		if err != nil {
			r.t.Fatalf("chunk of %d bytes: %v", n, err)
		}
		part = part[n:]
		if len(part) == 0 || len(m.Data) > 0 {
			return m
		}
	}
}

// restore restores a backup and returns the last answer.
func (r *rows) restore(nc *nats.Conn, b *backedUp) *answer {
	r.t.Helper()
	deliver := r.restoring(nc, b)
	if m := r.send(nc, deliver, b.archive); len(m.Data) > 0 {
		r.t.Fatalf("restore of %s: %s", b.Config.Name, m.Data)
	}
	return parse(r.t, r.send(nc, deliver, nil))
}

// fill makes a stream with all that a backup has to keep: holes, headers, a TTL, a message id, payloads that do not
// compress; and consumers in the middle of their work.
func (r *rows) fill(name string, replicas int) {
	r.t.Helper()
	r.stream(name, replicas, func(c *api.StreamConfig) { c.AllowMsgTTL, c.AllowDirect = true, true })
	for i := range 60 {
		m := &nats.Msg{Subject: fmt.Sprintf("%s.%d", name, i%7), Data: bytes.Repeat([]byte{byte(i * 37)}, i*20), Header: nats.Header{}}
		if i%3 == 0 {
			m.Header.Set("Kind", fmt.Sprint(i))
		}
		if i == 50 {
			m.Header.Set("Nats-TTL", "1h")
		}
		if _, err := r.js.PublishMsg(r.ctx, m, jetstream.WithMsgID(fmt.Sprint("id", i))); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, seq := range []int{1, 2, 17, 60} {
		r.must(r.app, "STREAM.MSG.DELETE."+name, fmt.Sprintf(`{"seq":%d}`, seq))
	}
	r.consumer(name, "busy", `"durable_name":"busy","ack_policy":"explicit","max_deliver":5,"ack_wait":600000000000`)
	r.consumer(name, "filtered", `"durable_name":"filtered","ack_policy":"explicit","filter_subject":"`+name+`.3"`)
	r.consumer(name, "fresh", `"durable_name":"fresh","ack_policy":"none","deliver_policy":"new"`)
	c, err := r.js.Consumer(r.ctx, name, "busy")
	if err != nil {
		r.t.Fatal(err)
	}
	batch := r.fetch(c, 10)
	for i, m := range batch {
		switch {
		case i == 4:
			err = m.Nak()
		case i%2 == 0:
			err = m.DoubleAck(r.ctx)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.fetch(c, 1) // the one that was not wanted
}

func (r *rows) fetch(c jetstream.Consumer, n int) (list []jetstream.Msg) {
	r.t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(patience))
	if err != nil {
		r.t.Fatal(err)
	}
	for m := range batch.Messages() {
		list = append(list, m)
	}
	if len(list) != n {
		r.t.Fatalf("%d messages of %d: %v", len(list), n, batch.Error())
	}
	return list
}

// content is all that a restored stream has to have in common with the one that was backed up.
type content struct {
	State     api.StreamState
	Messages  map[uint64]string
	Consumers map[string]string
}

func (r *rows) content(name string) content {
	r.t.Helper()
	c := content{State: r.info(name).State, Messages: map[uint64]string{}, Consumers: map[string]string{}}
	c.State.LastTime = time.Time{} // of a message that was deleted: it is in no backup
	for seq := c.State.FirstSeq; seq <= c.State.LastSeq; seq++ {
		a := r.ask(r.app, "STREAM.MSG.GET."+name, fmt.Sprintf(`{"seq":%d}`, seq))
		if a.code() == 0 {
			c.Messages[seq] = fmt.Sprintf("%x", sha256.Sum256(a.raw))[:8]
		}
	}
	for _, consumer := range []string{"busy", "filtered", "fresh"} {
		x := r.consumerInfo(name, consumer)
		c.Consumers[consumer] = fmt.Sprintf("%v %d/%d %d/%d %d %d %d", x.Config.FilterSubject, x.Delivered.Consumer, x.Delivered.Stream,
			x.AckFloor.Consumer, x.AckFloor.Stream, x.NumAckPending, x.NumRedelivered, x.NumPending)
	}
	return c
}

func TestRow44_Restore(t *testing.T) {
	r := sharedRows(t)
	r.fill("R44", 1)
	before := r.content("R44")
	if before.Consumers["busy"] == before.Consumers["fresh"] || len(before.Messages) != 56 {
		t.Fatalf("%+v", before)
	}
	b := r.backup(r.as(t, "app", 1), "R44")
	r.refused(r.app, "STREAM.RESTORE.R44", b, 10130)
	r.must(r.app, "STREAM.DELETE.R44", nil)
	r.refused(r.app, "STREAM.RESTORE.OTHER", b, 10056)
	for replicas, storage := range map[int]api.Storage{1: api.FileStorage, 3: api.FileStorage, 2: api.MemoryStorage} {
		b.Config.Replicas, b.Config.Storage = replicas, storage
		a := r.restore(r.as(t, "app", 2), b)
		if a.Error != nil || a.Type != api.StreamCreateResponseType {
			t.Fatalf("%s", a.raw)
		}
		after := r.content("R44")
		if after.State.Bytes = before.State.Bytes; storage == api.FileStorage && !reflect.DeepEqual(after, before) {
			t.Errorf("R%d: restored %+v\nof %+v", replicas, after, before)
		}
		if !reflect.DeepEqual(after.Messages, before.Messages) || !reflect.DeepEqual(after.Consumers, before.Consumers) {
			t.Errorf("R%d in %s: restored %+v\nof %+v", replicas, storage, after, before)
		}
		if n := len(members(r.info("R44").Cluster)); n != replicas {
			t.Errorf("%d members of %d", n, replicas)
		}
		r.sameOnAll("R44")
		r.goesOn("R44")
		r.must(r.app, "STREAM.DELETE.R44", nil)
	}
}

// goesOn wants a restored stream to work: it knows the ids of its messages, numbers behind the last one, and its consumers
// deliver what is left.
func (r *rows) goesOn(name string) {
	r.t.Helper()
	ack, err := r.js.Publish(r.ctx, name+".1", nil, jetstream.WithMsgID("id58"))
	if err != nil || !ack.Duplicate || ack.Sequence != 59 {
		r.t.Errorf("an id of the backup: %+v %v", ack, err)
	}
	if ack, err = r.js.Publish(r.ctx, name+".1", []byte("new")); err != nil || ack.Sequence != 61 {
		r.t.Errorf("published as %+v: %v", ack, err)
	}
	fresh, err := r.js.Consumer(r.ctx, name, "fresh")
	if err != nil {
		r.t.Fatal(err)
	}
	if m := r.fetch(fresh, 1)[0]; string(m.Data()) != "new" {
		r.t.Errorf("the consumer of new messages got %q", m.Data())
	}
	busy, err := r.js.Consumer(r.ctx, name, "busy")
	if err != nil {
		r.t.Fatal(err)
	}
	if meta, err := r.fetch(busy, 1)[0].Metadata(); err != nil || meta.Sequence.Stream != 13 || meta.Sequence.Consumer != 12 {
		r.t.Errorf("the busy consumer goes on with %+v: %v", meta, err)
	}
}

func TestRow44_NobodySeesARestore(t *testing.T) {
	r := sharedRows(t)
	r.fill("R44S", 3)
	b := r.backup(r.app, "R44S")
	r.must(r.app, "STREAM.DELETE.R44S", nil)
	deliver := r.restoring(r.app, b)
	r.send(r.app, deliver, b.archive[:len(b.archive)/2])
	for _, server := range []int{0, 1, 2} {
		nc := r.as(t, "app", server)
		for _, subj := range []string{"STREAM.INFO.R44S", "STREAM.DELETE.R44S", "STREAM.PURGE.R44S", "STREAM.SNAPSHOT.R44S", "CONSUMER.NAMES.R44S"} {
			body := any(nil)
			if strings.HasPrefix(subj, "STREAM.SNAPSHOT") {
				body = `{"deliver_subject":"x"}`
			}
			r.refused(nc, subj, body, 10059)
		}
		r.refused(nc, "STREAM.UPDATE.R44S", b.Config, 10059)
		r.refused(nc, "STREAM.CREATE.R44S", b.Config, 10058)
		for _, subj := range []string{"STREAM.NAMES", "STREAM.LIST"} {
			if a := r.must(nc, subj, nil); bytes.Contains(a.raw, []byte("R44S")) {
				t.Errorf("%s shows what is being restored: %s", subj, a.raw)
			}
		}
	}
	if n := r.fetchNothing("R44S"); n != nil {
		t.Errorf("a consumer of what is being restored delivers: %v", n)
	}
	r.send(r.app, deliver, b.archive[len(b.archive)/2:])
	if a := parse(t, r.send(r.app, deliver, nil)); a.Error != nil {
		t.Fatalf("%s", a.raw)
	}
	r.sameOnAll("R44S")
}

// fetchNothing asks a consumer for a message at once, and returns an answer that is one.
func (r *rows) fetchNothing(name string) *nats.Msg {
	m, err := r.app.Request("$JS.API.CONSUMER.MSG.NEXT."+name+".busy", []byte(`{"no_wait":true,"batch":1}`), time.Second)
	if err != nil || m.Header.Get("Status") != "" {
		return nil
	}
	return m
}

func TestRow44_RefusedRestores(t *testing.T) {
	r := sharedRows(t)
	r.fill("R44R", 1)
	b := r.backup(r.app, "R44R")
	r.must(r.app, "STREAM.DELETE.R44R", nil)
	with := func(change func(*api.StreamConfig)) *backedUp {
		other := *b
		change(&other.Config)
		return &other
	}
	r.refused(r.app, "STREAM.RESTORE.R44R", nil, 10003)
	r.refused(r.app, "STREAM.RESTORE.R44R", "{}", 10003)
	r.refused(r.app, "STREAM.RESTORE.R44R", with(func(c *api.StreamConfig) { c.Replicas = 5 }), 10005)
	r.refused(r.app, "STREAM.RESTORE.R44R", with(func(c *api.StreamConfig) { c.Placement = &api.Placement{Tags: []string{"nowhere"}} }), 10005)
	r.refused(r.app, "STREAM.RESTORE.R44R", with(func(c *api.StreamConfig) { c.Retention = "bogus" }), 10025)
	r.stream("TAKEN", 1, func(c *api.StreamConfig) { c.Subjects = []string{"R44R.3"} })
	r.refused(r.app, "STREAM.RESTORE.R44R", b, 10065)
	r.must(r.app, "STREAM.DELETE.TAKEN", nil)

	for _, tc := range []struct {
		name, want string
		b          *backedUp
		archive    []byte
	}{
		{"garbage", "corrupt input", b, []byte("this is no archive at all")},
		{"cut", "corrupt input", b, b.archive[:len(b.archive)/2]},
		{"consumers", "maximum consumers limit", with(func(c *api.StreamConfig) { c.MaxConsumers = 2 }), b.archive},
	} {
		done := r.listen(r.app, "STREAM.RESTORE_COMPLETE.R44R")
		deliver := r.restoring(r.app, tc.b)
		m := r.send(r.app, deliver, tc.archive)
		if len(m.Data) == 0 {
			m = r.send(r.app, deliver, nil)
		}
		if !strings.Contains(string(m.Data), "restore failed") || !strings.Contains(string(m.Data), tc.want) {
			t.Errorf("%s: %s", tc.name, m.Data)
		}
		r.next(done)
		r.refused(r.app, "STREAM.INFO.R44R", nil, 10059)
	}
	if a := r.restore(r.app, b); a.Error != nil {
		t.Errorf("%s", a.raw)
	}
}

// TestRow44_RestoreIntoAFullAccount restores 1.5 MB into an account of 1 MiB.
func TestRow44_RestoreIntoAFullAccount(t *testing.T) {
	r := sharedRows(t)
	r.stream("R44F", 1)
	noise := rand.NewChaCha8([32]byte{})
	for range 15 {
		data := make([]byte, 100_000)
		noise.Read(data)
		if _, err := r.js.Publish(r.ctx, "R44F.x", data); err != nil {
			t.Fatal(err)
		}
	}
	b := r.backup(r.app, "R44F")
	small := r.as(t, "small", 1)
	deliver := r.restoring(small, b)
	m := r.send(small, deliver, b.archive)
	if len(m.Data) == 0 {
		m = r.send(small, deliver, nil)
	}
	if !strings.Contains(string(m.Data), "resource limits exceeded for account") {
		t.Errorf("%s", m.Data)
	}
	r.until("the account is empty again", func() bool {
		var use api.AccountInfo
		r.must(small, "INFO", nil).into(t, &use)
		return use.Store == 0 && use.Streams == 0
	})
}

// TestRow44_InterruptedRestore takes away the server that receives a backup: the client may begin again at once.
func TestRow44_InterruptedRestore(t *testing.T) {
	r := ownRows(t, 3)
	r.fill("R44I", 3)
	b := r.backup(r.app, "R44I")
	want := r.content("R44I")
	r.must(r.app, "STREAM.DELETE.R44I", nil)
	r.send(r.app, r.restoring(r.app, b), b.archive[:len(b.archive)/2])
	receiver := -1
	r.until("somebody leads the group", func() bool {
		for i, s := range r.servers {
			for _, st := range s.node.Streams() {
				if st.Name() == "R44I" && st.Leads() {
					receiver = i
				}
			}
		}
		return receiver >= 0
	})
	r.stop(receiver)
	other := (receiver + 1) % 3
	r.sys, r.app = r.as(t, "sys", other), r.as(t, "app", other)
	var err error
	if r.js, err = jetstream.New(r.app, jetstream.WithDefaultTimeout(patience)); err != nil {
		t.Fatal(err)
	}
	if a := r.restore(r.app, b); a.Error != nil { // at once
		t.Fatalf("%s", a.raw)
	}
	if got := r.content("R44I"); !reflect.DeepEqual(got, want) {
		t.Errorf("restored %+v\nof %+v", got, want)
	}
	r.start(receiver)
	r.ready(receiver)
	r.sameOnAll("R44I")
}

// TestRow44_RestoreAgain begins a restore while another one of the stream waits for a client that is gone: the new one is
// complete, the old one is told when it goes on.
func TestRow44_RestoreAgain(t *testing.T) {
	r := sharedRows(t)
	for _, replicas := range []int{1, 3} {
		name := fmt.Sprint("R44B", replicas)
		r.fill(name, replicas)
		b, want := r.backup(r.app, name), r.content(name)
		r.must(r.app, "STREAM.DELETE."+name, nil)
		old := r.restoring(r.app, b)
		r.send(r.app, old, b.archive[:len(b.archive)/2])
		if a := r.restore(r.as(t, "app", 1), b); a.Error != nil {
			t.Fatalf("R%d: %s", replicas, a.raw)
		}
		m := r.send(r.app, old, b.archive[len(b.archive)/2:])
		if len(m.Data) == 0 {
			m = r.send(r.app, old, nil)
		}
		if !strings.Contains(string(m.Data), "restore failed") {
			t.Errorf("R%d: the old restore ends with %q", replicas, m.Data)
		}
		if got := r.content(name); !reflect.DeepEqual(got, want) {
			t.Errorf("R%d: restored %+v\nof %+v", replicas, got, want)
		}
		r.must(r.app, "STREAM.DELETE."+name, nil)
	}
}

// TestRow44_RestoreWithinLimits restores into an account that has no room for another stream or for what it reserves.
func TestRow44_RestoreWithinLimits(t *testing.T) {
	r := sharedRows(t)
	r.fill("R44L", 1)
	b := r.backup(r.app, "R44L")
	lim := r.as(t, "lim", 1)
	big := *b
	big.Config.MaxBytes = 11 << 30
	r.refused(lim, "STREAM.RESTORE.R44L", &big, 10047)
	many := *b
	many.Config.MaxConsumers = 5
	r.refused(lim, "STREAM.RESTORE.R44L", &many, 10026)
	for _, name := range []string{"L1", "L2", "L3"} {
		r.must(lim, "STREAM.CREATE."+name, fmt.Sprintf(`{"name":%q,"num_replicas":1,"storage":"file"}`, name))
	}
	r.refused(lim, "STREAM.RESTORE.R44L", b, 10027)
	r.must(lim, "STREAM.DELETE.L1", nil)
	if a := r.restore(lim, b); a.Error != nil {
		t.Errorf("with room for it: %s", a.raw)
	}
}

// TestRow44_RestoreOfAFormerMirror: a mirror that was made a stream of its own keeps mirror_direct, which no new stream may have.
func TestRow44_RestoreOfAFormerMirror(t *testing.T) {
	r := sharedRows(t)
	r.fill("R44M", 1)
	mirror := api.StreamConfig{Name: "R44N", Replicas: 1, Retention: api.LimitsRetention, Storage: api.FileStorage, MirrorDirect: true,
		MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, MaxMsgSize: -1, Mirror: &api.StreamSource{Name: "R44M"}}
	r.must(r.app, "STREAM.CREATE.R44N", mirror)
	msgs := r.info("R44M").State.Msgs
	r.until("the mirror has it all", func() bool { return r.info("R44N").State.Msgs == msgs })
	if a := r.update("R44N", func(cfg *api.StreamConfig) { cfg.Mirror = nil }); a.Error != nil {
		t.Fatal(a.raw)
	}
	b := r.backup(r.app, "R44N")
	r.must(r.app, "STREAM.DELETE.R44N", nil)
	if a := r.restore(r.app, b); a.Error != nil {
		t.Fatalf("restore: %s", a.raw)
	}
	if got := r.info("R44N"); !got.Config.MirrorDirect || got.State.Msgs != msgs {
		t.Errorf("restored with %d messages and mirror_direct %t", got.State.Msgs, got.Config.MirrorDirect)
	}
}

// TestRow44_BackupIsOfOneMoment changes a stream, and at last deletes it, while it is backed up.
func TestRow44_BackupIsOfOneMoment(t *testing.T) {
	r := sharedRows(t)
	r.fill("R44M", 3)
	noise := rand.NewChaCha8([32]byte{})
	for range 40 { // more than is read ahead of the client's acks
		data := make([]byte, 64<<10)
		noise.Read(data)
		if _, err := r.js.Publish(r.ctx, "R44M.x", data); err != nil {
			t.Fatal(err)
		}
	}
	want := r.content("R44M")
	b := r.backupAround(r.app, "R44M", func() {
		r.publish("R44M.late", 20)
		r.must(r.app, "STREAM.MSG.DELETE.R44M", `{"seq":30}`)
		r.must(r.app, "CONSUMER.DELETE.R44M.busy", nil)
		r.must(r.app, "STREAM.PURGE.R44M", nil)
		r.must(r.app, "STREAM.DELETE.R44M", nil)
	})
	if a := r.restore(r.app, b); a.Error != nil {
		t.Fatalf("%s", a.raw)
	}
	if got := r.content("R44M"); !reflect.DeepEqual(got, want) {
		t.Errorf("restored %+v\nof %+v", got, want)
	}
}

func TestRow44_Advisories(t *testing.T) {
	r := sharedRows(t)
	r.fill("R44A", 1)
	made, complete := r.listen(r.app, "STREAM.SNAPSHOT_CREATE.R44A"), r.listen(r.app, "STREAM.SNAPSHOT_COMPLETE.R44A")
	b := r.backup(r.app, "R44A")
	doc := r.next(made)
	if doc["type"] != api.SnapshotCreateAdvisoryType || doc["stream"] != "R44A" || doc["client"] == nil {
		t.Errorf("%v", doc)
	}
	var state api.StreamState
	raw, _ := json.Marshal(doc["state"])
	if err := json.Unmarshal(raw, &state); err != nil || !reflect.DeepEqual(state, b.State) {
		t.Errorf("state %+v, in the answer %+v: %v", state, b.State, err)
	}
	if doc = r.next(complete); doc["type"] != api.SnapshotCompleteAdvisoryType || doc["error"] != nil || doc["start"] == nil || doc["end"] == nil {
		t.Errorf("%v", doc)
	}
	r.must(r.app, "STREAM.DELETE.R44A", nil)
	made, complete = r.listen(r.app, "STREAM.RESTORE_CREATE.R44A"), r.listen(r.app, "STREAM.RESTORE_COMPLETE.R44A")
	r.restore(r.app, b)
	if doc = r.next(made); doc["type"] != api.RestoreCreateAdvisoryType || doc["stream"] != "R44A" {
		t.Errorf("%v", doc)
	}
	if doc = r.next(complete); doc["type"] != api.RestoreCompleteAdvisoryType || doc["bytes"] != float64(len(b.archive)) {
		t.Errorf("%v, %d bytes were sent", doc, len(b.archive))
	}
}
