package jetstream

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/meta"
)

// standing is what a node says of itself to those linked to it: that it is about
// to go, and which of its replicas have failed although the node is up. Leaders
// appoint no runners there, and others in place of those that are.
type standing struct {
	// Life is drawn at each start of the node; Version grows with every change
	// within it.
	Life    uint64          `json:"life"`
	Version uint64          `json:"version"`
	Leaving bool            `json:"leaving,omitempty"`
	Failed  []failedReplica `json:"failed,omitempty"`
}

// failedReplica is a replica that has failed, and why.
type failedReplica struct {
	meta.LostReplica
	Why string `json:"why,omitempty"`
}

// failureOf is why a replica has failed, as far as s says so.
func (s *standing) failureOf(id meta.LostReplica) (why string, failed bool) {
	i := slices.IndexFunc(s.Failed, func(f failedReplica) bool { return f.LostReplica == id })
	if i < 0 {
		return "", false
	}
	return s.Failed[i].Why, true
}

// standings are a node's own standing and those that it has heard of.
type standings struct {
	mu      sync.Mutex
	own     standing
	telling bool // a goroutine tells the peers
	others  map[base.NodeID]*standing
}

// fit tells whether a replica can be given consumers to run. A leaving one can if
// there is no other.
func (n *Node) fit(group base.GroupID, r base.Replica) (fit, leaving bool) {
	n.standing.mu.Lock()
	defer n.standing.mu.Unlock()
	s := n.standingLocked(r.Node)
	if s == nil {
		return true, false
	}
	_, failed := s.failureOf(meta.LostReplica{Group: group, Replica: r.ID})
	return !failed, s.Leaving
}

// standingLocked is what a node has said of itself; nil when that is nothing.
func (n *Node) standingLocked(node base.NodeID) *standing {
	if node == n.cfg.Identity.Node {
		return &n.standing.own
	}
	return n.standing.others[node]
}

// failureOf is why a replica has failed, as far as its node says so.
func (n *Node) failureOf(group base.GroupID, r base.Replica) (why string, failed bool) {
	n.standing.mu.Lock()
	defer n.standing.mu.Unlock()
	if s := n.standingLocked(r.Node); s != nil {
		return s.failureOf(meta.LostReplica{Group: group, Replica: r.ID})
	}
	return "", false
}

// Broken says why a stream can not have a leader: so many of its replicas have failed, on
// servers that are up, that the others are no majority. It is empty otherwise.
func (n *Node) Broken(a *meta.Assignment) string {
	var failed []string
	for _, r := range a.Members {
		if why, ok := n.failureOf(a.Group, r); ok {
			failed = append(failed, fmt.Sprintf("on %s: %s", n.nodeName(r.Node), why))
		}
	}
	of := len(a.Members)
	if len(failed) == 0 || of-len(failed) > of/2 {
		return ""
	}
	return fmt.Sprintf("%d of %d replicas failed, %s", len(failed), of, strings.Join(failed, "; "))
}

// isLeaving tells whether this node is about to go.
func (n *Node) isLeaving() bool {
	n.standing.mu.Lock()
	defer n.standing.mu.Unlock()
	return n.standing.own.Leaving
}

// leavesToo tells whether a peer has said that it is about to go.
func (n *Node) leavesToo(peer base.NodeID) bool {
	n.standing.mu.Lock()
	defer n.standing.mu.Unlock()
	s := n.standing.others[peer]
	return s != nil && s.Leaving
}

// leave says that this node is about to go.
func (n *Node) leave() {
	n.changeStanding(func(own *standing) { own.Leaving = true })
}

// replicaFailed says that a replica here has stopped, or can not be opened.
func (n *Node) replicaFailed(id meta.LostReplica, why error) {
	n.standing.mu.Lock()
	known, failed := n.standing.own.failureOf(id)
	n.standing.mu.Unlock()
	if failed && known == why.Error() {
		return
	}
	n.changeStanding(func(own *standing) {
		own.forget(func(f meta.LostReplica) bool { return f == id })
		own.Failed = append(own.Failed, failedReplica{id, why.Error()})
	})
}

// forget leaves out the failed replicas for which over holds.
func (s *standing) forget(over func(meta.LostReplica) bool) {
	s.Failed = slices.DeleteFunc(s.Failed, func(f failedReplica) bool { return over(f.LostReplica) })
}

// forgetFailed forgets those failed replicas that work now, or that this node is not to
// have any more.
func (n *Node) forgetFailed() {
	n.standing.mu.Lock()
	failed := slices.Clone(n.standing.own.Failed)
	n.standing.mu.Unlock()
	over := make(map[meta.LostReplica]bool)
	for _, f := range failed {
		if !n.stillFails(f.LostReplica) {
			over[f.LostReplica] = true
		}
	}
	if len(over) > 0 {
		n.changeStanding(func(own *standing) { own.forget(func(f meta.LostReplica) bool { return over[f] }) })
	}
}

