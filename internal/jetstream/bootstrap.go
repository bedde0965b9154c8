package jetstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
	"weir/internal/meta"
)

// bootstrapPause is the time between two attempts to find or form a meta group.
const bootstrapPause = 150 * time.Millisecond

// hello is what nodes tell each other before there is a meta group.
type hello struct {
	Node        base.NodeID `json:"node"`
	Name        string      `json:"name"`
	Member      bool        `json:"member"`
	ClusterID   string      `json:"cluster_id,omitempty"`
	Coordinator base.NodeID `json:"coordinator,omitempty"` // of a promised plan
}

// plan is a first membership that a coordinator asks others to promise.
type plan struct {
	ClusterID   string         `json:"cluster_id"`
	Coordinator base.NodeID    `json:"coordinator"`
	Initial     []base.Replica `json:"initial"`
	// Names are the server names of Initial, in its order.
	Names []string `json:"names"`
}

// joinRequest asks a member for admission.
type joinRequest struct {
	Node    base.NodeID `json:"node"`
	Name    string      `json:"name"`
	Cluster string      `json:"cluster,omitempty"`
	Tags    []string    `json:"tags,omitempty"`
	meta.Room
	// Member: the node is in the group, but what the state says of it is outdated.
	Member bool `json:"member,omitempty"`
}

// joinAnswer admits a node, or names the leader that can.
type joinAnswer struct {
	ClusterID string         `json:"cluster_id"`
	Replica   base.ReplicaID `json:"replica,omitempty"`
	Initial   []base.Replica `json:"initial,omitempty"`
	Names     []string       `json:"names,omitempty"`
	Leader    base.NodeID    `json:"leader,omitempty"`
}

// bootstrap finds the meta group of a cluster, or forms it with the nodes that
// the configuration names. It has done its work once membership is decided.
type bootstrap struct {
	fs   vfs.FS
	dir  string
	id   Identity
	self joinRequest
	log  base.Logger

	// expected is how many JetStream nodes must be in sight before a first
	// membership may be decided.
	expected func() int
	// peers are the JetStream nodes linked to this one.
	peers func() []base.NodeID
	call  func(ctx context.Context, to base.NodeID, m method, body []byte) ([]byte, error)

	mu     sync.Mutex
	stands *membership // what was written last; nil: nothing
	said   string      // the last thing logged, not to repeat it
}

// standing returns what this node has said, or nil.
func (b *bootstrap) standing() *membership {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stands
}

func (b *bootstrap) isDecided() bool {
	m := b.standing()
	return m != nil && m.Decided
}

// alone forms a meta group of one, for a server without a cluster.
func (b *bootstrap) alone() error {
	p := newPlan(b.id.Node, map[base.NodeID]string{b.id.Node: b.id.Name})
	return b.decide(&membership{ClusterID: p.ClusterID, Replica: p.Initial[0].ID, Initial: p.Initial, Names: p.Names})
}

// attempt looks once for a group to join, or tries to form one.
func (b *bootstrap) attempt(ctx context.Context) error {
	before := b.standing()
	hellos := b.greet(ctx)
	for _, h := range hellos {
		if h.Member {
			return b.join(ctx, h.Node)
		}
	}
	want := max(b.expected(), 2)
	if len(hellos)+1 < want {
		b.sayOnce(fmt.Sprintf("JetStream waits for the first contact with %d more of %d configured peers to form the meta group", want-len(hellos)-1, want))
		return nil
	}
	if before != nil || b.standing() != nil {
		return b.reconsider(before, hellos)
	}
	lowest := b.id.Node
	for _, h := range hellos {
		lowest = min(lowest, h.Node)
	}
	if lowest != b.id.Node {
		return nil
	}
	return b.coordinate(ctx, hellos)
}

// greet asks every linked peer where it stands. Peers that do not answer are left out.
func (b *bootstrap) greet(ctx context.Context) []hello {
	var list []hello
	for _, peer := range b.peers() {
		raw, err := b.call(ctx, peer, methodHello, nil)
		var h hello
		if err == nil && json.Unmarshal(raw, &h) == nil && h.Node == peer {
			list = append(list, h)
		}
	}
	return list
}

