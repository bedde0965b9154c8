package api

// AccountStats is one account's use of JetStream, or one tier's of it. Memory
// and storage are bytes.
type AccountStats struct {
	Memory         uint64        `json:"memory"`
	Store          uint64        `json:"storage"`
	ReservedMemory uint64        `json:"reserved_memory"`
	ReservedStore  uint64        `json:"reserved_storage"`
	Streams        int           `json:"streams"`
	Consumers      int           `json:"consumers"`
	Limits         AccountLimits `json:"limits"`
}

// AccountLimits bound an account or tier; -1 is unlimited.
type AccountLimits struct {
	MaxMemory            int64 `json:"max_memory"`
	MaxStore             int64 `json:"max_storage"`
	MaxStreams           int   `json:"max_streams"`
	MaxConsumers         int   `json:"max_consumers"`
	MaxAckPending        int   `json:"max_ack_pending"`
	MemoryMaxStreamBytes int64 `json:"memory_max_stream_bytes"`
	StoreMaxStreamBytes  int64 `json:"storage_max_stream_bytes"`
	MaxBytesRequired     bool  `json:"max_bytes_required"`
}

// APIStats counts API requests. Level is the server's API level.
type APIStats struct {
	Level    int    `json:"level"`
	Total    uint64 `json:"total"`
	Errors   uint64 `json:"errors"`
	Inflight uint64 `json:"inflight,omitempty"`
}

// AccountInfo is the account's use with its API counts. Tiers are by name: R1, R3.
type AccountInfo struct {
	AccountStats
	Domain string                  `json:"domain,omitempty"`
	API    APIStats                `json:"api"`
	Tiers  map[string]AccountStats `json:"tiers,omitempty"`
}

// AccountInfoResponse answers the account's info request.
type AccountInfoResponse struct {
	Response
	*AccountInfo
}

// AccountPurgeResponse answers the purge of all JetStream data of an account.
type AccountPurgeResponse struct {
	Response
	Initiated bool `json:"initiated,omitempty"`
}
