package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/rafthost"
)

// comeback is how a replica that was there before gets its runners again.
//
// A runner numbers its deltas by tickets within its epoch, and takes what the
// replicated state says of its consumer for all that ever happened to it. Both
// would be wrong for a replica that restarts: its state may be that of an old
// checkpoint, and entries of its earlier life may be on their way to it. So a
// runner begins only with an entry that appoints it and that no earlier life of the
// replica knew: one behind the log that was found. A replica that finds a log, or
// that got its state as an image, asks the group's leader to appoint its runners
// anew.
type comeback struct {
	// found is the end of the log as it was when the replica was opened.
	foundIndex, foundTerm uint64

	mu      sync.Mutex
	needed  int // counts the reasons to ask
	asked   int // those that were dealt with
	seeking bool
}

// comebackPause is the time between two attempts to reach the leader.
const comebackPause = 200 * time.Millisecond

// open looks at what earlier lives left. It runs before the group is opened.
func (b *comeback) open(s *Stream) (err error) {
	g := s.node.log(s.memory).Group(s.id, s.replica)
	if b.foundIndex, err = g.LastIndex(); err != nil {
		return err
	}
	if b.foundIndex > 0 {
		if b.foundTerm, err = g.Term(b.foundIndex); err != nil {
			return err
		}
	}
	if b.foundIndex > 0 || s.store.Applied() > 0 {
		b.needed++
	}
	return nil
}

// knew tells that an entry was in the log that was found. Entries of later terms
// can not have been; nor can one at an index behind its end.
func (b *comeback) knew(e *rafthost.Entry) bool {
	return e.Index <= b.foundIndex && e.Term <= b.foundTerm
}

// need notes that the state came from elsewhere.
func (b *comeback) need(s *Stream) {
	b.mu.Lock()
	b.needed++
	b.mu.Unlock()
	b.seek(s)
}

// seek asks the leader, once there is one, if that is needed.
func (b *comeback) seek(s *Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seeking || b.asked == b.needed || s.node.ctx.Err() != nil {
		return
	}
	b.seeking = true
	s.node.spawn(func() { b.pursue(s) })
}

func (b *comeback) pursue(s *Stream) {
	for {
		b.mu.Lock()
		goal := b.needed
		// A leader that appears later, or gets ready here, begins another pursuit.
		l := s.lead.Load()
		if b.asked == goal || s.isClosed() || l.Leader == 0 || l.Self && !l.Ready {
			b.seeking = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		if err := s.askReturn(); err == nil {
			b.mu.Lock()
			b.asked = goal
			b.mu.Unlock()
			continue
		}
		if !s.node.pause(comebackPause) {
			return
		}
	}
}

// returnRequest asks a group's leader to appoint the runners of a replica anew.
type returnRequest struct {
	Group   base.GroupID   `json:"group"`
	Replica base.ReplicaID `json:"replica"`
}

var errNotLeading = errors.New("this node does not lead the group")

// askReturn has the leader appoint this replica's runners anew.
func (s *Stream) askReturn() error {
	ctx, cancel := context.WithTimeout(s.node.ctx, callTimeout)
	defer cancel()
	l := s.lead.Load()
	if l.Self {
		if err := s.endVolatile(); err != nil {
			return err
		}
		return s.reappoint(ctx, s.replica)
	}
	if l.LeaderNode == 0 {
		return errNotLeading
	}
	raw, err := json.Marshal(returnRequest{Group: s.id, Replica: s.replica})
	if err != nil {
		return err
	}
	_, err = s.node.calls.call(ctx, l.LeaderNode, methodReturn, raw)
	return err
}

// endVolatile deletes what a restart ends where there is one replica only: ephemeral
// consumers that asked to be kept in memory. Clients of nats-server count on it: who
// reads in order takes the silence that follows for the sign to begin again. What was
// made since the restart stays: its ID is the index of an entry behind the log that was found.
func (s *Stream) endVolatile() error {
	switch {
	case !s.Leads(): // the log may hold more of them than were applied
		return fmt.Errorf("group %s: %w", s.id, errNotLeading)
	case len(s.members.Load().voters) > 1:
		return nil
	}
	var list []machine.ConsumerDelete
	s.View(func(m *machine.Machine) {
		for c := range m.Consumers() {
			if cfg := c.Config; c.ID <= s.comeback.foundIndex && cfg.MemoryStorage && cfg.Durable == "" && !cfg.Direct {
				list = append(list, machine.ConsumerDelete{Name: c.Name, ID: c.ID})
			}
		}
	})
	for _, d := range list {
		if err := s.group.Propose(machine.Append(nil, machine.Origin{Proposer: s.replica}, &d)); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) handleReturn(ctx context.Context, _ base.NodeID, body []byte) ([]byte, error) {
	var r returnRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	s := n.streamByGroup(r.Group)
	if s == nil {
		return nil, fmt.Errorf("group %s: %w", r.Group, errNotLeading)
	}
	return nil, s.reappoint(ctx, r.Replica)
}

// reappoint raises the epoch of all consumers that a replica runs, on the leader.
func (s *Stream) reappoint(ctx context.Context, replica base.ReplicaID) error {
	if !s.Leads() {
		return fmt.Errorf("group %s: %w", s.id, errNotLeading)
	}
	var list machine.Runners
	s.View(func(m *machine.Machine) {
		for c := range m.Consumers() {
			if c.Runner == replica {
				list = append(list, machine.Appointment{Consumer: c.ID, Epoch: c.Epoch, Runner: replica})
			}
		}
	})
	for len(list) > 0 {
		n := min(len(list), maxAppointments)
		if _, err := s.Propose(ctx, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func (s *Stream) isClosed() bool {
	s.runMu.Lock()
	defer s.runMu.Unlock()
	return s.closed
}
