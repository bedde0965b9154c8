package conformance

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// scene is what happens to one consumer, D of stream L or W, step by step. A step is a word and
// its argument:
//
//	pull <request>    asks for messages with an inbox of its own
//	more <request>    as pull, with the inbox of the last pull
//	pub <subject>     publishes a message
//	ack <n> <text>    answers the n'th message that came
//	ask <n> <text>    the same, and wants a confirmation
//	flow [<seq>]      answers the last flow control request: what has been stored
//	listen <subject>  subscribes to where a push consumer delivers
//	api <op> <body>   sends an API request about the consumer
//	rest              waits until nothing comes any more
//	wait <duration>   lets time pass
type scene struct {
	name, config string
	steps        []string
}

const (
	explicit = `"ack_policy":"explicit"`
	quick    = `"ack_policy":"explicit","ack_wait":1000000000`
)

// scenes are what pull and push consumers do for their clients.
var scenes = []scene{
	{"batch", explicit, []string{`pull 3`, `rest`}},
	{"batch as a number", explicit, []string{`pull `, `rest`}},
	{"not a request", explicit, []string{`pull {"batch":"x"}`, `pull {`, `pull x`, `pull {"batch":-1}`, `pull {"batch":0}`, `pull {"nonsense":1}`, `rest`}},
	{"more than there is, no_wait", explicit, []string{`pull {"batch":20,"no_wait":true}`, `rest`}},
	{"nothing, no_wait", `"filter_subject":"L.none"`, []string{`pull {"batch":20,"no_wait":true}`, `rest`}},
	{"expires", explicit, []string{`pull {"batch":20,"expires":300000000}`, `rest`}},
	{"expires with nothing", `"filter_subject":"L.none"`, []string{`pull {"batch":2,"expires":300000000,"max_bytes":1000}`, `rest`}},
	{"no_wait and expires", `"filter_subject":"L.late"`, []string{`pull {"batch":3,"no_wait":true,"expires":300000000}`, `pub L.late`, `rest`}},
	{"negative expires", explicit, []string{`pull {"batch":1,"expires":-1}`, `rest`}},
	{"max_bytes", explicit, []string{`pull {"batch":20,"max_bytes":200,"expires":300000000}`, `rest`}},
	{"max_bytes below a message", explicit, []string{`pull {"batch":20,"max_bytes":5,"expires":300000000}`, `rest`}},
	{"heartbeat", `"filter_subject":"L.none"`, []string{`pull {"batch":1,"expires":1000000000,"idle_heartbeat":300000000}`, `rest`}},
	{"heartbeat too long", explicit, []string{`pull {"batch":1,"expires":1000000000,"idle_heartbeat":900000000}`, `rest`}},
	{"heartbeat without expires", explicit, []string{`pull {"batch":1,"idle_heartbeat":300000000}`, `rest`}},
	{"max_batch", explicit + `,"max_batch":2`, []string{`pull {"batch":3}`, `pull {"batch":2}`, `rest`}},
	{"max_expires", explicit + `,"max_expires":100000000`, []string{`pull {"batch":1,"expires":200000000}`, `pull {"batch":1}`, `pull {"batch":1,"expires":90000000}`, `rest`}},
	{"max_bytes of the consumer", explicit + `,"max_bytes":100`, []string{`pull {"batch":1,"max_bytes":200}`, `pull {"batch":1}`, `rest`}},
	{"max_waiting", `"filter_subject":"L.none","max_waiting":2`, []string{`rest`, `pull 1`, `pull 1`, `pull 1`, `pull {"batch":1,"no_wait":true}`, `rest`}},
	{"max_ack_pending", explicit + `,"max_ack_pending":2`, []string{`pull {"batch":4,"expires":500000000}`, `rest`, `ack 1 +ACK`, `rest`}},
	{"max_ack_pending, no_wait", explicit + `,"max_ack_pending":2`, []string{`pull {"batch":2}`, `rest`, `ask 1 +ACK`, `pull {"batch":1,"no_wait":true}`, `rest`}},
	{"headers only", explicit + `,"headers_only":true`, []string{`pull 2`, `rest`}},
	{"deleted", `"filter_subject":"L.none"`, []string{`pull {"batch":1,"expires":5000000000}`, `api DELETE `, `rest`}},
	{"paused", explicit, []string{`api PAUSE {"pause_until":"2120-01-01T00:00:00Z"}`, `pull {"batch":1,"expires":300000000}`, `rest`, `api PAUSE `, `pull {"batch":1,"expires":300000000}`, `rest`}},
	{"pull of a push consumer", `"deliver_subject":"to.none"`, []string{`pull 1`, `rest`}},

	{"ack", explicit, []string{`pull 3`, `rest`, `ask 1 +ACK`, `ask 2 `, `ask 3 -NAK`, `rest`, `api INFO `}},
	{"words", explicit, []string{`pull 5`, `rest`, `ask 1 +WPI`, `ask 1 +TERM`, `ask 2 +TERM because`, `ask 3 nonsense`, `ask 4 -NAK {"delay":200000000}`, `ask 5 -NAK x`, `rest`, `api INFO `}},
	{"ack twice", explicit, []string{`pull 1`, `rest`, `ask 1 +ACK`, `ask 1 +ACK`, `rest`}},
	{"next", explicit, []string{`pull 1`, `rest`, `next 1 +NXT`, `rest`}},
	{"next with a request", explicit, []string{`pull 1`, `rest`, `next 1 +NXT {"batch":2,"no_wait":true}`, `rest`}},
	{"next with a number", explicit, []string{`pull 1`, `rest`, `next 1 +NXT 2`, `rest`}},
	{"ack all", `"ack_policy":"all"`, []string{`pull 5`, `rest`, `ask 3 +ACK`, `api INFO `, `ask 5 +ACK`, `api INFO `}},
	{"ack all, nak", `"ack_policy":"all"`, []string{`pull 3`, `rest`, `ask 2 -NAK`, `pull {"batch":3,"no_wait":true}`, `rest`, `ask 4 +TERM`, `api INFO `}},
	{"no acks", `"ack_policy":"none"`, []string{`pull 3`, `rest`, `api INFO `}},
	{"redelivery", quick, []string{`pull 2`, `rest`, `wait 1500ms`, `pull {"batch":2,"expires":900000000}`, `rest`, `api INFO `}},
	{"max_deliver", quick + `,"max_deliver":2`, []string{`pull 1`, `rest`, `wait 1500ms`, `pull {"batch":1,"expires":900000000}`, `rest`, `wait 1500ms`, `pull {"batch":1,"no_wait":true}`, `rest`}},
	{"max_deliver 1", quick + `,"max_deliver":1`, []string{`pull 2`, `rest`, `wait 1500ms`}},
	{"max_deliver, nak", explicit + `,"max_deliver":2`, []string{`pull 1`, `rest`, `ack 1 -NAK`, `pull 1`, `rest`, `ack 2 -NAK`, `pull {"batch":1,"no_wait":true}`, `rest`}},
	{"backoff", explicit + `,"max_deliver":3,"backoff":[200000000,500000000]`, []string{`pull 1`, `pull {"batch":1,"expires":3000000000,"max_bytes":60}`, `rest`, `rest`, `api INFO `}},
	{"sampling", explicit + `,"sample_freq":"100"`, []string{`pull 2`, `rest`, `ask 1 +ACK`, `ask 2 +TERM`, `rest`}},
	{"filters", explicit + `,"filter_subjects":["L.a","L.c"]`, []string{`pull {"batch":20,"no_wait":true}`, `rest`, `api INFO `}},
	{"last", explicit + `,"deliver_policy":"last"`, []string{`pull {"batch":20,"no_wait":true}`, `rest`, `api INFO `}},
	{"last of a filter", explicit + `,"deliver_policy":"last","filter_subject":"L.b"`, []string{`pull {"batch":20,"no_wait":true}`, `rest`, `api INFO `}},
	{"last per subject", explicit + `,"deliver_policy":"last_per_subject","filter_subject":"L.*"`, []string{`pub L.a`, `pull {"batch":20,"no_wait":true}`, `rest`, `api INFO `}},
	{"new", explicit + `,"deliver_policy":"new"`, []string{`pub L.a`, `pull {"batch":20,"no_wait":true}`, `rest`, `api INFO `}},
	{"by sequence", explicit + `,"deliver_policy":"by_start_sequence","opt_start_seq":7`, []string{`pull {"batch":20,"no_wait":true}`, `rest`, `api INFO `}},
	{"reset", explicit, []string{`pull 4`, `rest`, `ask 1 +ACK`, `ask 2 +ACK`, `ask 4 +ACK`, `api RESET `, `api INFO `, `pull 1`, `rest`, `ask 5 +ACK`, `api INFO `}},
	{"reset to a sequence", explicit, []string{`pull 4`, `rest`, `ask 1 +ACK`, `api RESET {"seq":2}`, `api INFO `, `pull 2`, `rest`, `ask 3 +ACK`, `api INFO `}},

	{"overflow", explicit + `,"priority_groups":["a"],"priority_policy":"overflow"`, []string{
		`pull 1`, `pull {"batch":1,"group":"b"}`, `pull {"batch":1,"group":"a","min_pending":100,"expires":300000000}`, `pull {"batch":1,"group":"a","min_pending":2}`,
		`pull {"batch":1,"group":"a","min_ack_pending":5,"expires":300000000}`, `pull {"batch":1,"group":"a","min_ack_pending":1}`, `pull {"batch":1,"group":"a","id":"x"}`, `pull {"batch":1,"group":"a","priority":1}`, `rest`}},
	{"group of a consumer without", explicit, []string{`pull {"batch":1,"group":"a"}`, `pull {"batch":1,"min_pending":5}`, `pull {"batch":1,"id":"x"}`, `pull {"batch":1,"priority":3}`, `rest`}},
	{"pinned", explicit + `,"priority_groups":["a"],"priority_policy":"pinned_client","priority_timeout":1000000000`, []string{
		`pull {"batch":1,"group":"a"}`, `rest`, `pull {"batch":1,"group":"a","expires":300000000}`, `pull {"batch":1,"group":"a","id":"wrong","expires":300000000}`, `rest`, `api INFO `,
		`api UNPIN {"group":"a"}`, `pull {"batch":1,"group":"a","expires":300000000}`, `rest`, `wait 1200ms`, `rest`}},
	{"prioritized", explicit + `,"filter_subject":"L.p","priority_groups":["a"],"priority_policy":"prioritized"`, []string{
		`pull {"batch":1,"group":"a","priority":5,"expires":500000000}`, `pull {"batch":1,"group":"a","priority":1,"expires":500000000}`, `pull {"batch":1,"group":"a","priority":10}`, `pull {"batch":1,"group":"a","priority":-1}`,
		`pub L.p`, `rest`}},

	{"push", `"deliver_subject":"to.D"`, []string{`listen to.D`, `rest`, `api INFO `}},
	{"push with acks", explicit + `,"deliver_subject":"to.D","max_ack_pending":2`, []string{`listen to.D`, `rest`, `ack 1 +ACK`, `ack 2 +ACK`, `rest`, `api INFO `}},
	{"push without interest", explicit + `,"deliver_subject":"to.D"`, []string{`api INFO `, `listen to.D`, `rest`, `api INFO `}},
	{"heartbeats", `"deliver_subject":"to.D","idle_heartbeat":200000000`, []string{`listen to.D`, `wait 700ms`}},
	{"flow control", `"deliver_subject":"to.D","idle_heartbeat":300000000,"flow_control":true`, []string{`listen to.D`, `wait 1s`}},
	{"headers only, pushed", `"deliver_subject":"to.D","headers_only":true`, []string{`listen to.D`, `rest`}},
	{"rate limit", `"deliver_subject":"to.D","rate_limit_bps":4000`, []string{`listen to.D`, `wait 3s`}},
	{"replay", `"deliver_subject":"to.D","replay_policy":"original"`, []string{`listen to.D`, `wait 1s`}},
	{"queue group", `"deliver_subject":"to.D","deliver_group":"q"`, []string{`listen to.D`, `queue to.D q`, `rest`, `api INFO `}},
	{"acks of flow control", `"deliver_subject":"to.D","ack_policy":"flow_control","max_ack_pending":4`, []string{`listen to.D`, `rest`, `api INFO `, `flow 4`, `rest`, `flow 7`, `rest`, `api INFO `, `flow 8`, `wait 1200ms`, `api INFO `}},
	{"acks of flow control that say nothing", `"deliver_subject":"to.D","ack_policy":"flow_control","max_ack_pending":4`, []string{`listen to.D`, `rest`, `flow`, `wait 2500ms`, `api INFO `}},
	{"pulls without their group", explicit + `,"priority_groups":["a"],"priority_policy":"pinned_client"`, []string{`pull {"batch":1}`, `pull {"batch":1,"id":"x"}`, `rest`}},
	{"pulls without their group, prioritized", explicit + `,"priority_groups":["a"],"priority_policy":"prioritized"`, []string{`pull 1`, `pull {"batch":1,"priority":2}`, `rest`}},
	{"pulls without their group, overflow", explicit + `,"priority_groups":["a"],"priority_policy":"overflow"`, []string{`pull 1`, `pull {"batch":1,"min_pending":2}`, `pull {"batch":1,"min_pending":200,"expires":300000000}`, `rest`}},
	{"paused push", `"deliver_subject":"to.D","idle_heartbeat":200000000,"pause_until":"2120-01-01T00:00:00Z"`, []string{`listen to.D`, `wait 500ms`, `api PAUSE `, `wait 500ms`}},
	{"deleted push", `"deliver_subject":"to.D","filter_subject":"L.none"`, []string{`listen to.D`, `api DELETE `, `rest`}},
}

