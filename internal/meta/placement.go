package meta

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"

	"weir/internal/api"
	"weir/internal/base"
)

// NodeStatus is what is known of a node besides its assignments. Bytes are what
// it may use in all.
type NodeStatus struct {
	Online    bool
	MaxMemory int64
	MaxStore  int64
}

// Candidate is a node as placement sees it.
type Candidate struct {
	Node    base.NodeID
	Name    string
	Cluster string
	Tags    []string
	Online  bool
	// AvailableMemory and AvailableStore are the configured maximum minus what is
	// reserved, in bytes.
	AvailableMemory int64
	AvailableStore  int64
	// HAAssets counts groups of more than one replica, the meta group included.
	HAAssets int
	Streams  int
}

// Candidates joins the nodes and what they are assigned with their status.
func (s *State) Candidates(status func(*Node) NodeStatus) []Candidate {
	var list []Candidate
	for _, n := range s.Nodes() {
		st, load := status(n), s.loads[n.ID]
		list = append(list, Candidate{
			Node: n.ID, Name: n.Name, Cluster: n.Cluster, Tags: n.Tags,
			Online:          st.Online,
			AvailableMemory: st.MaxMemory - load.ReservedMemory,
			AvailableStore:  st.MaxStore - load.ReservedStore,
			HAAssets:        load.HAStreams + 1,
			Streams:         load.Streams,
		})
	}
	return list
}

// PlacementRequest asks for nodes.
type PlacementRequest struct {
	// Replicas is how many in all; 0 means 1.
	Replicas int
	Config   *api.StreamConfig
	// Keep stay, in their order and first. Prefer are taken before others if
	// they suit: a move need not leave a node that fits.
	Keep   []base.NodeID
	Prefer []base.NodeID
	Ignore []base.NodeID
	// MaxHAAssets refuses nodes with more HA assets than that; 0: no limit.
	MaxHAAssets int
	// UniqueTag is a prefix: no two nodes may have the same tag with it.
	UniqueTag string
}

// PlaceIn tries clusters in order and returns the first with room. A cluster
// named by the configuration's placement is the only one tried.
func PlaceIn(clusters []string, req PlacementRequest, candidates []Candidate, rng *rand.Rand) (cluster string, nodes []base.NodeID, err *PlacementError) {
	if req.Config != nil && req.Config.Placement != nil && req.Config.Placement.Cluster != "" {
		clusters = []string{req.Config.Placement.Cluster}
	}
	err = new(PlacementError)
	for _, cluster := range clusters {
		nodes, failed := Place(cluster, req, candidates, rng)
		if failed == nil {
			return cluster, nodes, nil
		}
		err.merge(failed)
	}
	return "", nil, err
}

// Place chooses the nodes for a stream: the kept ones first, then the best of
// those that suit. Equal ones are taken in random order. An offline node may be
// chosen, but online and kept ones must be a majority.
func Place(cluster string, req PlacementRequest, candidates []Candidate, rng *rand.Rand) ([]base.NodeID, *PlacementError) {
	replicas := max(req.Replicas, 1)
	if req.Config == nil {
		return nil, &PlacementError{Misc: true}
	}
	if len(req.Keep) >= replicas {
		return slices.Clone(req.Keep[:replicas]), nil
	}
	if len(candidates) == 0 {
		return nil, &PlacementError{NoJetStream: true}
	}
	p := &placer{PlacementRequest: req, cluster: cluster, causes: new(PlacementError)}
	suitable := p.filter(candidates)
	rng.Shuffle(len(suitable), func(i, j int) { suitable[i], suitable[j] = suitable[j], suitable[i] })
	slices.SortStableFunc(suitable, func(a, b Candidate) int { return p.compare(&a, &b) })
	suitable = p.unique(suitable, candidates)

	need, online := replicas-len(req.Keep), 0
	for _, c := range suitable {
		if c.Online {
			online++
		}
	}
	if online+len(req.Keep) < replicas/2+1 && len(suitable) >= need {
		p.causes.Offline = true
		return nil, p.causes
	}
	if len(suitable) < need {
		return nil, p.causes
	}
	nodes := slices.Clone(req.Keep)
	for _, c := range suitable[:need] {
		nodes = append(nodes, c.Node)
	}
	return nodes, nil
}

