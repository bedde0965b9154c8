package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func sortedKeys[M ~map[string]V, V any](m M) []string { return slices.Sorted(maps.Keys(m)) }

// likenessStreams are what consumers are made on: messages 1 to 8 on a, b and c.
var likenessStreams = map[string]string{
	"L": `"retention":"limits"`,
	"W": `"retention":"workqueue"`,
	"I": `"retention":"interest"`,
	"C": `"consumer_limits":{"inactive_threshold":60000000000,"max_ack_pending":10}`,
	"X": `"max_consumers":1`,
	"D": `"discard":"new","max_msgs":100`,
}

// configs are consumer configurations, valid and not, without name and closing.
var configs = []string{
	``,
	`"deliver_policy":"all"`, `"deliver_policy":"last"`, `"deliver_policy":"new"`, `"deliver_policy":"last_per_subject"`,
	`"deliver_policy":"last_per_subject","filter_subject":"%s.a"`, `"deliver_policy":"last_per_subject","filter_subjects":["%s.a","%s.b"]`,
	`"deliver_policy":"by_start_sequence"`, `"deliver_policy":"by_start_sequence","opt_start_seq":4`, `"deliver_policy":"by_start_sequence","opt_start_seq":400`,
	`"deliver_policy":"by_start_time"`, `"deliver_policy":"by_start_time","opt_start_time":"2020-01-01T00:00:00Z"`, `"deliver_policy":"by_start_time","opt_start_time":"2120-01-01T00:00:00Z"`,
	`"deliver_policy":"all","opt_start_seq":4`, `"deliver_policy":"last","opt_start_seq":4`, `"deliver_policy":"new","opt_start_seq":4`,
	`"deliver_policy":"last_per_subject","filter_subject":"%s.a","opt_start_seq":4`,
	`"deliver_policy":"all","opt_start_time":"2020-01-01T00:00:00Z"`, `"deliver_policy":"last","opt_start_time":"2020-01-01T00:00:00Z"`,
	`"deliver_policy":"by_start_sequence","opt_start_seq":4,"opt_start_time":"2020-01-01T00:00:00Z"`,
	`"deliver_policy":"by_start_time","opt_start_seq":4,"opt_start_time":"2020-01-01T00:00:00Z"`,
	`"deliver_policy":"nonsense"`,
	`"ack_policy":"none"`, `"ack_policy":"all"`, `"ack_policy":"explicit"`, `"ack_policy":"nonsense"`, `"ack_policy":"flow_control"`,
	`"ack_policy":"explicit","ack_wait":5000000000`, `"ack_policy":"explicit","ack_wait":-1`, `"ack_policy":"none","ack_wait":5000000000`, `"ack_policy":"explicit","ack_wait":1`,
	`"ack_policy":"explicit","max_deliver":3`, `"ack_policy":"explicit","max_deliver":0`, `"ack_policy":"explicit","max_deliver":-5`, `"ack_policy":"none","max_deliver":3`,
	`"ack_policy":"explicit","backoff":[1000000000,2000000000]`, `"ack_policy":"explicit","backoff":[1000000000,2000000000],"max_deliver":2`,
	`"ack_policy":"explicit","backoff":[1000000000,2000000000],"max_deliver":3`, `"ack_policy":"explicit","backoff":[1000000000,2000000000],"max_deliver":1`,
	`"ack_policy":"explicit","backoff":[-1]`, `"ack_policy":"explicit","backoff":[]`, `"ack_policy":"none","backoff":[1000000000]`, `"ack_policy":"explicit","backoff":[1000000000],"ack_wait":7000000000`,
	`"ack_policy":"explicit","max_ack_pending":0`, `"ack_policy":"explicit","max_ack_pending":-1`, `"ack_policy":"explicit","max_ack_pending":-7`, `"ack_policy":"explicit","max_ack_pending":5`,
	`"ack_policy":"explicit","max_ack_pending":500`, `"ack_policy":"none","max_ack_pending":5`, `"ack_policy":"all","max_ack_pending":5`,
	`"filter_subject":"%s.a"`, `"filter_subject":"%s.>"`, `"filter_subject":">"`, `"filter_subject":"other"`, `"filter_subject":"%s..a"`, `"filter_subject":"%s.a b"`, `"filter_subject":" "`,
	`"filter_subjects":["%s.a","%s.b"]`, `"filter_subjects":["%s.a","%s.a"]`, `"filter_subjects":["%s.a","%s.*"]`, `"filter_subjects":[""]`, `"filter_subjects":["%s.a",""]`, `"filter_subjects":["%s.a"]`,
	`"filter_subjects":[]`, `"filter_subject":"%s.a","filter_subjects":["%s.b"]`, `"filter_subjects":["%s.a","other"]`, `"filter_subjects":["other"]`, `"filter_subjects":["%s..a"]`,
	`"replay_policy":"original"`, `"replay_policy":"instant"`, `"replay_policy":"nonsense"`,
	`"sample_freq":"50"`, `"sample_freq":"50%%"`, `"sample_freq":"x"`, `"sample_freq":"-1"`, `"sample_freq":"1000"`, `"sample_freq":"0"`, `"sample_freq":""`, `"sample_freq":"1.5"`, `"sample_freq":50`,
	`"rate_limit_bps":1000`, `"rate_limit_bps":1000,"deliver_subject":"x"`, `"rate_limit_bps":-1,"deliver_subject":"x"`,
	`"max_waiting":5`, `"max_waiting":0`, `"max_waiting":-1`, `"max_waiting":5,"deliver_subject":"x"`,
	`"max_batch":5`, `"max_batch":-1`, `"max_batch":5,"deliver_subject":"x"`, `"max_expires":1000000000`, `"max_expires":1`, `"max_expires":-1`, `"max_expires":1000000000,"deliver_subject":"x"`,
	`"max_bytes":100`, `"max_bytes":-1`, `"max_bytes":100,"deliver_subject":"x"`,
	`"inactive_threshold":1000000000`, `"inactive_threshold":-1`, `"inactive_threshold":120000000000`,
	`"headers_only":true`, `"headers_only":"yes"`, `"mem_storage":true`, `"num_replicas":1`, `"num_replicas":3`, `"num_replicas":-1`, `"num_replicas":6`,
	`"metadata":{"a":"b"}`, `"metadata":{"_nats.x":"b"}`, `"metadata":{"a":1}`, `"description":"text"`,
	`"pause_until":"2120-01-01T00:00:00Z"`, `"pause_until":"2020-01-01T00:00:00Z"`, `"pause_until":"x"`,
	`"idle_heartbeat":1000000000`, `"idle_heartbeat":1000000000,"deliver_subject":"x"`, `"idle_heartbeat":1,"deliver_subject":"x"`, `"idle_heartbeat":-1,"deliver_subject":"x"`,
	`"flow_control":true`, `"flow_control":true,"deliver_subject":"x"`, `"flow_control":true,"idle_heartbeat":1000000000,"deliver_subject":"x"`,
	`"deliver_subject":"x"`, `"deliver_subject":"x.*"`, `"deliver_subject":"x.>"`, `"deliver_subject":"x y"`, `"deliver_subject":"%s.a"`, `"deliver_subject":"x..y"`, `"deliver_subject":"$SYS.x"`, `"deliver_subject":".x"`,
	`"deliver_group":"q"`, `"deliver_subject":"x","deliver_group":"q"`, `"deliver_subject":"x","deliver_group":"q q"`, `"deliver_subject":"x","deliver_group":"q.*"`,
	`"deliver_subject":"x","deliver_group":"q","idle_heartbeat":1000000000`, `"deliver_subject":"x","deliver_group":"q","flow_control":true,"idle_heartbeat":1000000000`,
	`"deliver_subject":"x","ack_policy":"flow_control","flow_control":true,"idle_heartbeat":1000000000,"max_ack_pending":100`,
	`"deliver_subject":"x","ack_policy":"flow_control","flow_control":true,"idle_heartbeat":1000000000`,
	`"deliver_subject":"x","ack_policy":"flow_control","flow_control":true,"max_ack_pending":100`,
	`"deliver_subject":"x","ack_policy":"flow_control","idle_heartbeat":1000000000,"max_ack_pending":100`,
	`"deliver_subject":"x","ack_policy":"flow_control","flow_control":true,"idle_heartbeat":1000000000,"max_ack_pending":100,"ack_wait":1000000000`,
	`"deliver_subject":"x","ack_policy":"flow_control","flow_control":true,"idle_heartbeat":1000000000,"max_ack_pending":100,"max_deliver":3`,
	`"deliver_subject":"x","ack_policy":"flow_control","flow_control":true,"idle_heartbeat":1000000000,"max_ack_pending":100,"backoff":[1000000000]`,
	`"deliver_subject":"x","ack_policy":"flow_control","flow_control":true,"idle_heartbeat":1000000000,"max_ack_pending":-1`,
	`"direct":true`,
	`"priority_groups":["a"]`, `"priority_policy":"overflow"`, `"priority_groups":["a"],"priority_policy":"overflow"`, `"priority_groups":["a"],"priority_policy":"none"`,
	`"priority_groups":["a"],"priority_policy":"pinned_client"`, `"priority_groups":["a"],"priority_policy":"pinned_client","priority_timeout":1000000000`,
	`"priority_groups":["a"],"priority_policy":"pinned_client","priority_timeout":-1`, `"priority_groups":["a"],"priority_policy":"prioritized"`, `"priority_groups":["a"],"priority_policy":"nonsense"`,
	`"priority_groups":["a","b"],"priority_policy":"overflow"`, `"priority_groups":[""],"priority_policy":"overflow"`, `"priority_groups":["a b"],"priority_policy":"overflow"`,
	`"priority_groups":["12345678901234567"],"priority_policy":"overflow"`, `"priority_groups":["1234567890123456"],"priority_policy":"overflow"`, `"priority_groups":["a*"],"priority_policy":"overflow"`,
	`"priority_groups":["a","a"],"priority_policy":"overflow"`, `"priority_groups":["a"],"priority_policy":"overflow","deliver_subject":"x"`, `"priority_groups":["a"],"priority_policy":"overflow","priority_timeout":1000000000`,
	`"priority_groups":["a"],"priority_policy":"pinned_client","ack_policy":"none"`, `"priority_groups":["a"],"priority_policy":"pinned_client","ack_policy":"all"`,
	`"priority_groups":["a"],"priority_policy":"overflow","ack_policy":"all"`, `"priority_groups":["a"],"priority_policy":"overflow","ack_policy":"explicit"`,
	`"sample_freq":"x","deliver_subject":"x.*"`, `"sample_freq":"x","priority_policy":"overflow"`, `"sample_freq":"x","max_expires":1`, `"max_expires":1,"deliver_subject":"x"`, `"max_expires":1,"rate_limit_bps":1000`,
	`"max_expires":1,"idle_heartbeat":1000000000`, `"max_expires":1,"deliver_policy":"by_start_time"`, `"max_waiting":5,"deliver_subject":"x","max_ack_pending":5`, `"ack_policy":"explicit","ack_wait":-1,"filter_subjects":[""]`,
	`"deliver_policy":"by_start_time","filter_subjects":[""]`, `"deliver_policy":"by_start_time","sample_freq":"x"`, `"filter_subjects":[""],"sample_freq":"x"`, `"priority_policy":"overflow","deliver_policy":"by_start_time"`,
	`"max_deliver":1,"backoff":[1,2],"deliver_subject":"x.*"`, `"flow_control":true,"rate_limit_bps":5`, `"idle_heartbeat":1,"rate_limit_bps":5`, `"flow_control":true,"idle_heartbeat":5`,
	`"priority_groups":["a"],"priority_policy":"overflow","filter_subjects":[""]`, `"priority_timeout":1000000000`, `"num_replicas":-1,"ack_wait":-1`, `"max_ack_pending":5000,"ack_policy":"explicit","ack_wait":-1`,
	`"filter_subjects":[""],"deliver_subject":"x.*"`, `"filter_subjects":[""],"rate_limit_bps":5`, `"filter_subjects":["%s.a","%s.a"],"deliver_policy":"by_start_time"`, `"filter_subjects":["%s.a","%s.a"],"rate_limit_bps":5`,
	`"filter_subject":"%s..a","deliver_policy":"by_start_time"`, `"filter_subject":"%s.a","filter_subjects":["%s.b"],"deliver_policy":"by_start_time"`, `"filter_subjects":["%s.a","%s.a"],"sample_freq":"x"`,
	`"ack_policy":"explicit","filter_subjects":["%s.a","%s.a"],"priority_policy":"overflow"`, `"ack_policy":"explicit","sample_freq":"x","deliver_policy":"new"`, `"ack_policy":"explicit","priority_policy":"overflow","deliver_policy":"new"`,
	`"ack_policy":"all","deliver_policy":"new"`, `"ack_policy":"all","sample_freq":"x"`, `"ack_policy":"all","priority_policy":"overflow"`, `"ack_policy":"all","filter_subjects":[""]`,
	`"unknown":1`, `"durable_name":"other"`, `"durable_name":"a.b"`, `"name":"a b"`, `"name":"other"`,
}

