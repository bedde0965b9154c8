package jetstream

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/router"
)

// forward makes a client's request at h and sends it to another node.
func (h *harness) forward(to *harness, subj, reply, body string) {
	h.t.Helper()
	r := &Request{
		Account: h.acc.Name(), Subject: subj, Reply: reply, Body: []byte(body), Origin: h.node.cfg.Identity.Node, Since: h.node.cfg.Clock.Now(),
	}
	if err := h.node.Forward(to.node.cfg.Identity.Node, r); err != nil {
		h.t.Fatal(err)
	}
}

// Clients whose pulls wait on a node that dies hear of it from the node that they
// are connected to, at once; those of other nodes do not. Acks that the dead node may
// not have had committed are sent again.
func TestDeadRunnersClients(t *testing.T) {
	c := startCluster(t, 3)
	at, dies, lives := c.all[0], c.all[1], c.all[2]
	again := make(chan string, 10)
	at.node.requests = func(r *Request) { again <- r.Subject + " " + r.Reply }
	lost, over, elsewhere := at.inbox("lost"), at.inbox("over"), at.inbox("elsewhere")
	at.forward(dies, "$JS.API.CONSUMER.MSG.NEXT.S.C", "lost", `{"batch":5,"expires":60000000000}`)
	at.forward(dies, "$JS.ACK.S.C.1.7.7.0.0", "lost2", `+NXT {"expires" : 60000000000}`)
	at.forward(dies, "$JS.API.CONSUMER.MSG.NEXT.S.C", "over", `{"batch":5,"expires":1}`)
	at.forward(lives, "$JS.API.CONSUMER.MSG.NEXT.S.D", "elsewhere", `7`)
	at.forward(dies, "$JS.ACK.S.C.1.8.8.0.0", "confirm", "+ACK")
	at.forward(dies, "$JS.ACK.S.C.1.9.9.0.0", "", "-NAK")
	at.forward(lives, "$JS.ACK.S.D.1.9.9.0.0", "", "")
	second := at.inbox("lost2")
	c.kill(dies)
	for _, inbox := range []chan router.Msg{lost, second} {
		if m := at.receive(inbox); string(m.Header) != "NATS/1.0 409 Leadership Change\r\n\r\n" {
			t.Errorf("%q", m.Header)
		}
	}
	if got := <-again; got != "$JS.ACK.S.C.1.8.8.0.0 confirm" {
		t.Errorf("sent again: %s", got)
	}
	if len(over)+len(elsewhere)+len(again) > 0 {
		t.Errorf("%d %d told, %d sent again, that should not have been", len(over), len(elsewhere), len(again))
	}
}

// What is remembered of pulls is bounded and ends with them.
func TestPullsAreForgotten(t *testing.T) {
	var p pulls
	now := time.Unix(1000, 0)
	for i := range maxPulls + 10 {
		body := `{"expires":1000000000}`
		if i%2 == 0 {
			body = `{"batch":1}`
		}
		p.note(nil, &Request{Reply: fmt.Sprint(i), Body: []byte(body)}, base.NodeID(i%3), now)
	}
	if len(p.sent) != maxPulls {
		t.Errorf("%d remembered", len(p.sent))
	}
	now = now.Add(2 * sweepPulls)
	p.sweep(now)
	if len(p.sent) != maxPulls/2 {
		t.Errorf("%d are left", len(p.sent))
	}
	if n := len(p.take(1, now)); n < maxPulls/2/3 || n > maxPulls/2/3+1 {
		t.Errorf("%d were sent to one of three nodes", n)
	}
	p.sweep(now.Add(openPull))
	if p.sent != nil {
		t.Errorf("%d are left", len(p.sent))
	}
}

