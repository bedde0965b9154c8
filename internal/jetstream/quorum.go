package jetstream

import (
	"cmp"
	"time"
)

const (
	// quorumCheck is how often this node looks whether its streams have a quorum.
	quorumCheck = time.Second
	// quorumPause is the least time between two reports about a stream.
	quorumPause = 10 * time.Second
	// quorumGrace is how long a replica that was opened may look for its group.
	quorumGrace = 5 * time.Second
)

// watchQuorum tells of streams here whose group has lost its quorum.
func (n *Node) watchQuorum() {
	type watch struct{ opened, told time.Time }
	watched := make(map[*Stream]watch)
	tick := n.cfg.Clock.NewTicker(quorumCheck)
	defer tick.Stop()
	for {
		var now time.Time
		select {
		case <-n.ctx.Done():
			return
		case now = <-tick.C():
		}
		next := make(map[*Stream]watch, len(watched))
		for _, s := range n.allStreams() {
			if s.headless() {
				n.askSurvey(s)
			}
			w, known := watched[s]
			if !known {
				w.opened = now
			}
			if now.Sub(w.opened) >= quorumGrace && now.Sub(w.told) >= quorumPause && s.quorumLost() {
				w.told = now
				n.tellQuorumLost(s)
			}
			next[s] = w
		}
		watched = next
	}
}

func (n *Node) tellQuorumLost(s *Stream) {
	a := s.Assignment()
	why := cmp.Or(a.Loss(), n.Broken(a), "too few of its servers are in sight")
	n.cfg.Logger.Warnf("JetStream stream %s > %s has lost its quorum: %s", s.account, s.name, why)
	if len(a.Replicas) > 1 {
		n.cfg.Events.QuorumLost(s)
	}
}

// quorumLost tells whether the group has no leader and too few of its members are
// in sight, or still what they were, to elect one.
func (s *Stream) quorumLost() bool {
	if s.Failure() != nil {
		return false
	}
	if l := s.lead.Load(); l.Leader != 0 && s.node.linked(l.LeaderNode) {
		return false
	}
	if s.Assignment().Loss() != "" {
		return true
	}
	voters := s.members.Load().voters
	if len(voters) < 2 {
		return false
	}
	inSight := 0
	for _, r := range voters {
		if fit, _ := s.node.fit(s.id, r); fit && s.node.linked(r.Node) {
			inSight++
		}
	}
	return inSight <= len(voters)/2
}
