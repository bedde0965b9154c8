package differential

import (
	"maps"
	"slices"
	"strings"
)

const (
	second = int64(1e9)
	hour   = 3600 * second
)

// createSimple makes a stream that takes messages: few settings, mostly valid.
func (g *generator) createSimple(name string) *step {
	cfg := g.base(name)
	g.themed(cfg)
	for range g.IntN(4) {
		g.set(cfg, oneOf(g, "max_msgs", "max_bytes", "max_msgs_per_subject", "discard", "allow_rollup_hdrs", "allow_direct",
			"retention", "first_seq", "duplicate_window", "allow_msg_ttl", "compression", "storage"), name)
	}
	g.sent[name] = cfg
	return g.api("STREAM.CREATE."+name, cfg)
}

func (g *generator) base(name string) document {
	cfg := document{"name": name, "subjects": []string{strings.ToLower(name) + ".>"}}
	if g.percent(80) {
		cfg["allow_direct"] = true
	}
	if g.Replicas > 1 && name != streamName(streams-1) {
		cfg["num_replicas"] = g.Replicas
	}
	return cfg
}

// createRandom makes a stream of random settings, valid or not.
func (g *generator) createRandom() *step {
	name := streamName(g.IntN(streams))
	cfg := g.base(name)
	switch sent := g.sent[name]; {
	case sent != nil && g.percent(20):
		cfg = maps.Clone(sent)
	default:
		if g.percent(70) {
			g.themed(cfg)
		}
		for range g.IntN(5) {
			g.set(cfg, oneOf(g, g.fieldNames()...), name)
		}
	}
	g.sent[name] = cfg
	return g.api("STREAM.CREATE."+name, cfg)
}

// update changes a few settings of the last configuration sent.
func (g *generator) update() *step {
	name := g.stream()
	cfg := maps.Clone(g.sent[name])
	if cfg == nil {
		cfg = g.base(name)
	}
	for range 1 + g.IntN(2) {
		field := oneOf(g, g.fieldNames()...)
		if g.percent(15) && field != "num_replicas" {
			delete(cfg, field)
		} else {
			g.set(cfg, field, name)
		}
	}
	if g.percent(60) {
		g.sent[name] = cfg
	}
	return g.api("STREAM.UPDATE."+name, cfg)
}

func (g *generator) fieldNames() []string {
	return slices.Sorted(maps.Keys(fieldValues("s")))
}

// set gives a field one of its values.
func (g *generator) set(cfg document, field, stream string) {
	g.noAck = g.noAck || field == "no_ack"
	cfg[field] = oneOf(g, fieldValues(strings.ToLower(stream))[field]...)
	g.interest = g.interest || cfg[field] == "interest"
	if field == "num_replicas" && g.Replicas > 1 {
		cfg[field] = oneOf(g, -1, 6) // scaling takes its time
	}
	if field == "mirror" && g.percent(90) {
		delete(cfg, "subjects")
	}
}

