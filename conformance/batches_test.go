package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// Atomic batches that may be open at once.
const (
	batchesPerStream = 50
	batchesPerServer = 1000
	tooManyBatches   = 10210
)

// batchOpener opens atomic batches in many streams and notes what the server says.
type batchOpener struct {
	ctx context.Context
	t   *testing.T
	nc  *nats.Conn
	js  jetstream.JetStream
}

// publish publishes the seq'th message of a batch and returns the error code of the answer.
func (b *batchOpener) publish(stream int, id string, seq int, commit string) int {
	b.t.Helper()
	m := nats.NewMsg(fmt.Sprintf("s%d.x", stream))
	m.Header.Set("Nats-Batch-Id", id)
	m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(seq))
	if commit != "" {
		m.Header.Set("Nats-Batch-Commit", commit)
	}
	reply, err := b.nc.RequestMsgWithContext(b.ctx, m)
	if err != nil {
		b.t.Fatalf("message %d of batch %s in stream %d: %v", seq, id, stream, err)
	}
	var ack struct {
		Error struct {
			ErrCode int `json:"err_code"`
		}
	}
	if len(reply.Data) > 0 {
		if err := json.Unmarshal(reply.Data, &ack); err != nil {
			b.t.Fatal(err)
		}
	}
	return ack.Error.ErrCode
}

// open opens n batches in a stream, named from first on, and counts the answers by code.
func (b *batchOpener) open(codes map[int]int, stream, first, n int) {
	b.t.Helper()
	for i := range n {
		codes[b.publish(stream, fmt.Sprint(first+i), 1, "")]++
	}
}

// fill opens as many batches as one server takes, in the first streams, each as soon as there is
// room for it.
func (b *batchOpener) fill(prefix string) map[int]int {
	b.t.Helper()
	codes := map[int]int{}
	for i := range batchesPerServer {
		stream, id := i/batchesPerStream, fmt.Sprint(prefix, i)
		err := procs.Until(b.ctx, "an open batch is abandoned", func() error {
			code := b.publish(stream, id, 1, "")
			if code == tooManyBatches {
				return fmt.Errorf("error %d", code)
			}
			codes[code]++
			return nil
		})
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return codes
}

// TestOpenBatches opens as many atomic batches as a server takes, and one more, and closes some in each way
// that there is: the established server says the same, step by step.
func TestOpenBatches(t *testing.T) {
	ctx := trialContext(t)
	said := map[string][]string{}
	other := found(t, procs.NatsServer)
	for _, program := range []string{bin, other} {
		c, err := procs.New(procs.Spec{Bin: program, Dir: filepath.Join(t.TempDir(), "one"), Nodes: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Kill)
		if err := c.Start(ctx); err != nil {
			t.Fatal(err)
		}
		nc, js := connect(t, c.URLs())
		b := &batchOpener{ctx: ctx, t: t, nc: nc, js: js}
		said[program] = b.script(c.URLs())
		t.Logf("%s:\n%s", filepath.Base(program), strings.Join(said[program], "\n"))
	}
	for i, want := range said[other] {
		if got := said[bin][i]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func (b *batchOpener) stream(i int) {
	b.t.Helper()
	cfg := jetstream.StreamConfig{Name: fmt.Sprint("S", i), Subjects: []string{fmt.Sprintf("s%d.>", i)}, AllowAtomicPublish: true}
	if _, err := b.js.CreateStream(b.ctx, cfg); err != nil {
		b.t.Fatal(err)
	}
}

func (b *batchOpener) script(url string) (said []string) {
	b.t.Helper()
	note := func(what string, result any) { said = append(said, fmt.Sprintf("%s: %v", what, result)) }
	const last = batchesPerServer / batchesPerStream // one stream more than it takes to reach the limit
	for i := range last + 1 {
		b.stream(i)
	}
	note("all that a server takes", b.fill("first"))
	note("one more", b.publish(last, "more", 1, ""))
	note("one more in a stream that has its share", b.publish(0, "more", 1, ""))
	note("one more, committed at once", b.publish(last, "more", 1, "1"))
	note("commit", b.publish(0, "first0", 2, "1"))
	note("after a commit", b.publish(last, "commit", 1, ""))
	note("one more", b.publish(last, "more", 1, ""))
	note("a message is missing", b.publish(0, "first1", 3, ""))
	note("after that", b.publish(last, "gap", 1, ""))
	note("one more", b.publish(last, "more", 1, ""))
	if err := b.js.DeleteStream(b.ctx, "S1"); err != nil {
		b.t.Fatal(err)
	}
	codes := map[int]int{}
	b.open(codes, last, 100, batchesPerStream-2)
	b.open(codes, 0, 100, 2)
	note("after a stream was deleted", codes)
	note("one more", b.publish(2, "more", 1, ""))
	b.stream(1)
	note("all, after those were idle", b.fill("idle"))
	nc, _ := connect(b.t, url) // a client that goes
	gone := *b
	gone.nc = nc
	note("all of another client, after those were idle", gone.fill("gone"))
	nc.Close()
	note("all, after those were idle", b.fill("back"))
	return said
}
