package api

import "time"

// Consumer create actions: both, only new, only existing.
const (
	ActionCreateOrUpdate = ""
	ActionCreate         = "create"
	ActionUpdate         = "update"
)

// ConsumerCreateRequest creates or updates a consumer.
type ConsumerCreateRequest struct {
	Stream   string         `json:"stream_name"`
	Config   ConsumerConfig `json:"config"`
	Action   string         `json:"action,omitempty"`
	Pedantic bool           `json:"pedantic,omitempty"`
}

// ConsumerInfo describes a consumer.
type ConsumerInfo struct {
	Stream         string          `json:"stream_name"`
	Name           string          `json:"name"`
	Created        time.Time       `json:"created"`
	Config         *ConsumerConfig `json:"config,omitempty"`
	Delivered      SequenceInfo    `json:"delivered"`
	AckFloor       SequenceInfo    `json:"ack_floor"`
	NumAckPending  int             `json:"num_ack_pending"`
	NumRedelivered int             `json:"num_redelivered"`
	NumWaiting     int             `json:"num_waiting"`
	NumPending     uint64          `json:"num_pending"`
	Cluster        *ClusterInfo    `json:"cluster,omitempty"`
	PushBound      bool            `json:"push_bound,omitempty"`
	Paused         bool            `json:"paused,omitempty"`
	PauseRemaining time.Duration   `json:"pause_remaining,omitempty"`
	// Timestamp is when the description was made.
	Timestamp      time.Time            `json:"ts"`
	PriorityGroups []PriorityGroupState `json:"priority_groups,omitempty"`
}

// PriorityGroupState says who is pinned in a group; PinnedTS is the zero time
// for nobody.
type PriorityGroupState struct {
	Group          string    `json:"group"`
	PinnedClientID string    `json:"pinned_client_id,omitempty"`
	PinnedTS       time.Time `json:"pinned_ts"`
}

// ConsumerCreateResponse answers a create or an update.
type ConsumerCreateResponse struct {
	Response
	*ConsumerInfo
}

// ConsumerInfoResponse describes a consumer.
type ConsumerInfoResponse = ConsumerCreateResponse

// ConsumerNamesRequest asks for a page of names.
type ConsumerNamesRequest struct {
	PagedRequest
	Subject string `json:"subject,omitempty"`
}

// ConsumerNamesResponse lists names in order.
type ConsumerNamesResponse struct {
	Response
	Paged
	Consumers []string `json:"consumers"`
}

// ConsumerListRequest asks for a page of descriptions.
type ConsumerListRequest = PagedRequest

// ConsumerListResponse lists descriptions by name; see StreamListResponse.
type ConsumerListResponse struct {
	Response
	Paged
	Consumers []*ConsumerInfo   `json:"consumers"`
	Missing   []string          `json:"missing,omitempty"`
	Offline   map[string]string `json:"offline,omitempty"`
}

// ConsumerPauseRequest pauses until a time; no or a past time resumes.
type ConsumerPauseRequest struct {
	PauseUntil time.Time `json:"pause_until,omitzero"`
}

// ConsumerPauseResponse says what holds now.
type ConsumerPauseResponse struct {
	Response
	Paused         bool          `json:"paused"`
	PauseUntil     time.Time     `json:"pause_until"`
	PauseRemaining time.Duration `json:"pause_remaining,omitempty"`
}

// ConsumerUnpinRequest drops the pinned client of a group.
type ConsumerUnpinRequest struct {
	Group string `json:"group"`
}

// ConsumerUnpinResponse succeeds when there is no error.
type ConsumerUnpinResponse struct {
	Response
}

// ConsumerResetRequest resets delivery to the ack floor, or to a sequence.
type ConsumerResetRequest struct {
	Seq uint64 `json:"seq,omitempty"`
}

// ConsumerResetResponse holds the sequence that delivery goes on from.
type ConsumerResetResponse struct {
	Response
	*ConsumerInfo
	ResetSeq uint64 `json:"reset_seq"`
}

// ConsumerNextRequest asks for messages.
type ConsumerNextRequest struct {
	Expires   time.Duration `json:"expires,omitempty"`
	Batch     int           `json:"batch,omitempty"`
	MaxBytes  int           `json:"max_bytes,omitempty"`
	NoWait    bool          `json:"no_wait,omitempty"`
	Heartbeat time.Duration `json:"idle_heartbeat,omitempty"`

	// The rest is for priority groups. ID is the pin of a pinned client;
	// Priority is 0 (first) to 9.
	Group         string `json:"group,omitempty"`
	MinPending    int64  `json:"min_pending,omitempty"`
	MinAckPending int64  `json:"min_ack_pending,omitempty"`
	ID            string `json:"id,omitempty"`
	Priority      int    `json:"priority,omitempty"`
}
