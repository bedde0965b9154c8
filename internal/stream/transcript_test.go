package stream

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/msg"
	"weir/internal/stream/storetest"
	"weir/internal/subject"
)

const second = int64(time.Second)

// stage is a stream by itself, and the clock that stamps what is asked of it.
type stage struct {
	t      *testing.T
	store  *storetest.Store
	s      *Stream
	now    int64
	limits Limits
	// interest is what somebody wants of a stream that keeps only that.
	interest string
	most     int // StepMost, unless 0
}

// TestTranscripts replays what was observed of the established server, but for the files that say otherwise at their head, and for
// schedules, which follow what it does in a time of their own.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		st := &stage{}
		datadriven.RunTest(t, path, st.run)
	})
}

func (st *stage) run(t *testing.T, d *datadriven.TestData) string {
	st.t = t
	st.now += int64(time.Millisecond)
	switch d.Cmd {
	case "limits":
		st.limits = decode[Limits](t, d.Input)
		return ""
	case "stream":
		return st.create(d)
	}
	text := st.change(d)
	st.reopen()
	return text
}

// change does what leaves another state behind, or just looks.
func (st *stage) change(d *datadriven.TestData) string {
	switch d.Cmd {
	case "update":
		return st.update(d)
	case "interest":
		st.interest = d.CmdArgs[0].Key
		return ""
	case "pub":
		return st.publish(d)
	case "copy":
		return st.copy(d)
	case "meet":
		return st.meet(d)
	case "load":
		return st.load(d)
	case "end-load":
		st.check(st.s.EndLoad(st.number(d.CmdArgs[0].Key)))
		return ""
	case "purge":
		return st.purge(d)
	case "delete-msg":
		refused, err := st.s.DeleteMsg(st.number(d.CmdArgs[0].Key), false)
		st.check(err)
		return done(refused)
	case "sleep":
		return st.sleep(d)
	case "state":
		return st.store.Summary()
	case "get":
		return st.store.Show(st.number(d.CmdArgs[0].Key))
	case "list":
		return st.store.List()
	}
	st.t.Fatalf("unknown command %q", d.Cmd)
	return ""
}

func (st *stage) check(err error) {
	st.t.Helper()
	if err != nil {
		st.t.Fatal(err)
	}
}

func (st *stage) number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	st.check(err)
	return n
}

func decode[T any](t *testing.T, input string) (v T) {
	if err := json.Unmarshal([]byte(input), &v); err != nil {
		t.Fatalf("%v: %s", err, input)
	}
	return v
}

func done(e *apierr.Error) string {
	if e != nil {
		return storetest.ErrorText(e)
	}
	return "ok\n"
}

func (st *stage) create(d *datadriven.TestData) string {
	cfg, e := Check(decode[api.StreamConfig](st.t, d.Input), st.limits, d.HasArg("pedantic"))
	if e == nil {
		e = CheckFilters(&cfg)
	}
	if e != nil {
		return storetest.ErrorText(e)
	}
	st.begin(d, cfg)
	return storetest.Fields(st.s.Config())
}

func (st *stage) begin(d *datadriven.TestData, cfg api.StreamConfig) {
	st.store = storetest.New()
	st.store.Memory = cfg.Storage == api.MemoryStorage
	st.now, st.interest, st.most = 1_800_000_000*second, "", 0
	d.MaybeScanArgs(st.t, "step", &st.most)
	st.open()
	if d.HasArg("loading") {
		st.check(st.s.InitLoading(cfg, st.now))
	} else {
		st.check(st.s.Init(cfg, st.now))
	}
	st.reopen()
}

func (st *stage) open() {
	s, _, err := Open(st.store)
	st.check(err)
	s.Interested = func(literal string) bool { return st.interest != "" && subject.Match(literal, st.interest) }
	if st.most > 0 {
		s.StepMost = st.most
	}
	st.s = s
}

// reopen ends an entry, loads the stream from its store, and wants it to be in the same state.
func (st *stage) reopen() {
	st.check(st.s.Flush())
	before := st.s.Hash()
	st.open()
	if after := st.s.Hash(); after != before {
		st.t.Fatalf("state %x is loaded as %x", before, after)
	}
}

func (st *stage) update(d *datadriven.TestData) string {
	cfg, e := CheckUpdate(st.s.Config(), decode[api.StreamConfig](st.t, d.Input), st.limits, d.HasArg("pedantic"))
	if e != nil {
		return storetest.ErrorText(e)
	}
	st.check(st.s.Update(cfg, st.now))
	return storetest.Fields(st.s.Config())
}

