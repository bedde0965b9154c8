package machine

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cockroachdb/datadriven"

	"weir/internal/stream"
	"weir/internal/stream/storetest"
)

// batch publishes an atomic batch: a line has a subject and headers as <name>=<value>; the body is one letter.
func (w *world) batch(d *datadriven.TestData) string {
	w.request++
	cmd := AppendBatch(nil, Origin{self, w.request}, w.now)
	n := 0
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		body := []byte("x")
		if w.m.Stream().Config().AllowMsgCounter {
			body = nil
		}
		n++
		cmd = AppendMessage(cmd, f[0], headers(append(f[1:], "Nats-Batch-Id=b", fmt.Sprint("Nats-Batch-Sequence=", n))), body)
	}
	out := w.apply(cmd)
	if len(out.Published) != 1 || out.Published[0].Request != w.request {
		w.t.Fatalf("results %v of request %d", out.Published, w.request)
	}
	if r := out.Published[0]; r.Err != nil {
		return storetest.ErrorText(r.Err)
	}
	return fmt.Sprintf("seq %d stored %d\n", out.Published[0].Seq, len(out.Stored))
}

// headers encodes a header block of <name>=<value> fields.
func headers(fields []string) []byte {
	if len(fields) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	return []byte(b.String() + "\r\n")
}

// fastTimeout is how long a fast batch is remembered.
const fastTimeout = 10 * second

// fast publishes parts of a fast batch: the arguments are the id and the gap mode; a line has a sequence, an operation and
// headers. All go in one command.
func (w *world) fast(d *datadriven.TestData) string {
	ops := map[string]stream.FastOp{"start": stream.FastStart, "append": stream.FastAppend, "commit": stream.FastCommit,
		"close": stream.FastClose, "ping": stream.FastPing, "abandon": stream.FastAbandon}
	cmd := AppendFastPublish(nil, Origin{self, w.request + 1}, w.now, fastTimeout)
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		seq, err := strconv.ParseUint(f[0], 10, 64)
		op, ok := ops[f[1]]
		if err != nil || !ok {
			w.t.Fatalf("no part of a batch: %s", line)
		}
		cmd = AppendPart(cmd, stream.FastPart{ID: d.CmdArgs[0].Key, Seq: seq, Op: op, GapOK: d.HasArg("ok")})
		cmd = AppendMessage(cmd, "F.a", headers(f[2:]), []byte("x"))
	}
	var b strings.Builder
	for _, r := range w.apply(cmd).Published {
		w.request++
		if r.Request != w.request || r.Fast == nil {
			w.t.Fatalf("result %+v where that of %d was due", r, w.request)
		}
		b.WriteString(fastText(r.Fast))
	}
	return b.String()
}

func fastText(r *stream.FastResult) string {
	var said []string
	if r.Gap > 0 {
		said = append(said, fmt.Sprintf("gap %d at %d", r.Gap, r.At))
	}
	if r.Seq > 0 {
		said = append(said, fmt.Sprintf("seq %d", r.Seq))
	}
	if r.Duplicate {
		said = append(said, "duplicate")
	}
	if r.Err != nil {
		said = append(said, strings.TrimSpace(storetest.ErrorText(r.Err)))
	}
	if r.Ended {
		said = append(said, fmt.Sprintf("ended count %d last %d", r.Count, r.Last))
	}
	if said == nil {
		return "nothing\n"
	}
	return strings.Join(said, ", ") + "\n"
}
