package differential

import (
	"strings"

	"github.com/nats-io/nats.go"
)

// publish is a message to a stream, with headers that make conditions.
func (g *generator) publish() *step {
	name := g.stream()
	s := &step{subject: g.subject(name), body: strings.Repeat("x", oneOf(g, 0, 1, 5, 10, 20, 60)), header: nats.Header{}, silent: g.noAck}
	if g.percent(50) {
		for range 1 + g.IntN(2) {
			g.publishHeader(s, name)
		}
	}
	if len(s.header) == 0 {
		s.header = nil
	}
	return s
}

func (g *generator) publishHeader(s *step, stream string) {
	number := func() string { return encoded(g.sequence()) }
	set := func(k string, values ...string) { s.header.Set(k, oneOf(g, values...)) }
	switch g.IntN(14) {
	case 0, 1:
		set("Nats-Msg-Id", "a", "b", "c", "d", "", strings.Repeat("i", 300))
	case 2:
		set("Nats-Expected-Stream", stream, stream, "OTHER", "")
	case 3:
		set("Nats-Expected-Last-Sequence", number(), number(), "0", "x", "-1", "")
	case 4:
		if g.Replicas > 1 {
			return // a stream of the other server is out of order for a while when it refuses this
		}
		set("Nats-Expected-Last-Msg-Id", "a", "b", "", "none")
	case 5:
		set("Nats-Expected-Last-Subject-Sequence", number(), "0", "0", "x", "")
	case 6:
		set("Nats-Expected-Last-Subject-Sequence", number(), "0")
		set("Nats-Expected-Last-Subject-Sequence-Subject", s.subject, strings.ToLower(stream)+".>", "other.x", "bad..x", "")
	case 7:
		set("Nats-Expected-Last-Subject-Sequence-Subject", s.subject, "x")
	case 8:
		set("Nats-Rollup", "sub", "all", "sub", "SUB", "none", "")
	case 9:
		if g.interest {
			set("Nats-TTL", "3600", "1h", "never", "")
			return
		}
		set("Nats-TTL", "3600", "1h", "never", "0", "1ms", "-1", "x", "")
	case 10:
		set("Nats-Incr", "1", "+5", "-3", "0", "x", "99999999999999999999", "")
		if g.percent(80) {
			s.body = ""
		}
	case 11:
		set("Nats-Required-Api-Level", "1", "99", "x")
	case 12:
		set("X-Own", "value", "")
	case 13:
		set(oneOf(g, "Nats-Marker-Reason", "Nats-Stream-Source", "KV-Operation", "Nats-Sequence", "Nats-Stream"), "MaxAge", "DEL", "1", "S0 1 > >")
	}
}

func (g *generator) getMessage() *step {
	name := g.stream()
	return g.api("STREAM.MSG.GET."+name, g.getRequest(name))
}

// getRequest asks for one message.
func (g *generator) getRequest(stream string) document {
	switch g.IntN(8) {
	case 0, 1, 2:
		return document{"seq": g.sequence()}
	case 3, 4:
		return document{"last_by_subj": g.filter(stream)}
	case 5, 6:
		return document{"seq": g.sequence(), "next_by_subj": g.filter(stream)}
	}
	doc := document{}
	for range g.IntN(4) {
		switch g.IntN(5) {
		case 0:
			doc["seq"] = g.sequence()
		case 1:
			doc["last_by_subj"] = g.filter(stream)
		case 2:
			doc["next_by_subj"] = g.filter(stream)
		case 3:
			doc["start_time"] = g.time()
		case 4:
			doc["no_hdr"] = oneOf(g, true, false)
		}
	}
	return doc
}

// time is one before or after all that happens in a run.
func (g *generator) time() string {
	return oneOf(g, "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "yesterday")
}

func (g *generator) directGet() *step {
	name := g.stream()
	s := g.api("DIRECT.GET."+name, g.getRequest(name))
	if g.percent(40) {
		s = g.api("DIRECT.GET."+name+"."+oneOf(g, g.subject(name), g.filter(name)), nil)
		if strings.HasSuffix(s.subject, ".") || strings.Contains(s.subject, "..") || strings.ContainsAny(s.subject, "*>") {
			s.subject = "$JS.API.DIRECT.GET." + name + ".x"
		}
	}
	return s
}

// directBatch asks for many messages.
func (g *generator) directBatch() *step {
	name := g.stream()
	doc := document{}
	if g.percent(50) {
		doc["batch"] = oneOf(g, 1, 2, 3, 10, 100, 0, -1)
		doc["seq"] = g.sequence()
		if g.percent(50) {
			doc["next_by_subj"] = g.filter(name)
		}
	} else {
		doc["multi_last"] = []string{g.filter(name), g.filter(name)}[:1+g.IntN(2)]
		if g.percent(30) {
			doc["up_to_seq"] = g.sequence()
		}
		if g.percent(10) {
			doc["up_to_time"] = g.time()
		}
		if g.percent(30) {
			doc["batch"] = oneOf(g, 1, 2, 10)
		}
		if g.percent(10) {
			doc["seq"] = g.sequence()
		}
	}
	if g.percent(10) {
		delete(doc, "seq")
		doc["start_time"] = g.time()
	}
	if g.percent(20) {
		doc["max_bytes"] = oneOf(g, 1, 50, 100, 1000, -1)
	}
	if g.percent(20) {
		doc["no_hdr"] = true
	}
	return g.api("DIRECT.GET."+name, doc)
}
