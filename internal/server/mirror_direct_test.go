package server

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// directGets are requests of every form, for a stream with the subjects m.0 to m.9.
var directGets = []struct{ name, subject, body string }{
	{"by sequence", "", `{"seq":3}`},
	{"last of a subject", "", `{"last_by_subj":"m.4"}`},
	{"last of a subject in the subject", ".m.5", ""},
	{"next of a subject", "", `{"seq":2,"next_by_subj":"m.*"}`},
	{"batch", "", `{"seq":1,"batch":5,"next_by_subj":"m.>"}`},
	{"last of several subjects", "", `{"multi_last":["m.1","m.2","m.7"]}`},
	{"without headers", "", `{"seq":3,"no_hdr":true}`},
}

// readDirect sends a direct get and returns its answers, up to the end of a batch.
func (r *rows) readDirect(nc *nats.Conn, stream, subj, body string) (answers []*nats.Msg) {
	r.t.Helper()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		r.t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+stream+subj, inbox, []byte(body)); err != nil {
		r.t.Fatal(err)
	}
	for {
		m, err := sub.NextMsg(patience)
		if err != nil {
			r.t.Fatalf("direct get %s%s %s: %v", stream, subj, body, err)
		}
		answers = append(answers, m)
		if m.Header.Get("Nats-Num-Pending") == "" || m.Header.Get("Status") != "" {
			return answers
		}
	}
}

// sourceOf is the stream that answered; empty when nobody did.
func sourceOf(answers []*nats.Msg) string { return answers[0].Header.Get("Nats-Stream") }

// startMirrored makes an origin on n1 with ten messages and mirrors with mirror_direct on n2.
func startMirrored(t *testing.T, r *rows, mirrors ...string) {
	t.Helper()
	r.must(r.app, "STREAM.CREATE.O", json.RawMessage(`{"name":"O","subjects":["m.*"],"num_replicas":1,"storage":"file","allow_direct":true,"placement":{"tags":["n1"]}}`))
	for i := range 10 {
		if _, err := r.js.Publish(r.ctx, fmt.Sprintf("m.%d", i), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range mirrors {
		r.must(r.app, "STREAM.CREATE."+name, json.RawMessage(fmt.Sprintf(
			`{"name":%q,"mirror":{"name":"O"},"num_replicas":1,"storage":"file","mirror_direct":true,"placement":{"tags":["n2"]}}`, name)))
		untilCopied(r.ctx, t, r.js, name, 10)
	}
}

// TestMirrorDirect has a mirror answer direct gets for its origin: from its own node always, from one
// that has neither by turns, and what it says is what the origin says.
func TestMirrorDirect(t *testing.T) {
	r := sharedRows(t)
	startMirrored(t, r, "M")
	near, far := r.as(t, "app", 1), r.as(t, "app", 2)
	r.until("the mirror answers", func() bool { return sourceOf(r.readDirect(near, "O", "", `{"seq":1}`)) == "M" })
	for _, get := range directGets {
		origin, mirror := r.readDirect(r.app, "O", get.subject, get.body), r.readDirect(near, "O", get.subject, get.body)
		if len(origin) != len(mirror) {
			t.Fatalf("%s: %d answers from the origin, %d from the mirror", get.name, len(origin), len(mirror))
		}
		for i := range origin {
			o, m := origin[i], mirror[i]
			if o.Header.Get("Nats-Stream") == "O" {
				if m.Header.Get("Nats-Stream") != "M" {
					t.Errorf("%s: answer of %q, want M", get.name, m.Header.Get("Nats-Stream"))
				}
				m.Header.Set("Nats-Stream", "O")
			}
			if fmt.Sprint(o.Header) != fmt.Sprint(m.Header) || string(o.Data) != string(m.Data) {
				t.Errorf("%s: the mirror says %v %q, the origin %v %q", get.name, m.Header, m.Data, o.Header, o.Data)
			}
		}
	}
	seen := map[string]bool{}
	r.until("both answer from afar", func() bool {
		seen[sourceOf(r.readDirect(far, "O", "", `{"seq":1}`))] = true
		return seen["O"] && seen["M"]
	})
	r.must(r.app, "STREAM.DELETE.O", nil)
	for _, nc := range []*nats.Conn{r.app, near, far} {
		r.until("without the origin the mirror answers", func() bool { return sourceOf(r.readDirect(nc, "O", "", `{"seq":1}`)) == "M" })
	}
}

// TestMirrorDirectEnds changes what a mirror may answer: without the right, or promoted, it answers no more.
func TestMirrorDirectEnds(t *testing.T) {
	r := sharedRows(t)
	startMirrored(t, r, "M")
	near := r.as(t, "app", 1)
	r.until("the mirror answers", func() bool { return sourceOf(r.readDirect(near, "O", "", `{"seq":1}`)) == "M" })
	r.must(r.app, "STREAM.UPDATE.M", json.RawMessage(`{"name":"M","num_replicas":1,"storage":"file","placement":{"tags":["n2"]},"allow_direct":true}`))
	r.until("the origin answers", func() bool { return sourceOf(r.readDirect(near, "O", "", `{"seq":1}`)) == "O" })
}

// TestMirrorAnswersForLostOrigin stops the origin's node: direct gets go on with the mirror.
func TestMirrorAnswersForLostOrigin(t *testing.T) {
	r := ownRows(t, 3)
	startMirrored(t, r, "M")
	far := r.as(t, "app", 2)
	seen := map[string]bool{}
	r.until("both answer", func() bool {
		seen[sourceOf(r.readDirect(far, "O", "", `{"seq":1}`))] = true
		return seen["O"] && seen["M"]
	})
	r.stop(0)
	js, err := jetstream.New(far, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Stream(r.ctx, "M"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if from := sourceOf(r.readDirect(far, "O", "", `{"seq":1}`)); from != "M" {
			t.Fatalf("%q answers, want M", from)
		}
	}
}
