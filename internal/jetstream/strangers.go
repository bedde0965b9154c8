package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"weir/internal/base"
	"weir/internal/meta"
)

// errRemoved is the state of a node that an operator took out of the cluster.
var errRemoved = errors.New("this server was removed from the cluster; to let it join again, stop it, delete its JetStream store directory, and start it")

// removed returns errRemoved when the meta state, as far as this node knows it,
// says that it is no longer one of its nodes.
func (n *Node) removed() error {
	gone := false
	n.View(func(s *meta.State) {
		x := s.NodeByID(n.cfg.Identity.Node)
		gone = x != nil && x.Removed
	})
	if gone {
		return errRemoved
	}
	return nil
}

// noteRemoval says so when this node is taken out of the cluster.
func (n *Node) noteRemoval(changes []meta.NodeChange) {
	for _, c := range changes {
		if c.After != nil && c.After.ID == n.cfg.Identity.Node && c.After.Removed {
			n.cfg.Logger.Errorf("JetStream: %v", errRemoved)
		}
	}
}

// metaMembers counts the nodes of this node's meta group, as far as it knows.
func (n *Node) metaMembers() int {
	members := 0
	n.View(func(s *meta.State) { members = len(s.Nodes()) })
	return members
}

// meet makes sure that a linked node that is a member of a meta group is one of
// this node's group. Two groups that formed apart, each before the nodes were
// linked, can not become one: the operator has to choose. Both sides say so; not
// healthy is the one whose group is smaller than its configuration says, such as a
// server that ran alone before, for as long as the link lasts.
func (n *Node) meet(peer base.NodeID) {
	mine := n.boot.standing()
	if mine == nil || !mine.Decided {
		return // this node joins the peer's group, or forms one with it
	}
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
		defer cancel()
		raw, err := n.calls.call(ctx, peer, methodHello, nil)
		var h hello
		if err != nil || json.Unmarshal(raw, &h) != nil {
			return // asked again with the next link
		}
		if h.Member && h.ClusterID != mine.ClusterID {
			err := fmt.Errorf("server %s is a member of another meta group: its store and this one's were made apart; delete the JetStream store directory of one of them", h.Name)
			n.cfg.Logger.Errorf("JetStream: %v", err)
			if n.metaMembers() < n.cfg.Expected() {
				n.noteStranger(peer, err)
			}
		}
	})
}

// noteStranger makes this node unhealthy until the link to the stranger is lost, which it may be already.
func (n *Node) noteStranger(peer base.NodeID, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, linked := n.peers[peer]; !linked {
		return
	}
	if n.strangers == nil {
		n.strangers = make(map[base.NodeID]error)
	}
	n.strangers[peer] = err
}