// updates are changes of a consumer's configuration: what it is made with, and what
// it is then to be.
var updates = [][2]string{
	{``, `"description":"x"`}, {`"description":"x"`, ``}, {``, `"deliver_policy":"new"`}, {`"deliver_policy":"by_start_sequence","opt_start_seq":3`, `"deliver_policy":"by_start_sequence","opt_start_seq":4`},
	{`"deliver_policy":"by_start_time","opt_start_time":"2020-01-01T00:00:00Z"`, `"deliver_policy":"by_start_time","opt_start_time":"2021-01-01T00:00:00Z"`},
	{``, `"ack_policy":"explicit"`}, {`"ack_policy":"explicit"`, `"ack_policy":"all"`}, {``, `"replay_policy":"original"`}, {`"ack_policy":"explicit"`, `"ack_policy":"explicit","ack_wait":5000000000`},
	{`"ack_policy":"explicit"`, `"ack_policy":"explicit","ack_wait":-1`}, {`"ack_policy":"explicit"`, `"ack_policy":"explicit","max_deliver":5`}, {`"ack_policy":"explicit","max_deliver":5`, `"ack_policy":"explicit"`},
	{`"ack_policy":"explicit"`, `"ack_policy":"explicit","backoff":[1000000000]`}, {`"ack_policy":"explicit","backoff":[1000000000,2000000000],"max_deliver":4`, `"ack_policy":"explicit","max_deliver":2`},
	{`"ack_policy":"explicit","backoff":[1000000000,2000000000],"max_deliver":4`, `"ack_policy":"explicit","backoff":[3000000000,2000000000],"max_deliver":4,"ack_wait":9000000000`},
	{`"ack_policy":"explicit"`, `"ack_policy":"explicit","max_ack_pending":5`}, {`"ack_policy":"explicit","max_ack_pending":5`, `"ack_policy":"explicit"`}, {`"ack_policy":"explicit","max_ack_pending":5`, `"ack_policy":"explicit","max_ack_pending":-1`},
	{``, `"filter_subject":"%s.a"`}, {`"filter_subject":"%s.a"`, ``}, {`"filter_subject":"%s.a"`, `"filter_subjects":["%s.a","%s.b"]`}, {`"filter_subjects":["%s.a","%s.b"]`, `"filter_subjects":["%s.b","%s.a"]`},
	{`"filter_subject":"%s.a"`, `"filter_subject":"other"`}, {`"filter_subjects":["%s.a","%s.b"]`, `"filter_subject":"%s.c"`}, {`"filter_subject":"%s.a"`, `"filter_subjects":["%s.a"]`},
	{``, `"sample_freq":"50"`}, {`"sample_freq":"50"`, ``}, {``, `"sample_freq":"x"`}, {`"deliver_subject":"x"`, `"deliver_subject":"x","rate_limit_bps":1000`}, {`"deliver_subject":"x","rate_limit_bps":1000`, `"deliver_subject":"x"`},
	{``, `"max_waiting":5`}, {`"max_waiting":5`, ``}, {`"max_waiting":5`, `"max_waiting":6`}, {``, `"max_batch":5,"max_expires":1000000000,"max_bytes":50`}, {`"max_batch":5,"max_expires":1000000000,"max_bytes":50`, ``},
	{``, `"inactive_threshold":60000000000`}, {`"inactive_threshold":60000000000`, ``}, {`"inactive_threshold":60000000000`, `"inactive_threshold":90000000000`}, {`"durable_name":"D"`, `"durable_name":"D","inactive_threshold":60000000000`},
	{`"durable_name":"D","inactive_threshold":60000000000`, `"durable_name":"D"`}, {`"durable_name":"D"`, ``}, {``, `"durable_name":"D"`}, {`"durable_name":"D","inactive_threshold":60000000000`, ``}, {`"durable_name":"D"`, `"description":"x"`},
	{``, `"headers_only":true`}, {`"headers_only":true`, ``}, {``, `"mem_storage":true`}, {`"mem_storage":true`, ``}, {``, `"num_replicas":1`}, {`"num_replicas":1`, ``}, {``, `"metadata":{"a":"b"}`}, {`"metadata":{"a":"b"}`, ``},
	{``, `"pause_until":"2120-01-01T00:00:00Z"`}, {`"pause_until":"2120-01-01T00:00:00Z"`, ``}, {`"pause_until":"2120-01-01T00:00:00Z"`, `"pause_until":"2130-01-01T00:00:00Z"`}, {`"pause_until":"2120-01-01T00:00:00Z"`, `"description":"x"`},
	{`"deliver_subject":"x"`, `"deliver_subject":"y"`}, {`"deliver_subject":"x"`, ``}, {``, `"deliver_subject":"x"`}, {`"deliver_subject":"x"`, `"deliver_subject":"x","deliver_group":"q"`}, {`"deliver_subject":"x","deliver_group":"q"`, `"deliver_subject":"x"`},
	{`"deliver_subject":"x"`, `"deliver_subject":"x","idle_heartbeat":1000000000`}, {`"deliver_subject":"x","idle_heartbeat":1000000000`, `"deliver_subject":"x","idle_heartbeat":1000000000,"flow_control":true`},
	{`"deliver_subject":"x","idle_heartbeat":1000000000`, `"deliver_subject":"x","idle_heartbeat":2000000000`},
	{``, `"priority_groups":["a"],"priority_policy":"overflow"`}, {`"priority_groups":["a"],"priority_policy":"overflow"`, ``}, {`"priority_groups":["a"],"priority_policy":"overflow"`, `"priority_groups":["b"],"priority_policy":"overflow"`},
	{`"priority_groups":["a"],"priority_policy":"overflow"`, `"priority_groups":["a"],"priority_policy":"pinned_client"`}, {`"priority_groups":["a"],"priority_policy":"pinned_client"`, `"priority_groups":["a"],"priority_policy":"prioritized"`},
	{`"priority_groups":["a"],"priority_policy":"pinned_client"`, `"priority_groups":["a"],"priority_policy":"pinned_client","priority_timeout":1000000000`},
	{`"deliver_subject":"x","ack_policy":"flow_control"`, `"deliver_subject":"x","ack_policy":"flow_control","max_ack_pending":5`},
}

