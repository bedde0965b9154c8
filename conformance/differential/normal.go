package differential

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// document is an answer as it is compared.
func (a *answer) document() any {
	if a.err != "" {
		return map[string]any{"answers": messages(a.msgs), "then": a.err}
	}
	if len(a.msgs) == 1 {
		return message(a.msgs[0])
	}
	return messages(a.msgs)
}

func messages(msgs []*nats.Msg) []any {
	var all []any
	for _, m := range msgs {
		all = append(all, message(m))
	}
	return all
}

// message is one answer: its headers and its body, which may be a document.
func message(m *nats.Msg) any {
	doc := map[string]any{}
	for _, k := range slices.Sorted(maps.Keys(m.Header)) {
		if !volatileHeaders[k] {
			doc["header "+k] = strings.Join(m.Header[k], ", ")
		}
	}
	body, ok := decoded(m.Data)
	if ok {
		doc["body"] = normal(body)
	} else {
		doc["body"] = string(m.Data)
	}
	return doc
}

func decoded(data []byte) (any, bool) {
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	var doc any
	if d.Decode(&doc) != nil {
		return nil, false
	}
	_, ok := doc.(map[string]any)
	return doc, ok
}

var volatileHeaders = map[string]bool{
	"Nats-Time-Stamp":      true,
	"Nats-Stream-Identity": true,
}

// volatile are fields whose value differs between any two servers. That they are
// there has to be equal.
var volatile = map[string]bool{
	"ts": true, "created": true, "time": true, "cluster": true, "first_ts": true, "last_ts": true, "last_active": true,
	"_nats.ver": true, "active": true, "leader": true, "leader_since": true, "raft_group": true, "traffic_account": true,
	"peer": true, "pause_remaining": true,
}

// normal replaces what may differ.
func normal(doc any) any {
	switch doc := doc.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range doc {
			switch {
			case k == "streams" && v == nil: // of a server without a cluster
				out[k] = []any(nil)
			case k == "reserved_storage" || k == "reserved_memory": // a cluster may leave out replicas
			case k == "did_create": // also set by a server without a cluster when there was such a stream
			case k == "cluster" && isMap(v):
				out[k] = cluster(v.(map[string]any))
			case k == "state" && isMap(v):
				out[k] = state(v.(map[string]any))
			case k == "error" && doc["lag"] != nil: // Weir says what is wrong with an origin at once
			case k == "hdrs":
				out[k] = headerLines(v)
			case k == "inactive_threshold" && fmt.Sprint(v) == "-1": // none: Weir does not show the stream's on a consumer
			case k == "duplicate_window" && doc["mirror"] != nil: // a cluster may leave it out
			case k == "api" && isMap(v): // counts of requests
				out[k] = presence(v)
			case k == "delivered" || k == "ack_floor": // of consumers: see docs/conformance.md
			case volatile[k] && v != nil:
				out[k] = presence(v)
			default:
				out[k] = normal(v)
			}
		}
		return out
	case []any:
		return normalList(doc)
	}
	return doc
}

func normalList(list []any) []any {
	var out []any
	for _, v := range list {
		out = append(out, normal(v))
	}
	if len(list) > 0 && isMap(list[0]) && list[0].(map[string]any)["lag"] != nil { // sources come in any order
		slices.SortFunc(out, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return out
}

// headerLines are those of an encoded header block, in order: a client writes them
// in any.
func headerLines(v any) any {
	block, err := base64.StdEncoding.DecodeString(fmt.Sprint(v))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(block), "\r\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func isMap(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// presence is what is left of a value that may differ.
func presence(v any) string {
	if v == "" || v == "0001-01-01T00:00:00Z" {
		return "(zero)"
	}
	return "(some)"
}

// cluster is where a stream or consumer runs: not who leads and since when, nor how far each replica is.
func cluster(doc map[string]any) any {
	out := map[string]any{}
	for k, v := range doc {
		switch list, isList := v.([]any); {
		case k == "leader" || k == "leader_since": // there may be none at the moment
		case k == "replicas" && isList:
			out[k] = len(list)
		case k == "raft_group":
			out[k] = presence(v)
		default:
			out[k] = v
		}
	}
	return out
}

// state is a stream's; one that was never written to has no message 0 that is
// missing.
func state(doc map[string]any) any {
	out := map[string]any{}
	for k, v := range doc {
		switch {
		case (k == "deleted" || k == "num_deleted") && fmt.Sprint(doc["last_seq"]) == "0":
		case k == "first_seq" && fmt.Sprint(doc["last_seq"]) == "0": // 0 or 1
		case volatile[k]:
			out[k] = presence(v)
		default:
			out[k] = normal(v)
		}
	}
	return out
}
