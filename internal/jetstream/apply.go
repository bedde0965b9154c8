package jetstream

import (
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/rafthost"
)

// aftermath gathers what entries did until their changes are committed to the
// store, where readers see them.
type aftermath struct {
	effects   machine.Effects // of one entry
	published []machine.Published
	replies   []machine.Reply
	deltas    []machine.DeltaResult
	changes   []consumerChange
	wake      map[uint64]struct{} // consumers with new messages, by ID
	republish republishing
	trimmed   bool
	changed   bool
	expired   bool // by an Expire
	used      bool // there was something else
}

// consumerChange is a change of a consumer, and whether an earlier life of this
// replica may have known of it already.
type consumerChange struct {
	machine.ConsumerChange
	known bool
}

// Apply applies committed entries: all to the machine, then one commit of the
// store, then the effects.
func (s *Stream) Apply(entries []rafthost.Entry) error {
	<-s.opened
	if err := s.applyAll(entries); err != nil {
		return err
	}
	s.emit()
	return nil
}

func (s *Stream) applyAll(entries []rafthost.Entry) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	a := &s.after
	s.mu.Lock()
	for i := range entries {
		e := &entries[i]
		if e.Data == nil {
			continue
		}
		if err := s.machine.Apply(e.Index, e.Data, &a.effects); err != nil {
			s.mu.Unlock()
			return err
		}
		s.gather(&a.effects, s.comeback.knew(e))
	}
	s.mu.Unlock()
	return s.store.Commit(entries[len(entries)-1].Index)
}

func (s *Stream) gather(e *machine.Effects, known bool) {
	a := &s.after
	a.published = append(a.published, e.Published...)
	a.replies = append(a.replies, e.Replies...)
	for _, request := range e.Unfinished {
		s.requests.goesOn(request)
	}
	a.deltas = append(a.deltas, e.Deltas...)
	if !s.memory {
		s.node.unsaved.Add(int64(len(e.Stored) + len(e.Deltas)))
	}
	for _, c := range e.Consumers {
		a.changes = append(a.changes, consumerChange{c, known})
	}
	a.trimmed = a.trimmed || e.Trimmed
	a.changed = a.changed || e.StreamChanged
	a.expired = a.expired || e.Expired
	a.used = a.used || !e.Expired
	if len(e.Previous) > 0 {
		a.republish.gather(s.machine.Stream().Config(), e)
	}
	if s.machine.NumConsumers() == 0 {
		return
	}
	if a.wake == nil {
		a.wake = make(map[uint64]struct{})
	}
	for i := range e.Stored {
		for _, c := range s.machine.Matching(e.Stored[i].Subject).Plain {
			if c.Runner == s.replica {
				a.wake[c.ID] = struct{}{}
			}
		}
	}
}

// emit tells those who wait on this node.
func (s *Stream) emit() {
	a := &s.after
	s.recount()
	if len(a.published) > 0 {
		s.ingest.answer(a.published)
	}
	s.republish()
	for _, r := range a.replies {
		if done := s.requests.take(r.Request); done != nil {
			done(r, nil)
		}
	}
	for _, c := range a.changes {
		s.consumerChanged(c)
	}
	for _, d := range a.deltas {
		s.outbox.settled(d)
	}
	s.deltas.applied(len(a.deltas) > 0)
	s.wakeRunners(a.wake, a.trimmed)
	if a.changed {
		s.keepAll()
		s.ingest.configChanged()
		s.node.reconcile(s)
	}
	s.duty.applied(a.expired, a.used)
	s.scheduleExpiry()
	a.published, a.replies, a.deltas = a.published[:0], clearSlice(a.replies), clearSlice(a.deltas)
	a.changes, a.trimmed, a.changed, a.expired, a.used = clearSlice(a.changes), false, false, false, false
	clear(a.wake)
}

func clearSlice[T any](s []T) []T {
	clear(s)
	return s[:0]
}

// consumerChanged brings the runner of a changed consumer in line and tells the
// outside of it.
func (s *Stream) consumerChanged(c consumerChange) {
	s.node.consumerEvent(s, c.ConsumerChange)
	s.keep(c.ConsumerChange)
	s.runs.note(c.Consumer, c.Change == machine.ConsumerDeleted)
	if c.Change == machine.ConsumerDeleted {
		s.dropRunner(c.Consumer)
		return
	}
	s.syncRunner(c)
}

// runsHere tells whether a consumer was appointed to this replica.
func (s *Stream) runsHere(c *consumer.Consumer) bool { return c.Runner == s.replica }
