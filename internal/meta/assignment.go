package meta

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/subject"
)

// Assignment is what should be of one stream. It is immutable.
type Assignment struct {
	Account string       `json:"account"`
	Name    string       `json:"name"`
	Group   base.GroupID `json:"group"`
	// RaftName is the group's name as the API shows it.
	RaftName string `json:"raft_name"`
	// Cluster is where the replicas are.
	Cluster string `json:"cluster,omitempty"`

	// RawConfig is the configuration as proposed: fields that this version does
	// not know survive in it. Config is what this version reads of it.
	RawConfig json.RawMessage   `json:"config"`
	Config    *api.StreamConfig `json:"-"`
	// ConfigVersion grows with every update, from 1; the stream's leader copies
	// the configuration of a newer version into the stream's own log.
	ConfigVersion uint64 `json:"config_version"`
	// Revision is the meta index of the last change of any kind.
	Revision uint64 `json:"revision"`

	// Created is in Unix nanoseconds.
	Created int64 `json:"created"`
	// Request is where the create came from: the first leader answers it.
	Request *Origin `json:"request,omitempty"`
	// Preferred should become leader when the group starts; 0 for whoever.
	Preferred base.NodeID `json:"preferred,omitempty"`

	// Initial, Replicas, Leaving and Members: see the package comment.
	Initial  []base.Replica `json:"initial"`
	Replicas []base.Replica `json:"replicas"`
	Leaving  []Leaving      `json:"leaving,omitempty"`
	Members  []base.Replica `json:"members"`
	// MembersIndex is the index in the group's own log that Members is as of.
	MembersIndex uint64 `json:"members_index,omitempty"`
	// Lost are those of Members whose state is gone.
	Lost []base.ReplicaID `json:"lost,omitempty"`

	// Survey runs while it is found out what a memory group that lost its majority has
	// left; nil otherwise.
	Survey *Survey `json:"survey,omitempty"`
	// Seed is what the first of Initial begins with; nil: with nothing.
	Seed *Seed `json:"seed,omitempty"`

	// Restoring: a backup is being put into the stream. It takes its name and subjects, and nobody sees it.
	Restoring bool `json:"restoring,omitempty"`

	// Reconfig is the running move or scale; nil when none runs.
	Reconfig *Reconfig `json:"reconfig,omitempty"`

	// unknown is why the configuration could not be read strictly.
	unknown string
}

// Leaving is a replica that is no longer wanted, since a meta index.
type Leaving struct {
	base.Replica
	Since uint64 `json:"since"`
}

// Origin is where a request came from and where its answer goes.
type Origin struct {
	Node    base.NodeID     `json:"node"`
	Subject string          `json:"subject,omitempty"`
	Reply   string          `json:"reply,omitempty"`
	Client  json.RawMessage `json:"client,omitempty"`
}

// ReconfigKind says what a reconfiguration is.
type ReconfigKind string

// A move changes nodes, a scale their number.
const (
	Move  ReconfigKind = "move"
	Scale ReconfigKind = "scale"
)

// Reconfig is a change of replicas that is not yet reported as done, with what
// a cancel goes back to.
type Reconfig struct {
	Kind ReconfigKind `json:"kind"`
	// Started is in Unix nanoseconds.
	Started int64 `json:"started"`

	FromReplicas  int            `json:"from_replicas"` // the configured count
	FromPlacement *api.Placement `json:"from_placement,omitempty"`
	FromMembers   []base.Replica `json:"from_members"`
	FromCluster   string         `json:"from_cluster,omitempty"`
}

// Storage is the kind of storage.
func (a *Assignment) Storage() api.Storage {
	if a.Config.Storage == "" {
		return api.FileStorage
	}
	return a.Config.Storage
}

// mirrorOf is the stream of the same account that this one mirrors; empty for none.
func (a *Assignment) mirrorOf() string {
	if m := a.Config.Mirror; m != nil && m.External == nil {
		return m.Name
	}
	return ""
}

// ReplicaOn is the replica that the node should run: a wanted one, else one
// that is on its way out. It is false when the node has nothing to run.
func (a *Assignment) ReplicaOn(node base.NodeID) (r base.Replica, wanted, ok bool) {
	if i := onNode(a.Replicas, node); i >= 0 {
		return a.Replicas[i], true, true
	}
	for _, l := range a.Leaving {
		if l.Node == node {
			return l.Replica, false, true
		}
	}
	return base.Replica{}, false, false
}

// IsInitial tells whether the replica is one that bootstraps the group.
func (a *Assignment) IsInitial(id base.ReplicaID) bool { return withID(a.Initial, id) >= 0 }

// Nodes are the wanted nodes in order.
func (a *Assignment) Nodes() []base.NodeID {
	nodes := make([]base.NodeID, len(a.Replicas))
	for i, r := range a.Replicas {
		nodes[i] = r.Node
	}
	return nodes
}

// Unsupported says why this version, of the given API level, can not run the
// stream; empty when it can. Such a stream keeps its name and subjects.
func (a *Assignment) Unsupported(apiLevel int) (reason string) {
	if a.unknown != "" {
		return "unsupported - config error: " + a.unknown
	}
	required, ok := a.Config.Metadata[api.MetadataRequiredLevel]
	if !ok {
		return ""
	}
	if level, err := strconv.Atoi(required); err != nil || level > apiLevel {
		return fmt.Sprintf("unsupported - required API level: %s, current API level: %d", required, apiLevel)
	}
	return ""
}

