package api

import (
	"time"

	"weir/internal/apierr"
)

// StreamCreateRequest asks for a stream. Pedantic refuses what would otherwise
// be corrected by a default.
type StreamCreateRequest struct {
	StreamConfig
	Pedantic bool `json:"pedantic,omitempty"`
}

// StreamUpdateRequest changes a stream.
type StreamUpdateRequest = StreamCreateRequest

// StreamInfo describes a stream.
type StreamInfo struct {
	Config     StreamConfig       `json:"config"`
	Created    time.Time          `json:"created"`
	State      StreamState        `json:"state"`
	Domain     string             `json:"domain,omitempty"`
	Cluster    *ClusterInfo       `json:"cluster,omitempty"`
	Mirror     *StreamSourceInfo  `json:"mirror,omitempty"`
	Sources    []StreamSourceInfo `json:"sources,omitempty"`
	Alternates []StreamAlternate  `json:"alternates,omitempty"`
	// Timestamp is when the description was made.
	Timestamp time.Time `json:"ts"`
}

// StreamSourceInfo is how far a mirror or source is.
type StreamSourceInfo struct {
	Name     string          `json:"name"`
	External *ExternalStream `json:"external,omitempty"`
	Lag      uint64          `json:"lag"`
	// Sequence is the last one copied from the origin.
	Sequence uint64 `json:"seq,omitempty"`
	// Active is the time since the origin was last heard of; -1 for never.
	Active            time.Duration      `json:"active"`
	Error             *apierr.Error      `json:"error,omitempty"`
	FilterSubject     string             `json:"filter_subject,omitempty"`
	SubjectTransforms []SubjectTransform `json:"subject_transforms,omitempty"`
}

// StreamAlternate is a mirror of a stream, or itself, nearest first.
type StreamAlternate struct {
	Name    string `json:"name"`
	Domain  string `json:"domain,omitempty"`
	Cluster string `json:"cluster"`
}

// StreamCreateResponse answers a create; DidCreate is false when an equal
// stream stood before.
type StreamCreateResponse struct {
	Response
	*StreamInfo
	DidCreate bool `json:"did_create,omitempty"`
}

// StreamUpdateResponse answers an update and a move.
type StreamUpdateResponse struct {
	Response
	*StreamInfo
}

// StreamCancelMoveResponse answers the cancel of a move.
type StreamCancelMoveResponse = StreamUpdateResponse

// StreamInfoRequest asks for more than the counts.
type StreamInfoRequest struct {
	PagedRequest
	DeletedDetails bool   `json:"deleted_details,omitempty"`
	SubjectsFilter string `json:"subjects_filter,omitempty"`
}

// StreamInfoResponse describes a stream. The page speaks of the subjects of
// its state; it is zero when none were asked for.
type StreamInfoResponse struct {
	Response
	Paged
	*StreamInfo
}

// StreamNamesRequest filters by overlap with a subject.
type StreamNamesRequest struct {
	PagedRequest
	Subject string `json:"subject,omitempty"`
}

// StreamNamesResponse lists names in order.
type StreamNamesResponse struct {
	Response
	Paged
	Streams []string `json:"streams"`
}

// StreamListRequest filters by overlap with a subject.
type StreamListRequest = StreamNamesRequest

// StreamListResponse lists descriptions by name. Missing names those that did
// not answer; Offline says why a stream cannot be served by this version.
type StreamListResponse struct {
	Response
	Paged
	Streams []*StreamInfo     `json:"streams"`
	Missing []string          `json:"missing,omitempty"`
	Offline map[string]string `json:"offline,omitempty"`
}

// StreamPurgeRequest limits a purge: to a filter, below a sequence, or all but
// the last Keep. Sequence and Keep exclude each other.
type StreamPurgeRequest struct {
	Subject  string `json:"filter,omitempty"`
	Sequence uint64 `json:"seq,omitempty"`
	Keep     uint64 `json:"keep,omitempty"`
}

// StreamPurgeResponse says how many messages went.
type StreamPurgeResponse struct {
	SuccessResponse
	Purged uint64 `json:"purged"`
}

// StreamPeerRequest names a member by server name or peer id (peer remove and
// evacuate).
type StreamPeerRequest struct {
	Peer string `json:"peer"`
}

// LeaderStepdownRequest may say where the new leader should be.
type LeaderStepdownRequest struct {
	Placement *Placement `json:"placement,omitempty"`
}

// StreamMoveRequest moves a stream off a server (system account).
type StreamMoveRequest struct {
	Server  string   `json:"server,omitempty"`
	Cluster string   `json:"cluster,omitempty"`
	Domain  string   `json:"domain,omitempty"`
	Tags    []string `json:"tags,omitempty"`
}
