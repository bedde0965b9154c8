package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"weir/internal/api"
	"weir/internal/wire"
)

// operation is something that a client does to the stream S of a metamorphic run.
type operation struct {
	text string
	do   func(*player)
	// gap: time enough for a node to come back and another one to go comes before.
	gap  bool
	pick uint64 // by which a variant chooses what it does
	// takes is how much longer it takes than other ones.
	takes time.Duration
	// unsettles: a gap comes behind it, for what copies the stream to find it again.
	unsettles bool
}

// byBytes tells whether the streams of a list are limited in bytes. Which of their messages
// are left differs between storages then, as sizes do.
func byBytes(seed uint64) bool { return seed%2 == 0 }

// withCopies tells whether the streams of a list are copied by others.
func withCopies(seed uint64) bool { return seed%3 == 0 }

// operationList draws a list.
func operationList(seed uint64, length int) []operation {
	g := &operations{rand: rand.New(rand.NewPCG(seed, 4)), bytes: byBytes(seed), copies: withCopies(seed)}
	g.async = g.oneIn(8)
	list := []operation{g.create()}
	if g.copies {
		list = append(list, g.mirror(), g.source("STREAM.CREATE.A"))
	}
	for range 2 {
		list = append(list, g.consumer())
	}
	for len(list) < length {
		list = append(list, g.next())
	}
	for i := range list {
		list[i].gap, list[i].pick = i > 0 && i%7 == 0, g.rand.Uint64()
	}
	return list
}

type operations struct {
	rand   *rand.Rand
	config api.StreamConfig
	bytes  bool
	copies bool
	async  bool
	sealed int // operations until a stream that was sealed goes
}

func (g *operations) oneIn(n int) bool { return g.rand.IntN(n) == 0 }

func choose[T any](g *operations, values ...T) T { return values[g.rand.IntN(len(values))] }

func (g *operations) next() operation {
	if g.sealed > 0 {
		if g.sealed--; g.sealed == 0 {
			return g.remove("S")
		}
	}
	switch n := g.rand.IntN(100); {
	case n < 33:
		return g.publish()
	case n < 38:
		return g.batch()
	case n < 48:
		return g.pull()
	case n < 60:
		return g.acknowledge()
	case n < 64:
		return g.purge()
	case n < 68:
		return g.removal()
	case n < 75:
		return g.get()
	case n < 80:
		return g.update()
	case n < 86:
		return g.consumer()
	case n < 92:
		return g.manage()
	case n < 93:
		return g.remove("S")
	case n < 95:
		return g.create()
	case n < 96:
		return g.backup()
	case n < 98 && g.copies:
		return g.ofCopies()
	}
	return g.request("STREAM.INFO.S", api.StreamInfoRequest{DeletedDetails: true, SubjectsFilter: choose(g, ">", "s.a", "s.d.*")})
}

// remove deletes a stream.
func (g *operations) remove(name string) operation {
	o := g.request("STREAM.DELETE."+name, nil)
	o.unsettles = g.copies
	return o
}

// backup replaces the stream by what a backup of it holds.
func (g *operations) backup() operation {
	noConsumers := g.oneIn(3)
	return operation{text: fmt.Sprint("backup, delete, restore; without consumers: ", noConsumers), takes: 10 * time.Second, unsettles: g.copies, do: func(p *player) {
		a := p.backUp("S", noConsumers)
		if a == nil {
			return
		}
		var deleted api.Response
		if p.api("STREAM.DELETE.S", nil, &deleted); deleted.Error != nil {
			p.note(fmt.Sprint("delete: ", deleted.Error))
		}
		p.restore(a)
	}}
}

// request asks the API for something.
func (g *operations) request(subject string, doc any) operation {
	var body []byte
	if doc != nil {
		var err error
		if body, err = json.Marshal(doc); err != nil {
			panic(err)
		}
	}
	return operation{text: fmt.Sprintf("%s %s", subject, body), do: func(p *player) { p.ask(apiPrefix+subject, nil, body) }}
}

func (g *operations) create() operation {
	c := plainStream("S", "s.>", 0) // storage and replicas are the variant's
	c.Storage = ""
	if !g.copies { // whose consumers come and go when they like
		c.Retention = choose(g, api.LimitsRetention, api.LimitsRetention, api.InterestRetention, api.WorkQueueRetention)
	}
	c.FirstSeq = choose(g, uint64(0), 0, 100)
	c.AllowMsgTTL, c.AllowMsgSchedules, c.AllowMsgCounter = g.oneIn(2), g.oneIn(4), g.oneIn(8)
	c.AllowAtomic, c.AllowDirect = true, !g.copies && !g.oneIn(4) // a mirror answers direct gets of what its origin has no more
	if g.async {
		c.AllowAtomic, c.PersistMode = false, "async"
	}
	g.config = c
	o := g.withLimits("STREAM.CREATE.S")
	o.unsettles = g.copies
	return o
}

