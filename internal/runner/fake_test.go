package runner

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/msg"
	"weir/internal/subject"
)

// memStore is a stream's messages in memory.
type memStore struct {
	mu    sync.Mutex
	list  []msg.Message // Seq is index+1; Seq 0: removed
	first uint64        // of those that are there
	msgs  uint64
	fail  error
	// failLast is the error of LastOfSubject alone.
	failLast error
}

func (s *memStore) add(subj, data string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	seq := uint64(len(s.list) + 1)
	s.list = append(s.list, msg.Message{Seq: seq, Time: time.Now().UnixNano(), Subject: subj, Data: []byte(data)})
	s.msgs++
	return seq
}

func (s *memStore) remove(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list[seq-1].Seq != 0 {
		s.list[seq-1].Seq = 0
		s.msgs--
	}
}

func (s *memStore) Load(seq uint64, m *msg.Message, buf []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil || seq == 0 || seq > uint64(len(s.list)) || s.list[seq-1].Seq == 0 {
		return false, s.fail
	}
	from := &s.list[seq-1]
	all := append(append(buf[:0], from.Header...), from.Data...)
	*m = *from
	m.Header, m.Data = nil, all[len(from.Header):]
	if from.Header != nil {
		m.Header = all[:len(from.Header)]
	}
	return true, nil
}

func (s *memStore) Next(from uint64, f subject.Filter, m *msg.Message, buf []byte) (bool, error) {
	s.mu.Lock()
	for ; from <= uint64(len(s.list)); from++ {
		if at := &s.list[max(from, 1)-1]; at.Seq != 0 && f.Match(at.Subject) {
			break
		}
	}
	s.mu.Unlock()
	return s.Load(max(from, 1), m, buf)
}

func (s *memStore) NumPending(from uint64, f subject.Filter) (n uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.All() && s.msgs == uint64(len(s.list)) {
		return uint64(len(s.list)) + 1 - min(max(from, 1), uint64(len(s.list))+1), nil
	}
	for ; from <= uint64(len(s.list)); from++ {
		if at := &s.list[max(from, 1)-1]; at.Seq != 0 && f.Match(at.Subject) {
			n++
		}
	}
	return n, nil
}

func (s *memStore) LastOfSubject(subj string, upTo uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failLast != nil {
		return 0, s.failLast
	}
	for seq := min(upTo, uint64(len(s.list))); seq > 0; seq-- {
		if at := &s.list[seq-1]; at.Seq != 0 && at.Subject == subj {
			return seq, nil
		}
	}
	return 0, nil
}

func (s *memStore) State() msg.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := msg.State{Msgs: s.msgs, FirstSeq: uint64(len(s.list)) + 1, LastSeq: uint64(len(s.list))}
	for s.first < uint64(len(s.list)) && s.list[s.first].Seq == 0 {
		s.first++
	}
	st.FirstSeq = s.first + 1
	return st
}

// world is a group of one consumer around a runner: it applies what the runner
// sends to the consumer's replicated state, when it is told to.
type world struct {
	t     testing.TB
	store memStore
	sched *Scheduler
	run   *Runner
	state *consumer.Consumer
	cfg   api.ConsumerConfig

	mu       sync.Mutex
	start    time.Time
	wire     []string // what went out, see out
	deaf     map[string]bool
	noGroup  map[string]bool // "subject queue" without members
	stalled  bool            // nothing commits
	patience time.Duration
	dead     bool // not live
	unsent   []*Delta
	advised  []Event
	expired  int
	pins     int
	released map[uint64]bool
	keeps    bool // for late acks, as retention by interest does
	onMsg    func(to, ack string)
	applied  func(c *consumer.Consumer)
}

// newWorld makes a world and its runner; to be called within a bubble.
func newWorld(t testing.TB, cfg api.ConsumerConfig) *world {
	if cfg.Name == "" {
		cfg.Name = "C"
	}
	if cfg.AckPolicy != api.AckNone && cfg.AckWait == 0 {
		cfg.AckWait = 30 * time.Second
	}
	w := &world{t: t, cfg: cfg, start: time.Now(), deaf: map[string]bool{}, noGroup: map[string]bool{}, released: map[uint64]bool{}}
	w.sched = NewScheduler(base.SystemClock, 1)
	w.state = consumer.New(1, cfg, time.Now().UnixNano(), 1, consumer.NewSpans())
	t.Cleanup(w.sched.Stop)
	w.takeOver()
	return w
}

// takeOver appoints a new runner, made of replicated state. What the old one had
// under way is lost.
func (w *world) takeOver() {
	if w.run != nil {
		w.run.Close(CloseSilent)
		w.settle()
	}
	next := w.appoint()
	w.set(func() { w.run = next })
	next.Wake()
}

// handOver appoints a new runner on the same node.
func (w *world) handOver() {
	old, next := w.run, w.appoint()
	w.set(func() { w.run = next })
	old.HandOver(next)
	w.settle()
}

func (w *world) appoint() *Runner {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsent = nil
	c := w.state
	c.SetRunner(1)
	st := State{Delivered: SeqPair(c.Delivered), AckFloor: SeqPair(c.AckFloor), Ticket: c.Ticket, LastPerSubject: c.LastPerSubject, Inherits: w.store.State().LastSeq, GivenBefore: c.GivenBefore}
	if p := c.Pin; p != nil {
		st.Pin = Pin{p.ID, time.Unix(0, p.Since)}
	}
	c.AscendPending(0, func(p consumer.Pending) bool {
		st.Pending = append(st.Pending, PendingMsg{Stream: p.Seq, Consumer: p.ConsumerSeq, Deliveries: uint64(p.Deliveries), Time: p.Time})
		return true
	})
	id := Identity{Stream: "S", Consumer: c.Name, ID: 1, Epoch: c.Epoch}
	return New(w.env(), w.sched, id, c.Config, st)
}

