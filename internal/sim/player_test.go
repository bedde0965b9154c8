package sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/router"
)

// span is a time in which what falls due may come late.
type span struct{ from, to time.Time }

// player does operations, one after the other, each at its time, and takes down what a
// client sees.
type player struct {
	world    *world
	variant  *variant
	replicas int // of the streams, now
	calls    calls
	node     *node // that the client talks to
	slot     time.Time
	gaps     []span

	mu      sync.Mutex
	inbox   int
	heardOf []string // since the operation began, by the inbox that waits
	replies []string // ack subjects of what was pulled, the newest last
}

// An operation begins slotOffset after a full second, listens, and then looks at what is there, for infoTime at each thing.
// Whatever falls due by itself does so at a full second, and slotOffset before one if that again makes something fall due: while
// nobody looks.
const (
	slotTime   = time.Second
	slotOffset = 400 * time.Millisecond
	replyTime  = 400 * time.Millisecond
	infoTime   = 30 * time.Millisecond
	gapTime    = 30 * time.Second
)

// due is a time after which something falls due, of about so many seconds.
func due(seconds int) time.Duration { return time.Duration(seconds)*time.Second - slotOffset }

// at is when the operation is done.
func (p *player) at() time.Time { return p.slot }

// heard takes a message to _INBOX.<node>.eq.<number>.
func (p *player) heard(_ *life, rest string, m *router.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rest != fmt.Sprint(p.inbox) {
		return
	}
	reply := string(m.Reply)
	if strings.HasPrefix(reply, ackPrefix) {
		p.replies = append(p.replies, reply)
	}
	subj := string(m.Subject)
	if strings.HasPrefix(subj, "_INBOX.") {
		subj = ""
	}
	p.heardOf = append(p.heardOf, fmt.Sprintf("%s %s %q %s", subj, p.rounded(reply), p.rounded(string(m.Header)), p.normal(m.Payload)))
}

// ask sends a request and listens.
func (p *player) ask(subject string, header, body []byte) {
	p.node.say(subject, fmt.Sprintf("_INBOX.%s.eq.%d", p.node.name, p.inbox), header, body)
}

// tell publishes without listening.
func (p *player) tell(subject string, header, body []byte) { p.node.say(subject, "", header, body) }

func (p *player) askStream(subject string, c api.StreamConfig) {
	c.Storage, c.Replicas = p.variant.storage, p.replicas
	if !p.variant.async {
		c.PersistMode = ""
	}
	body, err := json.Marshal(c)
	if err != nil {
		p.world.fail("%s: %v", subject, err)
	}
	p.ask(apiPrefix+subject, nil, body)
}

func (p *player) pull(name string, batch int) {
	body, err := json.Marshal(api.ConsumerNextRequest{Batch: batch, Expires: replyTime / 2, NoWait: true})
	if err != nil {
		p.world.fail("pull: %v", err)
	}
	p.ask(apiPrefix+"CONSUMER.MSG.NEXT.S."+name, nil, body)
}

// acknowledge says a word about one of the last messages that were pulled.
func (p *player) acknowledge(k int, word string) {
	p.mu.Lock()
	reply := ""
	if k < len(p.replies) {
		reply = p.replies[len(p.replies)-1-k]
	}
	p.mu.Unlock()
	if reply != "" {
		p.ask(reply, nil, []byte(word))
	}
}

// play does an operation and returns what was seen of it and what is there after it.
func (p *player) play(o *operation) string {
	p.choose(o.pick)
	p.listen()
	o.do(p)
	sleep(p.slot.Add(o.takes + replyTime).Sub(now()))
	seen := p.listened()
	for _, name := range []string{"c", "d", "e"} {
		seen += p.asked("CONSUMER.INFO.S."+name, "")
	}
	for _, name := range streamsOf {
		if o.unsettles && name != "S" {
			continue // they are about to find S again
		}
		seen += p.asked("STREAM.INFO."+name, `{"deleted_details":true,"subjects_filter":">"}`)
	}
	return seen
}

// choose draws the node that the client talks to.
func (p *player) choose(pick uint64) {
	up := p.world.upNodes()
	p.node = up[pick%uint64(len(up))]
}

func (p *player) listen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox++
	p.heardOf = nil
}

func (p *player) listened() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.heardOf) == 0 {
		return "nothing\n"
	}
	return strings.Join(p.heardOf, "\n") + "\n"
}

