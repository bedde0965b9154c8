package differential

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// faults are settings of a stream that can not be, or not with others.
func faults() map[string]document {
	long := strings.Repeat("x", 5000)
	return map[string]document{
		"name":            {"name": "a.b"},
		"name_other":      {"name": "OTHER"},
		"path":            {"name": "a/b"},
		"description":     {"description": long},
		"metadata":        {"metadata": document{"big": strings.Repeat("x", 130<<10)}},
		"replicas":        {"num_replicas": 9},
		"replicas_minus":  {"num_replicas": -1},
		"replicas_three":  {"num_replicas": 3},
		"age":             {"max_age": -1},
		"age_short":       {"max_age": 1000},
		"window":          {"duplicate_window": -1},
		"window_short":    {"duplicate_window": 1000},
		"window_age":      {"duplicate_window": 2 * hour, "max_age": hour},
		"marker":          {"subject_delete_marker_ttl": -1},
		"marker_short":    {"subject_delete_marker_ttl": 1000},
		"marker_ok":       {"subject_delete_marker_ttl": hour},
		"discard_per":     {"discard_new_per_subject": true},
		"discard_per_new": {"discard": "new", "discard_new_per_subject": true},
		"rollup_purge":    {"allow_rollup_hdrs": true, "deny_purge": true},
		"sealed":          {"sealed": true},
		"mirror_direct":   {"mirror_direct": true},
		"counter":         {"allow_msg_counter": true},
		"counter_ttl":     {"allow_msg_counter": true, "allow_msg_ttl": true},
		"counter_queue":   {"allow_msg_counter": true, "retention": "workqueue"},
		"counter_new":     {"allow_msg_counter": true, "discard": "new"},
		"schedules_new":   {"allow_msg_schedules": true, "discard": "new"},
		"schedules":       {"allow_msg_schedules": true},
		"async_atomic":    {"persist_mode": "async", "allow_atomic": true},
		"async_batched":   {"persist_mode": "async", "allow_batched": true},
		"async_memory":    {"persist_mode": "async", "storage": "memory"},
		"preferred":       {"placement": document{"preferred": "n1"}},
		"cluster":         {"placement": document{"cluster": "none"}},
		"first_ok":        {"first_seq": 7},
		"mirror":          {"mirror": document{"name": "EMPTY"}},
		"mirror_only":     {"mirror": document{"name": "EMPTY"}, "subjects": nil},
		"mirror_name":     {"mirror": document{"name": "a.b"}, "subjects": nil},
		"mirror_self":     {"mirror": document{"name": "S"}, "subjects": nil},
		"mirror_filter":   {"mirror": document{"name": "EMPTY", "filter_subject": "bad.."}, "subjects": nil},
		"mirror_both":     {"mirror": document{"name": "EMPTY", "filter_subject": "a", "subject_transforms": []document{{"src": "a", "dest": "b"}}}, "subjects": nil},
		"mirror_start":    {"mirror": document{"name": "EMPTY", "opt_start_seq": 5, "opt_start_time": "2020-01-01T00:00:00Z"}, "subjects": nil},
		"mirror_atomic":   {"mirror": document{"name": "EMPTY"}, "subjects": nil, "allow_atomic": true},
		"source_name":     {"sources": []document{{"name": "a.b"}}},
		"source_twice":    {"sources": []document{{"name": "EMPTY"}, {"name": "EMPTY"}}},
		"source_both":     {"sources": []document{{"name": "EMPTY", "filter_subject": "a", "subject_transforms": []document{{"src": "a", "dest": "b"}}}}},
		"source_cycle":    {"sources": []document{{"name": "EMPTY", "external": document{"api": "$JS.other.API", "deliver": "x..y"}}}},
		"subject":         {"subjects": []string{"a..b"}},
		"subject_all":     {"subjects": []string{">"}},
		"subject_api":     {"subjects": []string{"$JS.API.>"}},
		"subject_system":  {"subjects": []string{"$SYS.x"}},
		"subject_twice":   {"subjects": []string{"s.a", "s.*"}},
		"subject_taken":   {"subjects": []string{"taken"}},
		"transform_src":   {"subject_transform": document{"src": "a..b", "dest": "t"}},
		"transform_dest":  {"subject_transform": document{"src": "s.*", "dest": "t.{{wildcard(2)}}"}},
		"republish":       {"republish": document{"src": "s.>", "dest": "s.loop"}},
		"republish_dest":  {"republish": document{"src": "s.*", "dest": "rep.{{wildcard(3)}}"}},
		"limits":          {"consumer_limits": document{"max_ack_pending": -1}},
		"storage":         {"storage": "memory"},
		"retention":       {"retention": "workqueue"},
		"max_bytes":       {"max_bytes": 50000},
		"max_msgs":        {"max_msgs": -5},
		"msg_size":        {"max_msg_size": -5},
	}
}

