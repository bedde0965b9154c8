package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
)

const membershipFile = "meta.json"

// membership is what a node has durably said about the meta group. Two meta
// groups can never form in one cluster, because
//
//   - a first membership (a plan) is written as decided only by its coordinator,
//     after every node named in it has durably promised itself to that plan;
//   - a node that has promised itself neither coordinates nor promises to another
//     coordinator, unless the plan is overtaken; and
//   - everybody else becomes a member only through one who is.
type membership struct {
	Version int `json:"version"`
	// ClusterID names the meta group.
	ClusterID string `json:"cluster_id"`
	// Coordinator decides whether the promised plan comes to be.
	Coordinator base.NodeID `json:"coordinator,omitempty"`
	// Decided: the group exists and this node is a member. Otherwise this is a
	// promise.
	Decided bool `json:"decided"`
	// Replica is this node's member of the group.
	Replica base.ReplicaID `json:"replica"`
	// Initial are the group's first voters; empty for a node that joined later.
	Initial []base.Replica `json:"initial,omitempty"`
	// Names are the server names of Initial, in its order.
	Names []string `json:"names,omitempty"`
}

// overtaken tells whether the promised plan can not come to be any more, nor has
// come to be, by what the others said of themselves; none of them is a member.
//
// Its coordinator is the one to decide it, and decides its latest plan or none. If
// the coordinator's store is gone, nobody may have heard of the decision: so
// every other voter has to be in sight, or to have lost its store as well.
func (m *membership) overtaken(self base.NodeID, hellos []hello) bool {
	if m.Coordinator == self {
		return true // nothing was decided, and the next plan will be another one
	}
	for _, h := range hellos {
		if h.Node == m.Coordinator {
			return h.Coordinator != m.Coordinator || h.ClusterID != m.ClusterID
		}
	}
	for i, r := range m.Initial {
		known := r.Node == self || slices.ContainsFunc(hellos, func(h hello) bool {
			return h.Node == r.Node || i < len(m.Names) && h.Name == m.Names[i]
		})
		if !known {
			return false
		}
	}
	return true
}

// nameOf is the name of the first voter on node; empty when there is none.
func (m *membership) nameOf(node base.NodeID) string {
	for i, r := range m.Initial {
		if r.Node == node && i < len(m.Names) {
			return m.Names[i]
		}
	}
	return ""
}

// replicaOf is the first voter that lives on node; 0 when none does.
func (m *membership) replicaOf(node base.NodeID) base.ReplicaID {
	for _, r := range m.Initial {
		if r.Node == node {
			return r.ID
		}
	}
	return 0
}

// readMembership reads what the node has said before; nil when nothing.
func readMembership(fs vfs.FS, dir string) (*membership, error) {
	f, err := fs.Open(fs.PathJoin(dir, membershipFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open meta membership: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read meta membership: %w", err)
	}
	m := new(membership)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, base.Corruptf("meta membership: %w", err)
	}
	if m.Version > identityVersion {
		return nil, fmt.Errorf("meta membership has version %d, this program knows up to %d", m.Version, identityVersion)
	}
	return m, nil
}

func writeMembership(fs vfs.FS, dir string, m *membership) error {
	m.Version = identityVersion
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := writeDurably(fs, dir, fs.PathJoin(dir, membershipFile), raw); err != nil {
		return fmt.Errorf("write meta membership: %w", err)
	}
	return nil
}
