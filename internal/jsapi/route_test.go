package jsapi

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/jetstream"
	"weir/internal/meta"
	"weir/internal/router"
	"weir/internal/wire"
)

// places is a locator that says what a test sets, and keeps what is forwarded.
type places struct {
	mu                     sync.Mutex
	meta, stream, consumer jetstream.Place
	local                  *jetstream.Stream
	noLink                 bool
	sent                   []base.NodeID
	order                  []string    // subjects of what was sent
	finding                chan func() // calls that say that the runner is known; nil: it is
}

func (p *places) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *places) get(place *jetstream.Place) jetstream.Place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *place
}

func (p *places) MetaLeader() jetstream.Place                      { return p.get(&p.meta) }
func (p *places) CatchUpMeta()                                     {}
func (p *places) StreamLeader(_, _ string) jetstream.Place         { return p.get(&p.stream) }
func (p *places) DirectReader(_, _ string, _ bool) jetstream.Place { return p.get(&p.stream) }
func (p *places) ConsumerRunner(_, _, _ string) jetstream.Place    { return p.get(&p.consumer) }
func (p *places) KnowsRunner(_, _, _ string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.finding == nil
}
func (p *places) FindRunner(_, _, _ string, done func()) { p.finding <- done }
func (p *places) Stream(_, _ string) *jetstream.Stream   { return p.local }
func (p *places) Peers() []base.NodeID                   { return []base.NodeID{2, 3} }
func (p *places) Forward(to base.NodeID, r *jetstream.Request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noLink {
		return errors.New("no link")
	}
	r.Hops++
	p.sent, p.order = append(p.sent, to), append(p.order, r.Subject)
	return nil
}

func (p *places) forwards() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sent)
}

// bench is a service at work with a client of account A that keeps its answers.
type bench struct {
	*Service
	at *places

	mu      sync.Mutex
	answers []router.Msg
}