// asked is the answer to a request of the API.
func (p *player) asked(subject, body string) string {
	p.listen()
	p.ask(apiPrefix+subject, nil, []byte(body))
	sleep(infoTime)
	return p.listened()
}

// contents are the messages of each stream that each replica holds, if they are the same.
func (p *player) contents() string {
	text := ""
	for _, name := range streamsOf {
		var all []string
		p.world.eachReplica(name, func(n *node, s *jetstream.Stream) {
			list, _ := p.world.messages(n, s)
			text := ""
			for _, m := range list {
				text += fmt.Sprintf("%s %d %s %s %q %q\n", name, m.Seq, time.Unix(0, m.Time).UTC().Format(time.RFC3339Nano), m.Subject, m.Header, m.Data)
			}
			all = append(all, p.rounded(text))
		})
		if all = slices.Compact(all); len(all) > 1 {
			return "replicas differ:\n" + strings.Join(all, "and\n")
		}
		text += strings.Join(all, "")
	}
	return text
}

// varying are the fields that may differ between variants and moments.
var varying = []string{
	"ts", "cluster", "num_waiting", "last_active", "pause_remaining", "created", "num_replicas", "storage", "metadata", "alternates", "bytes", "persist_mode", "active", "lag",
}

// normal is an answer without what varies.
func (p *player) normal(body []byte) string {
	var doc any
	if json.Unmarshal(body, &doc) != nil {
		return p.rounded(string(body))
	}
	strip(doc)
	out, err := json.Marshal(doc)
	if err != nil {
		return err.Error()
	}
	return p.rounded(string(out))
}

func strip(doc any) {
	switch v := doc.(type) {
	case map[string]any:
		for _, name := range varying {
			delete(v, name)
		}
		if hdrs, ok := v["hdrs"].(string); ok {
			block, err := base64.StdEncoding.DecodeString(hdrs)
			v["hdrs"] = fmt.Sprintf("%s, %v", block, err)
		}
		for name, x := range v {
			if name == "mirror" || name == "sources" {
				stripErrors(x)
			}
			strip(x)
		}
		stripPosition(v)
	case []any:
		for _, x := range v {
			strip(x)
		}
	}
}

// stripPosition leaves out of the info of a mirror where it is between its messages: it learns of what its origin has removed
// there when it begins to copy, and that is again after an election. What it holds is compared by itself.
func stripPosition(info map[string]any) {
	config, _ := info["config"].(map[string]any)
	state, _ := info["state"].(map[string]any)
	if config["mirror"] == nil {
		return
	}
	for _, name := range []string{"first_seq", "last_seq", "deleted", "num_deleted"} {
		delete(state, name)
	}
}

// stripErrors leaves out what the last try to reach an origin met, which may be one try ago.
func stripErrors(doc any) {
	switch v := doc.(type) {
	case map[string]any:
		delete(v, "error")
	case []any:
		for _, x := range v {
			stripErrors(x)
		}
	}
}

var (
	timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	// ackTime is the time of the message in an ack subject.
	ackTime = regexp.MustCompile(`(\$JS\.ACK\.S\.\w+\.\d+\.\d+\.\d+)\.\d+`)
	// identity is that of the origin of a message, at the end of where it comes from.
	identity = regexp.MustCompile(`(Nats-Stream-Source: \S+ \d+ \S+ \S+ \S+) \w+`)
	// noMessage is what file and memory streams say of a message that is not there.
	noMessage = regexp.MustCompile(`"code":\d+,"description":"(stream store EOF|no message found|sequence \d+ not found)","err_code":\d+`)
)

// rounded is a text with its times rounded to half a second, and without what varies.
func (p *player) rounded(text string) string {
	text = noMessage.ReplaceAllString(ackTime.ReplaceAllString(text, "$1"), "no message")
	text = identity.ReplaceAllString(text, "$1")
	return timestamp.ReplaceAllStringFunc(text, func(s string) string {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return s
		}
		if i := p.gapOf(t); i >= 0 {
			return fmt.Sprint("in gap ", i)
		}
		return t.Round(500 * time.Millisecond).Format("15:04:05.0")
	})
}

// gapOf is the gap that a time is in, -1 if it is in none. What a stream does by itself in a gap, an election may delay: the
// marker of a message that expires has the time at which it is left, so that it is there for as long as it is to be.
func (p *player) gapOf(t time.Time) int {
	return slices.IndexFunc(p.gaps, func(g span) bool { return !t.Before(g.from) && t.Before(g.to) })
}
