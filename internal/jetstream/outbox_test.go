package jetstream

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/runner"
)

// ackAll pulls and acknowledges n messages, waiting for the confirmation of each.
func (c *testCluster) ackAll(stream, name string, n int) {
	c.t.Helper()
	h := c.runner(stream, name)
	msgs, confirmed := h.inbox("msgs."+name), h.inbox("confirmed."+name)
	r := h.stream(stream).Runner(name)
	r.Pull(runner.PullRequest{Reply: "msgs." + name, Body: fmt.Append(nil, n)})
	for seq := range uint64(n) {
		h.receive(msgs)
		r.Ack(runner.Ack{Stream: seq + 1, Consumer: seq + 1, Deliveries: 1, Reply: "confirmed." + name})
	}
	for range n {
		h.receive(confirmed)
	}
}

// Frames of deltas that are lost are made good, whatever other consumers do.
func TestLostDeltasAreSentAgain(t *testing.T) {
	c := startCluster(t, 3)
	names := c.spread()
	var count atomic.Int32
	c.net.mu.Lock()
	c.net.filter = func(_, _ base.NodeID, kind byte, _ []byte) bool { return kind == frameDeltas && count.Add(1)%3 == 1 }
	c.net.mu.Unlock()
	for _, name := range names {
		c.ackAll("S", name, 5)
	}
	for _, name := range names {
		c.until("state on all nodes", func() bool {
			for _, h := range c.all {
				if info := h.stream("S").ConsumerInfo(name); info == nil || info.AckFloor.Stream != 5 {
					return false
				}
			}
			return true
		})
	}
}

// testOutbox is an outbox whose stream has no group.
func testOutbox(t *testing.T) (*outbox, *Stream) {
	h := startNodeIn(t, newMemFS(), "store")
	t.Cleanup(h.stop)
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	cfg := streamConfig("S", api.FileStorage, 1)
	s := h.createStream(cfg)
	s.lead.Store(noLeader()) // nothing goes out by itself
	return &s.outbox, s
}

func delta(epoch, ticket uint64) *runner.Delta {
	return &runner.Delta{Consumer: 9, Epoch: epoch, Ticket: ticket, Ops: []byte{0}}
}

func verdict(epoch, ticket uint64, v consumer.Verdict) machine.DeltaResult {
	return machine.DeltaResult{ID: 9, Epoch: epoch, Ticket: ticket, Verdict: v}
}

// A runner that was replaced may send once more in its last turn. That must not
// hide what the next one sends.
func TestOutboxKeepsEpochsApart(t *testing.T) {
	o, _ := testOutbox(t)
	o.send(delta(2, 1))
	o.send(delta(1, 7)) // late
	o.send(delta(2, 2))
	o.settled(verdict(1, 7, consumer.Stale))
	if u := o.waiting[9]; u == nil || len(u.list) != 2 {
		t.Fatalf("%+v", u)
	}
	o.settled(verdict(2, 2, consumer.Applied))
	if o.waits() {
		t.Fatal("what was applied still waits")
	}
	o.send(delta(2, 3))
	o.send(delta(3, 1)) // the next runner
	o.settled(verdict(3, 1, consumer.Applied))
	if o.waits() {
		t.Fatal("deltas of an epoch that is over still wait")
	}
}

// One gap makes everything behind it premature: that is repeated once, not once
// for each.
func TestOutboxRepeatsPrematureOnce(t *testing.T) {
	o, _ := testOutbox(t)
	for ticket := range uint64(100) {
		o.send(delta(1, ticket+1))
	}
	o.mu.Lock()
	o.unsent = nil // all lost on the way but some
	o.mu.Unlock()
	for ticket := range uint64(50) {
		o.settled(verdict(1, ticket+51, consumer.Premature))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.unsent) != 100 || o.unsent[0].Ticket != 1 {
		t.Fatalf("%d deltas go out again", len(o.unsent))
	}
}

