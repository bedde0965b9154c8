package meta

import (
	"math/rand/v2"
	"slices"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
)

// Planner chooses nodes for the commands that carry them. It looks at the state
// as it is now; Apply judges again.
type Planner struct {
	State  *State
	Status func(*Node) NodeStatus
	// MaxHAAssets and UniqueTag are as in PlacementRequest.
	MaxHAAssets int
	UniqueTag   string
	Rand        *rand.Rand
}

// Create chooses the nodes of a new stream in the first of the clusters that
// has room, and one of those online to lead first. The error is 10005.
func (p *Planner) Create(config *api.StreamConfig, clusters []string) (cluster string, nodes []base.NodeID, preferred base.NodeID, err *apierr.Error) {
	cluster, nodes, failed := PlaceIn(clusters, p.request(config), p.candidates(), p.Rand)
	if failed != nil {
		return "", nil, 0, apierr.JSClusterNoPeersErrF(failed)
	}
	var online []base.NodeID
	for _, node := range nodes {
		if p.online(node) {
			online = append(online, node)
		}
	}
	if len(online) > 0 {
		preferred = online[p.Rand.IntN(len(online))]
	}
	return cluster, nodes, preferred, nil
}

// Update chooses the nodes for an update from one configuration to the next;
// nil nodes when it neither scales nor moves the stream. A scale up keeps the
// present nodes; a scale down keeps the leader, then those online; a move
// keeps those that suit the new placement. Errors are 10005, 10123 for a scale with
// a move, and 10047 or 10028 when nodes that stay have no room for more max_bytes.
func (p *Planner) Update(a *Assignment, next *api.StreamConfig, leader base.NodeID) (cluster string, nodes []base.NodeID, err *apierr.Error) {
	req, clusters := p.request(next), []string{a.Cluster}
	moves := !samePlacement(a.Config.Placement, next.Placement)
	scales := next.Replicas != a.Config.Replicas
	if moves && scales {
		return "", nil, apierr.JSStreamMoveAndScaleErr
	}
	if !moves {
		if err := p.checkGrowth(a, next); err != nil {
			return "", nil, err
		}
	}
	switch have := len(a.Replicas); {
	case moves:
		req.Prefer = a.Nodes()
	case !scales:
		return a.Cluster, nil, nil
	case next.Replicas <= have:
		return a.Cluster, p.shrink(a, next.Replicas, leader), nil
	default:
		req.Keep = a.Nodes()
	}
	cluster, nodes, failed := PlaceIn(clusters, req, p.candidates(), p.Rand)
	if failed != nil {
		return "", nil, apierr.JSClusterNoPeersErrF(failed)
	}
	return cluster, nodes, nil
}

// checkGrowth judges whether the stream's nodes have room for what the next configuration reserves
// beyond the present one.
func (p *Planner) checkGrowth(a *Assignment, next *api.StreamConfig) *apierr.Error {
	more := reserved(next) - reserved(a.Config)
	if more <= 0 {
		return nil
	}
	for _, c := range p.candidates() {
		if onNode(a.Replicas, c.Node) < 0 {
			continue
		}
		switch {
		case a.Storage() == api.MemoryStorage && more > c.AvailableMemory:
			return apierr.JSMemoryResourcesExceededErr
		case a.Storage() != api.MemoryStorage && more > c.AvailableStore:
			return apierr.JSStorageResourcesExceededErr
		}
	}
	return nil
}

// Move chooses the nodes for a move that leaves the configuration as it is: off a node, 0 for none, to a cluster, "" for
// the stream's own, to nodes with all of some tags, none for those of its placement. Present nodes that fit stay.
func (p *Planner) Move(a *Assignment, away base.NodeID, cluster string, tags []string) (string, []base.NodeID, *apierr.Error) {
	config, placement := *a.Config, api.Placement{Cluster: cluster, Tags: tags}
	if own := a.Config.Placement; own != nil && len(tags) == 0 {
		placement.Tags = own.Tags
	}
	if cluster == "" {
		placement.Cluster = a.Cluster
	}
	config.Placement = &placement
	req := p.request(&config)
	req.Prefer = slices.DeleteFunc(a.Nodes(), func(n base.NodeID) bool { return n == away })
	if away != 0 {
		req.Ignore = []base.NodeID{away}
	}
	cluster, nodes, failed := PlaceIn([]string{placement.Cluster}, req, p.candidates(), p.Rand)
	if failed != nil {
		return "", nil, apierr.JSClusterNoPeersErrF(failed)
	}
	return cluster, nodes, nil
}

// shrink keeps the leader, then the members online, then the others, in order. A leader that
// has just gone may be taken for one yet, but does not count as one.
func (p *Planner) shrink(a *Assignment, replicas int, leader base.NodeID) []base.NodeID {
	rank := func(node base.NodeID) int {
		switch {
		case !p.online(node):
			return 2
		case node != leader:
			return 1
		}
		return 0
	}
	nodes := a.Nodes()
	slices.SortStableFunc(nodes, func(x, y base.NodeID) int { return rank(x) - rank(y) })
	return nodes[:min(max(replicas, 1), len(nodes))]
}

// Replacement is a node to take over a stream's replica from another, by the
// stream's own placement and in its cluster; 0 when there is none.
func (p *Planner) Replacement(a *Assignment, from base.NodeID) base.NodeID {
	return p.replacement(a, from, p.candidates())
}

// RemoveNode finds replacements for everything on a node.
func (p *Planner) RemoveNode(from base.NodeID) []Remap {
	candidates := p.candidates()
	var remaps []Remap
	for _, id := range p.State.groupIDs() {
		a := p.State.groups[id]
		if onNode(a.Replicas, from) < 0 {
			continue
		}
		to := p.replacement(a, from, candidates)
		if to == 0 {
			continue
		}
		remaps = append(remaps, Remap{Group: id, Node: to})
		for i := range candidates {
			if candidates[i].Node == to {
				candidates[i].assign(a)
			}
		}
	}
	return remaps
}

// assign counts a stream that will come.
func (c *Candidate) assign(a *Assignment) {
	c.Streams++
	if len(a.Replicas) > 1 {
		c.HAAssets++
	}
	c.AvailableMemory -= a.reservedMemory()
	c.AvailableStore -= a.reservedStore()
}

func (p *Planner) replacement(a *Assignment, from base.NodeID, candidates []Candidate) base.NodeID {
	req := p.request(a.Config)
	req.Ignore = []base.NodeID{from}
	for _, node := range a.Nodes() {
		if node != from {
			req.Keep = append(req.Keep, node)
		}
	}
	req.Replicas = len(req.Keep) + 1
	nodes, failed := Place(a.Cluster, req, candidates, p.Rand)
	if failed != nil {
		return 0
	}
	return nodes[len(nodes)-1]
}

func (p *Planner) request(config *api.StreamConfig) PlacementRequest {
	return PlacementRequest{Replicas: config.Replicas, Config: config, MaxHAAssets: p.MaxHAAssets, UniqueTag: p.UniqueTag}
}

func (p *Planner) candidates() []Candidate { return p.State.Candidates(p.Status) }

func (p *Planner) online(id base.NodeID) bool {
	n := p.State.NodeByID(id)
	return n != nil && !n.Removed && p.Status(n).Online
}
