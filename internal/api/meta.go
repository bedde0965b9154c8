package api

// MetaServerRequest names a server of the meta group, by name or by peer id
// (server remove and evacuate).
type MetaServerRequest struct {
	Server string `json:"peer,omitempty"`
	PeerID string `json:"peer_id,omitempty"`
}

// MetaRescueRequest lowers the quorum of the meta group after a disaster.
type MetaRescueRequest struct {
	QuorumNeeded int `json:"quorum_needed"`
}

// MetaRescueResponse is one server's answer to a rescue.
type MetaRescueResponse struct {
	Response
	Server     string `json:"server"`
	ServerID   string `json:"server_id"`
	PrevQuorum int    `json:"prev_quorum,omitempty"`
	NewQuorum  int    `json:"new_quorum,omitempty"`
}
