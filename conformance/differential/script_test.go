package differential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/conformance/procs"
)

// TestScripts plays each file of testdata/scripts on both servers, one node and three, on disk and in memory, and wants
// them to tell the client the same. A line is a command:
//
//	stream <config>           creates a stream; storage and replicas are those of the run
//	update <config>
//	api <subject> [body]      a request to $JS.API.<subject>
//	pub <subject> [<header>=<value>]... [|body]
//	quiet <subject> ...       the same, for a message that nobody may answer
//	fast <subject> <id>.<flow>.<gap>.<seq>.<operation> [<header>=<value>]... [|body]
//	dump <stream>             its state and all its messages
//	events                    the batches that were abandoned
//	repeat <n> <command>      with {#} in it for the numbers from 1
//	wait <duration>           for what is a matter of the servers' clocks: expiry, schedules, batches left alone
//	lead <stream> <node>      moves its leader, in a cluster
//	restart                   of all nodes; memory streams lose what they have, so the run ends there for them
//
// Of headers, _ stands for a space and {1s} for the time in a second. An indented line goes on with the line before. A line that begins
// with ! is one whose answers differ on purpose, one with ~ may in a cluster, where the other server looks at the faults of a message in
// another order; docs/conformance.md says why.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint("R", nodes), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), trialTime)
			defer cancel()
			weir, other := startPlayer(ctx, t, weirBin, nodes), startPlayer(ctx, t, natsBin, nodes)
			for _, file := range files {
				for _, storage := range []string{"file", "memory"} {
					t.Run(filepath.Base(file)+"/"+storage, func(t *testing.T) {
						text, err := os.ReadFile(file)
						if err != nil {
							t.Fatal(err)
						}
						playBoth(t, weir, other, scriptLines(string(text)), storage)
					})
				}
			}
		})
	}
}

func scriptLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '\t' && len(lines) > 0:
			lines[len(lines)-1] += " " + strings.TrimSpace(line)
		default:
			lines = append(lines, line)
		}
	}
	return lines
}

