package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/jetstream"
	"weir/internal/msg"
	"weir/internal/router"
	"weir/internal/wire"
)

const (
	registerStream = "K"
	registerKeys   = 3 // in use at a time
	// maxUnknown bounds the writes to one register that nobody answered: each doubles
	// what may have happened. Another register is used then.
	maxUnknown = 4
)

// registers are the last messages of a few subjects of a second stream, as the keys of a
// key-value store are. Clients read them, and write to them, mostly on the condition that
// they stand as they were last seen. All that they hear has to fit one order of what
// happened, but for direct gets: what those return may be old. A watcher follows.
type registers struct {
	world   *world
	config  api.StreamConfig
	watcher *ordered
	ending  time.Time // when the end began

	mu     sync.Mutex
	calls  []*registerCall
	keys   [registerKeys]int // in use
	last   int               // of all keys ever
	known  map[int]standing
	open   map[int]int           // writes without an answer
	reader map[int]*registerCall // the last read of each key
}

// standing is what a client believes of a register: the sequence of its message, 0 if
// there is none, and what that holds.
type standing struct {
	seq   uint64
	value string
}

// registerCall is one read or write.
type registerCall struct {
	key       int
	read      bool
	direct    bool // a read that may be old
	condition bool // of a write: expect
	expect    standing
	write     string // empty: the register is emptied
	outcome   outcome
	value     string // that was read
	seq       uint64 // of what was read or written
	began     time.Time
	ended     time.Time
}

type outcome byte

const (
	unknown outcome = iota // nobody answered: it happened, will yet, or never does
	done
	refused
)

func (r *registers) init(w *world) {
	r.world, r.known, r.open, r.reader = w, map[int]standing{}, map[int]int{}, map[int]*registerCall{}
	for i := range r.keys {
		r.keys[i] = i
	}
	r.last = registerKeys - 1
	r.config = plainStream(registerStream, "k.>", min(w.options.Nodes, 3))
	r.config.MaxMsgsPer, r.config.AllowRollup, r.config.AllowDirect = int64(1+w.rand.IntN(3)), true, true
	r.watcher = newOrdered(w, registerStream, api.DeliverLastPerSubject, func() bool { return false })
}

func (r *registers) streams() []api.StreamConfig { return []api.StreamConfig{r.config} }

func (r *registers) step(n *node) {
	r.watcher.follow(n)
	for range 1 + r.world.rand.IntN(6) {
		r.use(n)
	}
}

// use reads or writes a register by way of n.
func (r *registers) use(n *node) {
	slot := r.world.rand.IntN(registerKeys)
	if r.world.chance(40) {
		r.read(n, r.keys[slot], r.world.chance(30))
		return
	}
	r.mu.Lock()
	if r.open[r.keys[slot]] >= maxUnknown {
		r.last++
		r.keys[slot] = r.last
	}
	key := r.keys[slot]
	r.open[key]++
	id := len(r.calls)
	c := &registerCall{key: key, write: "v" + strconv.Itoa(id), began: now()}
	if p := r.world.rand.IntN(100); p < 85 {
		c.condition, c.expect = true, r.known[key]
	} else if p > 95 {
		c.write = "" // removed
	}
	r.calls = append(r.calls, c)
	r.mu.Unlock()
	inbox := fmt.Sprintf("_INBOX.%s.reg.%d", n.name, id)
	if c.write == "" {
		n.say(apiPrefix+"STREAM.PURGE."+registerStream, inbox, nil, fmt.Appendf(nil, `{"filter":"k.%d"}`, key))
		return
	}
	n.say(fmt.Sprintf("k.%d", key), inbox, r.header(c), []byte(c.write))
}