// What a client says that means no good does not stay in memory.
func TestHugeRequestsAreNotRemembered(t *testing.T) {
	var p pulls
	now := time.Unix(1000, 0)
	p.note(nil, &Request{Reply: strings.Repeat("r", maxPullReply+1)}, 1, now)
	if len(p.sent) > 0 {
		t.Error("a pull with a huge reply subject is remembered")
	}
	p.note(nil, &Request{Reply: "r", Body: []byte(`{"expires":9223372036854775807}`)}, 1, now)
	if len(p.sent) != 1 {
		t.Error("a pull that never expires is not remembered")
	}
	if p.sweep(now.Add(longestPull + 1)); len(p.sent) > 0 {
		t.Error("a pull is remembered for centuries")
	}
	var a recentAcks
	for _, r := range []Request{
		{Body: append([]byte("+ACK"), make([]byte, maxRecentAckBytes)...)}, {Header: make([]byte, maxRecentAckBytes+1)},
	} {
		a.note(&r, 1, now)
	}
	if len(a.take(1, now)) > 0 {
		t.Error("a huge ack is remembered")
	}
}

func TestRecentAcksAreBounded(t *testing.T) {
	var a recentAcks
	now := time.Unix(1000, 0)
	for i := range 3 * maxRecentAcks / 2 {
		a.note(&Request{Reply: fmt.Sprint(i)}, 1, now)
	}
	list := a.take(1, now)
	if len(list) != maxRecentAcks || list[0].Reply != fmt.Sprint(maxRecentAcks/2) {
		t.Errorf("%d, from %s", len(list), list[0].Reply)
	}
	a.note(&Request{}, 1, now)
	if list := a.take(1, now.Add(recentAck)); len(list) > 0 {
		t.Errorf("%d late ones", len(list))
	}
}

// A node without a replica asks where a consumer runs, before it sends the first pull.
func TestFindRunner(t *testing.T) {
	c := startCluster(t, 4)
	c.createStream(streamConfig("S", api.FileStorage, 3), c.all[:3]...)
	c.createConsumer("S", "C")
	at, runs := c.all[3].node, c.runner("S", "C").node.ID()
	account := c.all[3].acc.Name()
	find := func(consumer string) {
		done := make(chan struct{})
		at.FindRunner(account, "S", consumer, func() { close(done) })
		<-done
	}
	if !at.KnowsRunner(account, "none", "C") || !c.all[0].node.KnowsRunner(account, "S", "C") {
		t.Error("there is something to ask about what does not exist, or is here")
	}
	c.until("the stream is known everywhere", func() bool { return !at.KnowsRunner(account, "S", "C") })
	find("C")
	if got := at.ConsumerRunner(account, "S", "C").Node; got != runs || !at.KnowsRunner(account, "S", "C") {
		t.Errorf("found at %s, runs at %s", got, runs)
	}
	find("none") // which whoever is asked can not tell, or refers to the leader
	at.locations.learn(account, nextPrefix+"S.C", 4711)
	if p := at.ConsumerRunner(account, "S", "C"); p.Node == 4711 || p.Node == 0 || at.KnowsRunner(account, "S", "C") {
		t.Errorf("a node without a replica runs it: %+v", p)
	}
	find("C")
	c.propose(&meta.StreamDelete{Account: account, Name: "S"})
	c.until("the stream is gone", func() bool { return at.ConsumerRunner(account, "S", "C").Missing })
}

// What nodes send to and fro rests where the client is, and is sent again, as one of
// them may just be behind; but not for ever.
func TestSentToAndFro(t *testing.T) {
	c := startCluster(t, 3)
	at, other := c.all[0].node, c.all[1].node.ID()
	held := make(chan *Request, 1)
	at.requests = func(r *Request) { held <- r }
	for _, x := range []struct {
		age  time.Duration
		ends bool
	}{{time.Second, false}, {toAndFro, true}} {
		r := &Request{Origin: at.ID(), Account: c.all[0].acc.Name(), Subject: "$JS.API.CONSUMER.INFO.S.C", Hops: maxHops, Age: x.age}
		at.redirected(r.encode(binary.LittleEndian.AppendUint64(nil, uint64(other))))
		got := <-held
		if got.Subject != r.Subject || got.Age != x.age {
			t.Errorf("%s waits, %v old", got.Subject, got.Age)
		}
		if err := at.Forward(other, got); (err != nil) != x.ends {
			t.Errorf("%v old it is sent again: %v", x.age, err)
		}
	}
}
