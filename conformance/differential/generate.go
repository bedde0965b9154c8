package differential

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/nats-io/nats.go"
)

// Options say what steps a run has.
type Options struct {
	Seed     uint64
	Steps    int
	Replicas int // the most that a stream may have
}

// generator makes the steps of a run. It knows no answers, so the same seed makes the
// same steps whatever the servers do.
type generator struct {
	*rand.Rand
	Options
	sent  map[string]document // the last configuration sent, by stream
	noAck bool                // a stream may not acknowledge
	// interest: a stream may not keep messages. Whether one that it does not keep is
	// checked for a bad TTL depends on whether it has replicas.
	interest bool
	theme    theme
	batches  int // how many atomic batches there were
}

// document is a JSON object.
type document = map[string]any

// generate makes the steps of a run.
func generate(o Options) []*step {
	g := &generator{Rand: rand.New(rand.NewPCG(o.Seed, 1)), Options: o, sent: map[string]document{}}
	g.theme = theme(g.IntN(int(themes)))
	var steps []*step
	for i := range 1 + g.IntN(2) {
		steps = append(steps, g.createSimple(streamName(i)))
	}
	for len(steps) < o.Steps {
		steps = append(steps, g.next()...)
	}
	if g.theme == limitedAccount {
		for _, s := range steps {
			if s.as == "" {
				s.as = limitedUser
			}
		}
	}
	return steps
}

const streams = 3

func streamName(i int) string { return fmt.Sprintf("S%d", i) }

// stream names one, mostly one that is there.
func (g *generator) stream() string {
	switch n := g.IntN(20); {
	case n < 12:
		return streamName(0)
	case n < 19:
		return streamName(1 + g.IntN(streams-1))
	}
	return "NONE"
}

// oneOf picks a value.
func oneOf[T any](g *generator, values ...T) T { return values[g.IntN(len(values))] }

// percent is true n times in 100.
func (g *generator) percent(n int) bool { return g.IntN(100) < n }

// next makes the next step or steps.
func (g *generator) next() []*step {
	if g.percent(20) {
		return g.themedPublish()
	}
	kinds := []struct {
		weight int
		make   func() *step
	}{
		{20, g.publish},
		{5, g.createRandom},
		{5, g.update},
		{1, g.deleteStream},
		{10, g.streamInfo},
		{5, g.list},
		{10, g.getMessage},
		{8, g.directGet},
		{8, g.directBatch},
		{5, g.purge},
		{5, g.deleteMessage},
		{2, g.consumer},
		{4, g.operate},
		{1, g.garbage},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	n := g.IntN(total)
	for _, k := range kinds {
		if n -= k.weight; n < 0 {
			return []*step{k.make()}
		}
	}
	return nil
}

func encoded(doc any) string {
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err) // the generator makes no such document
	}
	return string(text)
}

// api is a request to the API.
func (g *generator) api(verb string, doc document) *step {
	s := &step{subject: "$JS.API." + verb}
	if len(doc) > 0 || doc != nil && g.percent(2) {
		s.body = encoded(doc)
	}
	if doc != nil && g.percent(1) {
		doc["bogus"] = 1
		s.body = encoded(doc)
	}
	if g.percent(1) {
		s.header = nats.Header{"Nats-Required-Api-Level": {oneOf(g, "0", "1", "99", "x")}}
	}
	return s
}

// subject is one that a message may have: mostly of the stream.
func (g *generator) subject(stream string) string {
	tail := oneOf(g, "a", "b", "c", "a.b", "a.c", "b.b.b")
	return strings.ToLower(stream) + "." + tail
}

// filter is a subject that may have wildcards.
func (g *generator) filter(stream string) string {
	s := strings.ToLower(stream)
	return oneOf(g, s+".a", s+".b", s+".*", s+".>", s+".a.*", ">", "*.a", s+".none", "other.x", s+".*.b", s+".", "bad..x", "")
}

// sequence is one that a message may have.
func (g *generator) sequence() uint64 {
	switch n := g.IntN(20); {
	case n < 14:
		return uint64(1 + g.IntN(12))
	case n < 17:
		return uint64(100 + g.IntN(12))
	case n < 19:
		return uint64(1 + g.IntN(40))
	}
	return oneOf(g, 0, uint64(1)<<40)
}

// garbage is a request that no server understands.
func (g *generator) garbage() *step {
	verb := oneOf(g, "STREAM.CREATE.S0", "STREAM.UPDATE.S0", "STREAM.INFO.S0", "STREAM.PURGE.S0", "STREAM.MSG.GET.S0",
		"STREAM.MSG.DELETE.S0", "DIRECT.GET.S0", "STREAM.NAMES", "STREAM.LIST", "STREAM.DELETE.S0", "INFO",
		"CONSUMER.CREATE.S0", "CONSUMER.NAMES.S0", "CONSUMER.LIST.S0", "STREAM.CREATE.S0.x", "NOTHING", "STREAM.NOTHING.S0")
	body := oneOf(g, "", "{}", "[]", "x", "{", `{"name":5}`, `{"seq":"x"}`, "null", `""`, `{"offset":"a"}`, `{"bogus":true}`, "12")
	return &step{subject: "$JS.API." + verb, body: body, silent: verb == "NOTHING" || strings.HasPrefix(verb, "STREAM.NOTHING")}
}