// reconsider takes back the promise s, if the plan can not come to be any more.
// s was standing before the hellos were asked for: what was promised since may be
// of a plan that they do not know of.
func (b *bootstrap) reconsider(s *membership, hellos []hello) error {
	if s == nil || !s.overtaken(b.id.Node, hellos) {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stands != s {
		return nil
	}
	if err := removeDurably(b.fs, b.dir, membershipFile); err != nil {
		return fmt.Errorf("take back the promise to a meta group: %w", err)
	}
	b.stands = nil
	return nil
}

// coordinate asks all for their promise and decides once every one has it.
func (b *bootstrap) coordinate(ctx context.Context, hellos []hello) error {
	names := map[base.NodeID]string{b.id.Node: b.id.Name}
	for _, h := range hellos {
		if h.Coordinator != 0 && h.Coordinator != b.id.Node {
			return nil // promised elsewhere
		}
		names[h.Node] = h.Name
	}
	p := newPlan(b.id.Node, names)
	m := &membership{ClusterID: p.ClusterID, Coordinator: b.id.Node, Initial: p.Initial, Names: p.Names}
	m.Replica = m.replicaOf(b.id.Node)
	if err := b.write(m); err != nil {
		return err
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	for _, h := range hellos {
		if _, err := b.call(ctx, h.Node, methodPlan, raw); err != nil {
			return fmt.Errorf("ask %s to form a meta group: %w", h.Name, err)
		}
	}
	return b.decide(m)
}

// newPlan is a first membership of nodes, with fresh replica ids.
func newPlan(coordinator base.NodeID, names map[base.NodeID]string) plan {
	p := plan{ClusterID: rand.Text(), Coordinator: coordinator}
	for i, n := range slices.Sorted(maps.Keys(names)) {
		p.Initial = append(p.Initial, base.Replica{ID: base.ReplicaID(i + 1), Node: n})
		p.Names = append(p.Names, names[n])
	}
	return p
}

// handleHello answers methodHello.
func (b *bootstrap) handleHello(context.Context, base.NodeID, []byte) ([]byte, error) {
	h := hello{Node: b.id.Node, Name: b.id.Name}
	if s := b.standing(); s != nil {
		h.Member, h.ClusterID = s.Decided, s.ClusterID
		if !s.Decided {
			h.Coordinator = s.Coordinator
		}
	}
	return json.Marshal(h)
}

// handlePlan promises this node to a plan, unless it has said something else.
func (b *bootstrap) handlePlan(_ context.Context, from base.NodeID, body []byte) ([]byte, error) {
	var p plan
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stands != nil && (b.stands.Decided || b.stands.Coordinator != from) {
		return nil, errors.New("this node has given its word to another meta group")
	}
	m := &membership{ClusterID: p.ClusterID, Coordinator: from, Initial: p.Initial, Names: p.Names}
	if m.Replica = m.replicaOf(b.id.Node); m.Replica == 0 || p.Coordinator != from {
		return nil, errors.New("the plan does not name this node")
	}
	if err := writeMembership(b.fs, b.dir, m); err != nil {
		return nil, err
	}
	b.stands = m
	return nil, nil
}

// admitFirst answers a join request of one of the group's first voters that has
// not heard yet that the group came to be. It never voted, as it says that it
// has no decided membership.
func (b *bootstrap) admitFirst(from base.NodeID) (joinAnswer, bool) {
	s := b.standing()
	if s == nil || !s.Decided {
		return joinAnswer{}, false
	}
	id := s.replicaOf(from)
	return joinAnswer{ClusterID: s.ClusterID, Replica: id, Initial: s.Initial, Names: s.Names}, id != 0
}

// join asks a member, and then the leader that it names, for admission.
func (b *bootstrap) join(ctx context.Context, member base.NodeID) error {
	body, err := json.Marshal(b.self)
	if err != nil {
		return err
	}
	for range 3 {
		raw, err := b.call(ctx, member, methodJoin, body)
		if err != nil {
			return fmt.Errorf("join the meta group: %w", err)
		}
		var a joinAnswer
		if err := json.Unmarshal(raw, &a); err != nil {
			return fmt.Errorf("join the meta group: %w", err)
		}
		if a.Replica != 0 {
			return b.decide(&membership{ClusterID: a.ClusterID, Replica: a.Replica, Initial: a.Initial, Names: a.Names})
		}
		if a.Leader == 0 || a.Leader == member {
			return nil // no leader yet
		}
		member = a.Leader
	}
	return nil
}

func (b *bootstrap) decide(m *membership) error {
	decided := *m
	decided.Decided = true
	if err := b.write(&decided); err != nil {
		return err
	}
	b.log.Noticef("JetStream is a member of meta group %s", decided.ClusterID)
	return nil
}

func (b *bootstrap) write(m *membership) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := writeMembership(b.fs, b.dir, m); err != nil {
		return err
	}
	b.stands = m
	return nil
}

func (b *bootstrap) sayOnce(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text != b.said {
		b.said = text
		b.log.Noticef("%s", text)
	}
}