// publish stores a message, or n of them, or one with a body or a header block of a size; quiet: prints only what came of the last.
func (st *stage) publish(d *datadriven.TestData) string {
	header, body := storetest.ParseMessage(d.Input)
	n, size := 1, 0
	d.MaybeScanArgs(st.t, "n", &n)
	if d.MaybeScanArgs(st.t, "size", &size) {
		body = make([]byte, size)
	}
	if d.MaybeScanArgs(st.t, "header", &size) {
		header = []byte("NATS/1.0\r\nx: " + strings.Repeat("x", size-len(emptyHeader)-len("x: \r\n")) + "\r\n\r\n")
	}
	var b strings.Builder
	var stored msg.Message
	for range n {
		p, err := st.s.Publish(st.now, &Pub{Subject: d.CmdArgs[0].Key, Header: header, Data: body}, &stored)
		st.check(err)
		if d.HasArg("quiet") {
			b.Reset()
		}
		if p.Err != nil {
			b.WriteString(storetest.ErrorText(p.Err))
			continue
		}
		fmt.Fprintf(&b, "seq %d", p.Seq)
		if p.Duplicate {
			b.WriteString(" duplicate")
		} else if !p.Stored {
			b.WriteString(" not stored")
		}
		if p.Counter != "" {
			b.WriteString(" val " + p.Counter)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// message is a message of another stream or of a backup, given as <sequence>:<subject>; it is a second old.
func (st *stage) message(d *datadriven.TestData, arg string) msg.Message {
	seq, literal, _ := strings.Cut(arg, ":")
	m := msg.Message{Seq: st.number(seq), Time: st.now - second, Subject: literal}
	m.Header, m.Data = storetest.ParseMessage(d.Input)
	return m
}

// origin is what Copy calls the one of a name, or <name>/<filter>.
func (st *stage) origin(name string) string {
	for _, s := range append(st.s.cfg.Sources, st.s.cfg.Mirror) {
		if s != nil && (s.Name == name || s.Name+"/"+s.FilterSubject == name) {
			return OriginKey(s)
		}
	}
	return name
}

// copy offers messages of an origin: arguments are the origin, then the messages.
func (st *stage) copy(d *datadriven.TestData) string {
	origin := st.origin(d.CmdArgs[0].Key)
	var b strings.Builder
	var stored msg.Message
	for _, arg := range d.CmdArgs[1:] {
		m := st.message(d, arg.Key)
		c := Copied{Pub: Pub{Subject: m.Subject, Header: m.Header, Data: m.Data}, Seq: m.Seq, Time: m.Time}
		p, err := st.s.Copy(origin, st.now, &c, &stored)
		st.check(err)
		if p.Err != nil {
			b.WriteString(storetest.ErrorText(p.Err))
			break
		}
		if p.Stored {
			fmt.Fprintf(&b, "seq %d of %s at %d\n", stored.Seq, stored.Subject, st.now-stored.Time)
		}
	}
	fmt.Fprintf(&b, "copied up to %d\n", st.s.CopiedUpTo(origin))
	return b.String()
}

// meet names an origin and its identity.
func (st *stage) meet(d *datadriven.TestData) string {
	origin := st.origin(d.CmdArgs[0].Key)
	st.s.Meet(origin, d.CmdArgs[1].Key)
	return fmt.Sprintf("copied up to %d\n", st.s.CopiedUpTo(origin))
}

// load puts in messages of a backup.
func (st *stage) load(d *datadriven.TestData) string {
	for _, arg := range d.CmdArgs {
		m := st.message(d, arg.Key)
		st.check(st.s.Load(st.now, &m))
	}
	return st.store.Summary()
}

// purge removes messages; n asks for that so many times and prints what came of the last.
func (st *stage) purge(d *datadriven.TestData) (text string) {
	n := 1
	d.MaybeScanArgs(st.t, "n", &n)
	for range n {
		text = st.purgeOnce(d)
	}
	return text
}

func (st *stage) purgeOnce(d *datadriven.TestData) string {
	r := decode[struct {
		Filter    string
		Seq, Keep uint64
	}](st.t, d.Input)
	n, finished, refused, err := st.s.Purge(PurgeRequest{Filter: r.Filter, Below: r.Seq, Keep: r.Keep, Proposer: 1, Request: 1})
	st.check(err)
	switch {
	case refused != nil:
		return storetest.ErrorText(refused)
	case !finished:
		return fmt.Sprintf("purged %d so far\n", n)
	}
	return fmt.Sprintf("purged %d\n", n)
}

// sleep lets milliseconds pass, as a leader does: by entries at the times when something is due.
func (st *stage) sleep(d *datadriven.TestData) string {
	var b strings.Builder
	end := st.now + int64(st.number(d.CmdArgs[0].Key))*int64(time.Millisecond)
	for due := st.s.NextExpiry(); due != 0 && due <= end; due = st.s.NextExpiry() {
		if st.now = max(st.now+int64(time.Millisecond), due); st.now > end {
			break
		}
		st.expire(&b)
	}
	st.now = end
	return b.String()
}

func (st *stage) expire(b *strings.Builder) {
	st.check(st.s.Sweep(func(p Swept) {
		if p.Done {
			fmt.Fprintf(b, "purged %d\n", p.Removed)
		}
	}))
	var zoned []ZonedNext
	for _, z := range st.s.ZonedDue(st.now) {
		zone, err := time.LoadLocation(z.Zone)
		st.check(err)
		zoned = append(zoned, z.Next(time.Unix(0, st.now), zone))
	}
	st.check(st.s.Fire(st.now, zoned, func(*msg.Message, uint64) {}))
	st.check(st.s.Expire(st.now, func(*msg.Message) {}))
	st.reopen()
}