// fieldValues are values of each field of a stream's configuration, some not valid. s
// is what the stream's subjects begin with.
func fieldValues(s string) map[string][]any {
	return map[string][]any{
		"name":                    {"OTHER", "", "with space", "a.b", "a*", "S0", 5},
		"description":             {"text", strings.Repeat("x", 5000), ""},
		"subjects":                subjectValues(s),
		"retention":               {"limits", "interest", "workqueue", "limits", "none", 3},
		"max_consumers":           {-1, 0, 1, 2, -4},
		"max_msgs":                {-1, 0, 1, 5, 10, -2, "x"},
		"max_bytes":               {-1, 0, 200, 1000, -5},
		"max_age":                 {0, hour, 2 * hour, second / 20, -1},
		"max_msgs_per_subject":    {-1, 0, 1, 2, 3, -3},
		"max_msg_size":            {-1, 0, 10, 50, 1, -2, int64(1) << 33},
		"storage":                 {"file", "memory", "file", "tape"},
		"num_replicas":            {0, 1, 3, 2, 5, 6, -1},
		"no_ack":                  {true, false},
		"discard":                 {"new", "old", "both"},
		"discard_new_per_subject": {true, true, false},
		"duplicate_window":        {0, second, second / 20, 2 * hour, -1, 120 * second},
		"sealed":                  {true, false},
		"deny_delete":             {true, false},
		"deny_purge":              {true, false},
		"allow_rollup_hdrs":       {true, true, false},
		"allow_direct":            {true, false},
		"mirror_direct":           {true, false},
		"republish": {document{"dest": "rep.>"}, document{"src": s + ".a", "dest": "rep.a"}, document{"src": ">", "dest": s + ".loop"},
			document{"src": s + ".*", "dest": "rep.{{wildcard(1)}}", "headers_only": true}, document{"src": "bad..", "dest": "x"},
			document{"src": s + ".*", "dest": "rep.{{wildcard(3)}}"}, document{"src": "other.>", "dest": "rep.>"}, nil},
		"subject_transform": {document{"src": s + ".a", "dest": s + ".z"}, document{"src": ">", "dest": "t.>"},
			document{"src": s + ".*", "dest": "t.{{wildcard(1)}}"}, document{"src": "", "dest": "x"}, document{"src": s + ".>", "dest": ""},
			document{"src": s + ".*", "dest": "t.{{partition(3,1)}}"}, document{"src": s + ".*", "dest": "t.{{wildcard(2)}}"},
			document{"src": s + ".*", "dest": "t.{{nothing(2)}}"}, document{"src": "a..b", "dest": "t"}, document{"src": "other.>", "dest": "t.>"}},
		"mirror":                    mirrorValues(),
		"sources":                   sourceValues(),
		"compression":               {"s2", "none", "s2", "zip"},
		"first_seq":                 {0, 100, 105},
		"subject_delete_marker_ttl": {0, second, second / 2, -1, hour},
		"allow_msg_ttl":             {true, false},
		"allow_msg_counter":         {true, false},
		"allow_atomic":              {true, false},
		"allow_batched":             {true, false},
		"allow_msg_schedules":       {true, false},
		"metadata":                  {document{"a": "b"}, document{"_nats.x": "y"}, document{}, document{"big": strings.Repeat("x", 130<<10)}},
		"consumer_limits": {document{"max_ack_pending": 10}, document{"inactive_threshold": 60 * second}, document{"max_ack_pending": -1},
			document{"inactive_threshold": -1}, document{}},
		"placement": {document{"cluster": "trial"}, document{"cluster": "none"}, document{"tags": []string{"x"}}, document{},
			document{"tags": []string{"all"}}, document{"tags": []string{"!all"}}, document{"preferred": "n1"}, document{"cluster": "trial", "tags": []string{"ALL"}}},
		"persist_mode":  {"async", "default", "", "sometimes"},
		"unknown_field": {1},
		"pedantic":      {true, true, false},
	}
}

func subjectValues(s string) []any {
	return []any{
		[]string{s + ".>"}, []string{s + ".a", s + ".b"}, []string{s + ".*", s + ".*.*"}, []string{s + ".*"}, []string{},
		[]string{s + ".a", s + ".a"}, []string{s + ".>", s + ".a"}, []string{"s0.>"}, []string{"*.a"}, []string{">"}, []string{"*"},
		[]string{"$JS.>"}, []string{"$JS.API.>"}, []string{"$SYS.x"}, []string{"$KV.x.>"}, []string{"a..b"}, []string{s + ".>.b"},
		[]string{""}, []string{s + " a"}, []string{"$JS.EVENT.x"}, s + ".>", []string{"." + s},
	}
}

