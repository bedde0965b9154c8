package differential

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// A theme is what most streams of a run have in common.
type theme int

const (
	plain theme = iota
	plainToo
	atomicBatches
	counters
	schedules
	ttls
	transforms
	limitedAccount
	themes
)

// themed gives a stream what the run is about.
func (g *generator) themed(cfg document) {
	s := strings.ToLower(cfg["name"].(string))
	switch g.theme {
	case atomicBatches:
		cfg["allow_atomic"] = true
	case counters:
		cfg["allow_msg_counter"] = true
	case schedules:
		cfg["allow_msg_schedules"] = true
		if g.percent(50) {
			cfg["allow_msg_ttl"] = true
		}
	case ttls:
		cfg["allow_msg_ttl"] = true
		if g.percent(50) {
			cfg["subject_delete_marker_ttl"] = hour
		}
	case transforms:
		cfg["subject_transform"] = document{"src": s + ".a.*", "dest": s + ".c.{{wildcard(1)}}"}
		cfg["republish"] = document{"src": s + ".c.>", "dest": "rep.>"}
	case limitedAccount:
		cfg["max_bytes"] = oneOf(g, 500, 800, 1000, 2000, 2500)
		if g.percent(30) {
			delete(cfg, "max_bytes")
		}
	}
}

// themedPublish is a message of the kind that the run is about, or several.
func (g *generator) themedPublish() []*step {
	switch g.theme {
	case atomicBatches:
		return g.atomicBatch()
	case counters:
		s := g.publish()
		s.body = ""
		addHeader(s, "Nats-Incr", oneOf(g, "1", "+5", "-3", "0", "123456789012345678901234567890", "-123456789012345678901234567890", "01", "--1", "1.5"))
		return []*step{s}
	case schedules:
		return []*step{g.schedule()}
	case ttls:
		s := g.publish()
		addHeader(s, "Nats-TTL", oneOf(g, "3600", "1h", "never", "90m", "1h30m", "-1", "never ", "NEVER", "1d", "1000000000000"))
		return []*step{s}
	}
	return []*step{g.publish()}
}

func addHeader(s *step, key, value string) {
	if s.header == nil {
		s.header = nats.Header{}
	}
	s.header.Set(key, value)
}

// atomicBatch is the messages of a batch, not always in order and not always
// committed.
func (g *generator) atomicBatch() []*step {
	name := g.stream()
	g.batches++
	id := "batch" + strconv.Itoa(g.batches)
	if g.percent(5) {
		id = oneOf(g, "", "again", strings.Repeat("b", 65), strings.Repeat("b", 64))
	}
	var all []*step
	size := 1 + g.IntN(4)
	for i := range size {
		s := &step{subject: g.subject(name), body: strings.Repeat("x", oneOf(g, 0, 1, 5, 20)), header: nats.Header{}, silent: g.noAck}
		if g.percent(25) {
			g.publishHeader(s, name)
		}
		s.header.Set("Nats-Batch-Id", id)
		s.header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if g.percent(4) {
			s.header.Set("Nats-Batch-Sequence", oneOf(g, "0", "x", "9", "", "1001", "-1"))
		}
		if i == size-1 && g.percent(90) {
			s.header.Set("Nats-Batch-Commit", oneOf(g, "1", "1", "1", "eob", "eob", "2", "", "EOB"))
		}
		all = append(all, s)
	}
	return all
}

// schedule is a message that holds one; none fires during a run.
func (g *generator) schedule() *step {
	name := g.stream()
	s := &step{subject: g.subject(name), body: strings.Repeat("x", g.IntN(5)), header: nats.Header{}, silent: g.noAck}
	set := func(percent int, k string, values ...string) {
		if g.percent(percent) {
			s.header.Set(k, oneOf(g, values...))
		}
	}
	n := strings.ToLower(name)
	set(90, "Nats-Schedule", "@at 2099-01-01T00:00:00Z", "@at 2099-01-01T00:00:00Z", "@every 1h", "@every 24h", "0 0 0 1 1 *", "@yearly",
		"@annually", "x", "", "@every 1ms", "@at yesterday", "@at", "@every", "@never", "0 0 0 31 2 *", "61 * * * * *", "* * *")
	set(90, "Nats-Schedule-Target", n+".b", n+".c", n+".target", n+".target", n+".target", n+".*", "other.x", "bad..x", "", s.subject)
	set(25, "Nats-Schedule-TTL", "1h", "never", "3600", "x", "0", "")
	set(15, "Nats-Schedule-Source", n+".a", n+".none", n+".*", "bad..x", "", s.subject, n+".target", "other.x")
	set(15, "Nats-Schedule-Rollup", "sub", "sub", "all", "", "SUB")
	set(15, "Nats-Schedule-Time-Zone", "Europe/Amsterdam", "UTC", "Local", "", "Nowhere/City")
	set(5, "Nats-Scheduler", n+".a", n+".b", "")
	set(5, "Nats-Schedule-Next", "purge", "2099-01-01T00:00:00Z", "x")
	if g.percent(20) {
		g.publishHeader(s, name)
	}
	return s
}
