package jetstream

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/msg"
)

// recentAcks are the acknowledgements that clients of this node last sent to
// runners on other nodes. When such a node is lost, they are sent again to the new
// runners: what was not committed would come again to the clients otherwise, and
// those that wait for a confirmation would get none. An ack that counted already
// changes nothing and is just confirmed.
type recentAcks struct {
	mu   sync.Mutex
	ring []sentAck
	next int // index of the oldest, once ring is full
}

type sentAck struct {
	r  Request
	to base.NodeID
	at time.Time
}

const (
	maxRecentAcks     = 4096
	maxRecentAckBytes = 4 << 10 // of one ack
	// recentAck is how long an ack may take to be committed, mostly.
	recentAck = 2 * time.Second
)

// note remembers an ack that is about to be sent to a node. Those that mean other
// things every time they are said are not remembered, nor those that are far larger
// than an ack needs to be.
func (a *recentAcks) note(r *Request, to base.NodeID, now time.Time) {
	if !isFinalAck(r.Body) || len(r.Subject)+len(r.Reply)+len(r.Header)+len(r.Body) > maxRecentAckBytes {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ring) < maxRecentAcks {
		a.ring = append(a.ring, sentAck{*r, to, now})
		return
	}
	a.ring[a.next] = sentAck{*r, to, now}
	a.next = (a.next + 1) % maxRecentAcks
}

// isFinalAck tells whether an acknowledgement ends the wait for a message and asks
// for nothing else.
func isFinalAck(word []byte) bool {
	return len(word) == 0 || bytes.HasPrefix(word, []byte("+ACK")) || bytes.HasPrefix(word, []byte("+OK")) || bytes.HasPrefix(word, []byte("+TERM"))
}

// take removes and returns those that were lately sent to a node, in order.
func (a *recentAcks) take(node base.NodeID, now time.Time) (list []Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.ring {
		s := &a.ring[(a.next+i)%len(a.ring)]
		if s.to == node && now.Sub(s.at) < recentAck {
			s.r.Since, s.r.Age, s.r.Hops = now, 0, 0
			list = append(list, s.r)
			*s = sentAck{}
		}
	}
	return list
}

// repeatAcks sends the acks that a lost node may not have seen to the end to
// whoever runs their consumers now.
func (n *Node) repeatAcks(node base.NodeID) {
	list := n.acks.take(node, n.cfg.Clock.Now())
	for i := range list {
		n.requests(&list[i])
	}
}

// passOnAcks gives the acks in deltas that came too late, as a new runner was
// appointed, to that one.
func (s *Stream) passOnAcks(id uint64, list []machine.Delta) {
	var seqs []uint64
	for _, d := range list {
		if err := consumer.AcksIn(d.Ops, func(seq uint64) { seqs = append(seqs, seq) }); err != nil {
			s.node.cfg.Logger.Errorf("Stream %s: acks of a runner that was replaced: %v", s.name, err)
		}
	}
	if len(seqs) == 0 {
		return
	}
	// Not here: whoever calls may hold what the way to the runner needs.
	s.node.spawn(func() {
		name := ""
		s.View(func(m *machine.Machine) {
			if c := m.ConsumerByID(id); c != nil {
				name = c.Name
			}
		})
		if name == "" {
			return
		}
		var m msg.Message
		for _, seq := range seqs {
			if ok, err := s.store.Reader().Load(seq, &m, nil); err != nil || !ok {
				continue // nothing to be acknowledged
			}
			s.node.requests(&Request{
				Account: s.account, Subject: fmt.Sprintf("%s%s.%s.1.%d.%d.%d.0", ackPrefix, s.name, name, seq, seq, m.Time),
				Origin: s.node.cfg.Identity.Node, Since: s.node.cfg.Clock.Now(),
			})
		}
	})
}