func newBench(t *testing.T) *bench {
	accounts, err := account.NewRegistry(&conf.Config{Accounts: []conf.Account{
		{Name: "A", JetStream: &conf.AccountJetStream{}}, {Name: "N"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{at: &places{}}
	r := router.New(1)
	for _, acc := range []*account.Account{accounts.Account("A"), accounts.Account("N"), accounts.System()} {
		if _, err := r.Subscribe(acc, "inbox", "", b.take, router.SubOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.Service = newService(b.at, Config{
		Name: "n1", Cluster: "C", Router: r, Accounts: accounts, Logger: base.NopLogger{}, Clock: base.SystemClock,
	})
	b.start()
	t.Cleanup(b.Stop)
	return b
}

func (b *bench) take(_ *router.Sub, _ router.Source, m *router.Msg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = append(b.answers, router.Msg{Header: append([]byte(nil), m.Header...), Payload: append([]byte(nil), m.Payload...)})
}

func (b *bench) request(account, subj string) *jetstream.Request {
	r := &jetstream.Request{Account: account, Subject: subj, Reply: "inbox", Origin: 1}
	b.Handle(r)
	return r
}

// answer is the one answer so far: its error code, or its status.
func (b *bench) answer(t *testing.T) int {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.answers) != 1 {
		t.Errorf("%d answers", len(b.answers))
		return 0
	}
	m := b.answers[0]
	b.answers = nil
	if code, _, ok := wire.Status(m.Header); ok {
		return code
	}
	var doc api.SuccessResponse
	if err := json.Unmarshal(m.Payload, &doc); err != nil || doc.Error == nil {
		t.Errorf("answer %s, %v", m.Payload, err)
		return 0
	}
	return int(doc.Error.ErrCode)
}

func (b *bench) expect(t *testing.T, what string, code int) {
	t.Helper()
	synctest.Wait()
	if got := b.answer(t); got != code {
		t.Errorf("%s: answer %d, want %d", what, got, code)
	}
}

func (b *bench) silent(t *testing.T, what string) {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.answers) > 0 {
		t.Errorf("%s: answered %s%s", what, b.answers[0].Header, b.answers[0].Payload)
	}
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.at.meta = jetstream.Place{Here: true}
		b.request("N", "$JS.API.STREAM.INFO.S")
		b.expect(t, "account without JetStream", int(apierr.JSNotEnabledForAccountErr.ErrCode))
		b.request("$SYS", "$JS.API.STREAM.NAMES")
		b.expect(t, "system account", int(apierr.JSNotEnabledForAccountErr.ErrCode))
		b.request("A", "$JS.API.META.LEADER.STEPDOWN")
		b.silent(t, "a request that is for the system account")
		b.request("A", "$JS.API.NONE")
		b.silent(t, "an unknown subject")
		b.request("nobody", "$JS.API.INFO")
		b.silent(t, "an unknown account")
		b.Handle(&jetstream.Request{Account: "A", Subject: "$JS.API.STREAM.INFO.S", Origin: 1})
		b.silent(t, "a request without a reply subject")
		b.Handle(&jetstream.Request{
			Account: "A", Subject: "$JS.API.STREAM.INFO.S", Reply: "inbox", Origin: 1,
			Header: wire.HeaderBlock("Nats-Required-Api-Level", "99"),
		})
		b.expect(t, "an API level of the future", int(apierr.JSRequiredApiLevelErr.ErrCode))
	})
}

// TestMissing: that a stream is missing is for the meta leader to say.
func TestMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.at.stream, b.at.consumer = jetstream.Place{Missing: true}, jetstream.Place{Missing: true}
		b.at.meta = jetstream.Place{Node: 7}
		for _, subj := range []string{"$JS.API.STREAM.INFO.S", "$JS.API.CONSUMER.INFO.S.C", "$JS.API.CONSUMER.MSG.NEXT.S.C", "$JS.ACK.S.C.1.1.1.1.1"} {
			before := b.at.forwards()
			b.request("A", subj)
			b.silent(t, subj)
			if b.at.forwards() != before+1 {
				t.Errorf("%s is not forwarded to the meta leader", subj)
			}
		}
		b.at.set(func() { b.at.meta = jetstream.Place{Here: true} })
		b.request("A", "$JS.API.STREAM.INFO.S")
		b.expect(t, "stream info", int(apierr.JSStreamNotFoundErr.ErrCode))
		b.request("A", "$JS.API.CONSUMER.INFO.S.C")
		b.expect(t, "consumer info", int(apierr.JSStreamNotFoundErr.ErrCode))
		b.request("A", "$JS.API.CONSUMER.MSG.NEXT.S.C")
		b.expect(t, "pull", 503)
		b.request("A", "$JS.API.DIRECT.GET.S")
		b.expect(t, "direct get", 503)
		b.request("A", "$JS.ACK.S.C.1.1.1.1.1")
		b.expect(t, "ack", 503)
	})
}

// TestHold: a request waits for its leader to be known, and for a link to it.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for _, subj := range []string{"$JS.API.STREAM.INFO.S", "$JS.API.CONSUMER.MSG.NEXT.S.C"} {
			before := b.at.forwards()
			b.at.set(func() { b.at.stream, b.at.consumer = jetstream.Place{}, jetstream.Place{} })
			b.request("A", subj)
			time.Sleep(time.Second)
			b.silent(t, subj)
			b.at.set(func() { b.at.stream, b.at.consumer = jetstream.Place{Node: 2}, jetstream.Place{Node: 2} })
			b.at.set(func() { b.at.noLink = true })
			time.Sleep(time.Second)
			b.at.set(func() { b.at.noLink = false })
			time.Sleep(2 * holdPause)
			synctest.Wait()
			if b.at.forwards() != before+1 {
				t.Errorf("%s: forwarded %d times", subj, b.at.forwards()-before)
			}
		}
	})
}

// TestGiveUp: nobody to answer for too long.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for subj, code := range map[string]int{
			"$JS.API.STREAM.INFO.S":         int(apierr.JSClusterNotAvailErr.ErrCode),
			"$JS.API.STREAM.NAMES":          int(apierr.JSClusterNotAvailErr.ErrCode),
			"$JS.API.CONSUMER.MSG.NEXT.S.C": 503,
		} {
			b.request("A", subj)
			time.Sleep(holdLimit - 2*holdPause)
			b.silent(t, subj)
			time.Sleep(4 * holdPause)
			b.expect(t, subj, code)
		}
		b.request("A", "$JS.ACK.S.C.1.1.1.1.1")
		time.Sleep(2 * holdLimit)
		b.silent(t, "ack")
	})
}