// header is that of a write. Some are deletions and purges of key-value stores, which are
// messages, too.
func (r *registers) header(c *registerCall) []byte {
	var header []string
	if c.condition {
		header = append(header, "Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(c.expect.seq, 10))
	}
	switch r.world.rand.IntN(10) {
	case 0:
		header = append(header, "KV-Operation", "DEL")
	case 1:
		header = append(header, "KV-Operation", "PURGE", "Nats-Rollup", "sub")
	}
	return wire.HeaderBlock(header...)
}

// read asks for what a register holds, directly if what is old will do.
func (r *registers) read(n *node, key int, direct bool) {
	r.mu.Lock()
	id := len(r.calls)
	c := &registerCall{key: key, read: true, direct: direct, began: now()}
	r.calls = append(r.calls, c)
	if !direct {
		r.reader[key] = c
	}
	r.mu.Unlock()
	if direct {
		n.say(fmt.Sprintf("%sDIRECT.GET.%s.k.%d", apiPrefix, registerStream, key), fmt.Sprintf("_INBOX.%s.reg.%d", n.name, id), nil, nil)
		return
	}
	body := fmt.Appendf(nil, `{"last_by_subj":"k.%d"}`, key)
	n.say(apiPrefix+"STREAM.MSG.GET."+registerStream, fmt.Sprintf("_INBOX.%s.reg.%d", n.name, id), nil, body)
}

// heard takes the answer to a call.
func (r *registers) heard(_ *life, id string, m *router.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, err := strconv.Atoi(id)
	if err != nil || r.calls[i].outcome != unknown {
		return
	}
	c := r.calls[i]
	if c.direct {
		r.readDirectly(c, m)
		return
	}
	var a struct {
		Error   *apierr.Error `json:"error"`
		Seq     uint64        `json:"seq"`
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Payload, &a); err != nil {
		r.world.fail("register: answer %q: %v", m.Payload, err)
		return
	}
	switch {
	case a.Error == nil && c.read:
		c.outcome, c.value, c.seq = done, string(a.Message.Data), a.Message.Seq
		r.known[c.key] = standing{c.seq, c.value}
	case a.Error == nil:
		c.outcome, c.seq = done, a.Seq
		r.known[c.key] = standing{a.Seq, c.write}
	case c.read && a.Error.ErrCode == apierr.JSNoMessageFoundErr.ErrCode:
		c.outcome = done
		r.known[c.key] = standing{}
	case c.condition && a.Error.ErrCode == wrongLastSequence:
		c.outcome = refused
	default:
		r.world.logf("register: %v", a.Error)
		return // it may have happened for all that the client knows
	}
	c.ended = now()
	if !c.read {
		r.open[c.key]--
	}
}

// readDirectly takes the answer to a direct get, which may be old. The caller holds mu.
func (r *registers) readDirectly(c *registerCall, m *router.Msg) {
	if _, _, ok := wire.Status(m.Header); ok {
		return // nothing there, or nobody answers
	}
	seq, _ := wire.GetHeader(m.Header, "Nats-Sequence")
	n, err := strconv.ParseUint(string(seq), 10, 64)
	if err != nil {
		r.world.fail("direct get of register %d: %q", c.key, m.Header)
	}
	c.outcome, c.value, c.seq, c.ended = done, string(m.Payload), n, now()
}

// wrongLastSequence is the code of the error for a condition that does not hold.
const wrongLastSequence = 10071

// unsettled reads every register until it is answered.
func (r *registers) unsettled(n *node) (left string) {
	if r.ending.IsZero() {
		r.ending = now()
	}
	for _, key := range r.keys {
		r.mu.Lock()
		last := r.reader[key]
		answered := last != nil && last.began.After(r.ending) && last.outcome == done
		waits := last != nil && last.outcome == unknown && now().Sub(last.began) < time.Second
		r.mu.Unlock()
		if !answered {
			left = fmt.Sprintf("register %d is not read", key)
		}
		if !answered && !waits {
			r.read(n, key, false)
		}
	}
	r.watcher.follow(n)
	if left == "" && r.watcher.behind(r.world.lastOf(registerStream)) {
		left = "the watcher has not seen all"
	}
	return left
}

// check judges the whole history.
func (r *registers) check() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ops []porcupine.Operation
	for i, c := range r.calls {
		end := int64(math.MaxInt64)
		switch {
		case c.outcome != unknown:
			end = int64(c.ended.Sub(r.world.began))
		case c.read:
			continue
		}
		if c.direct {
			continue
		}
		ops = append(ops, porcupine.Operation{ClientId: i, Input: c, Output: c, Call: int64(c.began.Sub(r.world.began)), Return: end})
	}
	r.consistent()
	r.watched()
	model := registerModel.ToModel()
	for key := range r.last + 1 {
		part := filterOps(ops, func(c *registerCall) bool { return c.key == key })
		if !porcupine.CheckOperations(model, part) {
			r.world.fail("the %d calls on register %d fit no order", len(part), key)
			for _, op := range part {
				c := op.Input.(*registerCall)
				r.world.logf("register %d: %9.4f to %9.4f read %t expect %v write %q: outcome %d value %q", key,
					float64(op.Call)/1e9, float64(op.Return)/1e9, c.read, c.expect, c.write, c.outcome, c.value)
			}
		}
	}
}

// consistent looks for two values at one sequence, whoever read or wrote them, and for
// values that were read before anybody wrote them. The caller holds mu.
func (r *registers) consistent() {
	at, by := map[uint64]string{}, map[string]*registerCall{}
	for _, c := range r.calls {
		if !c.read && c.write != "" {
			by[c.write] = c
		}
	}
	for _, c := range r.calls {
		value := c.write
		if c.read {
			value = c.value
		}
		if c.outcome != done || c.seq == 0 {
			continue
		}
		if other, ok := at[c.seq]; ok && other != value {
			r.world.fail("register %d: %q at %d, which was %q", c.key, value, c.seq, other)
		}
		at[c.seq] = value
		if w := by[value]; w == nil || w.key != c.key || w.outcome == refused || w.began.After(c.ended) {
			r.world.fail("register %d: %q at %d, which was written by %+v", c.key, value, c.seq, w)
		}
	}
}

// watched compares what the watcher saw with what replicas hold: at least the last value
// of each register. The caller holds mu.
func (r *registers) watched() {
	r.world.eachContent(registerStream, func(n *node, _ *jetstream.Stream, list []msg.Message) {
		last := map[string]uint64{}
		for _, m := range list {
			last[m.Subject] = m.Seq
		}
		r.watcher.check(n, list, func(m *msg.Message) bool { return last[m.Subject] == m.Seq })
	})
}

func filterOps(ops []porcupine.Operation, keep func(*registerCall) bool) (list []porcupine.Operation) {
	for _, op := range ops {
		if keep(op.Input.(*registerCall)) {
			list = append(list, op)
		}
	}
	return list
}

// registerModel is what one register may do. Its state is what it holds.
var registerModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, _ any) []any {
		c := input.(*registerCall)
		holds := !c.condition || state.(string) == c.expect.value
		switch {
		case c.read && state.(string) == c.value, c.outcome == refused && !holds:
			return []any{state}
		case c.read, c.outcome == refused:
			return nil
		case c.outcome == done && c.write == "": // what was written since the purge was asked for stays
			return []any{state, ""}
		case c.outcome == done && holds:
			return []any{c.write}
		case c.outcome == done:
			return nil
		case holds: // and nobody knows whether it was written
			return []any{state, c.write}
		}
		return []any{state}
	},
	Equal: func(a, b any) bool { return a == b },
}
