package api

// The enumerations are their JSON strings, so that a value from a newer peer
// survives a round trip; Valid tells the known ones.
type (
	Retention      string
	Discard        string
	Storage        string
	Compression    string
	DeliverPolicy  string
	AckPolicy      string
	ReplayPolicy   string
	PriorityPolicy string
)

const (
	LimitsRetention    Retention = "limits"
	InterestRetention  Retention = "interest"
	WorkQueueRetention Retention = "workqueue"

	DiscardOld Discard = "old"
	DiscardNew Discard = "new"

	FileStorage   Storage = "file"
	MemoryStorage Storage = "memory"

	NoCompression Compression = "none"
	S2Compression Compression = "s2"

	DeliverAll             DeliverPolicy = "all"
	DeliverLast            DeliverPolicy = "last"
	DeliverNew             DeliverPolicy = "new"
	DeliverByStartSequence DeliverPolicy = "by_start_sequence"
	DeliverByStartTime     DeliverPolicy = "by_start_time"
	DeliverLastPerSubject  DeliverPolicy = "last_per_subject"

	AckNone        AckPolicy = "none"
	AckAll         AckPolicy = "all"
	AckExplicit    AckPolicy = "explicit"
	AckFlowControl AckPolicy = "flow_control"

	ReplayInstant  ReplayPolicy = "instant"
	ReplayOriginal ReplayPolicy = "original"

	PriorityNone        PriorityPolicy = "none"
	PriorityOverflow    PriorityPolicy = "overflow"
	PriorityPinned      PriorityPolicy = "pinned_client"
	PriorityPrioritized PriorityPolicy = "prioritized"
)
