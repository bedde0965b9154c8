package api

import "time"

// ClusterInfo says where an asset is. An asset of one replica has only Name
// and Leader (Name only in a cluster).
type ClusterInfo struct {
	Name           string     `json:"name,omitempty"`
	RaftGroup      string     `json:"raft_group,omitempty"`
	Leader         string     `json:"leader,omitempty"`
	LeaderSince    *time.Time `json:"leader_since,omitempty"`
	SystemAccount  bool       `json:"system_account,omitempty"`
	TrafficAccount string     `json:"traffic_account,omitempty"`
	// Replicas are the others: the leader is not among them.
	Replicas []*PeerInfo `json:"replicas,omitempty"`
	// Desired is what a running move or scale leads to.
	Desired *DesiredCluster `json:"desired,omitempty"`
}

// PeerInfo is one member of a group as seen by its leader.
type PeerInfo struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	Offline bool   `json:"offline,omitempty"`
	// Active is the time since the member was last heard of.
	Active time.Duration `json:"active"`
	// Lag counts the entries that it lacks.
	Lag  uint64 `json:"lag,omitempty"`
	Peer string `json:"peer"`
	// Pending says that it is assigned but not yet a voter, or on its way out.
	Pending bool `json:"pending,omitempty"`
}

// DesiredCluster is the wanted state of a group under reconfiguration.
type DesiredCluster struct {
	Created  time.Time      `json:"created"`
	Name     string         `json:"name,omitempty"`
	Replicas []*DesiredPeer `json:"replicas,omitempty"`
	Origin   *DesiredOrigin `json:"origin,omitempty"`
	Status   *DesiredStatus `json:"status,omitempty"`
}

// DesiredPeer is one wanted member.
type DesiredPeer struct {
	Name    string `json:"name"`
	Offline bool   `json:"offline,omitempty"`
	Peer    string `json:"peer"`
}

// DesiredOrigin is what the reconfiguration started from and a cancel restores.
type DesiredOrigin struct {
	Replicas  int        `json:"replicas"`
	Placement *Placement `json:"placement,omitempty"`
	Retention Retention  `json:"retention,omitempty"`
}

// DesiredStatus says what a reconfiguration is doing or waiting for.
type DesiredStatus struct {
	Type        string `json:"type"`
	Description string `json:"description"`
	Err         string `json:"err,omitempty"`
}
