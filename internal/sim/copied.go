package sim

import (
	"fmt"
	"strconv"
	"strings"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/msg"
	"weir/internal/router"
	"weir/internal/wire"
)

// copied is a stream of which another one is a mirror, and a third one has some messages
// beside its own. Whatever the origin keeps is in both, once and in order.
type copied struct {
	world                  *world
	origin, mirror, source api.StreamConfig
	wanted                 map[string]string // subject of the origin → that in the source
	pub, own               publisher
	gone                   map[uint64]bool // messages whose removal from the origin was asked for
}

func newCopied(w *world) side {
	replicas := min(w.options.Nodes, 3)
	c := &copied{world: w, wanted: map[string]string{}, gone: map[uint64]bool{}}
	c.origin, c.mirror, c.source = plainStream("O", "o.>", replicas), plainStream("OM", "", replicas), plainStream("OS", "own.>", replicas)
	c.mirror.Subjects, c.mirror.Mirror = nil, &api.StreamSource{Name: "O"}
	src := &api.StreamSource{Name: "O"}
	c.source.Sources = []*api.StreamSource{src}
	switch w.rand.IntN(3) {
	case 0:
		src.FilterSubject = "o.1"
		c.wanted["o.1"] = "o.1"
	case 1:
		src.SubjectTransforms = []api.SubjectTransform{{Source: "o.2", Destination: "own.two"}, {Source: "o.3", Destination: "three"}}
		c.wanted["o.2"], c.wanted["o.3"] = "own.two", "three"
	case 2:
		src.SubjectTransforms = []api.SubjectTransform{{Source: "o.*", Destination: "copy.{{wildcard(1)}}.of"}}
		for i := range 4 {
			c.wanted[fmt.Sprint("o.", i)] = fmt.Sprintf("copy.%d.of", i)
		}
	}
	c.pub = publisher{world: w, inbox: "cop.pub.", subjects: "o.", letter: "o"}
	c.own = publisher{world: w, inbox: "cop.own.", subjects: "own.", letter: "w"}
	return c
}

func (c *copied) streams() []api.StreamConfig {
	return []api.StreamConfig{c.mirror, c.source, c.origin}
}

func (c *copied) step(n *node) {
	switch p := c.world.rand.IntN(100); {
	case p < 60:
		for range 1 + c.world.rand.IntN(8) {
			c.pub.publish(n)
		}
	case p < 75:
		c.own.publish(n)
	case p < 90:
		c.pub.retry(n)
		c.own.retry(n)
	default:
		c.remove(n)
	}
}

// remove asks for the removal of a message from the origin, once.
func (c *copied) remove(n *node) {
	list := c.pub.acknowledged()
	if len(list) == 0 {
		return
	}
	seq := list[c.world.rand.IntN(len(list))].seq
	c.gone[seq] = true
	c.world.request(n, "STREAM.MSG.DELETE.O", api.StreamMsgDeleteRequest{Seq: seq})
}

func (c *copied) heard(_ *life, rest string, m *router.Msg) {
	switch kind, id, _ := strings.Cut(rest, "."); kind {
	case "pub":
		c.pub.answered(id, m.Payload)
	case "own":
		c.own.answered(id, m.Payload)
	}
}

func (c *copied) unsettled(n *node) string {
	c.pub.retry(n)
	c.own.retry(n)
	if left := append(c.pub.unacknowledged(), c.own.unacknowledged()...); len(left) > 0 {
		return fmt.Sprintf("%d publishes are not acknowledged, %s for one", len(left), left[0].id)
	}
	left := ""
	c.compare(func(format string, args ...any) { left = fmt.Sprintf(format, args...) })
	return left
}

func (c *copied) check() { c.compare(c.world.fail) }

// compare tells what is not as it should be, or not yet.
func (c *copied) compare(fail func(string, ...any)) {
	held := map[uint64]msg.Message{}
	c.each(c.origin, fail, func(m msg.Message) { held[m.Seq] = m })
	for _, p := range c.pub.acknowledged() {
		if m, ok := held[p.seq]; ok && string(m.Data) != p.id || !ok && !c.gone[p.seq] {
			fail("message %s was acknowledged at %d, which is %q", p.id, p.seq, m.Data)
		}
	}
	c.compareMirror(held, fail)
	c.compareSource(held, fail)
}

func (c *copied) compareMirror(held map[uint64]msg.Message, fail func(string, ...any)) {
	missing := len(held)
	c.each(c.mirror, fail, func(m msg.Message) {
		o, ok := held[m.Seq]
		switch {
		case !ok && !c.gone[m.Seq]:
			fail("the mirror has %q at %d, which the origin has not", m.Data, m.Seq)
		case ok && (string(o.Data) != string(m.Data) || o.Subject != m.Subject || o.Time != m.Time):
			fail("the mirror has %q of %s, %d at %d, where the origin has %q of %s, %d", m.Data, m.Subject, m.Time, m.Seq, o.Data, o.Subject, o.Time)
		case ok:
			missing--
		}
	})
	if missing != 0 {
		fail("the mirror misses %d messages", missing)
	}
}

func (c *copied) compareSource(held map[uint64]msg.Message, fail func(string, ...any)) {
	missing := 0
	for _, o := range held {
		if c.wanted[o.Subject] != "" {
			missing++
		}
	}
	last, owns := uint64(0), map[string]uint64{}
	c.each(c.source, fail, func(m msg.Message) {
		from, isCopy := wire.GetHeader(m.Header, "Nats-Stream-Source")
		if !isCopy {
			owns[string(m.Data)] = m.Seq
			return
		}
		parts := strings.Split(string(from), " ")
		seq, err := strconv.ParseUint(parts[1], 10, 64)
		if err != nil || seq <= last {
			fail("the source has a copy of %q behind that of %d", from, last)
		}
		last = seq
		o, ok := held[seq]
		switch {
		case !ok && !c.gone[seq]:
			fail("the source has %q of %d, which the origin has not", m.Data, seq)
		case ok && (string(o.Data) != string(m.Data) || c.wanted[o.Subject] != m.Subject):
			fail("the source has %q of %s of %d, which is %q of %s", m.Data, m.Subject, seq, o.Data, o.Subject)
		case ok:
			missing--
		}
	})
	if missing != 0 {
		fail("the source misses %d messages", missing)
	}
	for _, p := range c.own.acknowledged() {
		if owns[p.id] != p.seq {
			fail("message %s of the source was acknowledged at %d, is at %d", p.id, p.seq, owns[p.id])
		}
	}
}

// each visits what a stream holds; its replicas hold the same.
func (c *copied) each(cfg api.StreamConfig, fail func(string, ...any), visit func(msg.Message)) {
	first, visited := "", false
	c.world.eachContent(cfg.Name, func(n *node, _ *jetstream.Stream, list []msg.Message) {
		all := fmt.Sprintf("%+v", list)
		if !visited {
			first, visited = all, true
			for _, m := range list {
				visit(m)
			}
		}
		if all != first {
			fail("%s holds %s, unlike others", n.name, cfg.Name)
		}
	})
	if !visited {
		fail("nobody holds %s", cfg.Name)
	}
}
