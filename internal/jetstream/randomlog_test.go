package jetstream

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/stream"
)

// randomLog makes commands that fit what a model of the machine has, mostly.
type randomLog struct {
	model
	rng     *rand.Rand
	now     int64
	request uint64
	text    string // of the last command
}

func newRandomLog(t testing.TB, seed uint64) *randomLog {
	rng := rand.New(rand.NewPCG(seed, 3))
	l := &randomLog{model: newModel(t, rng.IntN(3) == 0), rng: rng, now: int64(time.Hour)}
	if seed%2 == 1 {
		l.machine.Stream().StepMost = 2
	}
	return l
}

func (l *randomLog) oneIn(n int) bool { return l.rng.IntN(n) == 0 }

func pick[T any](l *randomLog, values ...T) T { return values[l.rng.IntN(len(values))] }

func (l *randomLog) next() []byte {
	l.now += int64(l.rng.IntN(400)) * int64(time.Millisecond)
	l.request += 10
	o := machine.Origin{Proposer: 1, Seq: l.request}
	if !l.machine.Exists() {
		return l.command(o, &machine.Init{Config: l.config(nil), Created: l.now})
	}
	switch n := l.rng.IntN(100); {
	case n < 45:
		return l.publish(o)
	case n < 65:
		return l.deltas(o)
	case n < 70:
		return l.command(o, &machine.DeleteMsg{Seq: l.sequence(), NoErase: l.oneIn(2)})
	case n < 75:
		return l.command(o, l.purge())
	case n < 83:
		return l.command(o, &machine.Expire{Time: l.now})
	case n < 87:
		cfg := l.config(l.machine.Stream().Config())
		return l.command(o, &machine.Update{Time: l.now, Config: cfg, Keep: l.machine.Keep(&cfg, nil)})
	case n < 95:
		return l.command(o, l.consumerCreate())
	case n < 97:
		return l.command(o, &machine.ConsumerDelete{Name: l.consumerName()})
	case n < 98:
		return l.command(o, &machine.ConsumerReset{Name: l.consumerName(), Seq: l.sequence()})
	}
	if c := l.machine.Consumer(l.consumerName()); c != nil {
		return l.command(o, machine.Runners{{Consumer: c.ID, Epoch: c.Epoch, Runner: 2}})
	}
	return l.command(o, &machine.ConsumerPause{Name: l.consumerName()})
}

func (l *randomLog) command(o machine.Origin, c machine.Command) []byte {
	l.text = fmt.Sprintf("%T %+v", c, c)
	return machine.Append(nil, o, c)
}

func (l *randomLog) subject() string { return "s." + pick(l, "a", "b", "c", "d.e", "d.f") }

func (l *randomLog) consumerName() string { return pick(l, "c", "d", "e") }

func (l *randomLog) sequence() uint64 {
	return max(1, l.store.State().LastSeq+2-min(l.store.State().LastSeq, uint64(l.rng.IntN(20))))
}

// config is a valid configuration, from an old one if there is any.
func (l *randomLog) config(old *api.StreamConfig) api.StreamConfig {
	for {
		cfg := api.StreamConfig{Name: "S", Subjects: []string{"s.>"}}
		if l.memory {
			cfg.Storage = api.MemoryStorage
		}
		if old != nil {
			cfg = *old
		} else {
			cfg.Retention = pick(l, api.LimitsRetention, api.LimitsRetention, api.InterestRetention, api.WorkQueueRetention)
			cfg.AllowMsgCounter, cfg.FirstSeq = l.oneIn(6), pick(l, uint64(0), 0, 100)
			cfg.AllowMsgTTL, cfg.AllowMsgSchedules = l.oneIn(2), l.oneIn(4)
		}
		cfg.MaxMsgs, cfg.MaxBytes = pick(l, int64(-1), -1, 5, 20), pick(l, int64(-1), -1, 400, 2000)
		cfg.MaxMsgsPer = pick(l, int64(-1), -1, 1, 3)
		cfg.MaxAge = pick(l, time.Duration(0), 0, 5*time.Second)
		cfg.Duplicates = pick(l, time.Second, 3*time.Second)
		cfg.Discard = pick(l, api.DiscardOld, api.DiscardOld, api.DiscardNew)
		cfg.DiscardNewPer = l.oneIn(4)
		cfg.AllowRollup, cfg.SubjectDeleteMarkerTTL = l.oneIn(2), pick(l, time.Duration(0), 0, 2*time.Second)
		if l.oneIn(3) {
			cfg.RePublish = &api.RePublish{Source: ">", Destination: "r.>"}
		}
		checked, refused := stream.Check(cfg, stream.Limits{}, false)
		if refused == nil && old != nil {
			checked, refused = stream.CheckUpdate(old, cfg, stream.Limits{}, false)
		}
		if refused == nil && (old == nil || l.machine.CheckConsumersAgainst(&checked) == nil) {
			return checked
		}
	}
}