// placer is one placement under way.
type placer struct {
	PlacementRequest
	cluster string
	causes  *PlacementError
}

// filter drops nodes that do not suit and notes the first cause of each.
func (p *placer) filter(candidates []Candidate) []Candidate {
	var suitable []Candidate
	for _, c := range candidates {
		if p.suits(&c) {
			suitable = append(suitable, c)
		}
	}
	return suitable
}

func (p *placer) suits(c *Candidate) bool {
	switch {
	case c.Cluster != p.cluster:
		return false
	case slices.Contains(p.Ignore, c.Node), slices.Contains(p.Keep, c.Node):
		return false
	case hasTag(c.Tags, "!jetstream"):
		p.causes.ExcludedTag = true
		return false
	case !p.tagsMatch(c):
		return false
	case p.Config.MaxBytes > 0 && p.Config.MaxBytes > p.available(c):
		p.causes.NoStorage = true
		return false
	case p.MaxHAAssets > 0 && c.HAAssets > p.MaxHAAssets:
		p.causes.Misc = true
		return false
	}
	return true
}

// tagsMatch notes the first placement tag that the node fails.
func (p *placer) tagsMatch(c *Candidate) bool {
	if p.Config.Placement == nil {
		return true
	}
	for _, tag := range p.Config.Placement.Tags {
		if excluded, not := strings.CutPrefix(tag, "!"); not {
			if hasTag(c.Tags, excluded) {
				addTag(&p.causes.ExcludedTags, excluded)
				return false
			}
		} else if !hasTag(c.Tags, tag) {
			addTag(&p.causes.MissingTags, tag)
			return false
		}
	}
	return true
}

func (p *placer) available(c *Candidate) int64 {
	if p.Config.Storage == api.MemoryStorage {
		return c.AvailableMemory
	}
	return c.AvailableStore
}

// compare orders the suitable: online first, then preferred ones, then for
// several replicas the fewest HA assets, then the most room, then the fewest
// streams.
func (p *placer) compare(a, b *Candidate) int {
	first := func(x, y bool) int {
		switch {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	}
	if c := first(a.Online, b.Online); c != 0 {
		return c
	}
	if c := first(slices.Contains(p.Prefer, a.Node), slices.Contains(p.Prefer, b.Node)); c != 0 {
		return c
	}
	if p.Replicas > 1 && a.HAAssets != b.HAAssets {
		return cmp.Compare(a.HAAssets, b.HAAssets)
	}
	if c := cmp.Compare(p.available(b), p.available(a)); c != 0 {
		return c
	}
	return cmp.Compare(a.Streams, b.Streams)
}

// unique drops nodes whose unique tag is taken by a kept or a better one. The
// rule is off when a placement tag itself begins with the prefix.
func (p *placer) unique(suitable, all []Candidate) []Candidate {
	if p.UniqueTag == "" || p.placementNamesUniqueTag() {
		return suitable
	}
	taken := map[string]bool{}
	for _, c := range all {
		if slices.Contains(p.Keep, c.Node) {
			taken[tagWithPrefix(c.Tags, p.UniqueTag)] = true
		}
	}
	var rest []Candidate
	for _, c := range suitable {
		tag := tagWithPrefix(c.Tags, p.UniqueTag)
		if tag == "" || taken[tag] {
			p.causes.NotUnique = true
			continue
		}
		taken[tag] = true
		rest = append(rest, c)
	}
	return rest
}

func (p *placer) placementNamesUniqueTag() bool {
	return p.Config.Placement != nil && tagWithPrefix(p.Config.Placement.Tags, p.UniqueTag) != ""
}

func hasTag(tags []string, tag string) bool {
	return slices.ContainsFunc(tags, func(t string) bool { return strings.EqualFold(t, tag) })
}

// tagWithPrefix is the first tag with the prefix, in lower case; empty for none.
func tagWithPrefix(tags []string, prefix string) string {
	prefix = strings.ToLower(prefix)
	for _, tag := range tags {
		if tag = strings.ToLower(tag); strings.HasPrefix(tag, prefix) {
			return tag
		}
	}
	return ""
}