// TestConsumersLikeNatsServer makes consumers on this server and on nats-server with
// the same requests; both answer the same.
func TestConsumersLikeNatsServer(t *testing.T) {
	ctx := trialContext(t)
	p := startPair(ctx, t)
	for name, cfg := range likenessStreams {
		p.same(ctx, t, "$JS.API.STREAM.CREATE."+name, fmt.Sprintf(`{"name":%q,"subjects":["%s.>"],%s}`, name, name, cfg))
		for _, token := range []string{"a", "b", "a", "c", "b", "a", "c", "c"} {
			p.same(ctx, t, name+"."+token, "hello")
		}
	}
	for _, stream := range slices.Sorted(maps.Keys(likenessStreams)) {
		for _, cfg := range configs {
			c := with(cfg, stream)
			p.same(ctx, t, "$JS.API.CONSUMER.CREATE."+stream+".D", fmt.Sprintf(`{"stream_name":%q,"config":{"name":"D"%s}}`, stream, c))
			p.same(ctx, t, "$JS.API.CONSUMER.INFO."+stream+".D", "")
			p.same(ctx, t, "$JS.API.CONSUMER.DELETE."+stream+".D", "")
		}
	}
}

// TestConsumerUpdatesLikeNatsServer changes consumers on this server and on nats-server
// with the same requests, with each action; both answer the same.
func TestConsumerUpdatesLikeNatsServer(t *testing.T) {
	ctx := trialContext(t)
	p := startPair(ctx, t)
	for _, name := range []string{"L", "W"} {
		p.same(ctx, t, "$JS.API.STREAM.CREATE."+name, fmt.Sprintf(`{"name":%q,"subjects":["%s.>"],%s}`, name, name, likenessStreams[name]))
	}
	for _, u := range updates {
		for _, action := range []string{"", "update", "create"} {
			for i, cfg := range []string{u[0], u[0], u[1]} {
				if action == "create" && i == 1 {
					continue // the same without durable_name: 10148 of a server that is alone, a success in a cluster
				}
				p.same(ctx, t, "$JS.API.CONSUMER.CREATE.L.D", fmt.Sprintf(`{"stream_name":"L","action":%q,"config":{"name":"D"%s}}`, action, with(cfg, "L")))
				if action == "update" { // not there the first time
					p.same(ctx, t, "$JS.API.CONSUMER.CREATE.L.D", fmt.Sprintf(`{"stream_name":"L","config":{"name":"D"%s}}`, with(u[0], "L")))
				}
			}
			p.same(ctx, t, "$JS.API.CONSUMER.INFO.L.D", "")
			p.same(ctx, t, "$JS.API.CONSUMER.DELETE.L.D", "")
		}
	}
}