// stage is a scene on one server.
type stage struct {
	nc    *nats.Conn
	inbox string

	mu    sync.Mutex
	came  []*nats.Msg
	lines map[string][]string // by subscription
	last  time.Time
}

// restTime is how long nothing comes when nothing comes any more.
const restTime = 350 * time.Millisecond

// TestDeliveryLikeNatsServer plays the same scenes on this server and on nats-server:
// messages, statuses, advisories and answers are equal.
func TestDeliveryLikeNatsServer(t *testing.T) {
	ctx := trialContext(t)
	p := startPair(ctx, t)
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			var got, want string
			var both sync.WaitGroup
			both.Go(func() { got = play(ctx, p.weir, &sc) })
			both.Go(func() { want = play(ctx, p.other, &sc) })
			both.Wait()
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func play(ctx context.Context, nc *nats.Conn, sc *scene) string {
	s := &stage{nc: nc, lines: map[string][]string{}, last: time.Now()}
	ask(ctx, nc, "$JS.API.STREAM.DELETE.L", "")
	ask(ctx, nc, "$JS.API.STREAM.CREATE.L", `{"name":"L","subjects":["L.>"]}`)
	for i, token := range []string{"a", "b", "a", "c", "b", "a", "c", "c"} {
		ask(ctx, nc, "L."+token, fmt.Sprintf("message %d", i+1))
	}
	events, err := nc.Subscribe("$JS.EVENT.*.CONSUMER.>", s.receive("events"))
	if err != nil {
		return err.Error()
	}
	defer events.Unsubscribe() //nolint:errcheck // the scene is over
	s.note("answers", ask(ctx, nc, "$JS.API.CONSUMER.CREATE.L.D", `{"stream_name":"L","config":{"name":"D","durable_name":"D",`+sc.config+`}}`))
	var subs []*nats.Subscription
	for i, step := range sc.steps {
		word, arg, _ := strings.Cut(step, " ")
		if sub := s.do(ctx, fmt.Sprint(i+1), word, arg); sub != nil {
			subs = append(subs, sub)
		}
	}
	for _, sub := range subs {
		_ = sub.Unsubscribe() // the scene is over
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, from := range sortedKeys(s.lines) {
		fmt.Fprintf(&b, "%s:\n  %s\n", from, strings.Join(s.lines[from], "\n  "))
	}
	return b.String()
}

func (s *stage) do(ctx context.Context, id, word, arg string) (sub *nats.Subscription) {
	var err error
	switch word {
	case "pull":
		s.inbox = s.nc.NewInbox()
		if sub, err = s.nc.Subscribe(s.inbox, s.receive("pull "+id)); err == nil {
			err = s.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.L.D", s.inbox, []byte(arg))
		}
	case "listen":
		sub, err = s.nc.Subscribe(arg, s.receive("push"))
	case "queue":
		subject, queue, _ := strings.Cut(arg, " ")
		sub, err = s.nc.QueueSubscribe(subject, queue, s.receive("queue"))
	case "pub":
		ask(ctx, s.nc, arg, "late")
	case "ack", "ask", "next":
		s.reply(ctx, id, word, arg)
	case "flow":
		s.flow(arg)
	case "api":
		op, body, _ := strings.Cut(arg, " ")
		s.note("answers", ask(ctx, s.nc, "$JS.API.CONSUMER."+op+".L.D", body))
	case "rest":
		s.rest(ctx)
	case "wait":
		d, _ := time.ParseDuration(arg)
		time.Sleep(d)
	}
	if err == nil {
		err = s.nc.Flush()
	}
	if err != nil {
		s.note("errors", err.Error())
	}
	return sub
}

// reply answers the n'th message that came.
func (s *stage) reply(ctx context.Context, id, word, arg string) {
	var n int
	var text string
	number, text, _ := strings.Cut(arg, " ")
	fmt.Sscan(number, &n)
	s.mu.Lock()
	if n < 1 || n > len(s.came) {
		s.mu.Unlock()
		s.note("errors", fmt.Sprintf("there is no message %d", n))
		return
	}
	to := s.came[n-1].Reply
	s.mu.Unlock()
	switch word {
	case "ack":
		_ = s.nc.Publish(to, []byte(text)) // Flush tells
	case "next":
		_ = s.nc.PublishRequest(to, s.inbox, []byte(text))
	case "ask":
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		m, err := s.nc.RequestWithContext(ctx, to, []byte(text))
		if err != nil {
			s.note("confirmations", id+": "+err.Error())
			return
		}
		s.note("confirmations", id+": "+normalized(m))
	}
}

// flow answers the last flow control request.
func (s *stage) flow(stored string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range slices.Backward(s.came) {
		if m.Header.Get("Status") == "100" && m.Reply != "" {
			answer := nats.NewMsg(m.Reply)
			if stored != "" {
				answer.Header.Set("Nats-Last-Stream", stored)
				answer.Header.Set("Nats-Last-Consumer", stored)
			}
			_ = s.nc.PublishMsg(answer) // Flush tells
			return
		}
	}
	s.lines["errors"] = append(s.lines["errors"], "there is no flow control request")
}

func (s *stage) rest(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		left := restTime - time.Since(s.last)
		s.mu.Unlock()
		if left <= 0 {
			s.mu.Lock()
			s.last = time.Now()
			s.mu.Unlock()
			return
		}
		time.Sleep(left)
	}
}

// varying is what differs from run to run in subjects and documents of deliveries.
var varying = regexp.MustCompile(`(\$JS\.ACK\.\w+\.\w+\.\d+\.\d+\.\d+\.)\d+|(\$JS\.FC\.\w+\.\w+\.)[\w-]+|(Nats-Pin-Id: )\w+|("(?:ack_time|pinned_id|pinned_client_id|pinned_ts|until)":)[^,}]+`)

func (s *stage) receive(from string) nats.MsgHandler {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	return func(m *nats.Msg) {
		text := m.Reply + " " + normalized(m)
		if !strings.HasPrefix(from, "pull") {
			text = m.Subject + " " + text
		}
		s.note(from, varying.ReplaceAllString(text, "$1$2$3$4-"))
		s.mu.Lock()
		defer s.mu.Unlock()
		if from != "events" {
			s.came = append(s.came, m)
		}
		s.last = time.Now()
	}
}

func (s *stage) note(from, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines[from]
	if len(lines) > 0 && lines[len(lines)-1] == line && strings.Contains(line, "Idle Heartbeat") {
		return // how many there are is a matter of time
	}
	s.lines[from] = append(lines, line)
}