func (w *world) env() *Env {
	return &Env{
		Clock: base.SystemClock, Log: base.NopLogger{}, Store: &w.store,
		Publish: func(subj, reply string, hdr, payload []byte) {
			w.out(fmt.Sprintf("%s %s %s%s", subj, reply, hdr, payload))
		},
		Deliver: func(to, subj, reply, hdr, data []byte) {
			if w.onMsg != nil {
				w.onMsg(string(to), string(reply))
				return
			}
			w.out(fmt.Sprintf("%s %s %s %s%s", to, subj, strings.TrimPrefix(string(reply), "$JS.ACK.S.C."), hdr, data))
		},
		Patience: func() time.Duration { return w.patience },
		HasInterest: func(subj, queue string) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !w.deaf[subj] && (queue == "" || !w.noGroup[subj+" "+queue])
		},
		Send: func(d *Delta) {
			w.mu.Lock()
			w.unsent = append(w.unsent, d)
			stalled := w.stalled
			w.mu.Unlock()
			if !stalled {
				w.commit()
			}
		},
		Live:   func() bool { w.mu.Lock(); defer w.mu.Unlock(); return !w.dead },
		Expire: func(Identity) { w.mu.Lock(); defer w.mu.Unlock(); w.expired++ },
		Advise: func(_ Identity, e Event) { w.mu.Lock(); defer w.mu.Unlock(); w.advised = append(w.advised, e) },
		NewPin: func() string { w.mu.Lock(); defer w.mu.Unlock(); w.pins++; return fmt.Sprintf("pin%d", w.pins) },
	}
}

// out notes a line with the time since the start in ms. Line ends read as "|",
// message times as "T".
func (w *world) out(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	line = strings.TrimSuffix(strings.ReplaceAll(line, "\r\n", "|"), "|")
	f := strings.SplitN(line, " ", 4)
	if len(f) > 2 {
		if n := strings.Split(f[2], "."); len(n) == 5 {
			n[3] = "T"
			f[2] = strings.Join(n, ".")
		}
	}
	w.wire = append(w.wire, fmt.Sprintf("%d %s", time.Since(w.start).Milliseconds(), strings.Join(f, " ")))
}

// commit applies all deltas that were sent.
func (w *world) commit() { w.commitN(1 << 30) }

func (w *world) commitN(n int) {
	w.mu.Lock()
	n = min(n, len(w.unsent))
	list := w.unsent[:n]
	w.unsent = w.unsent[n:]
	var last uint64
	for _, d := range list {
		if err := consumer.CheckOps(d.Ops); err != nil {
			w.t.Errorf("delta %d: %v", d.Ticket, err)
		}
		v, err := w.state.Apply(time.Now().UnixNano(), d.Epoch, d.Ticket, d.Ops, origin{w})
		if err != nil || v != consumer.Applied {
			w.t.Errorf("delta %d of epoch %d: %v, %v", d.Ticket, d.Epoch, v, err)
		}
		last = d.Ticket
		if w.applied != nil {
			w.applied(w.state)
		}
	}
	run := w.run
	w.mu.Unlock()
	if last > 0 {
		run.Committed(last)
	}
}

// origin is the consumer's stream. It notes what the consumer is through with.
type origin struct{ w *world }

func (o origin) Released(seq uint64) { o.w.released[seq] = true }
func (o origin) Keeps(uint64) bool   { return o.w.keeps }

func (w *world) set(f func()) { w.mu.Lock(); f(); w.mu.Unlock() }

// settle waits until the runner has nothing to do before its next deadline.
func (w *world) settle() { synctest.Wait() }

// publish stores messages and tells the runner.
func (w *world) publish(subj string, data ...string) {
	for _, d := range data {
		w.store.add(subj, d)
	}
	w.run.Stored()
	w.settle()
}

func (w *world) pull(reply, body string) {
	w.run.Pull(PullRequest{Reply: reply, Body: []byte(body)})
	w.settle()
}

// ack sends a word on a delivery; reply may be empty.
func (w *world) ack(deliveries, seq, cseq uint64, word, reply string) {
	w.run.Ack(Ack{Stream: seq, Consumer: cseq, Deliveries: deliveries, Reply: reply, Payload: []byte(word)})
	w.settle()
}

// after lets time pass.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	w.settle()
}

// lines takes what went out since the last call.
func (w *world) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.wire
	w.wire = nil
	return got
}

// ended is how often the runner asked for the consumer's end.
func (w *world) ended() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.expired
}

// delivered is the position in the replicated state.
func (w *world) delivered() consumer.Pair {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Delivered
}

// pin is who is pinned in the replicated state.
func (w *world) pin() *consumer.Pin {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Pin
}

// events takes the advisories since the last call.
func (w *world) events() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.advised
	w.advised = nil
	return got
}

// want checks what went out since the last call.
func (w *world) want(lines ...string) {
	w.t.Helper()
	w.settle()
	got := w.lines()
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		w.t.Errorf("on the wire:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}

// bubble runs f with a world in virtual time.
func bubble(t *testing.T, cfg api.ConsumerConfig, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cfg)
		f(w)
		w.run.Close(CloseSilent)
		w.settle()
	})
}