// Loss says why the group can elect no leader, now or any more: so many of its members have
// lost what they held that the others are no majority. It is empty otherwise. Members
// may be those before the group's latest change, so it explains the lack of a leader
// and does not prove it.
func (a *Assignment) Loss() string {
	lost, of := len(a.Lost), len(a.Members)
	switch {
	case a.Survey != nil:
		return "most of its replicas lost their messages with a restart; it goes on with what the others have when all of their servers have answered"
	case of-lost > of/2:
		return ""
	case lost == of:
		return "its data is gone, as the stores of all its servers were replaced; delete the stream and restore it from a backup, or remove one of its peers to have it begin anew, empty"
	}
	return fmt.Sprintf("%d of %d replicas lost their data, as it was damaged or the stores of their servers were replaced, and the others are no majority; "+
		"delete the stream, and restore it from a backup if there is one", lost, of)
}

func (a *Assignment) overlaps(subj string) bool {
	if len(a.Config.Subjects) == 0 {
		return subject.Overlap(a.Name, subj)
	}
	return slices.ContainsFunc(a.Config.Subjects, func(s string) bool { return subject.Overlap(s, subj) })
}

// IsGone tells whether a replica will never take part in the group again.
func (a *Assignment) IsGone(id base.ReplicaID) bool { return !a.has(id) || slices.Contains(a.Lost, id) }

// clone is a copy to change.
func (a *Assignment) clone() *Assignment {
	c := *a
	c.Initial = slices.Clone(a.Initial)
	c.Members = slices.Clone(a.Members)
	c.Replicas = slices.Clone(a.Replicas)
	c.Leaving = slices.Clone(a.Leaving)
	c.Lost = slices.Clone(a.Lost)
	if a.Survey != nil {
		c.Survey = &Survey{a.Survey.Since, a.Survey.By, slices.Clone(a.Survey.Remains)}
	}
	return &c
}

// setConfig replaces the configuration.
func (a *Assignment) setConfig(raw json.RawMessage) error {
	config, unknown, err := parseConfig(raw)
	if err != nil {
		return err
	}
	a.RawConfig, a.Config, a.unknown = slices.Clone(raw), config, unknown
	return nil
}

// parseConfig reads a configuration; unknown says what a strict reader does not
// accept in one that a lenient reader does.
func parseConfig(raw []byte) (config *api.StreamConfig, unknown string, err error) {
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields()
	config = new(api.StreamConfig)
	if strictErr := strict.Decode(config); strictErr != nil {
		config, unknown = new(api.StreamConfig), strictErr.Error()
		if err := json.Unmarshal(raw, config); err != nil {
			return nil, "", err
		}
	}
	return config, unknown, nil
}

// serverMetadata are the keys of metadata that servers set.
var serverMetadata = []string{api.MetadataRequiredLevel, api.MetadataVersion, api.MetadataLevel}

// SameConfig tells whether two configurations in JSON are equal, apart from
// the metadata that servers set.
func SameConfig(a, b json.RawMessage) bool {
	ca, errA := canonicalConfig(a)
	cb, errB := canonicalConfig(b)
	return errA == nil && errB == nil && bytes.Equal(ca, cb)
}

// canonicalConfig is a configuration with sorted keys and without server metadata.
func canonicalConfig(raw []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		return nil, err
	}
	if metadata, ok := fields["metadata"].(map[string]any); ok {
		for key := range metadata {
			if slices.Contains(serverMetadata, key) {
				delete(metadata, key)
			}
		}
		if len(metadata) == 0 {
			delete(fields, "metadata")
		}
	}
	return json.Marshal(fields)
}

// editConfig sets fields of a configuration and leaves the others, known or
// not, as they are. A nil value removes the field.
func editConfig(raw json.RawMessage, set map[string]any) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for name, value := range set {
		if value == nil {
			delete(fields, name)
			continue
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		fields[name] = encoded
	}
	return json.Marshal(fields)
}

func onNode(list []base.Replica, node base.NodeID) int {
	return slices.IndexFunc(list, func(r base.Replica) bool { return r.Node == node })
}

func withID(list []base.Replica, id base.ReplicaID) int {
	return slices.IndexFunc(list, func(r base.Replica) bool { return r.ID == id })
}

// sameSet tells whether two lists have the same replicas in any order.
func sameSet(a, b []base.Replica) bool {
	if len(a) != len(b) {
		return false
	}
	return !slices.ContainsFunc(a, func(r base.Replica) bool { return withID(b, r.ID) < 0 })
}

// Report is what the stream's leader should tell of its group's voters, as of an
// index of the stream's own log, when it goes by this assignment: nil when that
// is known already.
func (a *Assignment) Report(voters []base.Replica, index uint64) *MembersChanged {
	left := func(l Leaving) bool { return withID(voters, l.ID) < 0 }
	if sameSet(voters, a.Members) && !slices.ContainsFunc(a.Leaving, left) {
		return nil
	}
	return &MembersChanged{Group: a.Group, Members: slices.Clone(voters), Index: index, Seen: a.Revision}
}