// A consumer that hears nothing gets its deltas repeated although others are busy.
func TestOutboxRepeatsPerConsumer(t *testing.T) {
	o, s := testOutbox(t)
	o.send(delta(1, 1))
	o.send(&runner.Delta{Consumer: 8, Epoch: 1, Ticket: 1, Ops: []byte{0}})
	o.mu.Lock()
	o.unsent = nil
	o.waiting[9].moved = o.waiting[9].moved.Add(-2 * resendAfter)
	o.mu.Unlock()
	o.resendLate(s.node.cfg.Clock.Now().Add(-time.Millisecond))
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.unsent) != 1 || o.unsent[0].Consumer != 9 {
		t.Fatalf("unsent: %+v", o.unsent)
	}
}

// While there is no leader, what waits for one does not pile up.
func TestOutboxWithoutALeader(t *testing.T) {
	o, s := testOutbox(t)
	s.node.watchOutbox(s)
	o.send(delta(1, 1))
	now := s.node.cfg.Clock.Now()
	for minute := range 10 {
		s.node.tendOutboxes(now.Add(time.Duration(minute) * time.Minute))
		o.mu.Lock()
		o.waiting[9].moved = now.Add(-maxResend)
		o.mu.Unlock()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.unsent) != 1 {
		t.Fatalf("%d deltas wait for a leader in place of one", len(o.unsent))
	}
}

// Deltas that wait for the leader's turn are not repeated while it goes through those
// before them; they are when it is past them.
func TestOutboxWaitsItsTurn(t *testing.T) {
	o, s := testOutbox(t)
	of := func(id uint64) { o.send(&runner.Delta{Consumer: id, Epoch: 1, Ticket: 1, Ops: []byte{0}}) }
	sent := func(id uint64, ago time.Duration) {
		of(id)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.unsent = nil
		o.waiting[id].moved = s.node.cfg.Clock.Now().Add(-ago)
	}
	settled := func(id uint64) {
		o.settled(machine.DeltaResult{ID: id, Epoch: 1, Ticket: 1, Verdict: consumer.Applied})
	}
	repeats := func() int {
		o.resendLate(s.node.cfg.Clock.Now())
		o.mu.Lock()
		defer o.mu.Unlock()
		defer func() { o.unsent = nil }()
		return len(o.unsent)
	}
	sent(7, 11*time.Second)
	sent(8, 10*time.Second)
	settled(7)
	if n := repeats(); n != 0 {
		t.Errorf("%d deltas are repeated before their turn", n)
	}
	sent(9, 8*time.Second)
	settled(9)
	if n := repeats(); n != 1 {
		t.Errorf("%d deltas are repeated when one that was sent later has its verdict", n)
	}
}

// What a client acknowledged does not come again, though the node that delivered it
// died before anybody else knew of that.
func TestAckOfDeliveryThatDiedWithItsNode(t *testing.T) {
	c := startCluster(t, 3)
	names := c.spread()
	leader := c.leader("S")
	var name string
	for _, name = range names {
		if c.runner("S", name) != leader {
			break
		}
	}
	dies := c.runner("S", name)
	id := dies.node.cfg.Identity.Node
	c.net.mu.Lock()
	c.net.filter = func(from, _ base.NodeID, kind byte, _ []byte) bool {
		return kind == frameDeltas && from == id
	}
	c.net.mu.Unlock()
	inbox := dies.inbox("msgs")
	dies.stream("S").Runner(name).Pull(runner.PullRequest{Reply: "msgs", Body: []byte("5")})
	var replies []string
	for range 5 {
		m := dies.receive(inbox)
		replies = append(replies, string(m.Reply))
	}
	c.kill(dies)
	next := c.runner("S", name)
	confirmed, again := next.inbox("confirmed"), next.inbox("again")
	r := next.stream("S").Runner(name)
	for _, reply := range replies {
		a, ok := runner.ParseAckTokens(strings.TrimPrefix(reply, "$JS.ACK.S."+name+"."))
		if !ok {
			t.Fatal(reply)
		}
		a.Reply = "confirmed"
		r.Ack(a)
		next.receive(confirmed)
	}
	r.Pull(runner.PullRequest{Reply: "again", Body: []byte(`{"no_wait":true}`)})
	if m := next.receive(again); string(m.Header) != "NATS/1.0 404 No Messages\r\n\r\n" {
		t.Errorf("%s %q came again", m.Subject, m.Header)
	}
}