func playBoth(t *testing.T, weir, other *player, lines []string, storage string) {
	t.Helper()
	told := [2][]string{}
	errs := make(chan error)
	for i, p := range []*player{weir, other} {
		go func() {
			var err error
			told[i], err = p.play(lines, storage)
			errs <- err
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	for i, a := range told[0] {
		on := lines[i][0] == '!' || lines[i][0] == '~' && weir.nodes > 1
		if b := told[1][i]; a != b && !on {
			t.Errorf("%s\n  Weir:        %s\n  nats-server: %s", lines[i], without(a, b), without(b, a))
		}
	}
}

// without is what a tells and b does not.
func without(a, b string) string {
	same := strings.Split(b, "\n")
	return strings.Join(slices.DeleteFunc(strings.Split(a, "\n"), func(line string) bool { return slices.Contains(same, line) }), "\n")
}

// player plays scripts on one server.
type player struct {
	cluster *procs.Cluster
	nodes   int
	ctx     context.Context
	nc      *nats.Conn
	events  *nats.Subscription
	storage string
}

func startPlayer(ctx context.Context, t *testing.T, bin string, nodes int) *player {
	t.Helper()
	c, err := procs.New(procs.Spec{Bin: bin, Dir: t.TempDir(), Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(c.Nodes[0].URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	sub, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.>")
	if err != nil {
		t.Fatal(err)
	}
	return &player{cluster: c, nodes: nodes, ctx: ctx, nc: nc, events: sub}
}

// play returns what came of each line.
func (p *player) play(lines []string, storage string) ([]string, error) {
	p.storage = storage
	told := make([]string, len(lines))
	if err := clearStreams(p.ctx, p.nc); err != nil {
		return told, err
	}
	for i, line := range lines {
		if line == "restart" && storage == "memory" {
			break
		}
		var err error
		if told[i], err = p.do(strings.TrimLeft(line, "!~")); err != nil {
			return told, fmt.Errorf("%s: %w", line, err)
		}
	}
	return told, nil
}

func (p *player) do(line string) (string, error) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "stream":
		return p.configure("CREATE", rest)
	case "update":
		return p.configure("UPDATE", rest)
	case "api":
		subject, body, _ := strings.Cut(rest, " ")
		return p.answers(&step{subject: "$JS.API." + subject, body: body})
	case "pub", "quiet":
		s := messageOf(rest)
		s.silent = verb == "quiet"
		return p.answers(s)
	case "fast":
		return p.fast(rest)
	case "dump":
		return p.dump(rest)
	case "events":
		return p.abandoned()
	case "repeat":
		return p.repeat(rest)
	case "wait":
		d, err := time.ParseDuration(rest)
		time.Sleep(d)
		return "", err
	case "lead":
		return "", p.lead(rest)
	case "restart":
		return "", p.restart()
	}
	return "", errors.New("no such command")
}

// repeat tells each different outcome once.
func (p *player) repeat(text string) (string, error) {
	count, command, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		return "", err
	}
	var all []string
	for i := range n {
		told, err := p.do(strings.ReplaceAll(command, "{#}", strconv.Itoa(i+1)))
		if err != nil {
			return "", err
		}
		if !slices.Contains(all, told) {
			all = append(all, told)
		}
	}
	return strings.Join(all, " "), nil
}

func (p *player) configure(verb, config string) (string, error) {
	var doc document
	if err := json.Unmarshal([]byte(config), &doc); err != nil {
		return "", err
	}
	if doc["storage"] == nil {
		doc["storage"] = p.storage
	}
	if doc["num_replicas"] == nil && p.nodes > 1 {
		doc["num_replicas"] = p.nodes
	}
	s := &step{subject: fmt.Sprintf("$JS.API.STREAM.%s.%v", verb, doc["name"]), body: encoded(doc)}
	for deadline := time.Now().Add(settleTime); ; time.Sleep(lagPause) {
		told, err := p.answers(s, "state", "sources", "mirror") // which say how far copies are
		// The other server may not yet be done with a stream that was deleted.
		if err != nil || !strings.Contains(told, `"error creating store for stream"`) || time.Now().After(deadline) {
			return told, err
		}
	}
}

var timeIn = regexp.MustCompile(`\{(-?[0-9a-z.]+)\}`)

// messageOf reads a subject, headers and a body.
func messageOf(text string) *step {
	text, body, _ := strings.Cut(text, "|")
	fields := strings.Fields(text)
	s := &step{subject: fields[0], body: body}
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(f, "=")
		value = timeIn.ReplaceAllStringFunc(strings.ReplaceAll(value, "_", " "), func(in string) string {
			d, err := time.ParseDuration(in[1 : len(in)-1])
			if err != nil {
				return in
			}
			return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z07:00")
		})
		if s.header == nil {
			s.header = nats.Header{}
		}
		s.header[name] = append(s.header[name], value)
	}
	return s
}

// settleTime is how long a new stream may not answer.
const settleTime = 10 * time.Second

// answers does a request and tells what was answered, besides some fields. Where nobody is there yet, it comes again.
func (p *player) answers(s *step, besides ...string) (string, error) {
	for deadline := time.Now().Add(settleTime); ; time.Sleep(lagPause) {
		a, err := ask(p.nc, s)
		if err != nil {
			return "", err
		}
		if a.err == "no responders" && time.Now().Before(deadline) {
			continue
		}
		doc := a.document()
		if m, ok := doc.(map[string]any); ok && isMap(m["body"]) {
			for _, field := range besides {
				delete(m["body"].(map[string]any), field)
			}
		}
		return stable(encoded(doc)), nil
	}
}

var moments = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.]*(Z|[+-]\d\d:\d\d)`)

// identities end the headers of copied messages.
var identities = regexp.MustCompile(`("Nats-Stream-Source: (?:\S+ ){5})\w+"`)

// stable is text without times and identities.
func stable(text string) string {
	return identities.ReplaceAllString(moments.ReplaceAllString(text, "(time)"), `$1(identity)"`)
}

// fastTime is how long to wait for another answer to a part of a fast batch.
const fastTime = 300 * time.Millisecond

