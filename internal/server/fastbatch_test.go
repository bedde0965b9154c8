package server

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// fastBatch is a publisher of a fast batch that does no more than it is told.
type fastBatch struct {
	r      *rows
	sub    *nats.Subscription
	prefix string
}

func (r *rows) fastBatch(id string, flow int, gap string) *fastBatch {
	r.t.Helper()
	inbox := nats.NewInbox()
	f := &fastBatch{r: r, prefix: fmt.Sprintf("%s.%s.%d.%s", inbox, id, flow, gap)}
	var err error
	if f.sub, err = r.app.SubscribeSync(inbox + ".>"); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { f.sub.Unsubscribe() })
	return f
}

// pub publishes the part seq of the batch.
func (f *fastBatch) pub(subj string, seq, op int, header ...string) {
	f.r.t.Helper()
	m := nats.NewMsg(subj)
	if len(header) == 2 {
		m.Header.Set(header[0], header[1])
	}
	m.Reply = fmt.Sprintf("%s.%d.%d.$FI", f.prefix, seq, op)
	if err := f.r.app.PublishMsg(m); err != nil {
		f.r.t.Fatal(err)
	}
}

// want wants the next answers.
func (f *fastBatch) want(answers ...string) {
	f.r.t.Helper()
	for _, want := range answers {
		m, err := f.sub.NextMsg(patience)
		if err != nil {
			f.r.t.Fatalf("no answer where %s was due: %v", want, err)
		}
		if string(m.Data) != want {
			f.r.t.Fatalf("answer to %s: %s, want %s", m.Subject, m.Data, want)
		}
	}
}

// TestFastBatch has the answers of the established server to the same messages.
func TestFastBatch(t *testing.T) {
	r := sharedRows(t)
	r.stream("FB", 3, allowBatches)
	const unknown = `{"error":{"code":400,"err_code":10208,"description":"batch publish ID unknown"},"stream":"FB","seq":0}`

	f := r.fastBatch("1", 100, "ok")
	f.pub("FB.a", 1, 0)
	f.want(`{"type":"ack","seq":0,"msgs":100}`)
	f.pub("FB.a", 2, 1)
	f.pub("FB.a", 4, 1)
	f.want(`{"type":"gap","last_seq":3,"seq":4}`)
	f.pub("FB.a", 4, 4)
	f.want(`{"type":"ack","seq":0,"msgs":100}`)
	f.pub("FB.a", 5, 1, "Nats-Expected-Last-Sequence", "99")
	f.want(`{"type":"err","seq":5,"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}}`)

	slow := r.fastBatch("2", 100, "fail")
	slow.pub("FB.a", 1, 0)
	slow.want(`{"type":"ack","seq":0,"msgs":1}`, `{"type":"ack","seq":1,"msgs":2}`)
	slow.pub("FB.a", 2, 1)
	slow.pub("FB.a", 3, 1)
	slow.want(`{"type":"ack","seq":3,"msgs":4}`)
	slow.pub("FB.a", 5, 1)
	slow.pub("FB.a", 6, 1)
	slow.want(`{"type":"gap","last_seq":4,"seq":5}`, `{"stream":"FB","seq":6,"batch":"2","count":3}`, unknown)

	f.pub("FB.a", 6, 2)
	f.want(`{"stream":"FB","seq":7,"batch":"1","count":6}`)
	f.pub("FB.a", 7, 1)
	f.want(unknown)

	f = r.fastBatch("3", 10, "fail")
	f.pub("FB.a", 1, 0)
	f.pub("FB.a", 2, 1, "Nats-Expected-Last-Sequence", "99")
	f.pub("FB.a", 3, 1)
	f.want(`{"type":"ack","seq":0,"msgs":10}`,
		`{"type":"err","seq":2,"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 8"}}`,
		`{"stream":"FB","seq":8,"batch":"3","count":1}`, unknown)

	f = r.fastBatch("4", 10, "fail")
	f.pub("FB.a", 1, 0)
	f.pub("FB.a", 2, 1, "Nats-Required-Api-Level", "99")
	f.pub("FB.a", 3, 1)
	f.want(`{"type":"ack","seq":0,"msgs":10}`,
		`{"error":{"code":412,"err_code":10185,"description":"JetStream minimum api level required"},"stream":"FB","seq":0}`, unknown)
	r.sameOnAll("FB")
}

