package machine

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"weir/internal/api"
	"weir/internal/consumer"
	"weir/internal/msg"
	"weir/internal/stream"
	"weir/internal/stream/storetest"
)

const second = int64(time.Second)

// world is a machine, the clock that stamps its commands, and a runner of its consumers that does no more than it is told.
type world struct {
	t       *testing.T
	store   *storetest.Store
	m       *Machine
	now     int64
	index   uint64
	request uint64
	out     Effects
	again   map[string][]uint64 // by consumer: naked messages
	// delivered has the messages, by consumer, for which a client has a reply subject.
	delivered map[string]map[uint64]bool
}

const self = 7

// TestTranscripts replays what was observed of the established server: the files in testdata were recorded by sending the
// same requests to it, but for testdata/copy and testdata/entries. What is of the stream alone stands in its own package.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := &world{t: t}
		w.reset("")
		datadriven.RunTest(t, path, w.run)
	})
}

func (w *world) reset(storage api.Storage) {
	w.store = storetest.New()
	w.store.Memory = storage == api.MemoryStorage
	w.now, w.index, w.again = 1_800_000_000*second, 0, map[string][]uint64{}
	w.delivered = map[string]map[uint64]bool{}
	w.reopen()
}

func (w *world) reopen() {
	m, err := New(w.store, self)
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = m
}

// apply applies a command, reopens the machine from its store, and wants both to be in the same state.
func (w *world) apply(cmd []byte) *Effects {
	w.t.Helper()
	w.index++
	if err := w.m.Apply(w.index, cmd, &w.out); err != nil {
		w.t.Fatal(err)
	}
	before := w.m.Hash()
	if !w.m.Exists() {
		return &w.out
	}
	w.reopen()
	if after := w.m.Hash(); after != before {
		w.t.Fatalf("state %x is loaded as %x", before, after)
	}
	return &w.out
}

func (w *world) do(c Command) Reply {
	w.t.Helper()
	w.request++
	out := w.apply(Append(nil, Origin{self, w.request}, c))
	if len(out.Replies) != 1 || out.Replies[0].Request != w.request {
		w.t.Fatalf("%T: replies %v", c, out.Replies)
	}
	return out.Replies[0]
}

func (w *world) run(t *testing.T, d *datadriven.TestData) string {
	w.t = t
	w.now += int64(time.Millisecond)
	switch d.Cmd {
	case "stream":
		return w.streamCreate(d)
	case "update":
		return w.streamUpdate(d)
	case "entry":
		return w.entry(d)
	case "empty":
		w.reset("")
		return ""
	case "consumer":
		return w.consumerCreate(d)
	case "info":
		return w.info(w.consumer(d))
	case "consumers":
		return w.names()
	case "delete-consumer":
		return done(w.do(&ConsumerDelete{Name: d.CmdArgs[0].Key}))
	case "reset-consumer":
		return w.resetConsumer(d)
	case "pause":
		return w.pause(d)
	case "pub":
		return w.publish(d)
	case "batch":
		return w.batch(d)
	case "fast":
		return w.fast(d)
	case "copy":
		return w.copy(d)
	case "meet":
		return w.meet(d)
	case "state":
		return w.store.Summary()
	case "get":
		return w.store.Show(number(t, d.CmdArgs[0].Key))
	case "list":
		return w.store.List()
	case "purge":
		return w.purge(d)
	case "delete-msg":
		return done(w.do(&DeleteMsg{Seq: number(t, d.CmdArgs[0].Key)}))
	case "next":
		return w.next(d)
	case "ack", "nak", "term", "progress":
		return w.settle(d)
	case "sleep":
		return w.sleep(d)
	}
	t.Fatalf("unknown command %q", d.Cmd)
	return ""
}

