package jetstream

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/runner"
)

// retireTime is how long runners may take to get what they did committed before
// others are appointed all the same.
const retireTime = 300 * time.Millisecond

// Relieve prepares the appointment of other runners, on the group's leader, so that
// no message comes twice and no ack is lost where it can be helped: the runners there
// are stop delivering and have committed what they did. List names consumers by their
// epochs now; then is called after that, or when it takes too long.
func (s *Stream) Relieve(list machine.Runners, then func()) {
	s.node.spawn(func() {
		s.retire(list)
		then()
	})
}

// retire waits until the runners of consumers have stopped delivering, or can not be
// reached in time.
func (s *Stream) retire(list machine.Runners) {
	byNode := make(map[base.NodeID][]uint64)
	s.View(func(m *machine.Machine) {
		for _, a := range list {
			if c := m.ConsumerByID(a.Consumer); c != nil && c.Epoch == a.Epoch {
				node := s.nodeOf(c.Runner)
				byNode[node] = append(byNode[node], c.ID)
			}
		}
	})
	ctx, cancel := context.WithTimeout(s.node.ctx, retireTime)
	defer cancel()
	left := make(chan struct{}, len(byNode))
	for node, ids := range byNode {
		s.node.spawn(func() {
			s.retireAt(ctx, node, ids)
			left <- struct{}{}
		})
	}
	for range byNode {
		select {
		case <-left:
		case <-ctx.Done():
			return
		}
	}
}

// nodeOf is the node of a voter; 0 when it is none.
func (s *Stream) nodeOf(id base.ReplicaID) base.NodeID {
	for _, r := range s.members.Load().voters {
		if r.ID == id {
			return r.Node
		}
	}
	return 0
}

// retireRequest asks a node to have runners of a group stop delivering, once it has
// applied the entries up to Index: it may not know yet that it was appointed.
type retireRequest struct {
	Group     base.GroupID `json:"group"`
	Index     uint64       `json:"index"`
	Consumers []uint64     `json:"consumers"`
}

func (s *Stream) retireAt(ctx context.Context, node base.NodeID, ids []uint64) {
	index := s.group.Status().Committed // what was applied is behind it, in any case
	if node == s.node.cfg.Identity.Node {
		s.retireHere(ctx, index, ids)
		return
	}
	if !s.node.linked(node) {
		return
	}
	raw, err := json.Marshal(retireRequest{s.id, index, ids})
	if err == nil {
		_, err = s.node.calls.call(ctx, node, methodRetire, raw)
	}
	if err != nil {
		s.node.cfg.Logger.Debugf("Have node %s retire runners of %s: %v", node, s.name, err)
	}
}

func (n *Node) handleRetire(ctx context.Context, _ base.NodeID, body []byte) ([]byte, error) {
	var r retireRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	s := n.streamByGroup(r.Group)
	if s == nil {
		return nil, fmt.Errorf("group %s has no replica here", r.Group)
	}
	s.retireHere(ctx, r.Index, r.Consumers)
	return nil, nil
}

// retireHere has runners on this node stop delivering as soon as it has applied the
// entries up to index, and waits until what they did is committed or ctx ends.
func (s *Stream) retireHere(ctx context.Context, index uint64, ids []uint64) {
	if s.group.WaitApplied(ctx, index) != nil {
		return
	}
	var list []*runner.Runner
	for _, id := range ids {
		if r := s.runner(id); r != nil {
			list = append(list, r)
		}
	}
	awaitRetired(ctx, list)
}

func awaitRetired(ctx context.Context, list []*runner.Runner) {
	var busy atomic.Int64
	idle := make(chan struct{})
	busy.Store(int64(len(list)) + 1)
	done := func() {
		if busy.Add(-1) == 0 {
			close(idle)
		}
	}
	for _, r := range list {
		r.Retire(done)
	}
	done()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// relievePart is how many consumers change their runner at a time when a replica
// goes: for that long nobody serves them.
const relievePart = 256

// relieveInParts has others run consumers whose runners are about to go, on the
// group's leader. Each goes on until its turn has come. Other duties of the leader come
// first; then more is true, and the rest is yet to do.
func (s *Stream) relieveInParts(ctx context.Context, list machine.Runners) (more bool, err error) {
	for len(list) > 0 {
		part := list[:min(len(list), relievePart)]
		s.retire(part)
		if _, err := s.Propose(ctx, part); err != nil {
			return false, err
		}
		if list = list[len(part):]; s.duty.calls() {
			break
		}
	}
	return len(list) > 0, nil
}

// retireAll has the runners of some streams stop delivering and waits until what they
// did is committed, so that neither another node nor this one, after a restart,
// repeats it.
func (n *Node) retireAll(ctx context.Context, of func(*Stream) bool) {
	ctx, cancel := context.WithTimeout(ctx, retireTime)
	defer cancel()
	var list []*runner.Runner
	for _, s := range n.allStreams() {
		if s.lead.Load().Leader != 0 && of(s) {
			s.runMu.Lock()
			list = slices.AppendSeq(list, maps.Values(s.runners))
			s.runMu.Unlock()
		}
	}
	awaitRetired(ctx, list)
}

// hasOthers tells whether another replica than this one could run consumers.
func (s *Stream) hasOthers() bool {
	isOther := func(id base.ReplicaID) bool { return id != s.replica }
	return slices.ContainsFunc(s.onlineVoters(), isOther)
}
