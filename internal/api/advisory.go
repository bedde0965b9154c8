package api

import "time"

// Advisory is what every advisory and metric begins with. ID is unique, Time UTC.
type Advisory struct {
	Type string    `json:"type"`
	ID   string    `json:"id"`
	Time time.Time `json:"timestamp"`
}

// Actions of stream and consumer advisories.
const (
	CreateAction = "create"
	ModifyAction = "modify"
	DeleteAction = "delete"
)

// APIAudit tells of an answered API request.
type APIAudit struct {
	Advisory
	Server   string      `json:"server"`
	Client   *ClientInfo `json:"client"`
	Subject  string      `json:"subject"`
	Request  string      `json:"request,omitempty"`
	Response string      `json:"response"`
	Domain   string      `json:"domain,omitempty"`
}

// APILimitReached tells that requests were dropped.
type APILimitReached struct {
	Advisory
	Server  string `json:"server"`
	Domain  string `json:"domain,omitempty"`
	Dropped int64  `json:"dropped"`
}

// StreamAction tells of a stream created, changed or deleted.
type StreamAction struct {
	Advisory
	Stream string `json:"stream"`
	Action string `json:"action"`
	Domain string `json:"domain,omitempty"`
}

// ConsumerAction tells of a consumer created or deleted.
type ConsumerAction struct {
	Advisory
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
	Action   string `json:"action"`
	Domain   string `json:"domain,omitempty"`
}

// ConsumerPauseAdvisory tells of a consumer paused or resumed.
type ConsumerPauseAdvisory struct {
	Advisory
	Stream     string    `json:"stream"`
	Consumer   string    `json:"consumer"`
	Paused     bool      `json:"paused"`
	PauseUntil time.Time `json:"pause_until"`
	Domain     string    `json:"domain,omitempty"`
}

// ConsumerGroupPinned tells of a client pinned.
type ConsumerGroupPinned struct {
	Advisory
	Account  string `json:"account,omitempty"`
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
	Domain   string `json:"domain,omitempty"`
	Group    string `json:"group"`
	PinnedID string `json:"pinned_id"`
}

// ConsumerGroupUnpinned tells of a pin lost. Reason is admin or timeout.
type ConsumerGroupUnpinned struct {
	Advisory
	Account  string `json:"account,omitempty"`
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
	Domain   string `json:"domain,omitempty"`
	Group    string `json:"group"`
	Reason   string `json:"reason"`
}

// StreamLeaderElected tells of a stream's new leader. Account is set only in
// the copy for the system account; Leader is a server name.
type StreamLeaderElected struct {
	Advisory
	Account  string      `json:"account,omitempty"`
	Stream   string      `json:"stream"`
	Leader   string      `json:"leader"`
	Replicas []*PeerInfo `json:"replicas"`
	Domain   string      `json:"domain,omitempty"`
}

// StreamQuorumLost tells that a stream has no quorum.
type StreamQuorumLost struct {
	Advisory
	Account  string      `json:"account,omitempty"`
	Stream   string      `json:"stream"`
	Replicas []*PeerInfo `json:"replicas"`
	Domain   string      `json:"domain,omitempty"`
}

// ConsumerLeaderElected tells of a consumer's new leader; see StreamLeaderElected.
type ConsumerLeaderElected struct {
	Advisory
	Account  string      `json:"account,omitempty"`
	Stream   string      `json:"stream"`
	Consumer string      `json:"consumer"`
	Leader   string      `json:"leader"`
	Replicas []*PeerInfo `json:"replicas"`
	Domain   string      `json:"domain,omitempty"`
}

// ConsumerQuorumLost tells that a consumer has no quorum.
type ConsumerQuorumLost struct {
	Advisory
	Account  string      `json:"account,omitempty"`
	Stream   string      `json:"stream"`
	Consumer string      `json:"consumer"`
	Replicas []*PeerInfo `json:"replicas"`
	Domain   string      `json:"domain,omitempty"`
}

// DomainLeaderElected tells of a new meta leader; Leader is a peer id, not a name.
type DomainLeaderElected struct {
	Advisory
	Leader   string      `json:"leader"`
	Replicas []*PeerInfo `json:"replicas"`
	Cluster  string      `json:"cluster"`
	Domain   string      `json:"domain,omitempty"`
}

// StreamBatchAbandoned tells that an atomic batch was dropped. Reason is
// timeout, large, incomplete or unsupported.
type StreamBatchAbandoned struct {
	Advisory
	Account string `json:"account,omitempty"`
	Stream  string `json:"stream"`
	Domain  string `json:"domain,omitempty"`
	BatchID string `json:"batch"`
	Reason  string `json:"reason"`
}

// SnapshotCreate tells that a backup started.
type SnapshotCreate struct {
	Advisory
	Stream string      `json:"stream"`
	State  StreamState `json:"state"`
	Client *ClientInfo `json:"client"`
	Domain string      `json:"domain,omitempty"`
}

// SnapshotComplete tells that a backup ended.
type SnapshotComplete struct {
	Advisory
	Stream string      `json:"stream"`
	Start  time.Time   `json:"start"`
	End    time.Time   `json:"end"`
	Client *ClientInfo `json:"client"`
	Domain string      `json:"domain,omitempty"`
	Error  string      `json:"error,omitempty"`
}

// RestoreCreate tells that a restore started.
type RestoreCreate struct {
	Advisory
	Stream string      `json:"stream"`
	Client *ClientInfo `json:"client"`
	Domain string      `json:"domain,omitempty"`
}

// RestoreComplete tells that a restore ended.
type RestoreComplete struct {
	Advisory
	Stream string      `json:"stream"`
	Start  time.Time   `json:"start"`
	End    time.Time   `json:"end"`
	Bytes  int64       `json:"bytes"`
	Client *ClientInfo `json:"client"`
	Domain string      `json:"domain,omitempty"`
}

// ServerOutOfSpace tells that a server's disk is full.
type ServerOutOfSpace struct {
	Advisory
	Server   string `json:"server"`
	ServerID string `json:"server_id"`
	Stream   string `json:"stream,omitempty"`
	Cluster  string `json:"cluster,omitempty"`
	Domain   string `json:"domain,omitempty"`
}

// ServerRemoved tells that a server was removed from the meta group.
type ServerRemoved struct {
	Advisory
	Server   string `json:"server"`
	ServerID string `json:"server_id"`
	Cluster  string `json:"cluster"`
	Domain   string `json:"domain,omitempty"`
}
