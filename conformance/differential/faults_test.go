package differential

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
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

func overlaps(a, b document) bool {
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