// TestLastTry: a process that stood still tries what waited meanwhile before it gives it up.
func TestLastTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.at.stream, b.at.consumer = jetstream.Place{Node: 2}, jetstream.Place{Node: 2}
		for i, subj := range []string{"$JS.API.STREAM.INFO.S", "$JS.API.CONSUMER.MSG.NEXT.S.C"} {
			b.held.add(&jetstream.Request{Account: "A", Subject: subj, Reply: "inbox", Origin: 1, Since: time.Now().Add(-2 * holdLimit)})
			time.Sleep(2 * holdPause)
			b.silent(t, subj)
			if n := b.at.forwards(); n != i+1 {
				t.Errorf("%s: forwarded %d times", subj, n-i)
			}
		}
		b.at.set(func() { b.at.finding = make(chan func(), 1) })
		b.request("A", "$JS.API.CONSUMER.MSG.NEXT.S.C")
		done := <-b.at.finding
		time.Sleep(2 * holdLimit)
		done()
		b.silent(t, "a pull whose runner was found late")
		if n := b.at.forwards(); n != 3 {
			t.Errorf("a pull whose runner was found late: forwarded %d times", n-2)
		}
	})
}

// TestPatience: a request that was sent to and fro waits before it is sent again.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.at.consumer = jetstream.Place{Node: 2}
		r := &jetstream.Request{Account: "A", Subject: "$JS.API.CONSUMER.MSG.NEXT.S.C", Reply: "inbox", Hops: patientHops}
		b.Handle(r)
		if b.at.forwards() != 0 {
			t.Error("sent at once")
		}
		time.Sleep(2 * holdPause)
		synctest.Wait()
		if b.at.forwards() != 1 {
			t.Errorf("sent %d times", b.at.forwards())
		}
	})
}

// TestOverflow: what does not fit in the queues is dropped and told.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var told []api.APILimitReached
		listen := func(_ *router.Sub, _ router.Source, m *router.Msg) {
			var doc api.APILimitReached
			if err := json.Unmarshal(m.Payload, &doc); err != nil {
				t.Error(err)
			}
			told = append(told, doc)
		}
		if _, err := b.cfg.Router.Subscribe(b.cfg.Accounts.System(), "$JS.EVENT.ADVISORY.API.LIMIT_REACHED", "", listen, router.SubOptions{}); err != nil {
			t.Fatal(err)
		}
		for range maxHeld + 10 {
			b.request("A", "$JS.API.CONSUMER.MSG.NEXT.S.C")
		}
		if len(told) != 1 || told[0].Dropped != 1 || told[0].Server != "n1" {
			t.Errorf("told %+v", told)
		}
		time.Sleep(time.Second)
		for range 2 * maxHeld {
			b.request("A", "$JS.API.CONSUMER.MSG.NEXT.S.C")
		}
		if len(told) < 2 || told[1].Dropped < 9 {
			t.Errorf("told %+v", told)
		}
	})
}

// TestQueueLimits: as many requests wait as the configuration says.
func TestQueueLimits(t *testing.T) {
	tests := []struct {
		limits       Limits
		reads, write int // that wait
	}{
		{Limits{}, 10_000, 2500},
		{Limits{RequestQueue: 40}, 40, 10},
		{Limits{RequestQueue: 40, InfoQueue: 3}, 3, 10},
		{Limits{RequestQueue: 1, InfoQueue: 1}, 1, 1},
	}
	for _, tt := range tests {
		cfg := newBench(t).cfg
		cfg.Limits = tt.limits
		s := newService(&places{}, cfg) // nobody works
		for range 11_000 {
			s.Handle(&jetstream.Request{Account: "A", Subject: "$JS.API.STREAM.NAMES", Reply: "inbox", Origin: 1})
			s.Handle(&jetstream.Request{Account: "A", Subject: "$JS.API.STREAM.CREATE.S", Reply: "inbox", Origin: 1})
		}
		write := 0
		for _, q := range s.writers {
			write += len(q)
		}
		if len(s.readers) != tt.reads || write != tt.write {
			t.Errorf("%+v: %d reads and %d writes wait", tt.limits, len(s.readers), write)
		}
	}
}

