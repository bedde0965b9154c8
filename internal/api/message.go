package api

import "time"

// StreamMsgDeleteRequest removes one message; NoErase leaves its bytes on disk.
type StreamMsgDeleteRequest struct {
	Seq     uint64 `json:"seq"`
	NoErase bool   `json:"no_erase,omitempty"`
}

// StreamMsgGetRequest names one message, or for a direct get a batch of them.
type StreamMsgGetRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	LastFor   string     `json:"last_by_subj,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	NoHeaders bool       `json:"no_hdr,omitempty"`

	// The rest is for direct gets only.
	Batch    int        `json:"batch,omitempty"`
	MaxBytes int        `json:"max_bytes,omitempty"`
	MultiFor []string   `json:"multi_last,omitempty"`
	UpToSeq  uint64     `json:"up_to_seq,omitempty"`
	UpToTime *time.Time `json:"up_to_time,omitempty"`
}

// StoredMsg is a message as the API shows it; header and data are base64 in JSON.
type StoredMsg struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Header   []byte    `json:"hdrs,omitempty"`
	Data     []byte    `json:"data,omitempty"`
	Time     time.Time `json:"time"`
}

// StreamMsgGetResponse holds the message.
type StreamMsgGetResponse struct {
	Response
	Message *StoredMsg `json:"message,omitempty"`
}