// TestOfTwoFaultsTheSameIsNamed sends configurations with every two faults, to create
// a stream and to update one.
func TestOfTwoFaultsTheSameIsNamed(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(clusterName(nodes), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), trialTime)
			defer cancel()
			pair := startPair(ctx, t, nodes)
			for _, user := range []string{"", limitedUser} {
				pair.same(t, &step{as: user, subject: "$JS.API.STREAM.CREATE.TAKEN", body: `{"name":"TAKEN","subjects":["taken"],"max_bytes":100}`})
			}
			for _, base := range []document{{}, {"pedantic": true}} {
				pair.twoFaults(t, "", "CREATE", base)
			}
			pair.twoFaults(t, limitedUser, "CREATE", document{})
			for _, user := range []string{"", limitedUser} {
				have := document{"name": "S", "subjects": []string{"s.>"}, "max_bytes": 100, "deny_delete": true}
				pair.same(t, &step{as: user, subject: "$JS.API.STREAM.CREATE.S", body: encoded(have)})
				pair.twoFaults(t, user, "UPDATE", document{})
			}
		})
	}
}

func clusterName(nodes int) string {
	if nodes == 1 {
		return "alone"
	}
	return "cluster"
}

// twoFaults sends every fault alone and then every two of which one is refused.
func (p *Pair) twoFaults(t *testing.T, user, verb string, base document) {
	all := faults()
	names := slices.Sorted(maps.Keys(all))
	send := func(faults ...document) (refused bool) {
		cfg := document{"name": "S", "subjects": []string{"s.>"}}
		for _, f := range append(faults, base) {
			maps.Copy(cfg, f)
		}
		s := &step{as: user, subject: "$JS.API.STREAM." + verb + ".S", body: encoded(cfg)}
		weir, other := p.same(t, s)
		if failure(weir) == 0 && verb == "CREATE" {
			p.same(t, &step{as: user, subject: "$JS.API.STREAM.DELETE.S"})
		} else if failure(other) == 0 && verb == "CREATE" {
			p.alone(t, p.Nats, &step{as: user, subject: "$JS.API.STREAM.DELETE.S"})
		}
		return failure(weir) != 0
	}
	refused := map[string]bool{}
	for _, name := range names {
		refused[name] = send(all[name])
	}
	for i, a := range names {
		for _, b := range names[i+1:] {
			if (refused[a] || refused[b]) && !overlaps(all[a], all[b]) {
				send(all[a], all[b])
			}
		}
	}
}

func overlaps[V any](a, b map[string]V) bool {
	for k := range a {
		if _, ok := b[k]; ok {
			return true
		}
	}
	return false
}

// same does a step on both servers and reports what differs.
func (p *Pair) same(t *testing.T, s *step) (weir, other *answer) {
	t.Helper()
	weir, other = p.alone(t, p.Weir, s), p.alone(t, p.Nats, s)
	if d := compare("", weir.document(), other.document()); len(d) > 0 && !p.accepted(s, weir, other) {
		t.Errorf("%.300s\n%v", s, d)
	}
	return weir, other
}

