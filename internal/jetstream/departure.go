package jetstream

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/machine"
)

// A replica that leaves its group hears nothing of it any more, not even that others
// run its consumers since: it would deliver what was acknowledged to them. So it
// leaves only when it runs nothing and knows it, or when it can not be reached; in
// that case it has lost contact, and finds no group to catch up with.
//
// And it is deleted only when those who stay know that it left. A voter that does
// not know that a change was committed goes by the members before it: were the
// leader lost then, nobody could be elected.

// vacate takes the runners away from replicas that are about to leave, on the
// leader; done when they may.
func (s *Stream) vacate(ctx context.Context, going []base.ReplicaID) (done bool, err error) {
	var list machine.Runners
	s.View(func(m *machine.Machine) { list = s.elsewhere(m, going) })
	if len(list) > 0 {
		return false, s.appoint(list)
	}
	index := s.group.Status().Committed // what was applied is behind it, in any case
	for _, r := range s.members.Load().voters {
		if !slices.Contains(going, r.ID) || !s.node.linked(r.Node) {
			continue
		}
		if at, err := s.askApplied(ctx, r, index); err != nil || at == isBehind {
			return false, nil
		}
	}
	return true, nil
}

// elsewhere appoints others for the consumers that run on replicas about to go.
func (s *Stream) elsewhere(m *machine.Machine, going []base.ReplicaID) machine.Runners {
	isGoing := func(id base.ReplicaID) bool { return slices.Contains(going, id) }
	staying := slices.DeleteFunc(s.onlineVoters(), isGoing)
	if len(staying) == 0 {
		staying = []base.ReplicaID{s.replica} // the leader is the last to go
	}
	load := make(map[base.ReplicaID]int)
	var moving []*consumer.Consumer
	for c := range m.Consumers() {
		if load[c.Runner]++; isGoing(c.Runner) {
			moving = append(moving, c)
		}
	}
	return spread(moving, staying, load)
}

// settled tells whether the voters are those that a new leader would go by: the
// leader is one, no change is half done, and a majority knows.
func (s *Stream) settled(ctx context.Context, voters []base.Replica) bool {
	status := s.group.Status()
	if status.Joint || !slices.ContainsFunc(voters, func(r base.Replica) bool { return r.ID == s.replica }) {
		return false
	}
	know := 0
	for _, r := range voters {
		switch {
		case r.ID == s.replica:
			know++
		case s.node.linked(r.Node):
			if at, err := s.askApplied(ctx, r, status.Committed); err == nil && at == isThere {
				know++
			}
		}
	}
	return know > len(voters)/2
}

// howFar is how far a replica on another node has applied.
type howFar string

const (
	isThere  howFar = "there"
	isBehind howFar = "behind"
	isAbsent howFar = "absent" // it does not run, or has failed
)

// appliedRequest asks whether a replica has applied the entries up to an index. The
// answer may wait for it.
type appliedRequest struct {
	Group   base.GroupID   `json:"group"`
	Replica base.ReplicaID `json:"replica"`
	Index   uint64         `json:"index"`
}

// appliedTimeout bounds one such question: the leader has other duties, too. It asks
// again.
const appliedTimeout = 500 * time.Millisecond

func (s *Stream) askApplied(ctx context.Context, r base.Replica, index uint64) (howFar, error) {
	ctx, cancel := context.WithTimeout(ctx, appliedTimeout)
	defer cancel()
	raw, err := json.Marshal(appliedRequest{Group: s.id, Replica: r.ID, Index: index})
	if err != nil {
		return "", err
	}
	answer, err := s.node.calls.call(ctx, r.Node, methodApplied, raw)
	return howFar(answer), err
}

func (n *Node) handleApplied(ctx context.Context, _ base.NodeID, body []byte) ([]byte, error) {
	var r appliedRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	s := n.streamByGroup(r.Group)
	if s == nil || s.replica != r.Replica || s.Failure() != nil {
		return []byte(isAbsent), nil
	}
	ctx, cancel := context.WithTimeout(ctx, appliedTimeout/2)
	defer cancel()
	if s.group.WaitApplied(ctx, r.Index) != nil {
		return []byte(isBehind), nil
	}
	return []byte(isThere), nil
}
