package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/api"
)

func allowBatches(c *api.StreamConfig) { c.AllowAtomic, c.AllowBatched = true, true }

// batchMsg is a message of an atomic batch; headers are <name>=<value>.
func batchMsg(subj, id string, seq any, commit string, headers ...string) *nats.Msg {
	m := nats.NewMsg(subj)
	m.Data = []byte(id)
	m.Header.Set("Nats-Batch-Id", id)
	if seq != nil {
		m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(seq))
	}
	if commit != "" {
		m.Header.Set("Nats-Batch-Commit", commit)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, "=")
		m.Header.Set(name, value)
	}
	return m
}

// batchAck publishes a message of a batch; an answer without a body is an empty PubAck.
func (r *rows) batchAck(m *nats.Msg) *api.PubAck {
	r.t.Helper()
	reply, err := r.app.RequestMsg(m, patience)
	if err != nil {
		r.t.Fatalf("publish %v: %v", m.Header, err)
	}
	ack := new(api.PubAck)
	if len(reply.Data) > 0 {
		if err := json.Unmarshal(reply.Data, ack); err != nil {
			r.t.Fatal(err)
		}
	}
	return ack
}

func errCode(a *api.PubAck) int {
	if a.Error == nil {
		return 0
	}
	return int(a.Error.ErrCode)
}

// TestAtomicBatch stages and commits batches, and breaks the rules of staging one
// after the other; the codes and advisories are those of the established server.
func TestAtomicBatch(t *testing.T) {
	r := sharedRows(t)
	r.stream("AB", 3, allowBatches)
	advisories := r.listen(r.app, "STREAM.BATCH_ABANDONED.AB")

	r.batchAck(batchMsg("AB.a", "1", 1, ""))
	r.batchAck(batchMsg("AB.b", "1", 2, ""))
	if n := r.info("AB").State.LastSeq; n != 0 {
		t.Fatalf("%d messages before the commit", n)
	}
	if ack := r.batchAck(batchMsg("AB.c", "1", 3, "1")); ack.Sequence != 3 || ack.BatchID != "1" || ack.BatchSize != 3 {
		t.Fatalf("ack %+v", ack)
	}
	r.batchAck(batchMsg("AB.a", "2", 1, ""))
	if ack := r.batchAck(batchMsg("AB.z", "2", 2, "eob")); ack.Sequence != 4 || ack.BatchSize != 1 {
		t.Fatalf("ack of a batch closed without a message: %+v", ack)
	}
	js, _ := jetstream.New(r.app)
	s, err := js.Stream(r.ctx, "AB")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetMsg(r.ctx, 4); err != nil || m.Header.Get("Nats-Batch-Commit") != "1" {
		t.Fatalf("last message of a closed batch: %v, %v", m, err)
	}
	long := strings.Repeat("x", 65)
	for _, step := range []struct {
		m         *nats.Msg
		code      int
		abandoned string
	}{
		{batchMsg("AB.a", long, 1, ""), 10179, ""},
		{batchMsg("AB.a", long[:64], 1, "1"), 0, ""},
		{batchMsg("AB.a", "3", nil, ""), 10175, ""},
		{batchMsg("AB.a", "3", "x", "1"), 10175, ""},
		{batchMsg("AB.a", "3", 0, "1"), 10176, ""},
		{batchMsg("AB.a", "3", 2, ""), 10176, ""},
		{batchMsg("AB.a", "3", 1, "eob"), 10176, "incomplete"},
		{batchMsg("AB.a", "3", 1, "2"), 10200, ""},
		{batchMsg("AB.a", "4", 1, ""), 0, ""},
		{batchMsg("AB.a", "4", 3, ""), 10176, "incomplete"},
		{batchMsg("AB.a", "4", 2, ""), 10176, ""},
		{batchMsg("AB.a", "5", 1, ""), 0, ""},
		{batchMsg("AB.a", "5", 1, ""), 10176, "incomplete"},
		{batchMsg("AB.a", "6", 1, ""), 0, ""},
		{batchMsg("AB.a", "6", 2, "1", "Nats-Required-Api-Level=99"), 10185, "unsupported"},
		{batchMsg("AB.a", "6", 2, "1"), 10176, ""},
		{batchMsg("AB.a", "7", 1001, ""), 10199, ""},
		{batchMsg("AB.a", "7", 1, ""), 0, ""},
		{batchMsg("AB.a", "7", 1001, ""), 10176, "incomplete"},
		{batchMsg("AB.a", "8", 1, "1", "Nats-Expected-Last-Sequence=99"), 10071, ""},
	} {
		if ack := r.batchAck(step.m); errCode(ack) != step.code {
			t.Errorf("%v: %+v, want %d", step.m.Header, ack, step.code)
		}
		if step.abandoned != "" {
			if doc := r.next(advisories); doc["reason"] != step.abandoned || doc["batch"] != step.m.Header.Get("Nats-Batch-Id") {
				t.Errorf("%v: advisory %v", step.m.Header, doc)
			}
		}
	}
	r.silent(r.app, advisories)
	if n := r.info("AB").State.LastSeq; n != 5 {
		t.Errorf("last sequence %d after batches that failed", n)
	}
	r.sameOnAll("AB")
}

