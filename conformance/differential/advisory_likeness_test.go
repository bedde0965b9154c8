package differential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// advisorySteps cause advisories. What begins with + takes a message and ends it as it says: +ACK, -NAK, +TERM.
const advisorySteps = `
$JS.API.STREAM.CREATE.S {"name":"S","subjects":["s"],"num_replicas":REPLICAS,"allow_atomic":true}
$JS.API.STREAM.UPDATE.S {"name":"S","subjects":["s"],"num_replicas":REPLICAS,"allow_atomic":true,"description":"x"}
s one
s two
s three
s four
$JS.API.CONSUMER.CREATE.S.c {"stream_name":"S","config":{"name":"c","durable_name":"c","ack_policy":"explicit","max_deliver":1,"ack_wait":300000000,"sample_freq":"100%","num_replicas":REPLICAS}}
+ACK
-NAK
+TERM not wanted
$JS.API.CONSUMER.MSG.NEXT.S.c {"batch":1,"expires":1000000000}
$JS.API.CONSUMER.MSG.NEXT.S.c {"batch":1,"expires":1000000000}
$JS.API.CONSUMER.PAUSE.S.c {"pause_until":"2099-01-01T00:00:00Z"}
$JS.API.CONSUMER.PAUSE.S.c
$JS.API.CONSUMER.CREATE.S.p {"stream_name":"S","config":{"name":"p","durable_name":"p","ack_policy":"explicit","num_replicas":REPLICAS,"priority_groups":["g"],"priority_policy":"pinned_client","priority_timeout":120000000000}}
$JS.API.CONSUMER.MSG.NEXT.S.p {"batch":1,"expires":1000000000,"group":"g"}
$JS.API.CONSUMER.UNPIN.S.p {"group":"g"}
$JS.API.CONSUMER.DELETE.S.p
s [Nats-Batch-Id: b] [Nats-Batch-Sequence: 1] x
s [Nats-Batch-Id: b] [Nats-Batch-Sequence: 3] x
$JS.API.CONSUMER.DELETE.S.c
$JS.API.STREAM.PURGE.S
$JS.API.STREAM.MSG.GET.S {"seq":1}
$JS.API.STREAM.NAMES
$JS.API.NOTHING
$JS.API.STREAM.INFO.NONE
$JS.API.STREAM.DELETE.S
`

// TestAdvisoriesLikeNatsServer does what advisories tell of on both servers and wants the same ones, of one replica and of three.
func TestAdvisoriesLikeNatsServer(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint("R", nodes), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			var told [2]map[string]any
			for i, bin := range []string{weirBin, natsBin} {
				told[i] = advisories(t, startOne(ctx, t, bin, nodes), nodes)
			}
			for _, d := range compare("", any(told[0]), any(told[1])) {
				t.Error(d)
			}
		})
	}
}

// quietTime is how long nothing has to come until all advisories are there.
const quietTime = 3 * time.Second

// advisories are those of the steps, by subject.
func advisories(t *testing.T, nc *nats.Conn, nodes int) map[string]any {
	t.Helper()
	sub, err := nc.SubscribeSync("$JS.EVENT.>")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.TrimSpace(advisorySteps)) {
		line = strings.TrimSpace(strings.ReplaceAll(line, "REPLICAS", fmt.Sprint(nodes)))
		if line[0] == '+' || line[0] == '-' {
			m, err := nc.Request("$JS.API.CONSUMER.MSG.NEXT.S.c", []byte(`{"batch":1,"expires":5000000000}`), 10*time.Second)
			if err == nil {
				_, err = nc.Request(m.Reply, []byte(line), 10*time.Second)
			}
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			continue
		}
		s, err := parseStep(line)
		if err != nil {
			t.Fatal(err)
		}
		s.silent = s.subject == "$JS.API.NOTHING"
		if _, err := ask(nc, s); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]any{}
	for {
		m, err := sub.NextMsg(quietTime)
		if errors.Is(err, nats.ErrTimeout) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(m.Data, &doc); err != nil {
			t.Fatal(err)
		}
		subj := strings.TrimPrefix(m.Subject, "$JS.EVENT.")
		delete(doc, "request") // docs/conformance.md: which audits have it differs
		list, _ := all[subj].([]any)
		all[subj] = append(list, withoutTimes(doc))
		slices.SortFunc(all[subj].([]any), func(a, b any) int { return strings.Compare(encoded(a), encoded(b)) })
	}
}

// ofThisRun are fields of advisories whose values differ between any two runs.
var ofThisRun = map[string]bool{
	"id": true, "timestamp": true, "ts": true, "created": true, "client": true, "leader": true, "replicas": true, "ack_time": true,
	"pinned_id": true, "response": true, "server": true, "_nats.ver": true, "cluster": true,
}

func withoutTimes(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if ofThisRun[k] {
				x = presence(x)
			}
			out[k] = withoutTimes(x)
		}
		return out
	case []any:
		var out []any
		for _, x := range v {
			out = append(out, withoutTimes(x))
		}
		return out
	}
	return v
}
