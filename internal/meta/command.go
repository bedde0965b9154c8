package meta

import (
	"encoding/json"

	"weir/internal/api"
	"weir/internal/base"
)

// Command is one entry of the meta group's log. Proposer and Seq let the
// proposer find its result; Time is in Unix nanoseconds.
type Command struct {
	Proposer base.ReplicaID
	Seq      uint64
	Time     int64
	Body     Body
}

// Body is what a command does: a pointer to one of the types below.
type Body interface{ kind() byte }

// MetaInit is the first command of a meta group; later ones are ignored.
type MetaInit struct {
	ClusterID string     `json:"cluster_id"`
	Nodes     []NodeSpec `json:"nodes"`
}

// NodeSpec describes a bootstrap node with its member in the meta group.
type NodeSpec struct {
	NodeJoin
	Replica base.ReplicaID `json:"replica"`
}

// NodeJoin makes a node known, or tells its cluster and tags anew. A known name
// with another NodeID is a node that was wiped: what it held is lost, and each
// of its replicas gets a fresh ReplicaID on the new node.
type NodeJoin struct {
	Name    string      `json:"name"`
	Node    base.NodeID `json:"node"`
	Cluster string      `json:"cluster,omitempty"`
	Tags    []string    `json:"tags,omitempty"`
	Room
	// Member: the node only corrects what is known of it. One that was removed
	// meanwhile does not come back by it.
	Member bool `json:"member,omitempty"`
}

// NodeRemove takes a node out. Each replica there is replaced by one on the
// remap's node; without a remap a group of several goes on with fewer and a
// group of one stays as it is. Gone says that the node is down: what only it held
// is lost. Otherwise it hands over what it has; if it goes down before it has, a
// second NodeRemove says so.
type NodeRemove struct {
	Node   base.NodeID `json:"node"`
	Gone   bool        `json:"gone,omitempty"`
	Remaps []Remap     `json:"remaps,omitempty"`
}

// Remap names the node that a group's replacement goes to.
type Remap struct {
	Group base.GroupID `json:"group"`
	Node  base.NodeID  `json:"node"`
}

// Limits are an account's limits for a stream; -1 is unlimited. With Tiered
// they are those of the tier of streams with the same replica count.
type Limits struct {
	MaxStreams   int   `json:"max_streams"`
	MaxConsumers int   `json:"max_consumers"`
	MaxMemory    int64 `json:"max_memory"`
	MaxStore     int64 `json:"max_store"`
	Tiered       bool  `json:"tiered,omitempty"`
}

// StreamCreate assigns a new stream. The proposer has validated the
// configuration and set its defaults.
type StreamCreate struct {
	Account  string          `json:"account"`
	Config   json.RawMessage `json:"config"`
	RaftName string          `json:"raft_name"`
	Cluster  string          `json:"cluster,omitempty"`
	// Nodes are the chosen nodes, Preferred the one to lead first.
	Nodes     []base.NodeID `json:"nodes"`
	Preferred base.NodeID   `json:"preferred,omitempty"`
	Request   *Origin       `json:"request,omitempty"`
	Limits    *Limits       `json:"limits,omitempty"` // nil: none
	// Restore: a backup will be put into the stream, until RestoreEnded. A stream of that name, even an equal one, is an
	// error.
	Restore bool `json:"restore,omitempty"`
}

// RestoreEnded shows a stream that a backup was put into, or drops it when that was not brought to its end.
type RestoreEnded struct {
	Group base.GroupID `json:"group"`
	Kept  bool         `json:"kept,omitempty"`
}

// StreamUpdate changes a stream's configuration and, with Nodes, its nodes. The
// proposer has validated the change against the assignment of IfRevision; when
// another change came first the result is Stale and nothing happens.
type StreamUpdate struct {
	Account    string          `json:"account"`
	Name       string          `json:"name"`
	Config     json.RawMessage `json:"config"`
	IfRevision uint64          `json:"if_revision,omitempty"` // 0: whatever
	// Nodes are the wanted nodes; nil leaves them. Cluster and RaftName go with
	// them; the name is taken when the group goes from or to one replica.
	Nodes     []base.NodeID `json:"nodes,omitempty"`
	Cluster   string        `json:"cluster,omitempty"`
	RaftName  string        `json:"raft_name,omitempty"`
	Preferred base.NodeID   `json:"preferred,omitempty"`
	Request   *Origin       `json:"request,omitempty"`
	Limits    *Limits       `json:"limits,omitempty"`
}

// StreamCancelMove goes back to what a running move or scale started from.
type StreamCancelMove struct {
	Account string  `json:"account"`
	Name    string  `json:"name"`
	Request *Origin `json:"request,omitempty"`
}

// StreamDelete deletes a stream. Group, unless 0, must be the stream's: one that came about since under the name is another.
type StreamDelete struct {
	Account string       `json:"account"`
	Name    string       `json:"name"`
	Group   base.GroupID `json:"group,omitempty"`
	Request *Origin      `json:"request,omitempty"`
}

// AccountPurge deletes all streams of an account.
type AccountPurge struct {
	Account string `json:"account"`
}

