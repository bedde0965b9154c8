// Package api holds the JSON documents of the JetStream API: configurations,
// requests, answers and advisories, with the field names of the schemas. It has
// no behaviour beyond encoding.
package api

import "time"

// Keys of a configuration's metadata that servers set, whatever a client gave. The first says which API level the configuration needs, and is
// stored with it; the others, the level and the version of the server, are only in answers.
const (
	MetadataRequiredLevel = "_nats.req.level"
	MetadataLevel         = "_nats.level"
	MetadataVersion       = "_nats.ver"
)

// StreamConfig is a stream's configuration (io.nats.jetstream.api.v1
// stream_configuration). Durations are nanoseconds in JSON.
type StreamConfig struct {
	Name                   string               `json:"name"`
	Description            string               `json:"description,omitempty"`
	Subjects               []string             `json:"subjects,omitempty"`
	Retention              Retention            `json:"retention"`
	MaxConsumers           int                  `json:"max_consumers"`
	MaxMsgs                int64                `json:"max_msgs"`
	MaxBytes               int64                `json:"max_bytes"`
	MaxAge                 time.Duration        `json:"max_age"`
	MaxMsgsPer             int64                `json:"max_msgs_per_subject"`
	MaxMsgSize             int32                `json:"max_msg_size"`
	Discard                Discard              `json:"discard"`
	DiscardNewPer          bool                 `json:"discard_new_per_subject,omitempty"`
	Storage                Storage              `json:"storage"`
	Replicas               int                  `json:"num_replicas"`
	NoAck                  bool                 `json:"no_ack,omitempty"`
	Duplicates             time.Duration        `json:"duplicate_window,omitempty"`
	Placement              *Placement           `json:"placement,omitempty"`
	Mirror                 *StreamSource        `json:"mirror,omitempty"`
	Sources                []*StreamSource      `json:"sources,omitempty"`
	Compression            Compression          `json:"compression"`
	FirstSeq               uint64               `json:"first_seq,omitempty"`
	SubjectTransform       *SubjectTransform    `json:"subject_transform,omitempty"`
	RePublish              *RePublish           `json:"republish,omitempty"`
	AllowDirect            bool                 `json:"allow_direct"`
	MirrorDirect           bool                 `json:"mirror_direct"`
	Sealed                 bool                 `json:"sealed"`
	DenyDelete             bool                 `json:"deny_delete"`
	DenyPurge              bool                 `json:"deny_purge"`
	AllowRollup            bool                 `json:"allow_rollup_hdrs"`
	ConsumerLimits         StreamConsumerLimits `json:"consumer_limits"`
	AllowMsgTTL            bool                 `json:"allow_msg_ttl"`
	SubjectDeleteMarkerTTL time.Duration        `json:"subject_delete_marker_ttl,omitempty"`
	AllowMsgCounter        bool                 `json:"allow_msg_counter,omitempty"`
	AllowAtomic            bool                 `json:"allow_atomic,omitempty"`
	AllowMsgSchedules      bool                 `json:"allow_msg_schedules,omitempty"`
	AllowBatched           bool                 `json:"allow_batched,omitempty"`
	PersistMode            string               `json:"persist_mode,omitempty"`
	Metadata               map[string]string    `json:"metadata,omitempty"`
}

