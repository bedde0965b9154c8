package api

// StreamSnapshotRequest asks for a backup to be sent to a subject in chunks.
type StreamSnapshotRequest struct {
	DeliverSubject string `json:"deliver_subject"`
	NoConsumers    bool   `json:"no_consumers,omitempty"`
	// ChunkSize and WindowSize are bytes; 0 takes the server's default.
	ChunkSize  int  `json:"chunk_size,omitempty"`
	WindowSize int  `json:"window_size,omitempty"`
	CheckMsgs  bool `json:"jsck,omitempty"`
}

// StreamSnapshotResponse says what will be sent.
type StreamSnapshotResponse struct {
	Response
	Config *StreamConfig `json:"config,omitempty"`
	State  *StreamState  `json:"state,omitempty"`
}

// StreamRestoreRequest announces a backup.
type StreamRestoreRequest struct {
	Config StreamConfig `json:"config"`
	State  StreamState  `json:"state"`
}

// StreamRestoreResponse names the subject that takes the chunks.
type StreamRestoreResponse struct {
	Response
	DeliverSubject string `json:"deliver_subject"`
}
