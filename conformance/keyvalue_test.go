package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	keyClients  = 5
	keysInUse   = 3
	keyTime     = 25 * time.Second
	keyCallTime = 3 * time.Second
	// maxUnknown bounds the writes to one key that nobody answered: each doubles what may
	// have happened. Another key is used then.
	maxUnknown = 5
)

// TestKeyValueUnderFaults has several clients write to the same keys of a replicated
// bucket, on the condition that they are as they were last seen, while nodes are killed
// and paused. What they hear has to fit one order of what happened (reads by way of
// the leader, too); direct reads return what somebody wrote before; a watcher sees
// the revisions of a key in order and the last one in the end.
func TestKeyValueUnderFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	ctx := trialContext(t)
	c := startCluster(ctx, t, 3, "")
	nc, js := connectQuick(t, c.URLs())
	bucket := jetstream.KeyValueConfig{Bucket: "B", Replicas: 3, History: 4}
	kv, err := js.CreateKeyValue(ctx, bucket)
	if err != nil {
		t.Fatal(err)
	}
	h := &keyHistory{began: time.Now(), known: map[string]entry{}, unknown: map[string]int{}}
	for i := range keysInUse {
		h.keys = append(h.keys, fmt.Sprint("k", i))
	}
	w := startKeyWatcher(ctx, t, kv)
	working, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	for i := range keyClients {
		nc, js := connectQuick(t, c.URLs())
		kv, err := js.KeyValue(ctx, "B")
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() { (&keyClient{h: h, nc: nc, kv: kv, rand: rand.New(rand.NewPCG(uint64(i), 1))}).run(working) })
	}
	f := newFaults(t, c, nc)
	f.run(ctx, keyTime)
	stop()
	clients.Wait()
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	last := &keyClient{h: h, nc: nc, kv: kv}
	for i := range h.last + keysInUse {
		last.readUntilAnswered(ctx, t, fmt.Sprint("k", i))
	}
	h.check(t)
	w.check(ctx, t, h)
}

// entry is what a client believes of a key: revision 0 is none.
type entry struct {
	revision uint64
	value    string // of a deletion, too
}

// keyCall is one read or write of a key.
type keyCall struct {
	key          string
	read, direct bool
	any          bool // a write without a condition
	expect       entry
	value        string // written or read; empty: nothing there
	revision     uint64
	outcome      keyOutcome
	began, ended time.Duration
}

type keyOutcome byte

const (
	keyUnknown keyOutcome = iota // nobody answered: it happened, will yet, or never does
	keyDone
	keyRefused
)

// keyHistory is what all clients did and heard.
type keyHistory struct {
	began time.Time

	mu      sync.Mutex
	calls   []*keyCall
	keys    []string // in use
	last    int      // how many keys were replaced
	known   map[string]entry
	unknown map[string]int
}

// begin draws a key and notes a call.
func (h *keyHistory) begin(r *rand.Rand, c *keyCall) *keyCall {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.key == "" {
		c.key = h.keys[r.IntN(len(h.keys))]
	}
	if !c.read {
		c.expect, c.value = h.known[c.key], fmt.Sprint("v", len(h.calls))
	}
	c.began = time.Since(h.began)
	h.calls = append(h.calls, c)
	return c
}

// end notes how a call went. A key with too many writes of which nobody knows is not
// used any more.
func (h *keyHistory) end(c *keyCall, outcome keyOutcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.outcome, c.ended = outcome, time.Since(h.began)
	switch {
	case outcome == keyDone && !c.direct:
		h.known[c.key] = entry{c.revision, c.value}
	case outcome == keyUnknown && !c.read:
		if h.unknown[c.key]++; h.unknown[c.key] == maxUnknown {
			for i, key := range h.keys {
				if key == c.key {
					h.keys[i] = fmt.Sprint("k", keysInUse+h.last)
				}
			}
			h.last++
		}
	}
}

// keyClient does one call after the other.
type keyClient struct {
	h    *keyHistory
	nc   *nats.Conn
	kv   jetstream.KeyValue
	rand *rand.Rand
}

func (k *keyClient) run(ctx context.Context) {
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyCallTime)
		switch p := k.rand.IntN(100); {
		case p < 25:
			k.get(call, k.h.begin(k.rand, &keyCall{read: true}))
		case p < 35:
			k.getDirect(call, k.h.begin(k.rand, &keyCall{read: true, direct: true}))
		default:
			k.write(call, k.h.begin(k.rand, &keyCall{any: p > 95}), p < 50)
		}
		cancel()
	}
}

// write puts, updates or deletes a key. The value of a deletion is its revision's.
func (k *keyClient) write(ctx context.Context, c *keyCall, remove bool) {
	var err error
	switch {
	case c.any:
		c.revision, err = k.kv.Put(ctx, c.key, []byte(c.value))
	case remove:
		c.revision, err = k.remove(ctx, c)
	default:
		c.revision, err = k.kv.Update(ctx, c.key, []byte(c.value), c.expect.revision)
	}
	var refused *jetstream.APIError
	switch {
	case err == nil:
		k.h.end(c, keyDone)
	case errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		k.h.end(c, keyRefused)
	default:
		k.h.end(c, keyUnknown)
	}
}