// mirrorValues name a stream that does not exist or one that may get the same
// messages at any time, so nothing arrives that the other server has not.
func mirrorValues() []any {
	return []any{
		document{"name": "EMPTY"}, document{"name": ""}, document{"name": "EMPTY", "filter_subject": "bad.."},
		document{"name": "EMPTY", "opt_start_seq": 5}, document{"name": "EMPTY", "opt_start_seq": 5, "opt_start_time": "2020-01-01T00:00:00Z"},
		document{"name": "EMPTY", "filter_subject": "a", "subject_transforms": []document{{"src": "a", "dest": "b"}}},
		document{"name": "EMPTY", "subject_transforms": []document{{"src": "a", "dest": "b"}, {"src": "c.*", "dest": "d.{{wildcard(1)}}"}}},
		document{"name": "EMPTY", "subject_transforms": []document{{"src": "a.>", "dest": "b.>"}, {"src": "a.x", "dest": "c"}}},
		document{"name": "EMPTY", "subject_transforms": []document{{"src": "a", "dest": "b.{{wildcard(1)}}"}}},
		document{"name": "EMPTY", "external": document{"api": "$JS.other.API"}}, document{"name": "EMPTY", "external": document{"api": "$JS.API", "deliver": "x..y"}},
		document{"name": "bad.name"}, "EMPTY",
	}
}

func sourceValues() []any {
	var lists []any
	for _, v := range mirrorValues() {
		lists = append(lists, []any{v})
	}
	return append(lists, []document{{"name": "EMPTY"}, {"name": "EMPTY"}},
		[]document{{"name": "EMPTY", "filter_subject": "a"}, {"name": "EMPTY", "filter_subject": "b"}},
		[]document{{"name": "EMPTY", "filter_subject": "a"}, {"name": "EMPTY", "filter_subject": "a"}}, []document{})
}

func (g *generator) deleteStream() *step {
	return g.api("STREAM.DELETE."+g.stream(), nil)
}

func (g *generator) streamInfo() *step {
	name := g.stream()
	doc := document{}
	if g.percent(50) {
		doc["deleted_details"] = oneOf[any](g, true, true, false)
	}
	if g.percent(60) {
		doc["subjects_filter"] = g.filter(name)
	}
	if g.percent(20) {
		doc["offset"] = oneOf(g, 0, 1, 2, 100, -1)
	}
	return g.api("STREAM.INFO."+name, doc)
}

func (g *generator) list() *step {
	doc := document{}
	if g.percent(50) {
		doc["offset"] = oneOf(g, 0, 1, 2, 100, -1)
	}
	if g.percent(40) {
		doc["subject"] = g.filter(g.stream())
	}
	return g.api(oneOf(g, "STREAM.LIST", "STREAM.NAMES", "STREAM.NAMES"), doc)
}

func (g *generator) purge() *step {
	name := g.stream()
	doc := document{}
	if g.percent(60) {
		doc["filter"] = g.filter(name)
	}
	if g.percent(40) {
		doc["seq"] = g.sequence()
	}
	if g.percent(40) {
		doc["keep"] = oneOf(g, 0, 1, 2, 3)
	}
	return g.api("STREAM.PURGE."+name, doc)
}

func (g *generator) deleteMessage() *step {
	doc := document{"seq": g.sequence()}
	if g.percent(30) {
		doc["no_erase"] = oneOf(g, true, false)
	}
	return g.api("STREAM.MSG.DELETE."+g.stream(), doc)
}

// consumer makes or deletes one, so that retention by interest has any.
func (g *generator) consumer() *step {
	name, durable := g.stream(), oneOf(g, "c", "d")
	if g.percent(20) {
		return g.api("CONSUMER.DELETE."+name+"."+durable, nil)
	}
	cfg := document{"durable_name": durable, "ack_policy": "explicit"}
	if g.percent(50) {
		cfg["filter_subject"] = g.filter(name)
	}
	if g.percent(20) {
		cfg["max_ack_pending"] = oneOf(g, 5, 10, 11, 100, -1)
	}
	if g.percent(20) {
		cfg["inactive_threshold"] = oneOf(g, 30*second, 60*second, 61*second, hour)
	}
	return g.api("CONSUMER.DURABLE.CREATE."+name+"."+durable, document{"stream_name": name, "config": cfg})
}