// Placement says where replicas of a stream should live.
type Placement struct {
	Cluster   string   `json:"cluster,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	Preferred string   `json:"preferred,omitempty"`
}

// StreamSource names an origin that a mirror or source copies from.
type StreamSource struct {
	Name              string                `json:"name"`
	OptStartSeq       uint64                `json:"opt_start_seq,omitempty"`
	OptStartTime      *time.Time            `json:"opt_start_time,omitempty"`
	FilterSubject     string                `json:"filter_subject,omitempty"`
	SubjectTransforms []SubjectTransform    `json:"subject_transforms,omitempty"`
	External          *ExternalStream       `json:"external,omitempty"`
	Consumer          *StreamSourceConsumer `json:"consumer,omitempty"`
}

// StreamSourceConsumer names a consumer made beforehand for sourcing (2.14).
type StreamSourceConsumer struct {
	Name           string `json:"name"`
	DeliverSubject string `json:"deliver_subject"`
}

// ExternalStream says how to reach a stream in another account or domain.
type ExternalStream struct {
	APIPrefix     string `json:"api"`
	DeliverPrefix string `json:"deliver"`
}

// SubjectTransform maps subjects that match Source to Destination.
type SubjectTransform struct {
	Source      string `json:"src"`
	Destination string `json:"dest"`
}

// RePublish sends stored messages on to another subject.
type RePublish struct {
	Source      string `json:"src,omitempty"`
	Destination string `json:"dest"`
	HeadersOnly bool   `json:"headers_only,omitempty"`
}

// StreamConsumerLimits are defaults and ceilings for consumers of a stream.
type StreamConsumerLimits struct {
	InactiveThreshold time.Duration `json:"inactive_threshold,omitempty"`
	MaxAckPending     int           `json:"max_ack_pending,omitempty"`
}

// ConsumerConfig is a consumer's configuration (io.nats.jetstream.api.v1
// consumer_configuration). Durations are nanoseconds in JSON.
type ConsumerConfig struct {
	Durable            string            `json:"durable_name,omitempty"`
	Name               string            `json:"name,omitempty"`
	Description        string            `json:"description,omitempty"`
	DeliverPolicy      DeliverPolicy     `json:"deliver_policy"`
	OptStartSeq        uint64            `json:"opt_start_seq,omitempty"`
	OptStartTime       *time.Time        `json:"opt_start_time,omitempty"`
	AckPolicy          AckPolicy         `json:"ack_policy"`
	AckWait            time.Duration     `json:"ack_wait,omitempty"`
	MaxDeliver         int               `json:"max_deliver,omitempty"`
	BackOff            []time.Duration   `json:"backoff,omitempty"`
	FilterSubject      string            `json:"filter_subject,omitempty"`
	FilterSubjects     []string          `json:"filter_subjects,omitempty"`
	ReplayPolicy       ReplayPolicy      `json:"replay_policy"`
	RateLimit          uint64            `json:"rate_limit_bps,omitempty"`
	SampleFrequency    string            `json:"sample_freq,omitempty"`
	MaxWaiting         int               `json:"max_waiting,omitempty"`
	MaxAckPending      int               `json:"max_ack_pending,omitempty"`
	FlowControl        bool              `json:"flow_control,omitempty"`
	HeadersOnly        bool              `json:"headers_only,omitempty"`
	MaxRequestBatch    int               `json:"max_batch,omitempty"`
	MaxRequestExpires  time.Duration     `json:"max_expires,omitempty"`
	MaxRequestMaxBytes int               `json:"max_bytes,omitempty"`
	DeliverSubject     string            `json:"deliver_subject,omitempty"`
	DeliverGroup       string            `json:"deliver_group,omitempty"`
	Heartbeat          time.Duration     `json:"idle_heartbeat,omitempty"`
	InactiveThreshold  time.Duration     `json:"inactive_threshold,omitempty"`
	Replicas           int               `json:"num_replicas"`
	MemoryStorage      bool              `json:"mem_storage,omitempty"`
	Direct             bool              `json:"direct,omitempty"`
	Sourcing           bool              `json:"sourcing,omitempty"`
	Metadata           map[string]string `json:"metadata,omitempty"`
	PauseUntil         *time.Time        `json:"pause_until,omitempty"`
	PriorityGroups     []string          `json:"priority_groups,omitempty"`
	PriorityPolicy     PriorityPolicy    `json:"priority_policy,omitempty"`
	PinnedTTL          time.Duration     `json:"priority_timeout,omitempty"`
}

// Filters returns the consumer's filter subjects, whichever field names them.
func (c *ConsumerConfig) Filters() []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

// Pins tells whether one client of a priority group is to be pinned. Of several groups
// only the first counts, as the API knows of one.
func (c *ConsumerConfig) Pins(group string) bool {
	return c.PriorityPolicy == PriorityPinned && len(c.PriorityGroups) > 0 && c.PriorityGroups[0] == group
}

// StreamState is what a stream holds (stream_state in the schemas).
type StreamState struct {
	Msgs        uint64            `json:"messages"`
	Bytes       uint64            `json:"bytes"`
	FirstSeq    uint64            `json:"first_seq"`
	FirstTime   time.Time         `json:"first_ts"`
	LastSeq     uint64            `json:"last_seq"`
	LastTime    time.Time         `json:"last_ts"`
	NumSubjects int               `json:"num_subjects,omitempty"`
	Subjects    map[string]uint64 `json:"subjects,omitempty"`
	NumDeleted  int               `json:"num_deleted,omitempty"`
	Deleted     []uint64          `json:"deleted,omitempty"`
	Consumers   int               `json:"consumer_count"`
}

// SequenceInfo is a pair of consumer and stream sequence with its last activity.
type SequenceInfo struct {
	Consumer uint64     `json:"consumer_seq"`
	Stream   uint64     `json:"stream_seq"`
	Last     *time.Time `json:"last_active,omitempty"`
}