// An update of something else leaves batches open, also where one kind of them is allowed only.
func TestBatchesGoOnThroughUpdate(t *testing.T) {
	r := sharedRows(t)
	describe := func(c *api.StreamConfig) { c.Description = "other" }
	r.stream("ABU", 1, func(c *api.StreamConfig) { c.AllowAtomic = true })
	r.batchAck(batchMsg("ABU.a", "1", 1, ""))
	r.update("ABU", describe)
	if ack := r.batchAck(batchMsg("ABU.a", "1", 2, "1")); ack.BatchSize != 2 {
		t.Errorf("atomic batch after an update: %+v", ack)
	}
	r.stream("FBU", 1, func(c *api.StreamConfig) { c.AllowBatched = true })
	f := r.fastBatch("1", 4, "ok")
	f.pub("FBU.a", 1, 0)
	f.want(`{"type":"ack","seq":0,"msgs":4}`)
	r.update("FBU", describe)
	for seq := range 4 {
		f.pub("FBU.a", seq+2, 1)
	}
	f.want(`{"type":"ack","seq":4,"msgs":4}`)
}

func TestAtomicBatchLimits(t *testing.T) {
	r := sharedRows(t)
	r.stream("ABL", 1, allowBatches)
	for i := range 50 {
		if ack := r.batchAck(batchMsg("ABL.a", fmt.Sprint(i), 1, "")); ack.Error != nil {
			t.Fatalf("batch %d: %v", i, ack.Error)
		}
	}
	if ack := r.batchAck(batchMsg("ABL.a", "one more", 1, "")); errCode(ack) != 10210 {
		t.Errorf("batch 51: %+v", ack)
	}
	r.batchAck(batchMsg("ABL.a", "0", 2, "1"))
	if ack := r.batchAck(batchMsg("ABL.a", "one more", 1, "1")); ack.Error != nil {
		t.Errorf("batch 50: %v", ack.Error)
	}
	// More bytes than one entry of the log takes.
	big := make([]byte, 1<<20-1000)
	for seq := 1; ; seq++ {
		m := batchMsg("ABL.a", "0", seq, "")
		m.Data = big
		ack := r.batchAck(m)
		if ack.Error != nil {
			if errCode(ack) != 10199 || seq < 16 {
				t.Errorf("message %d: %v", seq, ack.Error)
			}
			break
		}
	}
	r.update("ABL", func(c *api.StreamConfig) { c.AllowAtomic = false })
	if ack := r.batchAck(batchMsg("ABL.a", "1", 2, "1")); errCode(ack) != 10174 {
		t.Errorf("switched off: %+v", ack)
	}
	open := int64(0)
	for _, s := range r.servers {
		open += s.node.OpenBatches()
	}
	if open != 0 {
		t.Errorf("%d batches are still open", open)
	}
}

