package jetstream

import (
	"cmp"
	"context"
	"strings"
	"sync"

	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/runner"
)

// Place says where a request is to be answered.
type Place struct {
	// Here: on this node, now.
	Here bool
	// Node is where else; 0 when nobody is known yet, so that it is worth trying
	// again in a moment.
	Node base.NodeID
	// Missing: the stream or consumer does not exist, as far as this node can know.
	Missing bool
}

// MetaLeader says where the meta group's leader is. A new group's leader takes
// requests once its first nodes are known. Where the replica has failed, some other node
// knows.
func (n *Node) MetaLeader() Place {
	g := n.meta.Load()
	if g == nil {
		return Place{}
	}
	l := g.lead.Load()
	if peers := n.Peers(); g.failure.Load() != nil && len(peers) > 0 {
		return Place{Node: peers[0]}
	}
	if !l.Self {
		return Place{Node: l.LeaderNode}
	}
	initialised := false
	g.View(func(s *meta.State) { initialised = s.ClusterID() != "" })
	return Place{Here: l.Ready && initialised}
}

// CatchUpMeta waits until this node, if it leads the meta group, has applied all
// that the group committed: others may have applied it, and told clients, before.
func (n *Node) CatchUpMeta() {
	g := n.meta.Load()
	if g == nil || !g.lead.Load().Self {
		return
	}
	committed := g.group.Status().Committed
	if g.Applied() >= committed {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	if err := g.group.WaitApplied(ctx, committed); err != nil {
		n.cfg.Logger.Debugf("Catch up with the meta group: %v", err)
	}
}

// StreamLeader says where a stream's leader is.
func (n *Node) StreamLeader(account, stream string) Place {
	if s := n.Stream(account, stream); s != nil {
		if l := s.lead.Load(); l.Self {
			return Place{Here: s.Ready()}
		} else if n.linked(l.LeaderNode) {
			return Place{Node: l.LeaderNode}
		}
		return Place{}
	}
	return n.memberOf(account, stream, 0)
}

// memberOf is a linked node with a replica of a stream that has none here, one that works
// rather than one that has failed: the one that is hinted at, if it is such a node.
func (n *Node) memberOf(account, stream string, hint base.NodeID) Place {
	var a *meta.Assignment
	if !n.View(func(s *meta.State) { a = s.Stream(account, stream) }) {
		return Place{}
	}
	if a == nil || a.Restoring {
		return Place{Missing: true}
	}
	var working, failed base.NodeID
	for _, r := range a.Replicas {
		if r.Node == n.cfg.Identity.Node || !n.linked(r.Node) {
			continue
		}
		if _, fails := n.failureOf(a.Group, r); fails {
			failed = r.Node
		} else if working == 0 || r.Node == hint {
			working = r.Node
		}
	}
	return Place{Node: cmp.Or(working, failed)}
}

// ConsumerRunner says where a consumer runs. On a node with a replica that has
// not heard of the consumer, the stream's leader knows better.
func (n *Node) ConsumerRunner(account, stream, consumer string) Place {
	s := n.Stream(account, stream)
	if s == nil {
		return n.memberOf(account, stream, n.locations.find(account, stream, consumer))
	}
	ready := s.Ready() // before it is looked for: what is applied until then may make it known
	var replica base.ReplicaID
	found := false
	s.View(func(m *machine.Machine) {
		if c := m.Consumer(consumer); c != nil {
			replica, found = c.Runner, true
		}
	})
	switch {
	case !found && ready:
		return Place{Missing: true}
	case !found:
		return n.StreamLeader(account, stream)
	case replica == s.replica:
		return Place{Here: true}
	}
	for _, r := range s.members.Load().voters {
		if r.ID == replica && n.linked(r.Node) {
			return Place{Node: r.Node}
		}
	}
	return Place{}
}

// ConsumerOf reads the stream and consumer that an ack, pull or flow control
// subject names; ok is false for other subjects.
func ConsumerOf(subj string) (stream, consumer string, ok bool) {
	if rest, pull := strings.CutPrefix(subj, nextPrefix); pull {
		stream, rest, _ = strings.Cut(rest, ".")
		consumer, _, _ = strings.Cut(rest, ".")
		return stream, consumer, consumer != ""
	}
	s, _ := runner.ReadSubject(subj)
	return s.Stream, s.Consumer, s.Consumer != ""
}

// locations remembers where requests were sent back to, so that the next one of
// its kind goes straight there. It is bounded and may be wrong: then a request
// is sent back once more.
type locations struct {
	mu   sync.Mutex
	node map[string]base.NodeID
}

const maxLocations = 64 << 10

// locationKey names what answers a request: a consumer's runner.
func locationKey(account, stream, consumer string) string {
	return account + "\x00" + stream + "\x00" + consumer
}

func (l *locations) learn(account, subj string, node base.NodeID) {
	stream, consumer, ok := ConsumerOf(subj)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.node) >= maxLocations || l.node == nil {
		l.node = make(map[string]base.NodeID)
	}
	l.node[locationKey(account, stream, consumer)] = node
}

func (l *locations) forget(account, subj string) {
	if stream, consumer, ok := ConsumerOf(subj); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.node, locationKey(account, stream, consumer))
	}
}

func (l *locations) find(account, stream, consumer string) base.NodeID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.node[locationKey(account, stream, consumer)]
}