func TestFastBatchRefused(t *testing.T) {
	r := sharedRows(t)
	r.stream("FR", 1, allowBatches)
	r.stream("FOFF", 1)
	for _, step := range []struct {
		subj, reply string
		code        int
		description string
	}{
		{"FR", "id.10.maybe.1.0", 10206, "batch publish pattern is invalid"},
		{"FR", "id.10.ok.1.9", 10206, "batch publish pattern is invalid"},
		{"FR", "id.10.ok.x.0", 10206, "batch publish pattern is invalid"},
		{"FR", "id.10.ok.1.1", 10206, "batch publish pattern is invalid"},
		{"FR", "id.10.ok.1.3", 10206, "batch publish pattern is invalid"},
		{"FR", "id.10.ok.2.0", 10206, "batch publish pattern is invalid"},
		{"FR", "id.10.ok.0.0", 10206, "batch publish pattern is invalid"},
		{"FR", "1.0", 10206, "batch publish pattern is invalid"},
		{"FR", "id.10.ok.5.1", 10208, "batch publish ID unknown"},
		{"FR", "id.10.ok.5.4", 10208, "batch publish ID unknown"},
		{"FR", "12345678901234567890123456789012345678901234567890123456789012345.10.ok.1.2", 10207, "batch publish ID is invalid"},
		{"FOFF", "id.10.ok.1.0", 10205, "batch publish is disabled"},
	} {
		sub, err := r.app.SubscribeSync("in." + nuid.Next() + "." + step.reply + ".$FI")
		if err != nil {
			t.Fatal(err)
		}
		r.app.PublishMsg(&nats.Msg{Subject: step.subj + ".a", Reply: sub.Subject})
		m, err := sub.NextMsg(patience)
		want := fmt.Sprintf(`{"error":{"code":400,"err_code":%d,"description":%q},"stream":%q,"seq":0}`, step.code, step.description, step.subj)
		if err != nil || string(m.Data) != want {
			t.Errorf("%s: %v, %v, want %s", step.reply, m, err, want)
		}
	}
}

// TestFastBatchLeaderChange changes the leader in the middle of batches. With nothing
// lost in between they go on as if nothing had been, whatever their gap mode.
func TestFastBatchLeaderChange(t *testing.T) {
	r := sharedRows(t)
	r.stream("FL", 3, allowBatches)
	batches := []*fastBatch{r.fastBatch("1", 100, "ok"), r.fastBatch("2", 100, "fail")}
	for _, f := range batches {
		f.pub("FL.a", 1, 0)
		f.pub("FL.a", 2, 1)
	}
	r.until("four messages", func() bool { return r.info("FL").State.Msgs == 4 })
	first := r.info("FL").Cluster.Leader
	r.must(r.app, "STREAM.LEADER.STEPDOWN.FL", nil)
	r.until("another leader", func() bool { l := r.info("FL").Cluster.Leader; return l != "" && l != first })
	for i, f := range batches {
		r.until("an answer to a ping", func() bool { // the new leader's interest may not have come here yet
			f.pub("FL.a", 2, 4)
			for {
				m, err := f.sub.NextMsg(time.Second)
				if err != nil {
					return false
				}
				if string(m.Data) == `{"type":"ack","seq":2,"msgs":100}` || string(m.Data) == `{"type":"ack","seq":2,"msgs":1}` {
					return true
				}
			}
		})
		f.pub("FL.a", 3, 2)
		want := fmt.Sprintf(`{"stream":"FL","seq":%d,"batch":"%d","count":3}`, 5+i, i+1)
		for {
			m, err := f.sub.NextMsg(patience)
			if err != nil {
				t.Fatalf("no PubAck of batch %d: %v", i+1, err)
			}
			if string(m.Data) == want {
				break
			}
			if !isFlowAck(m.Data) {
				t.Fatalf("batch %d: %s, want %s", i+1, m.Data, want)
			}
		}
	}
	r.sameOnAll("FL")
}

func isFlowAck(data []byte) bool { return bytes.Contains(data, []byte(`"type":"ack"`)) }

// TestFastBatchFlow: the flow doubles to the publisher's most, or to its share.
func TestFastBatchFlow(t *testing.T) {
	r := sharedRows(t)
	r.stream("FF", 1, allowBatches)
	r.fastBatch("other", 1, "ok").pub("FF.a", 1, 0)
	f := r.fastBatch("1", 60, "fail")
	f.pub("FF.a", 1, 0)
	f.want(`{"type":"ack","seq":0,"msgs":1}`)
	for seq := 2; seq <= 183; seq++ {
		f.pub("FF.a", seq, 1)
	}
	for acked, flow := 1, 2; acked <= 183; acked, flow = acked+flow, min(2*flow, 60) {
		f.want(fmt.Sprintf(`{"type":"ack","seq":%d,"msgs":%d}`, acked, flow))
	}
	f.pub("FF.a", 184, 3)
	f.want(`{"stream":"FF","seq":184,"batch":"1","count":183}`)
}
