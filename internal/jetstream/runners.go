package jetstream

import (
	"time"

	"github.com/nats-io/nuid"

	"weir/internal/account"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/router"
	"weir/internal/runner"
)

// runnerEnv is what the stream's runners use of this node.
func (s *Stream) runnerEnv() *runner.Env {
	n := s.node
	return &runner.Env{
		Clock: n.cfg.Clock,
		Log:   n.cfg.Logger,
		Store: readStore{s.store.Reader(), s},
		Publish: func(subj, reply string, hdr, payload []byte) {
			n.publish(s.acc, &router.Msg{Subject: []byte(subj), Reply: []byte(reply), Header: hdr, Payload: payload})
		},
		Deliver: func(to, subj, reply, hdr, payload []byte) {
			n.publish(s.acc, &router.Msg{To: to, Subject: subj, Reply: reply, Header: hdr, Payload: payload})
		},
		HasInterest: func(subj, queue string) bool { return n.HasInterest(s.acc, subj, queue) },
		Send:        s.outbox.send,
		Patience:    s.outbox.patience,
		Live:        s.live,
		Expire:      func(id runner.Identity) { s.dropConsumer(id.Consumer, id.ID) },
		Advise:      func(id runner.Identity, e runner.Event) { n.cfg.Events.RunnerEvent(s, id.Consumer, e) },
		NewPin:      nuid.Next,
	}
}

// live tells whether this replica hears from its group, and has caught up with it:
// otherwise its runners must not deliver, as others may have been appointed.
func (s *Stream) live() bool {
	l := s.lead.Load()
	return l.Leader != 0 && (l.Self || s.node.linked(l.LeaderNode)) && s.contact.isSure() &&
		!s.node.pulse.missed(s.node.cfg.Clock.Now())
}

// runner finds the runner of a consumer on this node; nil when it runs elsewhere.
func (s *Stream) runner(id uint64) *runner.Runner {
	s.runMu.Lock()
	defer s.runMu.Unlock()
	return s.runners[id]
}

// Runner finds the runner of a consumer by name; nil when it runs elsewhere.
func (s *Stream) Runner(name string) *runner.Runner {
	var id uint64
	s.View(func(m *machine.Machine) {
		if c := m.Consumer(name); c != nil {
			id = c.ID
		}
	})
	return s.runner(id)
}

// countRunners counts anew who runs how many consumers.
func (s *Stream) countRunners() {
	s.runs.reset()
	s.View(func(m *machine.Machine) {
		for c := range m.Consumers() {
			s.runs.note(c, false)
		}
	})
}

// syncRunner brings the runner of a changed consumer in line with its replicated
// state. It is called on the apply worker, so the consumer does not change
// meanwhile. A runner begins only with its appointment; see comeback.
func (s *Stream) syncRunner(change consumerChange) {
	defer s.contact.seek(s)
	s.runMu.Lock()
	defer s.runMu.Unlock()
	c := change.Consumer
	old := s.runners[c.ID]
	if !s.runsHere(c) || s.closed {
		if old != nil {
			old.Close(runner.CloseLeadership)
			delete(s.runners, c.ID)
			s.outbox.lapse(c.ID)
		}
		return
	}
	switch {
	case change.known:
		return
	case change.Change == machine.ConsumerUpdated || change.Change == machine.ConsumerPaused:
		if old != nil {
			old.Update(c.Config)
		}
		return
	case old != nil && old.Epoch() == c.Epoch:
		return // appointed twice in one batch of entries
	case change.Change == machine.ConsumerRestarted:
		s.outbox.forget(c.ID)
	case old != nil:
		s.outbox.lapse(c.ID)
	}
	id := runner.Identity{Stream: s.name, Consumer: c.Name, ID: c.ID, Epoch: c.Epoch, Scope: s.node.scope(s.acc)}
	st := runnerState(c)
	if change.Change == machine.RunnerChanged {
		st.Inherits = s.store.Reader().State().LastSeq
	}
	r := runner.New(s.env, s.node.sched, id, c.Config, st)
	s.runners[c.ID] = r
	if old != nil {
		old.HandOver(r)
	}
	r.Wake()
}

// scope is what the consumers of an account name in their subjects for acks and flow
// control; empty for those of version 1.
func (n *Node) scope(acc *account.Account) string {
	if !n.cfg.AckV2 {
		return ""
	}
	return runner.Scope(n.cfg.Domain, acc.Hash())
}

// runnerState is the part of a consumer's state that a runner starts from.
func runnerState(c *consumer.Consumer) runner.State {
	st := runner.State{
		Delivered: runner.SeqPair(c.Delivered), AckFloor: runner.SeqPair(c.AckFloor),
		Ticket: c.Ticket, LastPerSubject: c.LastPerSubject, GivenBefore: c.GivenBefore,
	}
	if p := c.Pin; p != nil {
		st.Pin = runner.Pin{ID: p.ID, Since: time.Unix(0, p.Since)}
	}
	c.AscendPending(0, func(p consumer.Pending) bool {
		st.Pending = append(st.Pending, runner.PendingMsg{Stream: p.Seq, Consumer: p.ConsumerSeq, Deliveries: uint64(p.Deliveries), Time: p.Time})
		return true
	})
	return st
}

func (s *Stream) dropRunner(c *consumer.Consumer) {
	s.runMu.Lock()
	defer s.runMu.Unlock()
	if r := s.runners[c.ID]; r != nil {
		r.Close(runner.CloseDeleted)
		delete(s.runners, c.ID)
	}
	s.outbox.forget(c.ID)
}

func (s *Stream) stopRunners(reason runner.CloseReason) {
	s.runMu.Lock()
	defer s.runMu.Unlock()
	for id, r := range s.runners {
		r.Close(reason)
		s.outbox.forget(id)
	}
	clear(s.runners)
}

// wakeRunners tells runners of new messages, and all of them when messages went.
func (s *Stream) wakeRunners(stored map[uint64]struct{}, trimmed bool) {
	if len(stored) == 0 && !trimmed {
		return
	}
	s.runMu.Lock()
	defer s.runMu.Unlock()
	if trimmed {
		for _, r := range s.runners {
			r.Stored()
		}
		return
	}
	for id := range stored {
		if r := s.runners[id]; r != nil {
			r.Stored()
		}
	}
}

// wakeAll makes every runner look at its situation again.
func (s *Stream) wakeAll() {
	s.runMu.Lock()
	defer s.runMu.Unlock()
	for _, r := range s.runners {
		r.Wake()
	}
}
