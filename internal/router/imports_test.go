package router

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/wire"
)

// handClock stands still until it is moved.
type handClock struct {
	base.Clock
	now time.Time
}

func (c *handClock) Now() time.Time { return c.now }

// across is a router whose accounts import from each other.
type across struct {
	t        *testing.T
	clock    *handClock
	accounts *account.Registry
	router   *Router
	peer     *fakeRemote
	interest interestLog
	subs     map[string]*Sub
	out      []string
	names    map[string]string // of reply subjects, by what the transcript calls them
}

func newAcross(t *testing.T, config string) *across {
	t.Helper()
	cfg, err := conf.Parse(config, "")
	if err != nil {
		t.Fatal(err)
	}
	registry, err := account.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	x := &across{
		t: t, clock: &handClock{now: time.Unix(1e9, 0)}, accounts: registry, router: New(1), peer: &fakeRemote{node: 7},
		subs: map[string]*Sub{}, names: map[string]string{},
	}
	err = x.router.ServeImports(registry.Accounts(), ImportEnv{
		Clock:    x.clock,
		Describe: func(c *ClientInfo) []byte { return fmt.Appendf(nil, "%s,%s,%s", c.Account, c.Service, c.Name) },
		Tail:     func([]byte) []byte { return nil },
		Many:     func(subject, _ []byte) bool { return strings.HasPrefix(string(subject), "pull.") },
	})
	if err != nil {
		t.Fatal(err)
	}
	x.router.SetInterestListener(&x.interest)
	x.interest = nil
	return x
}

// namedClient is a client of an account that writes down what it gets.
type namedClient struct {
	fakeClient
	x       *across
	account string
}

func (c *namedClient) Receive(s *Sub, _ *Batch, m *Msg) bool {
	line := fmt.Sprintf("%s/%s: %s", c.account, s.SID, m.Subject)
	if len(m.To) > 0 {
		line += " to " + string(m.To)
	}
	if len(m.Reply) > 0 {
		line += " reply " + string(m.Reply)
	}
	if from, ok := wire.GetHeader(m.Header, RequestInfoHeader); ok {
		line += " from " + string(from)
	}
	c.x.out = append(c.x.out, c.x.hide(line))
	return true
}

func (c *namedClient) Describe() *ClientInfo {
	return &ClientInfo{ID: 1, Account: c.account, Name: "client"}
}

var replyName = regexp.MustCompile(`_R_\.[0-9a-z]+\.[0-9a-z*]+`)

// hide gives reply subjects short names.
func (x *across) hide(line string) string {
	return replyName.ReplaceAllStringFunc(line, func(name string) string {
		for short, known := range x.names {
			if known == name {
				return short
			}
		}
		short := fmt.Sprintf("R%d", len(x.names)+1)
		x.names[short] = name
		return short
	})
}

// show is the subject that the transcript gives a short name.
func (x *across) show(subj string) string {
	if name, ok := x.names[subj]; ok {
		return name
	}
	return subj
}

func (x *across) run(d *datadriven.TestData) string {
	var acc, subj, queue, sid, reply, to, header, payload string
	for key, at := range map[string]*string{
		"account": &acc, "subject": &subj, "queue": &queue, "sid": &sid, "reply": &reply, "to": &to, "header": &header, "payload": &payload,
	} {
		d.MaybeScanArgs(x.t, key, at)
	}
	a := x.accounts.Account(acc)
	switch d.Cmd {
	case "sub":
		x.subs[acc+"/"+sid] = mustSubscribe(x.t, x.router, a, &namedClient{x: x, account: acc}, subj, queue, sid)
	case "unsub":
		x.router.Unsubscribe(x.subs[acc+"/"+sid])
	case "remote":
		x.router.RemoteInterest(x.peer, acc, subj, queue, 1)
	case "pub", "route":
		m := &Msg{Subject: []byte(x.show(subj)), Reply: []byte(reply), To: []byte(x.show(to)), Payload: []byte(payload)}
		if header != "" {
			m.Header = wire.HeaderBlock("Key", header)
		}
		if d.Cmd == "route" {
			x.router.Inbound(x.peer, nil).Deliver([]byte(acc), m, nil)
			break
		}
		from := FromClient(&namedClient{x: x, account: acc}, false, nil)
		if x.router.Publish(a, from, m) == 0 {
			x.out = append(x.out, "nobody")
		}
	case "wait":
		var by time.Duration
		text := ""
		d.ScanArgs(x.t, "for", &text)
		by, err := time.ParseDuration(text)
		if err != nil {
			x.t.Fatal(err)
		}
		x.clock.now = x.clock.now.Add(by)
	case "replies":
		return fmt.Sprintf("%d\n", len(x.router.importing.replies.byName))
	default:
		x.t.Fatalf("unknown command %q", d.Cmd)
	}
	for _, line := range x.interest {
		x.out = append(x.out, x.hide("interest "+line))
	}
	for _, line := range x.peer.got {
		x.out = append(x.out, x.hide("peer "+line))
	}
	lines := x.out
	x.out, x.interest, x.peer.got = nil, nil, nil
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// TestImports runs the files of testdata/imports. Commands, after config with the
// text of a configuration: sub, unsub, pub by a client, route by a peer, remote
// interest, wait, and replies: how many answers are waited for. The output is who
// got what, changes of interest, and what went to the peer.
func TestImports(t *testing.T) {
	datadriven.Walk(t, "testdata/imports", func(t *testing.T, path string) {
		var x *across
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "config" {
				x = newAcross(t, d.Input)
				return ""
			}
			return x.run(d)
		})
	})
}

// deafClient takes everything and keeps nothing.
type deafClient struct{ fakeClient }

func (c *deafClient) Receive(*Sub, *Batch, *Msg) bool { return true }

// TestRepliesAreBounded: beyond the bound, those that end first are given up.
func TestRepliesAreBounded(t *testing.T) {
	x := newAcross(t, `accounts {
		A { exports: [{service: s}, {service: long, threshold: "1h"}] }
		B { imports: [{service: {account: A, subject: s}}, {service: {account: A, subject: long}}] }
	}`)
	a, b := x.accounts.Account("A"), x.accounts.Account("B")
	mustSubscribe(t, x.router, a, &deafClient{}, ">", "", "1")
	ask := func(subj string) { x.router.Publish(b, Internal, &Msg{Subject: []byte(subj), Reply: []byte("inbox")}) }
	ask("long")
	kept := x.router.importing.replies.ending[0].name
	for range maxReplies + 10 {
		ask("s")
	}
	p := &x.router.importing.replies
	if len(p.byName) != maxReplies || len(p.ending) != maxReplies || p.byName[kept] == nil {
		t.Fatalf("%d replies are kept, %d in order, the long one: %v", len(p.byName), len(p.ending), p.byName[kept] != nil)
	}
	x.clock.now = x.clock.now.Add(2 * time.Hour)
	ask("s")
	if len(p.byName) != 1 {
		t.Fatalf("%d replies are kept after their time", len(p.byName))
	}
}