func (n *Node) stillFails(f meta.LostReplica) (still bool) {
	if s := n.streamByGroup(f.Group); s != nil && s.replica == f.Replica && s.Failure() == nil {
		return false
	}
	n.View(func(m *meta.State) {
		if a := m.ByGroup(f.Group); a != nil {
			r, _, here := a.ReplicaOn(n.cfg.Identity.Node)
			still = here && r.ID == f.Replica
		}
	})
	return still
}

// changeStanding changes what this node says of itself and tells everybody.
func (n *Node) changeStanding(change func(*standing)) {
	st := &n.standing
	st.mu.Lock()
	change(&st.own)
	st.own.Version++
	begin := !st.telling
	st.telling = true
	st.mu.Unlock()
	if begin {
		n.spawn(n.tellStanding)
	}
}

// tellStanding tells all peers, until they know the latest. Who can not be reached
// hears of it with its next link.
func (n *Node) tellStanding() {
	told := uint64(0)
	for n.ctx.Err() == nil {
		raw, version := n.encodeStanding(told)
		if raw == nil {
			return
		}
		n.askAll(n.ctx, methodStanding, raw, func(base.NodeID, []byte) {})
		told = version
	}
}

// encodeStanding returns nil, and the telling ends, if told is the latest.
func (n *Node) encodeStanding(told uint64) ([]byte, uint64) {
	st := &n.standing
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.own.Version == told {
		st.telling = false
		return nil, told
	}
	raw, _ := json.Marshal(&st.own) // can not fail
	return raw, st.own.Version
}

// greetWithStanding tells a new peer, even that there is nothing to tell: it may
// remember an earlier life of this node.
func (n *Node) greetWithStanding(peer base.NodeID) {
	raw := n.ownStanding()
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
		defer cancel()
		if _, err := n.calls.call(ctx, peer, methodStanding, raw); err != nil {
			n.cfg.Logger.Debugf("Tell node %s how this one stands: %v", peer, err)
		}
	})
}

func (n *Node) ownStanding() []byte {
	n.standing.mu.Lock()
	defer n.standing.mu.Unlock()
	raw, _ := json.Marshal(&n.standing.own) // can not fail
	return raw
}

// handleStanding takes what a peer says of itself.
func (n *Node) handleStanding(_ context.Context, from base.NodeID, body []byte) ([]byte, error) {
	s := new(standing)
	if err := json.Unmarshal(body, s); err != nil {
		return nil, err
	}
	st := &n.standing
	st.mu.Lock()
	if st.others == nil {
		st.others = make(map[base.NodeID]*standing)
	}
	known := st.others[from]
	isNews := known == nil || known.Life != s.Life || known.Version < s.Version
	if isNews {
		st.others[from] = s
	}
	st.mu.Unlock()
	if isNews {
		n.reconcileLed()
		n.balanceSoon()
	}
	return nil, nil
}

// forgetStanding is for a peer that is gone: it begins anew.
func (n *Node) forgetStanding(peer base.NodeID) {
	n.standing.mu.Lock()
	defer n.standing.mu.Unlock()
	delete(n.standing.others, peer)
}

// reconcileLed reconciles all streams that this node leads.
func (n *Node) reconcileLed() {
	for _, s := range n.allStreams() {
		if s.lead.Load().Self {
			n.reconcile(s)
		}
	}
}

// HandOver passes on every consumer and every leadership that another replica can
// take, and waits until that is done or ctx ends. From then on this node gets
// neither, as long as there is another.
func (n *Node) HandOver(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	n.leave()
	n.reconcileLed()
	n.awaitRelief(ctx)
	n.retireAll(ctx, (*Stream).hasOthers)
	return n.host.TransferAll(ctx, n.leavesToo)
}

// reliefTime is how long a node that goes waits for others to run its consumers while
// none of them does.
const (
	reliefTime = time.Second
	reliefPoll = 5 * time.Millisecond
)

// awaitRelief waits until no consumer runs here that could run elsewhere.
func (n *Node) awaitRelief(ctx context.Context) {
	most := math.MaxInt
	for waited := time.Duration(0); waited < reliefTime && ctx.Err() == nil; waited += reliefPoll {
		left := 0
		for _, s := range n.allStreams() {
			if s.couldBeRelieved() {
				left += s.numRunners()
			}
		}
		if left < most {
			most, waited = left, 0
		}
		if left == 0 || !n.pause(reliefPoll) {
			return
		}
	}
}

// couldBeRelieved tells whether consumers run on this replica although another
// one could run them.
func (s *Stream) couldBeRelieved() bool {
	return s.runsAny() && s.lead.Load().Leader != 0 && !slices.Contains(s.onlineVoters(), s.replica)
}
