package jetstream

import (
	"context"

	"weir/internal/base"
)

// HandleFrame takes a frame that another node sent over the data link.
func (n *Node) HandleFrame(from base.NodeID, kind byte, frame []byte) {
	switch kind {
	case frameRequest:
		if r, err := decodeRequest(frame); err == nil {
			n.requests(r)
		}
	case frameRedirect:
		n.redirected(frame)
	case frameCall:
		n.called(from, frame)
	case frameReply:
		n.calls.reply(frame)
	case frameDeltas:
		n.takeDeltas(from, frame)
	}
}

// called answers a call on a goroutine of its own, as it may wait.
func (n *Node) called(from base.NodeID, frame []byte) {
	id, m, body, err := decodeCall(frame)
	if err != nil || n.ctx.Err() != nil {
		return
	}
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, proposalTimeout)
		defer cancel()
		h := n.handlers[m]
		var answer []byte
		err := errBadFrame
		if h != nil {
			answer, err = h(ctx, from, body)
		}
		// A lost answer is the caller's time-out.
		_ = n.cfg.Links.SendRequest(from, frameReply, encodeReply(id, answer, err))
	})
}

// HandleRaft takes a Raft frame from another node.
func (n *Node) HandleRaft(from base.NodeID, frame []byte) { n.host.HandleFrame(from, frame) }

// PeerUp tells of a link to another node.
func (n *Node) PeerUp(p Peer) {
	n.mu.Lock()
	n.peers[p.Node] = p
	n.mu.Unlock()
	n.host.PeerUp(p.Node)
	n.greetWithStanding(p.Node)
	if p.JetStream {
		n.meet(p.Node)
	}
	n.linksChanged()
	n.balanceSoon()
}

// PeerDown tells that a link was lost.
func (n *Node) PeerDown(node base.NodeID) {
	n.mu.Lock()
	delete(n.peers, node)
	delete(n.strangers, node)
	n.mu.Unlock()
	n.forgetStanding(node)
	n.lostNode(node)
	n.host.PeerDown(node)
	n.linksChanged()
	n.endPulls(node)
	n.repeatAcks(node)
}

// linksChanged makes leaders look for runners that are gone, and runners whether
// they still hear from their group.
func (n *Node) linksChanged() {
	for _, s := range n.allStreams() {
		if s.lead.Load().Self {
			n.reconcile(s)
		}
		s.outbox.resend()
		s.wakeAll()
	}
}

// linked tells whether a node is this one or has a link to it.
func (n *Node) linked(node base.NodeID) bool {
	if node == n.cfg.Identity.Node {
		return true
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	_, ok := n.peers[node]
	return ok
}

// Peers are the other nodes with JetStream that there is a link to.
func (n *Node) Peers() []base.NodeID {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var list []base.NodeID
	for id, p := range n.peers {
		if p.JetStream {
			list = append(list, id)
		}
	}
	return list
}