// TestPullsInOrder: a pull does not overtake those that are held.
func TestPullsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const subj = "$JS.API.CONSUMER.MSG.NEXT.S.C"
		b.request("A", subj)
		b.at.set(func() { b.at.consumer = jetstream.Place{Node: 2} })
		b.request("A", subj)
		if n := b.at.forwards(); n != 0 {
			t.Errorf("%d pulls overtook one that is held", n)
		}
		b.request("A", "$JS.API.CONSUMER.MSG.NEXT.S.D")
		if n := b.at.forwards(); n != 1 {
			t.Errorf("the pull of another consumer was forwarded %d times", n)
		}
		time.Sleep(2 * holdPause)
		synctest.Wait()
		if n := b.at.forwards(); n != 3 {
			t.Errorf("%d forwarded, want 3", n)
		}
		b.request("A", subj)
		if n := b.at.forwards(); n != 4 {
			t.Errorf("a pull lines up where nobody is held: %d forwarded", n)
		}
	})
}

// TestStreamFailed: who asked for a stream that can not be opened is told why.
func TestStreamFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		a := &meta.Assignment{Account: "A", Name: "S"}
		b.StreamFailed(a, meta.Origin{Node: 1, Subject: "$JS.API.STREAM.CREATE.S", Reply: "inbox"}, true, errors.New("disk on fire"))
		b.expect(t, "create", int(apierr.JSStreamCreateErrF("").ErrCode))
		b.StreamFailed(a, meta.Origin{Node: 1, Subject: "$JS.API.STREAM.UPDATE.S", Reply: "inbox"}, false, errors.New("disk on fire"))
		b.expect(t, "update", int(apierr.JSStreamUpdateErrF("").ErrCode))
	})
}

// TestPullsWaitForRunner: while it is asked where a consumer runs, its pulls line up, and acks that
// ask for the next message with them; other acks do not.
func TestPullsWaitForRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.at.set(func() { b.at.finding, b.at.consumer = make(chan func(), 10), jetstream.Place{Node: 2} })
		next := func(subj string) {
			b.Handle(&jetstream.Request{Account: "A", Subject: subj, Reply: "inbox", Origin: 1, Body: []byte(`+NXT {"batch":1}`)})
		}
		const pull = "$JS.API.CONSUMER.MSG.NEXT.S.C"
		b.request("A", pull)
		next("$JS.ACK.S.C.1.1.1.1.1")
		b.request("A", "$JS.ACK.S.C.1.2.2.1.1")
		b.request("A", pull)
		synctest.Wait()
		if got := b.at.order; !slices.Equal(got, []string{"$JS.ACK.S.C.1.2.2.1.1"}) {
			t.Errorf("sent %q", got)
		}
		done := <-b.at.finding
		b.at.set(func() { b.at.finding, b.at.order = nil, nil })
		next("$JS.ACK.S.C.1.3.3.1.1")
		done()
		synctest.Wait()
		if got := b.at.order; !slices.Equal(got, []string{pull, "$JS.ACK.S.C.1.1.1.1.1", pull, "$JS.ACK.S.C.1.3.3.1.1"}) {
			t.Errorf("sent %q", got)
		}
		b.request("A", pull)
		if len(b.at.order) != 5 {
			t.Errorf("a pull lines up though the runner is known")
		}
	})
}

// TestNextIsHeld: an ack that asks for the next message keeps its place among pulls that are held,
// and is answered when nobody is found for it.
func TestNextIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.Handle(&jetstream.Request{Account: "A", Subject: "$JS.ACK.S.C.1.1.1.1.1", Reply: "inbox", Origin: 1, Body: []byte("+NXT")})
		b.at.set(func() { b.at.consumer = jetstream.Place{Node: 2} })
		b.request("A", "$JS.API.CONSUMER.MSG.NEXT.S.C")
		if n := b.at.forwards(); n != 0 {
			t.Errorf("%d pulls overtook one that is held", n)
		}
		time.Sleep(2 * holdPause)
		synctest.Wait()
		if got := b.at.order; !slices.Equal(got, []string{"$JS.ACK.S.C.1.1.1.1.1", "$JS.API.CONSUMER.MSG.NEXT.S.C"}) {
			t.Errorf("sent %q", got)
		}
		b.at.set(func() { b.at.consumer = jetstream.Place{} })
		b.Handle(&jetstream.Request{Account: "A", Subject: "$JS.ACK.S.C.1.1.1.1.1", Reply: "inbox", Origin: 1, Body: []byte("+NXT")})
		time.Sleep(holdLimit + time.Second)
		b.expect(t, "an ack that asks for a message", 503)
	})
}
