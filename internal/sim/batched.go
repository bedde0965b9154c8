package sim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/jetstream"
	"weir/internal/msg"
	"weir/internal/router"
	"weir/internal/wire"
)

// batched is a stream to which batches are published. An atomic one is there as a whole
// and in one piece, or not at all; a fast one without what came behind a missing part.
type batched struct {
	world  *world
	config api.StreamConfig

	mu   sync.Mutex
	list []*batch
}

// batch is one of either sort. Its publisher sends what it has and never again.
type batch struct {
	number  int
	size    int
	fast    bool
	gapOK   bool // fast: goes on without what is missing
	sent    int
	through *life
	over    bool // nothing more is sent

	ack     *api.PubAck // that the batch is stored
	flow    int         // fast: the last part that was acknowledged
	refused bool        // atomic: nothing is stored
}

func newBatched(w *world) side {
	b := &batched{world: w, config: plainStream("B", "b.>", min(w.options.Nodes, 3))}
	b.config.AllowAtomic, b.config.AllowBatched = true, true
	return b
}

func (b *batched) streams() []api.StreamConfig { return []api.StreamConfig{b.config} }

// maxOpen is how many batches are published at a time.
const maxOpen = 3

func (b *batched) step(n *node) {
	b.mu.Lock()
	var open []*batch
	for _, x := range b.list {
		if !x.over && x.through.node.life == x.through && !x.through.host.clock.paused() {
			open = append(open, x)
		}
	}
	if len(open) == 0 || len(open) < maxOpen && b.world.chance(50) {
		x := &batch{number: len(b.list), size: 1 + b.world.rand.IntN(12), through: n.life, fast: b.world.chance(40), gapOK: b.world.chance(30)}
		b.list, open = append(b.list, x), []*batch{x}
	}
	x := open[b.world.rand.IntN(len(open))]
	b.mu.Unlock()
	for range 1 + b.world.rand.IntN(x.size) {
		if x.sent < x.size {
			b.send(x)
		}
	}
}

// send publishes the next part of a batch, the last one with its end.
func (b *batched) send(x *batch) {
	x.sent++
	last := x.sent == x.size
	x.over = last
	n, body := x.through.node, fmt.Sprintf("%d/%d", x.number, x.sent)
	inbox := fmt.Sprintf("_INBOX.%s.bat.%d", n.name, x.number)
	if x.fast {
		op, gap := 1, "fail"
		switch {
		case last:
			op = 2
		case x.sent == 1:
			op = 0
		}
		if x.gapOK {
			gap = "ok"
		}
		n.say("b.f", fmt.Sprintf("%s.%d.%d.%s.%d.%d.$FI", inbox, x.number, 1+x.size/3, gap, x.sent, op), nil, []byte(body))
		return
	}
	header := []string{"Nats-Batch-Id", fmt.Sprint("batch", x.number), "Nats-Batch-Sequence", strconv.Itoa(x.sent)}
	if last {
		header = append(header, "Nats-Batch-Commit", "1")
		n.say("b.a", inbox, wire.HeaderBlock(header...), []byte(body))
		return
	}
	n.say("b.a", "", wire.HeaderBlock(header...), []byte(body))
}

// heard takes an answer to <number> or to <number>.<the rest of a fast batch's subject>.
func (b *batched) heard(_ *life, rest string, m *router.Msg) {
	number, _, _ := strings.Cut(rest, ".")
	i, err := strconv.Atoi(number)
	var a struct {
		api.PubAck
		Type string `json:"type"`
		Seq  int    `json:"seq"`
	}
	if err2 := json.Unmarshal(m.Payload, &a); err != nil || err2 != nil {
		b.world.fail("batch %s: answer %q", rest, m.Payload)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.list[i]
	switch {
	case a.Type == "ack":
		x.flow = max(x.flow, a.Seq)
	case a.Type != "": // a gap, or a part that was refused
	case a.Error == nil:
		a.PubAck.Sequence = uint64(a.Seq)
		if x.ack != nil && *x.ack != a.PubAck {
			b.world.fail("batch %d: acknowledged by %+v, and by %+v", i, *x.ack, a.PubAck)
		}
		x.ack = &a.PubAck
	case a.Error.ErrCode == apierr.JSAtomicPublishIncompleteBatchErr.ErrCode:
		x.refused = true
	}
}

// unsettled goes on with nothing: what is not over is left as it is, as by a publisher
// that died.
func (b *batched) unsettled(*node) string { return "" }

func (b *batched) check() {
	b.world.eachContent(b.config.Name, func(n *node, _ *jetstream.Stream, list []msg.Message) {
		stored := map[int][]msg.Message{}
		for _, m := range list {
			number, _, _ := strings.Cut(string(m.Data), "/")
			i, err := strconv.Atoi(number)
			if err != nil {
				b.world.fail("%s: message %d is %q", n.name, m.Seq, m.Data)
			}
			stored[i] = append(stored[i], m)
		}
		for i, x := range b.list {
			b.judge(n, x, stored[i])
		}
	})
}

// judge compares a batch with what is stored of it.
func (b *batched) judge(n *node, x *batch, stored []msg.Message) {
	fail := func(what string) {
		var parts []string
		for _, m := range stored {
			parts = append(parts, fmt.Sprintf("%s at %d", m.Data, m.Seq))
		}
		b.world.fail("%s: batch %+v, acknowledged by %+v: %s: %v", n.name, *x, x.ack, what, parts)
	}
	before := 0
	for i, m := range stored {
		_, text, _ := strings.Cut(string(m.Data), "/")
		part, err := strconv.Atoi(text)
		switch {
		case err != nil || part <= before:
			fail("is out of order")
		case !x.gapOK && part != before+1:
			fail("has a gap")
		case !x.fast && i > 0 && m.Seq != stored[i-1].Seq+1:
			fail("is not in one piece")
		}
		before = part
	}
	switch {
	case !x.fast && len(stored) != 0 && len(stored) != x.size:
		fail("is there in part")
	case x.refused && len(stored) > 0:
		fail("was refused")
	case x.fast && !x.gapOK && len(stored) < x.flow:
		fail("misses what was acknowledged")
	case x.ack != nil && (!x.gapOK && len(stored) != x.ack.BatchSize || len(stored) > 0 && stored[len(stored)-1].Seq != x.ack.Sequence):
		fail("is not what was acknowledged")
	}
}