// remove deletes as the client's Delete with a revision does, with a value, by which a
// read knows it.
func (k *keyClient) remove(ctx context.Context, c *keyCall) (uint64, error) {
	js, err := jetstream.New(k.nc)
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg("$KV.B." + c.key)
	m.Header.Set("KV-Operation", "DEL")
	m.Data = []byte(c.value)
	ack, err := js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(c.expect.revision))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// get reads by way of the leader.
func (k *keyClient) get(ctx context.Context, c *keyCall) {
	reply, err := k.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.KV_B", fmt.Appendf(nil, `{"last_by_subj":"$KV.B.%s"}`, c.key))
	var doc struct {
		Error *struct {
			Code int `json:"err_code"`
		} `json:"error"`
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	switch {
	case err != nil || json.Unmarshal(reply.Data, &doc) != nil:
		k.h.end(c, keyUnknown)
	case doc.Error == nil:
		c.revision, c.value = doc.Message.Seq, string(doc.Message.Data)
		k.h.end(c, keyDone)
	case doc.Error.Code == int(jetstream.JSErrCodeMessageNotFound):
		k.h.end(c, keyDone)
	default:
		k.h.end(c, keyUnknown)
	}
}

// getDirect reads from any replica, which may be behind.
func (k *keyClient) getDirect(ctx context.Context, c *keyCall) {
	e, err := k.kv.Get(ctx, c.key)
	if err != nil { // or it is deleted
		k.h.end(c, keyUnknown)
		return
	}
	c.revision, c.value = e.Revision(), string(e.Value())
	k.h.end(c, keyDone)
}

func (k *keyClient) readUntilAnswered(ctx context.Context, t *testing.T, key string) {
	t.Helper()
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, keyCallTime)
		c := k.h.begin(nil, &keyCall{key: key, read: true})
		k.get(call, c)
		cancel()
		if c.outcome == keyDone {
			return
		}
	}
	t.Fatalf("%s can not be read", key)
}

// check judges the history.
func (h *keyHistory) check(t *testing.T) {
	t.Helper()
	byKey, done := map[string][]porcupine.Operation{}, 0
	for i, c := range h.calls {
		end := int64(math.MaxInt64)
		if c.outcome != keyUnknown {
			end = int64(c.ended)
			done++
		}
		if !c.direct && (!c.read || c.outcome == keyDone) {
			byKey[c.key] = append(byKey[c.key], porcupine.Operation{ClientId: i, Input: c, Output: c, Call: int64(c.began), Return: end})
		}
	}
	t.Logf("%d calls on %d keys, %d answered", len(h.calls), len(byKey), done)
	for key, ops := range byKey {
		switch porcupine.CheckOperationsTimeout(keyModel.ToModel(), ops, time.Minute) {
		case porcupine.Ok:
			continue
		case porcupine.Unknown:
			t.Errorf("%s: whether its %d calls fit an order takes too long to tell", key, len(ops))
			continue
		}
		t.Errorf("%s: its %d calls fit no order", key, len(ops))
		for _, op := range ops {
			t.Logf("%s: %+v", key, *op.Input.(*keyCall))
		}
	}
	h.checkRevisions(t)
}

// checkRevisions looks for two values of one revision, and for values that were read and
// that nobody had written by then.
func (h *keyHistory) checkRevisions(t *testing.T) {
	t.Helper()
	at, by := map[uint64]string{}, map[string]*keyCall{}
	for _, c := range h.calls {
		if !c.read {
			by[c.value] = c
		}
	}
	for _, c := range h.calls {
		if c.outcome != keyDone || c.revision == 0 {
			continue
		}
		if other, ok := at[c.revision]; ok && other != c.value {
			t.Errorf("revision %d is %q and %q", c.revision, other, c.value)
		}
		at[c.revision] = c.value
		if w := by[c.value]; w == nil || w.key != c.key || w.outcome == keyRefused || w.began > c.ended {
			t.Errorf("%+v: its value was written by %+v", *c, w)
		}
	}
}

// keyModel is what one key may do. Its state is what it holds.
var keyModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, _ any) []any {
		c := input.(*keyCall)
		holds := c.any || state.(string) == c.expect.value
		switch {
		case c.read && state.(string) == c.value, c.outcome == keyRefused && !holds:
			return []any{state}
		case c.read, c.outcome == keyRefused, c.outcome == keyDone && !holds:
			return nil
		case c.outcome == keyDone:
			return []any{c.value}
		case holds: // and nobody knows whether it was written
			return []any{state, c.value}
		}
		return []any{state}
	},
	Equal: func(a, b any) bool { return a == b },
}