// TestAtomicBatchLeaderGone stops the leader with a batch staged: what comes of it at
// the next one is refused. Then batches go on while each leader in turn is stopped:
// all messages of each are stored, or none.
func TestAtomicBatchLeaderGone(t *testing.T) {
	r := ownRows(t, 3)
	r.stream("ABK", 3, allowBatches)
	leaveClients := func() string {
		var leader string
		r.until("a leader away from the clients", func() bool {
			if leader = r.info("ABK").Cluster.Leader; leader == "n1" {
				r.ask(r.app, "STREAM.LEADER.STEPDOWN.ABK", nil)
			}
			return leader != "" && leader != "n1"
		})
		return leader
	}
	r.batchAck(batchMsg("ABK.a", "lost", 1, ""))
	first := r.info("ABK").Cluster.Leader
	r.must(r.app, "STREAM.LEADER.STEPDOWN.ABK", nil)
	r.until("another leader", func() bool { l := r.info("ABK").Cluster.Leader; return l != "" && l != first })
	r.until("the batch is not counted any more", func() bool { return r.servers[r.server(first)].node.OpenBatches() == 0 })
	var ack *api.PubAck
	r.until("an answer", func() bool {
		reply, err := r.app.RequestMsg(batchMsg("ABK.a", "lost", 2, "1"), time.Second)
		ack = new(api.PubAck)
		return err == nil && json.Unmarshal(reply.Data, ack) == nil
	})
	if errCode(ack) != 10176 || r.info("ABK").State.LastSeq != 0 {
		t.Fatalf("rest of a batch at another leader: %+v", ack)
	}

	const size = 7
	acked := map[string]bool{}
	stop, done := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			id := fmt.Sprint("batch", n)
			for seq := 1; seq < size; seq++ {
				r.app.PublishMsg(batchMsg("ABK.a", id, seq, ""))
			}
			reply, err := r.app.RequestMsg(batchMsg("ABK.a", id, size, "1"), time.Second)
			ack := new(api.PubAck)
			if err == nil && json.Unmarshal(reply.Data, ack) == nil && ack.Error == nil {
				mu.Lock()
				acked[id] = true
				mu.Unlock()
			}
		}
	}()
	more := func() {
		mu.Lock()
		before := len(acked)
		mu.Unlock()
		r.until("batches go on", func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) > before+20 })
	}
	for range 2 {
		more()
		gone := r.server(leaveClients())
		more()
		r.stop(gone)
		more()
		r.start(gone)
		r.ready(gone)
	}
	close(stop)
	<-done
	r.sameOnAll("ABK")
	r.wantWholeBatches("ABK", size, acked)
}

// wantWholeBatches wants the batches of a stream to be whole and in one piece, and
// those that were acknowledged to be there.
func (r *rows) wantWholeBatches(name string, size int, acked map[string]bool) {
	r.t.Helper()
	s, err := r.js.Stream(r.ctx, name)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := s.OrderedConsumer(r.ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	last := r.info(name).State.LastSeq
	due := 1
	for seen := uint64(0); seen < last; {
		m, err := c.Next()
		if err != nil && r.ctx.Err() == nil {
			continue // a heartbeat that comes late
		}
		if err != nil {
			r.t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			r.t.Fatal(err)
		}
		seen = meta.Sequence.Stream
		if got := m.Headers().Get("Nats-Batch-Sequence"); got != fmt.Sprint(due) {
			r.t.Fatalf("message %d is the %s. of batch %s, want the %d.", seen, got, m.Data(), due)
		}
		delete(acked, string(m.Data()))
		due = due%size + 1
	}
	if due != 1 || len(acked) > 0 {
		r.t.Errorf("the last batch ends before its %d. message; %d acknowledged ones are missing", due, len(acked))
	}
}

// TestAtomicBatchTimeout: an idle batch is abandoned.
func TestAtomicBatchTimeout(t *testing.T) {
	c := &testCluster{t: t, servers: make([]*Server, 1), configs: []string{fmt.Sprintf(`
		listen: "127.0.0.1:-1"
		jetstream { store_dir: %q, limits { batch { timeout: "3s", max_msgs: 2, max_inflight_per_stream: 1 } } }`, t.TempDir())}}
	c.start(0)
	t.Cleanup(c.shutdown)
	c.ready(0)
	r := &rows{testCluster: c}
	nc, js := r.connect(0)
	r.app = nc
	cfg := jetstream.StreamConfig{Name: "T", Subjects: []string{"t"}, AllowAtomicPublish: true}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	sub, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.T")
	if err != nil {
		t.Fatal(err)
	}
	r.batchAck(batchMsg("t", "1", 1, ""))
	if ack := r.batchAck(batchMsg("t", "2", 1, "")); errCode(ack) != 10210 {
		t.Errorf("second batch: %+v", ack)
	}
	if doc := r.next(sub); doc["reason"] != "timeout" || doc["batch"] != "1" {
		t.Errorf("advisory %v", doc)
	}
	if ack := r.batchAck(batchMsg("t", "1", 2, "1")); errCode(ack) != 10176 {
		t.Errorf("after the timeout: %+v", ack)
	}
	if ack := r.batchAck(batchMsg("t", "3", 3, "1")); errCode(ack) != 10199 {
		t.Errorf("third message: %+v", ack)
	}
}