func (l *randomLog) publish(o machine.Origin) []byte {
	begin := machine.AppendPublish
	batch := l.oneIn(8)
	if batch {
		begin = machine.AppendBatch
	}
	cmd := begin(nil, o, l.now)
	l.text = fmt.Sprintf("publish, batch %v:", batch)
	for range 1 + l.rng.IntN(4) {
		subj, header, body := l.subject(), l.header(batch), strings.Repeat("x", l.rng.IntN(30))
		if l.machine.Stream().Config().AllowMsgCounter {
			header, body = "NATS/1.0\r\nNats-Incr: "+pick(l, "1", "-2", "7")+"\r\n\r\n", ""
		}
		l.text += fmt.Sprintf(" %s %q %s;", subj, header, body)
		cmd = machine.AppendMessage(cmd, subj, []byte(header), []byte(body))
	}
	return cmd
}

func (l *randomLog) header(batch bool) string {
	var lines []string
	add := func(name, value string) { lines = append(lines, name+": "+value+"\r\n") }
	for range l.rng.IntN(3) {
		switch l.rng.IntN(7) {
		case 0, 1:
			add("Nats-Msg-Id", fmt.Sprint(l.rng.IntN(20)))
		case 2:
			add("Nats-Expected-Last-Sequence", fmt.Sprint(l.store.State().LastSeq))
		case 3:
			add("Nats-Expected-Last-Subject-Sequence", fmt.Sprint(l.sequence()))
		case 4:
			add("Nats-Rollup", pick(l, "sub", "sub", "all"))
		case 5:
			add("Nats-TTL", pick(l, "1", "4s", "never"))
		case 6:
			if !batch {
				at := time.Unix(0, l.now).Add(time.Duration(l.rng.IntN(3000)) * time.Millisecond)
				add("Nats-Schedule", "@at "+at.UTC().Format(time.RFC3339Nano))
				add("Nats-Schedule-Target", "s.due")
			}
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "NATS/1.0\r\n" + strings.Join(lines, "") + "\r\n"
}

func (l *randomLog) purge() *machine.Purge {
	p := &machine.Purge{Filter: pick(l, "", "s.a", "s.*", "s.d.>", "s.>"), UpTo: l.store.State().LastSeq}
	switch l.rng.IntN(3) {
	case 0:
		p.Below = l.sequence()
	case 1:
		p.Keep = uint64(l.rng.IntN(4))
	}
	return p
}

func (l *randomLog) consumerCreate() *machine.ConsumerCreate {
	cfg := api.ConsumerConfig{
		Durable: l.consumerName(), AckPolicy: pick(l, api.AckExplicit, api.AckExplicit, api.AckAll, api.AckNone),
		DeliverPolicy: pick(l, api.DeliverAll, api.DeliverNew, api.DeliverLast),
		FilterSubject: pick(l, "", "s.a", "s.*", "s.d.>"), MaxDeliver: pick(l, 0, 3),
	}
	if l.machine.Stream().Config().Retention == api.WorkQueueRetention {
		cfg.AckPolicy, cfg.DeliverPolicy = api.AckExplicit, api.DeliverAll
	}
	return &machine.ConsumerCreate{Time: l.now, Config: cfg, Runner: 1}
}

// deltas are what a runner might send: deliveries in order, acks of what it likes.
func (l *randomLog) deltas(o machine.Origin) []byte {
	d := &machine.Deltas{Time: l.now}
	if c := l.machine.Consumer(l.consumerName()); c != nil {
		var ops consumer.Ops
		for range 1 + l.rng.IntN(3) {
			l.operation(&ops, c)
		}
		ticket := c.Ticket + 1
		if l.oneIn(10) {
			ticket = c.Ticket
		}
		d.List = append(d.List, machine.Delta{Consumer: c.ID, Epoch: c.Epoch, Ticket: ticket, Ops: ops.Bytes()})
	}
	return l.command(o, d)
}

func (l *randomLog) operation(ops *consumer.Ops, c *consumer.Consumer) {
	seq := l.sequence()
	switch l.rng.IntN(8) {
	case 0, 1, 2:
		ops.Deliver(l.now, c.Delivered.Consumer+1, []uint64{c.Delivered.Stream + 1})
	case 3:
		ops.Ack(seq, seq+1)
	case 4:
		ops.AckAll(seq)
	case 5:
		ops.Term(seq)
	case 6:
		ops.Touch(seq, l.now)
	case 7:
		ops.Exceeded(seq)
	}
}
