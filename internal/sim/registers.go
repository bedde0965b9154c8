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
	"weir/internal/wire"
)

const (
	registerStream = "K"
	registerKeys   = 3 // in use at a time
	// maxUnknown bounds the writes to one register that nobody answered: each doubles
	// what may have happened. Another register is used then.
	maxUnknown = 4
)

// registers are the last messages of a few subjects of a second stream. Clients read
// them, and write to them on the condition that they stand as they were last seen. All
// that they hear has to fit one order of what happened.
type registers struct {
	world *world

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
	key     int
	read    bool
	expect  standing
	write   string
	outcome outcome
	value   string // that was read
	began   time.Time
	ended   time.Time
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
	w.history.asks = append(w.history.asks, &ask{
		subject: "STREAM.CREATE." + registerStream,
		body: api.StreamConfig{
			Name: registerStream, Subjects: []string{"k.>"}, Retention: api.LimitsRetention, Storage: api.FileStorage,
			Discard: api.DiscardOld, Replicas: min(w.options.Nodes, 3), MaxMsgs: -1, MaxBytes: -1, MaxMsgsPer: int64(1 + w.rand.IntN(3)),
			MaxMsgSize: -1, MaxConsumers: -1,
		},
	})
}

// use reads or writes a register by way of n.
func (r *registers) use(n *node) {
	slot := r.world.rand.IntN(registerKeys)
	if r.world.chance(40) {
		r.read(n, r.keys[slot])
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
	c := &registerCall{key: key, expect: r.known[key], write: "v" + strconv.Itoa(id), began: now()}
	r.calls = append(r.calls, c)
	r.mu.Unlock()
	header := wire.HeaderBlock("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(c.expect.seq, 10))
	n.say(fmt.Sprintf("k.%d", key), fmt.Sprintf("_INBOX.%s.reg.%d", n.name, id), header, []byte(c.write))
}

func (r *registers) read(n *node, key int) {
	r.mu.Lock()
	id := len(r.calls)
	c := &registerCall{key: key, read: true, began: now()}
	r.calls, r.reader[key] = append(r.calls, c), c
	r.mu.Unlock()
	body := fmt.Appendf(nil, `{"last_by_subj":"k.%d"}`, key)
	n.say(apiPrefix+"STREAM.MSG.GET."+registerStream, fmt.Sprintf("_INBOX.%s.reg.%d", n.name, id), nil, body)
}

// answered takes the answer to a call.
func (r *registers) answered(id string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, err := strconv.Atoi(id)
	if err != nil || r.calls[i].outcome != unknown {
		return
	}
	c := r.calls[i]
	var a struct {
		Error   *apierr.Error `json:"error"`
		Seq     uint64        `json:"seq"`
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		r.world.fail("register: answer %q: %v", body, err)
		return
	}
	switch {
	case a.Error == nil && c.read:
		c.outcome, c.value = done, string(a.Message.Data)
		r.known[c.key] = standing{a.Message.Seq, c.value}
	case a.Error == nil:
		c.outcome = done
		r.known[c.key] = standing{a.Seq, c.write}
	case c.read && a.Error.ErrCode == apierr.JSNoMessageFoundErr.ErrCode:
		c.outcome = done
	case !c.read && a.Error.ErrCode == wrongLastSequence:
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

// wrongLastSequence is the code of the error for a condition that does not hold.
const wrongLastSequence = 10071

// settled reads every register until it is answered; true: all are.
func (r *registers) settled(n *node, since time.Time) bool {
	all := true
	for _, key := range r.keys {
		r.mu.Lock()
		last := r.reader[key]
		answered := last != nil && last.began.After(since) && last.outcome == done
		waits := last != nil && last.outcome == unknown && now().Sub(last.began) < time.Second
		r.mu.Unlock()
		if all = all && answered; !answered && !waits {
			r.read(n, key)
		}
	}
	return all
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
		ops = append(ops, porcupine.Operation{ClientId: i, Input: c, Output: c, Call: int64(c.began.Sub(r.world.began)), Return: end})
	}
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
		holds := state.(string) == c.expect.value
		switch {
		case c.read && state.(string) == c.value, c.outcome == refused && !holds:
			return []any{state}
		case c.read, c.outcome == refused:
			return nil
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