// PeerRemove takes a stream's replica off a node. Replacement is the node for
// another one; with none (0) a group of several goes on with fewer and a group
// of one stays as it is: the result is 10075 either way. A file group of which
// nothing is left starts anew, empty.
type PeerRemove struct {
	Account     string      `json:"account"`
	Name        string      `json:"name"`
	Node        base.NodeID `json:"node"`
	Replacement base.NodeID `json:"replacement,omitempty"`
	IfRevision  uint64      `json:"if_revision,omitempty"`
}

// ReplicasLost says that replicas have lost their state: memory replicas of a
// process that restarted, or corrupt ones. Each gets a fresh ReplicaID on the
// same node, which its leader fills. When every replica of a memory group is
// lost the group starts anew, empty; when most are, with what the others have (see
// Survey). The last replica of a file group is not
// replaced: its files are all there is. The member of the meta group is
// reported with base.MetaGroup.
type ReplicasLost struct {
	Lost []LostReplica `json:"lost"`
}

// LostReplica names one lost replica.
type LostReplica struct {
	Group   base.GroupID   `json:"group"`
	Replica base.ReplicaID `json:"replica"`
}

// MembersChanged reports the voters of a stream's group (learners are not
// members yet). A leader sends it after each change of them, and when there are
// Leaving replicas that its group does not have. It must see a report applied
// before it changes members again: what is left of a group that loses replicas
// is judged by it.
type MembersChanged struct {
	Group   base.GroupID   `json:"group"`
	Members []base.Replica `json:"members"`
	// Index is the index of the change in the stream's own log: a report that
	// comes after that of a later change is stale.
	Index uint64 `json:"index"`
	// Seen is the Revision of the assignment that the leader knew.
	Seen uint64 `json:"seen"`
}

// SurveyAsked is the word of a replica of a memory group, By, that by the members
// that it knows the group can have no leader any more: Members were those of
// before a change, and do not show it. Nothing happens unless the assignment
// still has the given Revision.
type SurveyAsked struct {
	Group    base.GroupID   `json:"group"`
	By       base.ReplicaID `json:"by"`
	Revision uint64         `json:"revision"`
}

// RemainsTold are answers of stopped replicas to surveys.
type RemainsTold struct {
	Told []ReplicaRemains `json:"told"`
}

// ReplicaRemains is a replica's answer to the Survey that began at Since.
type ReplicaRemains struct {
	Group base.GroupID `json:"group"`
	Since uint64       `json:"since"`
	Remains
}

// Kinds of commands. Never reuse a number.
const (
	kindMetaInit byte = iota + 1
	kindNodeJoin
	kindNodeRemove
	kindStreamCreate
	kindStreamUpdate
	kindStreamCancelMove
	kindStreamDelete
	kindAccountPurge
	kindPeerRemove
	kindReplicasLost
	kindMembersChanged
	_ // was never proposed
	kindRestoreEnded
	kindRemainsTold
	kindSurveyAsked
)

func (*MetaInit) kind() byte         { return kindMetaInit }
func (*NodeJoin) kind() byte         { return kindNodeJoin }
func (*NodeRemove) kind() byte       { return kindNodeRemove }
func (*StreamCreate) kind() byte     { return kindStreamCreate }
func (*StreamUpdate) kind() byte     { return kindStreamUpdate }
func (*StreamCancelMove) kind() byte { return kindStreamCancelMove }
func (*StreamDelete) kind() byte     { return kindStreamDelete }
func (*AccountPurge) kind() byte     { return kindAccountPurge }
func (*PeerRemove) kind() byte       { return kindPeerRemove }
func (*ReplicasLost) kind() byte     { return kindReplicasLost }
func (*MembersChanged) kind() byte   { return kindMembersChanged }
func (*RestoreEnded) kind() byte     { return kindRestoreEnded }
func (*RemainsTold) kind() byte      { return kindRemainsTold }
func (*SurveyAsked) kind() byte      { return kindSurveyAsked }

func newBody(kind byte) Body {
	switch kind {
	case kindMetaInit:
		return new(MetaInit)
	case kindNodeJoin:
		return new(NodeJoin)
	case kindNodeRemove:
		return new(NodeRemove)
	case kindStreamCreate:
		return new(StreamCreate)
	case kindStreamUpdate:
		return new(StreamUpdate)
	case kindStreamCancelMove:
		return new(StreamCancelMove)
	case kindStreamDelete:
		return new(StreamDelete)
	case kindAccountPurge:
		return new(AccountPurge)
	case kindPeerRemove:
		return new(PeerRemove)
	case kindReplicasLost:
		return new(ReplicasLost)
	case kindMembersChanged:
		return new(MembersChanged)
	case kindRestoreEnded:
		return new(RestoreEnded)
	case kindRemainsTold:
		return new(RemainsTold)
	case kindSurveyAsked:
		return new(SurveyAsked)
	}
	return nil
}

// reserved is what a configuration reserves on each node, in bytes.
func reserved(config *api.StreamConfig) int64 { return max(config.MaxBytes, 0) }