func (p *Pair) alone(t *testing.T, side Side, s *step) *answer {
	t.Helper()
	a, err := ask(side[s.as], s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// messageFaults are headers that a stream may refuse; "" is the body.
func messageFaults() map[string]map[string]string {
	const id, seq, commit = "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"
	at := "@at 2099-01-01T00:00:00Z"
	return map[string]map[string]string{
		"long":               {"": strings.Repeat("x", 500)},
		"body":               {"": "x"},
		"duplicate":          {"Nats-Msg-Id": "known"},
		"level":              {"Nats-Required-Api-Level": "99"},
		"stream":             {"Nats-Expected-Stream": "OTHER"},
		"last":               {"Nats-Expected-Last-Sequence": "99"},
		"last_bad":           {"Nats-Expected-Last-Sequence": "x"},
		"last_id":            {"Nats-Expected-Last-Msg-Id": "other"},
		"subject":            {"Nats-Expected-Last-Subject-Sequence": "99"},
		"subject_bad":        {"Nats-Expected-Last-Subject-Sequence": "x"},
		"subject_alone":      {"Nats-Expected-Last-Subject-Sequence-Subject": "s.a"},
		"subject_other":      {"Nats-Expected-Last-Subject-Sequence": "99", "Nats-Expected-Last-Subject-Sequence-Subject": "bad..x"},
		"rollup":             {"Nats-Rollup": "sub"},
		"rollup_bad":         {"Nats-Rollup": "none"},
		"ttl":                {"Nats-TTL": "1h"},
		"ttl_bad":            {"Nats-TTL": "x"},
		"incr":               {"Nats-Incr": "1"},
		"incr_bad":           {"Nats-Incr": "x"},
		"source":             {"Nats-Stream-Source": "S 1 > >"},
		"schedule":           {"Nats-Schedule": at, "Nats-Schedule-Target": "s.t"},
		"schedule_bad":       {"Nats-Schedule": "x", "Nats-Schedule-Target": "s.t"},
		"schedule_alone":     {"Nats-Schedule": at},
		"schedule_target":    {"Nats-Schedule": at, "Nats-Schedule-Target": "other"},
		"schedule_self":      {"Nats-Schedule": at, "Nats-Schedule-Target": "s.a"},
		"schedule_ttl":       {"Nats-Schedule-TTL": "x"},
		"schedule_ttl_ok":    {"Nats-Schedule-TTL": "1h"},
		"schedule_source":    {"Nats-Schedule-Source": "s.*"},
		"schedule_source_to": {"Nats-Schedule-Source": "s.t"},
		"schedule_source_me": {"Nats-Schedule-Source": "s.a"},
		"schedule_rollup":    {"Nats-Schedule-Rollup": "all"},
		"schedule_zone":      {"Nats-Schedule-Time-Zone": "Nowhere/City"},
		"schedule_zone_ok":   {"Nats-Schedule-Time-Zone": "UTC"},
		"scheduler":          {"Nats-Scheduler": "s.b"},
		"scheduler_next":     {"Nats-Scheduler": "s.b", "Nats-Schedule-Next": "purge"},
		"scheduler_bad":      {"Nats-Scheduler": "s.b", "Nats-Schedule-Next": "x"},
		"batch":              {id: "b", seq: "1", commit: "1"},
		"batch_long":         {id: strings.Repeat("b", 65), seq: "1", commit: "1"},
		"batch_later":        {id: "c", seq: "5", commit: "1"},
		"batch_many":         {id: "c", seq: "1001", commit: "1"},
		"batch_no_sequence":  {id: "d", commit: "1"},
		"batch_bad_sequence": {id: "d", seq: "x", commit: "1"},
		"batch_commit":       {id: "e", seq: "1", commit: "2"},
		"batch_commit_later": {id: "e", seq: "2", commit: "2"},
		"batch_end":          {id: "f", seq: "1", commit: "eob"},
	}
}

// TestOfTwoFaultsOfAMessageTheSameIsNamed publishes messages with every two faults to
// streams of several kinds, with and without replicas.
func TestOfTwoFaultsOfAMessageTheSameIsNamed(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) { ofTwoFaultsOfAMessage(t, nodes) })
	}
}

func ofTwoFaultsOfAMessage(t *testing.T, nodes int) {
	ctx, cancel := context.WithTimeout(t.Context(), trialTime)
	defer cancel()
	pair := startPair(ctx, t, nodes)
	faults := messageFaults()
	if nodes > 1 {
		delete(faults, "last_id") // it has a replicated stream refuse what follows
	}
	kinds := map[string]document{
		"plain":     {},
		"atomic":    {"allow_atomic": true},
		"schedules": {"allow_msg_schedules": true},
		"all":       {"allow_atomic": true, "allow_msg_schedules": true, "allow_msg_ttl": true, "allow_rollup_hdrs": true},
		"counter":   {"allow_msg_counter": true},
		"new":       {"discard": "new", "max_msgs": 1},
		"new_batch": {"discard": "new", "max_msgs": 1, "allow_atomic": true},
		"sealed":    {"sealed": true},
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(kind, func(t *testing.T) {
			cfg := document{"name": "S", "subjects": []string{"s.>"}, "max_msg_size": 400, "num_replicas": nodes}
			if kind != "sealed" {
				maps.Copy(cfg, kinds[kind])
			}
			pair.same(t, &step{subject: "$JS.API.STREAM.CREATE.S", body: encoded(cfg)})
			known := &step{subject: "s.known", header: nats.Header{"Nats-Msg-Id": {"known"}}}
			if kind == "counter" {
				addHeader(known, "Nats-Incr", "1")
			}
			pair.same(t, known)
			if kind == "sealed" {
				cfg["sealed"] = true
				pair.same(t, &step{subject: "$JS.API.STREAM.UPDATE.S", body: encoded(cfg)})
			}
			pair.twoMessageFaults(t, faults)
			pair.same(t, &step{subject: "$JS.API.STREAM.DELETE.S"})
		})
	}
}

// twoMessageFaults publishes a message with every one of all faults and with every two.
func (p *Pair) twoMessageFaults(t *testing.T, all map[string]map[string]string) {
	names := slices.Sorted(maps.Keys(all))
	for i, a := range names {
		for _, b := range names[i:] {
			if a != b && overlaps(all[a], all[b]) {
				continue
			}
			s := &step{subject: "s.a"}
			for _, fault := range []map[string]string{all[a], all[b]} {
				for k, v := range fault {
					if k == "" {
						s.body = v
					} else {
						addHeader(s, k, v)
					}
				}
			}
			if weir, other := p.same(t, s); failure(weir) == badScheduler && failure(other) == 0 {
				p.alone(t, p.Weir, &step{subject: s.subject}) // it counts there, too
			}
		}
	}
}
