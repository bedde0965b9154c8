package meta

import (
	"slices"

	"weir/internal/apierr"
	"weir/internal/base"
)

func (t *transition) init(c *MetaInit) *apierr.Error {
	if t.clusterID != "" {
		t.result.Existing = true
		return nil
	}
	if c.ClusterID == "" || !distinct(c.Nodes) {
		return apierr.JSBadRequestErr
	}
	t.clusterID = c.ClusterID
	for _, spec := range c.Nodes {
		t.nextReplica = max(t.nextReplica, spec.Replica+1)
		t.setNode(&Node{Name: spec.Name, ID: spec.Node, Replica: spec.Replica,
			Cluster: spec.Cluster, Tags: spec.Tags, Room: spec.Room, Joined: t.time})
	}
	return nil
}

// distinct tells whether no two nodes share a name, an ID or a replica.
func distinct(nodes []NodeSpec) bool {
	for i, n := range nodes {
		same := func(o NodeSpec) bool { return o.Name == n.Name || o.Node == n.Node || o.Replica == n.Replica }
		if n.Name == "" || n.Node == 0 || n.Replica == 0 || slices.ContainsFunc(nodes[:i], same) {
			return false
		}
	}
	return true
}

// setNode installs a node and notes the change.
func (t *transition) setNode(n *Node) {
	before := t.State.nodes[n.Name]
	if before != nil && before.ID != n.ID {
		delete(t.byNode, before.ID)
	}
	t.State.nodes[n.Name], t.byNode[n.ID] = n, n
	t.nodes = append(t.nodes, NodeChange{before, n})
	t.result.Node = n
}

func (t *transition) joinNode(c *NodeJoin) *apierr.Error {
	if c.Name == "" || c.Node == 0 {
		return apierr.JSBadRequestErr
	}
	if other := t.byNode[c.Node]; other != nil && other.Name != c.Name {
		// One store directory under another name: its replicas would be taken
		// for two nodes'.
		return apierr.JSClusterServerNotMemberErr
	}
	n := &Node{Name: c.Name, ID: c.Node, Cluster: c.Cluster, Tags: slices.Clone(c.Tags), Room: c.Room, Joined: t.time}
	have := t.State.nodes[c.Name]
	switch {
	case have == nil:
		n.Replica = t.newReplica(n.ID).ID
	case have.ID == c.Node && !have.Removed:
		n.Replica, n.Joined = have.Replica, have.Joined
		t.result.Existing, t.result.Node = true, have
		if n.Cluster == have.Cluster && slices.Equal(n.Tags, have.Tags) && n.Room == have.Room {
			return nil
		}
	case have.ID == c.Node && c.Member:
		return apierr.JSClusterServerNotMemberErr
	default: // wiped, or back after its removal
		n.Replica = t.newReplica(n.ID).ID
	}
	t.setNode(n)
	if have != nil && have.ID != c.Node {
		t.replaceNode(have.ID, c.Node)
	}
	return nil
}

// replaceNode moves everything assigned to a node that was wiped to its new
// incarnation, under fresh replicas.
func (t *transition) replaceNode(old, next base.NodeID) {
	for _, id := range t.groupIDs() {
		have := t.groups[id]
		r, wanted, here := have.ReplicaOn(old)
		inOrigin := have.Reconfig != nil && onNode(have.Reconfig.FromMembers, old) >= 0
		if !here && !inOrigin {
			continue
		}
		a := have.clone()
		if wanted {
			t.replace(a, withID(a.Replicas, r.ID), next)
		}
		a.lose(r.ID)
		if inOrigin {
			a.Reconfig = a.Reconfig.withNode(old, next)
		}
		if a.Preferred == old {
			a.Preferred = next
		}
		t.restartIfEmpty(a)
		t.put(Moved, a, nil)
	}
}

// withNode is a copy with one node renamed.
func (r *Reconfig) withNode(old, next base.NodeID) *Reconfig {
	c := *r
	c.FromMembers = slices.Clone(r.FromMembers)
	for i := range c.FromMembers {
		if c.FromMembers[i].Node == old {
			c.FromMembers[i].Node = next
		}
	}
	return &c
}

func (t *transition) removeNode(c *NodeRemove) *apierr.Error {
	have := t.byNode[c.Node]
	if have == nil || have.Removed && (have.Gone || !c.Gone) {
		return apierr.JSClusterServerNotMemberErr
	}
	if !have.Removed && len(t.State.Nodes()) == 1 {
		return apierr.JSBadRequestErr // nobody would be left to know
	}
	n := *have
	n.Removed, n.Gone = true, c.Gone
	t.setNode(&n)
	to := make(map[base.GroupID]base.NodeID, len(c.Remaps))
	for _, r := range c.Remaps {
		to[r.Group] = r.Node
	}
	for _, id := range t.groupIDs() {
		a := t.groups[id]
		if onNode(a.Replicas, c.Node) >= 0 {
			_ = t.remap(a, c.Node, to[id]) // 10075 is about one stream, not the node
		}
		if c.Gone && onNode(a.Members, c.Node) >= 0 {
			t.restartIfGone(t.groups[id])
		}
	}
	return nil
}

// loseMetaReplica gives the node's member of the meta group a fresh identity.
func (t *transition) loseMetaReplica(id base.ReplicaID) {
	for _, n := range t.State.Nodes() {
		if n.Replica == id {
			c := *n
			c.Replica = t.newReplica(n.ID).ID
			t.setNode(&c)
			return
		}
	}
}
