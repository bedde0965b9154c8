package jetstream

import (
	"context"
	"sync"
	"sync/atomic"

	"weir/internal/base"
)

// contact is whether this replica knows what its group knew when the two last lost
// touch. While they had no contact, consumers that ran here may have got runners
// elsewhere, to whom messages were acknowledged: the runners here must not go on
// before the replica has caught up and they have heard of it.
type contact struct {
	lost atomic.Uint64 // counts the times that contact was lost, from 1
	sure atomic.Uint64 // the time up to which the replica has caught up again

	mu      sync.Mutex
	seeking bool
}

// isSure tells that the replica has caught up.
func (k *contact) isSure() bool { return k.sure.Load() == k.lost.Load() }

// lose notes that the leader can not be heard, or is another one.
func (k *contact) lose(s *Stream) {
	k.lost.Add(1)
	k.seek(s)
}

// seek has the replica catch up, if something runs here.
func (k *contact) seek(s *Stream) {
	if k.isSure() || !s.runsAny() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seeking || s.node.ctx.Err() != nil {
		return
	}
	k.seeking = true
	s.node.spawn(func() { k.pursue(s) })
}

func (k *contact) pursue(s *Stream) {
	for {
		goal := k.lost.Load()
		err := s.catchUp()
		if err == nil {
			k.sure.Store(goal)
			s.wakeAll()
		}
		k.mu.Lock()
		if k.isSure() || s.isClosed() || !s.runsAny() {
			k.seeking = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		if err != nil && !s.node.pause(comebackPause) {
			return
		}
	}
}

// catchUp waits until this replica has applied what was acknowledged before.
func (s *Stream) catchUp() error {
	ctx, cancel := context.WithTimeout(s.node.ctx, callTimeout)
	defer cancel()
	index, err := s.group.ReadIndex(ctx)
	if err != nil {
		return err
	}
	return s.group.WaitApplied(ctx, index)
}

// runsAny tells whether a consumer runs on this replica.
func (s *Stream) runsAny() bool { return s.numRunners() > 0 }

// numRunners is how many consumers run on this replica.
func (s *Stream) numRunners() int {
	s.runMu.Lock()
	defer s.runMu.Unlock()
	return len(s.runners)
}

// lostNode notes that a node can not be heard any more.
func (n *Node) lostNode(node base.NodeID) {
	for _, s := range n.allStreams() {
		if s.lead.Load().LeaderNode == node {
			s.contact.lose(s)
		}
	}
}
