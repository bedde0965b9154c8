package jetstream

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/rafthost"
)

// Ailment is something that is wrong with a stream, or a consumer of it, on this
// node.
type Ailment struct {
	Account, Stream string
	Consumer        string // empty: the stream
	// Missing: there is no such stream or consumer, which was asked for by name.
	Missing bool
	Err     error // what is wrong; nil when Missing
}

func (a *Ailment) Error() string {
	switch {
	case a.Missing && a.Consumer != "":
		return fmt.Sprintf("JetStream consumer %q not found for stream %q on account %q", a.Consumer, a.Stream, a.Account)
	case a.Missing:
		return fmt.Sprintf("JetStream stream %q not found on account %q", a.Stream, a.Account)
	}
	return fmt.Sprintf("JetStream stream '%s > %s' %v", a.Account, a.Stream, a.Err)
}

// healthyLag is how many committed entries a healthy replica may have yet to apply.
const healthyLag = 1000

// Healthy returns nil when this node can do what it is there for: it is a member
// of the meta group, has caught up with it, and every replica of a stream that is
// assigned to it works. It waits for nothing.
func (n *Node) Healthy() error {
	if err := n.MetaHealth(); err != nil {
		return err
	}
	if err := n.Failure(); err != nil {
		return err
	}
	for a := range n.ailments("", "") {
		return a
	}
	return nil
}

// MetaHealth returns nil when this node has joined the meta group, knows its
// leader, and has applied what the log held when the node started.
func (n *Node) MetaHealth() error {
	g := n.meta.Load()
	if g == nil {
		return errors.Join(errors.New("JetStream has not established contact with a meta leader"), n.Failure())
	}
	if err := n.removed(); err != nil {
		return err
	}
	status := g.group.Status()
	if status.Err != nil {
		return fmt.Errorf("JetStream meta replica stopped: %w", status.Err)
	}
	if status.Leader.Leader == 0 {
		return errors.New("JetStream has not established contact with a meta leader")
	}
	if !votes(&status) {
		return errors.New("JetStream is still recovering meta layer: this node does not count for the majority yet")
	}
	// A tail of the log that no other node has may be cut off and never applied.
	if err := behind(&status, min(g.replayed, status.LastIndex)); err != nil {
		return fmt.Errorf("JetStream is still recovering meta layer: %w", err)
	}
	return nil
}

// MetaBroken is why the meta group's replica here has failed, if there is no other node
// to ask.
func (n *Node) MetaBroken() error {
	g := n.meta.Load()
	if g == nil || len(n.Peers()) > 0 {
		return nil
	}
	if p := g.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// behind tells whether a replica has yet to apply its log up to least, or lags
// behind what is committed.
func behind(st *rafthost.Status, least uint64) error {
	switch {
	case st.Leader.Self && !st.Leader.Ready:
		return errors.New("entries of former terms are being applied")
	case st.Applied < least:
		return fmt.Errorf("applied %d of %d entries of its log", st.Applied, least)
	case st.Committed > st.Applied+healthyLag:
		return fmt.Errorf("applied %d of %d committed entries", st.Applied, st.Committed)
	}
	return nil
}

// Failure is what is wrong with this node as a whole: for good with the meta group or the
// disk, with the last checkpoint, or with a stranger while it is linked; nil while nothing is.
func (n *Node) Failure() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	switch {
	case n.sick != nil:
		return n.sick
	case n.saveFailure != nil:
		return fmt.Errorf("JetStream checkpoint: %w", n.saveFailure)
	}
	if err := n.fileLog.SpaceErr(); err != nil {
		return fmt.Errorf("JetStream has no room for the next file of its log: %w", err)
	}
	for _, err := range n.strangers {
		return err
	}
	return nil
}

// Ailments lists what is wrong with the streams that are assigned to this node:
// all of them, those of an account, or one stream and, if it is named, one
// consumer of it. A stream or consumer that is named but not known is Missing.
func (n *Node) Ailments(account, stream, consumer string) []*Ailment {
	if stream != "" {
		var known *meta.Assignment
		n.View(func(s *meta.State) { known = s.Stream(account, stream) })
		if known == nil {
			return []*Ailment{{Account: account, Stream: stream, Missing: true}}
		}
	}
	var list []*Ailment
	for a := range n.ailments(account, stream) {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *Ailment) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Stream, b.Stream))
	})
	if len(list) == 0 && consumer != "" {
		if s := n.Stream(account, stream); s != nil && !s.hasConsumer(consumer) {
			list = append(list, &Ailment{Account: account, Stream: stream, Consumer: consumer, Missing: true})
		}
	}
	return list
}

// ailments yields what is wrong with replicas that should be here.
func (n *Node) ailments(account, stream string) func(yield func(*Ailment) bool) {
	return func(yield func(*Ailment) bool) {
		var wanted []*meta.Assignment
		n.View(func(s *meta.State) {
			s.All(func(a *meta.Assignment) bool {
				if (account == "" || a.Account == account) && (stream == "" || a.Name == stream) {
					wanted = append(wanted, a)
				}
				return true
			})
		})
		for _, a := range wanted {
			r, isWanted, ok := a.ReplicaOn(n.cfg.Identity.Node)
			if !ok || !isWanted || a.Unsupported(APILevel) != "" {
				continue
			}
			if err := n.replicaHealth(a, r); err != nil && !yield(&Ailment{Account: a.Account, Stream: a.Name, Err: err}) {
				return
			}
		}
	}
}

// replicaHealth judges the replica of a stream that should be here.
func (n *Node) replicaHealth(a *meta.Assignment, r base.Replica) error {
	s := n.streamByGroup(a.Group)
	if s == nil || s.replica != r.ID {
		return errors.New("is not open on this server")
	}
	if err := s.Failure(); err != nil {
		return fmt.Errorf("has failed on this server: %w", err)
	}
	status := s.group.Status()
	switch {
	case status.Err != nil:
		return fmt.Errorf("has failed on this server: %w", status.Err)
	case status.Leader.Leader == 0:
		if why := cmp.Or(a.Loss(), n.Broken(a)); why != "" {
			return fmt.Errorf("has no leader: %s", why)
		}
		return errors.New("has no leader")
	case !s.exists():
		return errors.New("is not current: it has not been made yet")
	}
	if err := behind(&status, 0); err != nil {
		return fmt.Errorf("is not current: %w", err)
	}
	if !votes(&status) {
		return errors.New("is not current: it does not count for the majority yet")
	}
	return nil
}

// votes tells whether a replica is a voter and no change of voters is half way:
// whoever restarts one node after the other must not go on before.
func votes(st *rafthost.Status) bool {
	return !st.Joint && slices.ContainsFunc(st.Voters, func(r base.Replica) bool { return r.ID == st.Replica })
}

func (s *Stream) exists() (ok bool) {
	s.View(func(m *machine.Machine) { ok = m.Exists() })
	return ok
}

func (s *Stream) hasConsumer(name string) (ok bool) {
	s.View(func(m *machine.Machine) { ok = m.Consumer(name) != nil })
	return ok
}