// update changes the limits, now and then whom messages are kept for, or seals the stream.
func (g *operations) update() operation {
	if c := &g.config; c.Retention != api.WorkQueueRetention && !g.copies && g.oneIn(3) {
		c.Retention = choose(g, api.LimitsRetention, api.InterestRetention)
	}
	if g.sealed == 0 && g.oneIn(12) {
		g.sealed = 1 + g.rand.IntN(8)
		c := g.config
		c.Sealed = true
		return g.ask("STREAM.UPDATE.S", c)
	}
	return g.withLimits("STREAM.UPDATE.S")
}

// withLimits asks for the stream as it was last, with limits drawn anew.
func (g *operations) withLimits(subject string) operation {
	c := &g.config
	c.MaxMsgs, c.MaxMsgsPer = choose(g, int64(-1), -1, 5, 12), choose(g, int64(-1), -1, 1, 3)
	if g.bytes {
		c.MaxBytes = choose(g, int64(-1), -1, 600, 2000)
	}
	c.MaxAge = choose(g, 0, 0, 0, due(46))
	c.Duplicates = choose(g, due(6), due(41))
	c.Discard, c.DiscardNewPer = choose(g, api.DiscardOld, api.DiscardOld, api.DiscardNew), g.oneIn(5)
	c.AllowRollup, c.DenyDelete, c.DenyPurge = g.oneIn(2), g.oneIn(10), g.oneIn(10)
	c.MaxMsgSize = choose(g, int32(-1), -1, 40)
	if c.SubjectDeleteMarkerTTL = 0; c.AllowMsgTTL && g.oneIn(3) {
		c.SubjectDeleteMarkerTTL, c.AllowRollup = 4*time.Second, true
	}
	return g.ask(subject, *c)
}

// ask asks for a stream.
func (g *operations) ask(subject string, c api.StreamConfig) operation {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return operation{text: subject + " " + string(text), do: func(p *player) { p.askStream(subject, c) }}
}

func (g *operations) subject() string {
	if g.copies && g.oneIn(10) {
		return choose(g, "a.own", "a.d.e")
	}
	return "s." + choose(g, "a", "b", "c", "d.e", "d.f")
}

func (g *operations) name() string { return choose(g, "c", "d", "e") }

func (g *operations) publish() operation {
	subj, data := g.subject(), make([]byte, g.rand.IntN(60))
	for i := range data {
		data[i] = 'a' + byte(i%26)
	}
	var pairs []string
	delay := time.Duration(0)
	for range g.rand.IntN(3) {
		switch g.rand.IntN(9) {
		case 0, 1:
			pairs = append(pairs, "Nats-Msg-Id", fmt.Sprint(g.rand.IntN(8)))
		case 2:
			pairs = append(pairs, "Nats-Expected-Last-Sequence", fmt.Sprint(g.rand.IntN(20)))
		case 3:
			pairs = append(pairs, "Nats-Expected-Last-Subject-Sequence", fmt.Sprint(g.rand.IntN(20)))
		case 4:
			pairs = append(pairs, "Nats-Rollup", choose(g, "sub", "sub", "all"))
		case 5:
			pairs = append(pairs, "Nats-TTL", choose(g, due(4).String(), due(9).String(), "never"))
		case 6:
			delay = choose(g, due(2), due(10))
		case 7:
			pairs = append(pairs, "Nats-Incr", choose(g, "1", "-2", "7"))
		case 8:
			pairs = append(pairs, "Nats-Schedule", choose(g, "@every 5s", "*/6 * * * * *"), "Nats-Schedule-Target", choose(g, "s.due", "s.a"))
			pairs = append(pairs, "Nats-Schedule-Source", choose(g, "s.b", "s.none"))
		}
	}
	return operation{text: fmt.Sprintf("publish %s %q %v %q", subj, pairs, delay, data), do: func(p *player) {
		all := slices.Clone(pairs)
		if delay > 0 {
			all = append(all, "Nats-Schedule", "@at "+p.at().Add(delay).UTC().Format(time.RFC3339Nano), "Nats-Schedule-Target", "s.due")
		}
		var header []byte
		if len(all) > 0 {
			header = wire.HeaderBlock(all...)
		}
		p.ask(subj, header, data)
	}}
}