// fast publishes a part of a fast batch and tells what is answered within a moment.
func (p *player) fast(text string) (string, error) {
	fields := strings.Fields(text)
	s := messageOf(strings.Join(append([]string{fields[0]}, fields[2:]...), " "))
	inbox := nats.NewInbox()
	sub, err := p.nc.SubscribeSync(inbox + ".>")
	if err != nil {
		return "", err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	m := &nats.Msg{Subject: s.subject, Reply: inbox + "." + fields[1] + ".$FI", Header: s.header, Data: []byte(s.body)}
	if err := p.nc.PublishMsg(m); err != nil {
		return "", err
	}
	var all []string
	for {
		m, err := sub.NextMsg(fastTime)
		if errors.Is(err, nats.ErrTimeout) {
			return strings.Join(all, " "), nil
		}
		if err != nil {
			return "", err
		}
		all = append(all, stable(encoded(message(m))))
	}
}

// dump is a stream's state and messages.
func (p *player) dump(name string) (string, error) {
	m, err := p.nc.Request("$JS.API.STREAM.INFO."+name, []byte(`{"subjects_filter":">"}`), answerTime)
	if err != nil {
		return "", err
	}
	var info struct {
		State struct {
			Msgs     uint64            `json:"messages"`
			First    uint64            `json:"first_seq"`
			Last     uint64            `json:"last_seq"`
			Subjects map[string]uint64 `json:"subjects"`
		}
	}
	if err := json.Unmarshal(m.Data, &info); err != nil {
		return "", err
	}
	var b strings.Builder
	s := &info.State
	fmt.Fprintf(&b, "%d messages, %d to %d", s.Msgs, s.First, s.Last)
	for seq := s.First; seq <= s.Last && s.Msgs > 0; seq++ {
		m, err := p.nc.Request("$JS.API.STREAM.MSG.GET."+name, fmt.Appendf(nil, `{"seq":%d}`, seq), answerTime)
		if err != nil {
			return "", err
		}
		var got struct {
			Message *struct {
				Subject string
				Hdrs    []byte
				Data    []byte
			}
		}
		if err := json.Unmarshal(m.Data, &got); err != nil {
			return "", err
		}
		if got.Message == nil {
			continue
		}
		headers, _, _ := bytes.Cut(got.Message.Hdrs, []byte("\r\n\r\n"))
		lines := strings.Split(string(headers), "\r\n")
		slices.Sort(lines)
		fmt.Fprintf(&b, "\n    %d %s %q %.40q", seq, got.Message.Subject, lines, got.Message.Data)
	}
	return stable(b.String()), nil
}

// abandoned lists the advisories of batches that came.
func (p *player) abandoned() (string, error) {
	var all []string
	for {
		m, err := p.events.NextMsg(silentTime)
		if errors.Is(err, nats.ErrTimeout) {
			slices.Sort(all)
			return strings.Join(all, " "), nil
		}
		if err != nil {
			return "", err
		}
		var doc struct{ Type, Stream, Batch, Reason string }
		if err := json.Unmarshal(m.Data, &doc); err != nil {
			return "", err
		}
		all = append(all, fmt.Sprint(doc))
	}
}

func (p *player) lead(text string) error {
	if p.nodes == 1 {
		return nil
	}
	name, node, _ := strings.Cut(text, " ")
	body := fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, node)
	ctx, cancel := context.WithTimeout(p.ctx, settleTime)
	defer cancel()
	return procs.Until(ctx, name+" is led by "+node, func() error {
		m, err := p.nc.Request("$JS.API.STREAM.INFO."+name, nil, answerTime)
		if err != nil {
			return err
		}
		var info struct{ Cluster struct{ Leader string } }
		if err := json.Unmarshal(m.Data, &info); err != nil {
			return err
		}
		if info.Cluster.Leader == node {
			return nil
		}
		if info.Cluster.Leader != "" {
			_, err = p.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+name, body, answerTime)
		}
		return errors.Join(fmt.Errorf("%q leads", info.Cluster.Leader), err)
	})
}

// restart kills all nodes and starts them again.
func (p *player) restart() error {
	p.cluster.Kill()
	if err := p.cluster.Start(p.ctx); err != nil {
		return err
	}
	return procs.Until(p.ctx, "the client is back", func() error {
		_, err := p.nc.Request("$JS.API.INFO", nil, time.Second)
		return err
	})
}