// TestConsumerRequestsLikeNatsServer sends odd requests to this server and to
// nats-server; both answer the same.
func TestConsumerRequestsLikeNatsServer(t *testing.T) {
	ctx := trialContext(t)
	p := startPair(ctx, t)
	p.same(ctx, t, "$JS.API.STREAM.CREATE.L", `{"name":"L","subjects":["L.>"]}`)
	for _, body := range []string{
		``, `{`, `{}`, `{"stream_name":"L"}`, `{"stream_name":"W","config":{"name":"D","durable_name":"D"}}`, `{"stream_name":"L","config":{"name":"D"},"action":"nonsense"}`,
		`{"stream_name":"L","config":{"name":"D"},"pedantic":true}`, `{"stream_name":"L","config":{"name":"D"},"nonsense":true}`, `{"stream_name":"L","config":{"durable_name":"D"}}`,
		`{"stream_name":"L","config":{"durable_name":"E"}}`, `{"stream_name":"L","config":{"name":"E","durable_name":"D"}}`, `{"stream_name":"L","config":{"name":"E","filter_subject":"L.a"}}`,
	} {
		for _, subject := range []string{"CREATE.L.D", "CREATE.L.D.L.a", "CREATE.L.D.>", "DURABLE.CREATE.L.D", "DURABLE.CREATE.L.E"} {
			p.same(ctx, t, "$JS.API.CONSUMER."+subject, body)
		}
	}
	p.same(ctx, t, "$JS.API.CONSUMER.CREATE.L.P", `{"stream_name":"L","config":{"name":"P","priority_groups":["a"],"priority_policy":"pinned_client"}}`)
	for _, consumer := range []string{"D", "P"} {
		for _, body := range []string{
			``, `{`, `{}`, `{"group":""}`, `{"group":"a"}`, `{"group":"b"}`, `{"pause_until":"x"}`, `{"pause_until":"2120-01-01T00:00:00Z"}`, `{"pause_until":"2020-01-01T00:00:00Z"}`, `{"seq":0}`, `{"seq":5}`, `{"seq":"x"}`,
		} {
			for _, subject := range []string{"INFO", "UNPIN", "PAUSE", "RESET", "LEADER.STEPDOWN"} {
				p.same(ctx, t, "$JS.API.CONSUMER."+subject+".L."+consumer, body)
			}
		}
	}
	for _, body := range []string{``, `{`, `{}`, `{"offset":1}`, `{"offset":-1}`, `{"offset":100}`, `{"x":1}`} {
		p.same(ctx, t, "$JS.API.CONSUMER.NAMES.L", body)
		p.same(ctx, t, "$JS.API.CONSUMER.LIST.L", body)
	}
	for _, subject := range []string{"NAMES.N", "LIST.N", "INFO.N.D", "INFO.L.N", "DELETE.N.D", "DELETE.L.N", "PAUSE.L.N", "CREATE.L", "DELETE.L.D"} {
		p.same(ctx, t, "$JS.API.CONSUMER."+subject, "")
	}
}

// with is a part of a configuration for a stream, behind what comes before it.
func with(cfg, stream string) string {
	if cfg == "" {
		return ""
	}
	return "," + strings.ReplaceAll(strings.ReplaceAll(cfg, "%s", stream), "%%", "%")
}