// batch publishes an atomic batch.
func (g *operations) batch() operation {
	id := fmt.Sprint("batch", g.rand.IntN(1000))
	var subjects []string
	for range 1 + g.rand.IntN(5) {
		subjects = append(subjects, g.subject())
	}
	return operation{text: fmt.Sprint("atomic batch ", id, " ", subjects), do: func(p *player) {
		for i, subj := range subjects {
			pairs := []string{"Nats-Batch-Id", id, "Nats-Batch-Sequence", fmt.Sprint(i + 1)}
			if i == len(subjects)-1 {
				p.ask(subj, wire.HeaderBlock(append(pairs, "Nats-Batch-Commit", "1")...), []byte(id))
			} else {
				p.tell(subj, wire.HeaderBlock(pairs...), []byte(id))
			}
		}
	}}
}

func (g *operations) purge() operation {
	r := api.StreamPurgeRequest{Subject: choose(g, "", "s.a", "s.*", "s.d.>", "x")}
	switch g.rand.IntN(4) {
	case 0:
		r.Sequence = uint64(g.rand.IntN(30))
	case 1:
		r.Keep = uint64(g.rand.IntN(4))
	}
	return g.request("STREAM.PURGE.S", r)
}

func (g *operations) removal() operation {
	return g.request("STREAM.MSG.DELETE.S", api.StreamMsgDeleteRequest{Seq: uint64(g.rand.IntN(30)), NoErase: g.oneIn(2)})
}

func (g *operations) get() operation {
	r := api.StreamMsgGetRequest{}
	switch g.rand.IntN(4) {
	case 0:
		r.Seq = uint64(g.rand.IntN(30))
	case 1:
		r.LastFor = choose(g, "s.a", "s.*", "s.due", "s.>")
	case 2:
		r.NextFor, r.Seq = choose(g, "s.a", "s.d.*", ">"), uint64(g.rand.IntN(10))
	case 3:
		o := g.request("DIRECT.GET.S", api.StreamMsgGetRequest{MultiFor: []string{choose(g, "s.*", ">")}})
		return o
	}
	return g.request(choose(g, "STREAM.MSG.GET.S", "STREAM.MSG.GET.S", "DIRECT.GET.S"), r)
}

func (g *operations) consumer() operation {
	c := api.ConsumerConfig{
		Durable: g.name(), AckPolicy: choose(g, api.AckExplicit, api.AckExplicit, api.AckAll, api.AckNone),
		DeliverPolicy: choose(g, api.DeliverAll, api.DeliverAll, api.DeliverNew, api.DeliverLast, api.DeliverLastPerSubject),
		ReplayPolicy:  api.ReplayInstant, FilterSubject: choose(g, "", "s.a", "s.*", "s.d.>"),
		MaxDeliver: choose(g, 0, 0, 2), MaxAckPending: choose(g, 0, 3), HeadersOnly: g.oneIn(6),
	}
	if c.AckPolicy != api.AckNone {
		c.AckWait = choose(g, due(3), time.Minute)
	} else {
		c.MaxAckPending = 0
	}
	return g.request("CONSUMER.CREATE.S."+c.Durable, api.ConsumerCreateRequest{Stream: "S", Config: c})
}

// manage asks for something that is done to a consumer.
func (g *operations) manage() operation {
	name := g.name()
	switch g.rand.IntN(5) {
	case 0:
		return g.request("CONSUMER.DELETE.S."+name, nil)
	case 1:
		return g.request("CONSUMER.RESET.S."+name, api.ConsumerResetRequest{Seq: uint64(g.rand.IntN(15))})
	case 2:
		delay := choose(g, 0, due(6))
		return operation{text: fmt.Sprint("pause ", name, " for ", delay), do: func(p *player) {
			body, err := json.Marshal(api.ConsumerPauseRequest{PauseUntil: p.at().Add(delay)})
			if err != nil {
				panic(err)
			}
			p.ask(apiPrefix+"CONSUMER.PAUSE.S."+name, nil, body)
		}}
	}
	return g.request("CONSUMER.INFO.S."+name, nil)
}

func (g *operations) pull() operation {
	name, batch := g.name(), 1+g.rand.IntN(5)
	return operation{text: fmt.Sprint("pull ", batch, " of ", name), do: func(p *player) { p.pull(name, batch) }}
}

// acknowledge says something about a message that was pulled before.
func (g *operations) acknowledge() operation {
	k, word := g.rand.IntN(6), choose(g, "+ACK", "+ACK", "+ACK", "-NAK", "+TERM", "+WPI")
	return operation{text: fmt.Sprint(word, " of delivery ", k), do: func(p *player) { p.acknowledge(k, word) }}
}