func number(t *testing.T, text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func done(r Reply) string {
	if r.Err != nil {
		return storetest.ErrorText(r.Err)
	}
	return "ok\n"
}

func decode[T any](t *testing.T, input string) (v T) {
	if err := json.Unmarshal([]byte(input), &v); err != nil {
		t.Fatalf("%v: %s", err, input)
	}
	return v
}

func (w *world) meet(d *datadriven.TestData) string {
	c := &Meet{Origin: d.CmdArgs[0].Key, Identity: d.CmdArgs[1].Key}
	d.MaybeScanArgs(w.t, "before", &c.Before)
	return done(w.do(c))
}

func (w *world) streamCreate(d *datadriven.TestData) string {
	cfg, e := stream.Check(decode[api.StreamConfig](w.t, d.Input), stream.Limits{}, false)
	if e != nil {
		return storetest.ErrorText(e)
	}
	if e := stream.CheckFilters(&cfg); e != nil {
		return storetest.ErrorText(e)
	}
	w.reset(cfg.Storage)
	if r := w.do(&Init{Config: cfg, Created: w.now}); r.Err != nil {
		return storetest.ErrorText(r.Err)
	}
	return storetest.Fields(w.m.Stream().Config())
}

func (w *world) streamUpdate(d *datadriven.TestData) string {
	cfg, e := stream.CheckUpdate(w.m.Stream().Config(), decode[api.StreamConfig](w.t, d.Input), stream.Limits{}, false)
	if e == nil {
		e = w.m.CheckConsumersAgainst(&cfg)
	}
	if e != nil {
		return storetest.ErrorText(e)
	}
	cmd := &Update{Time: w.now, Config: cfg}
	if !d.HasArg("late") {
		cmd.Keep = w.m.Keep(&cfg, away(d))
	}
	if r := w.do(cmd); r.Err != nil {
		return storetest.ErrorText(r.Err)
	}
	return storetest.Fields(w.m.Stream().Config())
}

// away are the consumers that copiers which are not connected would ask for.
func away(d *datadriven.TestData) (list []api.ConsumerConfig) {
	for _, arg := range d.CmdArgs {
		if arg.Key == "away" {
			list = append(list, api.ConsumerConfig{Name: arg.Vals[0], DeliverSubject: "away", Direct: true, Sourcing: true, FlowControl: true, Heartbeat: time.Second})
		}
	}
	return list
}

func (w *world) consumerCreate(d *datadriven.TestData) string {
	cmd := ConsumerCreate{Time: w.now, Pedantic: d.HasArg("pedantic"), Config: decode[api.ConsumerConfig](w.t, d.Input), Runner: self}
	if d.HasArg("action") {
		var action string
		d.ScanArgs(w.t, "action", &action)
		cmd.Action = Action(action)
	}
	if cmd.Config.Name == "" && cmd.Config.Durable == "" {
		cmd.Config.Name = "ephemeral"
	}
	r := w.do(&cmd)
	if r.Err != nil {
		return storetest.ErrorText(r.Err)
	}
	c := w.m.Consumer(r.Consumer.Name)
	return storetest.Fields(c.Config) + w.info(c)
}

func (w *world) names() string {
	return fmt.Sprintln(slices.Sorted(maps.Keys(w.m.byName)))
}

func (w *world) consumer(d *datadriven.TestData) *consumer.Consumer {
	c := w.m.Consumer(d.CmdArgs[0].Key)
	if c == nil {
		w.t.Fatalf("no consumer %q", d.CmdArgs[0].Key)
	}
	return c
}

func (w *world) pending(c *consumer.Consumer) (n int) {
	for _, m := range w.store.Messages() {
		if m.Seq > c.Delivered.Stream && w.wants(c, m) {
			n++
		}
	}
	return n
}

// wants tells whether an undelivered message is for a consumer.
func (w *world) wants(c *consumer.Consumer, m *msg.Message) bool {
	if !c.Filter.Match(m.Subject) {
		return false
	}
	if m.Seq > c.LastPerSubject {
		return true
	}
	for _, later := range w.store.Messages() {
		if later.Seq > m.Seq && later.Seq <= c.LastPerSubject && later.Subject == m.Subject {
			return false
		}
	}
	return true
}

func (w *world) info(c *consumer.Consumer) string {
	return fmt.Sprintf("delivered %d/%d floor %d/%d ack_pending %d redelivered %d pending %d\n", c.Delivered.Consumer, c.Delivered.Stream,
		c.AckFloor.Consumer, c.AckFloor.Stream, c.NumAckPending(), c.NumRedelivered(), w.pending(c))
}

func (w *world) resetConsumer(d *datadriven.TestData) string {
	cmd := ConsumerReset{Name: d.CmdArgs[0].Key}
	if d.Input != "" {
		cmd.Seq = decode[struct{ Seq uint64 }](w.t, d.Input).Seq
	}
	r := w.do(&cmd)
	if r.Err != nil {
		return storetest.ErrorText(r.Err)
	}
	return fmt.Sprintf("start %d\n", r.Start) + w.info(w.m.Consumer(cmd.Name))
}

func (w *world) pause(d *datadriven.TestData) string {
	cmd := ConsumerPause{Name: d.CmdArgs[0].Key}
	if d.Input != "" {
		until := decode[struct {
			Until time.Time `json:"pause_until"`
		}](w.t, d.Input).Until
		cmd.Until = &until
	}
	if r := w.do(&cmd); r.Err != nil {
		return storetest.ErrorText(r.Err)
	}
	return fmt.Sprintf("paused=%v\n", w.m.Consumer(cmd.Name).Paused(time.Unix(0, w.now)))
}

func (w *world) publish(d *datadriven.TestData) string {
	header, body := storetest.ParseMessage(d.Input)
	n, size := 1, 0
	d.MaybeScanArgs(w.t, "n", &n)
	if d.MaybeScanArgs(w.t, "size", &size) {
		body = make([]byte, size)
	}
	cmd := AppendPublish(nil, Origin{self, w.request + 1}, w.now)
	for range n {
		cmd = AppendMessage(cmd, d.CmdArgs[0].Key, header, body)
	}
	var b strings.Builder
	for _, r := range w.apply(cmd).Published {
		w.request++
		if r.Request != w.request {
			w.t.Fatalf("result of request %d where %d was due", r.Request, w.request)
		}
		if r.Err != nil {
			b.WriteString(storetest.ErrorText(r.Err))
			continue
		}
		fmt.Fprintf(&b, "seq %d", r.Seq)
		if r.Duplicate {
			b.WriteString(" duplicate")
		}
		if r.Counter != "" {
			b.WriteString(" val " + r.Counter)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// copy offers messages of an origin: arguments are the origin, then <sequence>:<subject>…
func (w *world) copy(d *datadriven.TestData) string {
	header, data := storetest.ParseMessage(d.Input)
	c := &Copy{Time: w.now, Origin: d.CmdArgs[0].Key}
	for _, arg := range d.CmdArgs[1:] {
		seq, subj, _ := strings.Cut(arg.Key, ":")
		c.Body = AppendCopied(c.Body, number(w.t, seq), w.now-second, subj, header, data)
	}
	r := w.do(c)
	var b strings.Builder
	if r.Err != nil {
		b.WriteString(storetest.ErrorText(r.Err))
	}
	for i, m := range w.out.Stored {
		fmt.Fprintf(&b, "seq %d of %s at %d", m.Seq, m.Subject, w.now-m.Time)
		if i < len(w.out.Previous) {
			fmt.Fprintf(&b, " after %d", w.out.Previous[i])
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "copied up to %d\n", w.m.Stream().CopiedUpTo(c.Origin))
	return b.String()
}

func (w *world) purge(d *datadriven.TestData) string {
	req := decode[struct {
		Filter string
		Seq    uint64
		Keep   uint64
	}](w.t, d.Input)
	r := w.do(&Purge{Filter: req.Filter, Below: req.Seq, Keep: req.Keep})
	if r.Err != nil {
		return storetest.ErrorText(r.Err)
	}
	return fmt.Sprintf("purged %d\n", r.Purged)
}

// delta sends operations of a consumer's runner.
func (w *world) delta(c *consumer.Consumer, ops *consumer.Ops) {
	d := Delta{Consumer: c.ID, Epoch: c.Epoch, Ticket: c.Ticket + 1, Ops: ops.Bytes()}
	out := w.apply(Append(nil, Origin{}, &Deltas{Time: w.now, List: []Delta{d}}))
	if len(out.Deltas) != 1 || out.Deltas[0].Verdict != consumer.Applied {
		w.t.Fatalf("deltas %v", out.Deltas)
	}
}

// next delivers messages: naked ones first, then new ones.
func (w *world) next(d *datadriven.TestData) string {
	var b strings.Builder
	var n int
	d.ScanArgs(w.t, "n", &n)
	name := d.CmdArgs[0].Key
	for ; n > 0; n-- {
		for again := w.again[name]; len(again) > 0; again = w.again[name] {
			w.again[name] = again[1:]
			if w.redeliver(w.m.Consumer(name), again[0], &b) {
				n--
			}
		}
		if n == 0 {
			break
		}
		c := w.m.Consumer(name)
		limit := c.Config.MaxAckPending
		m := w.nextNew(c)
		if m == nil || c.Acks() && limit > 0 && c.NumAckPending() >= limit {
			break
		}
		w.deliver(c, m, &b)
	}
	if n > 0 {
		b.WriteString("end\n")
	}
	if c := w.m.Consumer(name); w.nextNew(c) == nil && c.Position() < w.store.State().LastSeq {
		var ops consumer.Ops
		ops.Skip(w.store.State().LastSeq)
		w.delta(c, &ops)
	}
	return b.String()
}

func (w *world) nextNew(c *consumer.Consumer) *msg.Message {
	for _, m := range w.store.Messages() {
		if m.Seq > c.Position() && w.wants(c, m) {
			return m
		}
	}
	return nil
}

func (w *world) deliver(c *consumer.Consumer, m *msg.Message, b *strings.Builder) {
	var ops consumer.Ops
	ops.Deliver(w.now, c.Delivered.Consumer+1, []uint64{m.Seq})
	if w.delivered[c.Name] == nil {
		w.delivered[c.Name] = map[uint64]bool{}
	}
	w.delivered[c.Name][m.Seq] = true
	w.delta(c, &ops)
	c = w.m.Consumer(c.Name)
	fmt.Fprintf(b, "%s seq %d consumer_seq %d deliveries 1 pending %d\n", m.Subject, m.Seq, c.Delivered.Consumer, w.pending(c))
}

func (w *world) redeliver(c *consumer.Consumer, seq uint64, b *strings.Builder) bool {
	var ops consumer.Ops
	p, ok := c.PendingOf(seq)
	if !ok {
		return false
	}
	if max := c.Config.MaxDeliver; max > 0 && int(p.Deliveries) >= max {
		ops.Exceeded(seq)
		w.delta(c, &ops)
		return false
	}
	ops.Redeliver(w.now, c.Delivered.Consumer+1, []consumer.Redelivery{{Seq: seq, Deliveries: p.Deliveries + 1}})
	w.delta(c, &ops)
	c = w.m.Consumer(c.Name)
	var m msg.Message
	if ok, err := w.store.Load(seq, &m, nil); !ok || err != nil {
		w.t.Fatalf("pending message %d is not stored", seq)
	}
	fmt.Fprintf(b, "%s seq %d consumer_seq %d deliveries %d pending %d\n", m.Subject, seq, c.Delivered.Consumer, p.Deliveries+1, w.pending(c))
	return true
}

func (w *world) settle(d *datadriven.TestData) string {
	c := w.consumer(d)
	for _, arg := range d.CmdArgs[1:] {
		seq := number(w.t, arg.Key)
		if !w.delivered[c.Name][seq] {
			return "not delivered\n"
		}
		var ops consumer.Ops
		switch {
		case d.Cmd == "ack" && c.Config.AckPolicy == api.AckAll:
			ops.AckAll(seq)
		case d.Cmd == "ack":
			ops.Ack(seq)
		case d.Cmd == "term":
			ops.Term(seq)
		case d.Cmd == "nak":
			w.again[c.Name] = append(w.again[c.Name], seq)
			ops.Touch(seq, w.now)
		default:
			ops.Touch(seq, w.now)
		}
		w.delta(c, &ops)
		c = w.consumer(d)
	}
	return w.info(c)
}

func (w *world) sleep(d *datadriven.TestData) string {
	ms, _ := strconv.ParseInt(d.CmdArgs[0].Key, 10, 64)
	end := w.now + ms*int64(time.Millisecond)
	for due := w.m.NextExpiry(); due != 0 && due <= end; due = w.m.NextExpiry() {
		if w.now = max(w.now+int64(time.Millisecond), due); w.now > end {
			break
		}
		w.apply(Append(nil, Origin{}, &Expire{Time: w.now, Zoned: w.zonedNext()}))
	}
	w.now = end
	return ""
}

// zonedNext is what a leader adds to an Expire.
func (w *world) zonedNext() (next []stream.ZonedNext) {
	for _, z := range w.m.Stream().ZonedDue(w.now) {
		zone, err := time.LoadLocation(z.Zone)
		if err != nil {
			w.t.Fatal(err)
		}
		next = append(next, z.Next(time.Unix(0, w.now), zone))
	}
	return next
}
