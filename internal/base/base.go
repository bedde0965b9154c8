// Package base holds what every other package needs: identifiers, the three
// classes of error, the clock and the log interface, and a few small tools that
// would otherwise stand in several packages. It imports only the standard library.
package base

import (
	"fmt"
	"strconv"
)

// NodeID names one incarnation of a node's store directory: a random non-zero
// number written when the directory is created. A node that is wiped and comes
// back under its old server name has another NodeID, so it can never be taken
// for the replica that it was.
type NodeID uint64

func (id NodeID) String() string { return strconv.FormatUint(uint64(id), 36) }

// GroupID names a Raft group. Zero is no group; MetaGroup is the group that
// holds assignments. Identifiers are handed out by the meta group and never
// reused.
type GroupID uint64

// MetaGroup is the Raft group of all JetStream nodes.
const MetaGroup GroupID = 1

func (id GroupID) String() string { return "g" + strconv.FormatUint(uint64(id), 10) }

// ReplicaID is a voter's or learner's identity within Raft. It is never reused,
// so a replica that was rebuilt from its peers votes under a new one.
type ReplicaID uint64

func (id ReplicaID) String() string { return strconv.FormatUint(uint64(id), 36) }

// Replica is one member of a group and the node that it lives on.
type Replica struct {
	ID   ReplicaID `json:"id"`
	Node NodeID    `json:"node"`
}

func (r Replica) String() string { return fmt.Sprintf("%s@%s", r.ID, r.Node) }
