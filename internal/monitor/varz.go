package monitor

import (
	"maps"
	"net/url"
	"time"

	"weir/internal/api"
)

// Varz is the state and configuration of the server. Durations are nanoseconds
// unless they are of seconds in the configuration; sizes are bytes.
type Varz struct {
	ServerID              string            `json:"server_id"`
	ServerName            string            `json:"server_name"`
	Version               string            `json:"version"`
	Proto                 int               `json:"proto"`
	GitCommit             string            `json:"git_commit,omitempty"`
	GoVersion             string            `json:"go"`
	Host                  string            `json:"host"`
	Port                  int               `json:"port"`
	AuthRequired          bool              `json:"auth_required,omitempty"`
	TLSRequired           bool              `json:"tls_required,omitempty"`
	TLSVerify             bool              `json:"tls_verify,omitempty"`
	IP                    string            `json:"ip,omitempty"`
	ClientConnectURLs     []string          `json:"connect_urls,omitempty"`
	MaxConn               int               `json:"max_connections"`
	MaxSubs               int               `json:"max_subscriptions,omitempty"`
	PingInterval          time.Duration     `json:"ping_interval"`
	MaxPingsOut           int               `json:"ping_max"`
	HTTPHost              string            `json:"http_host"`
	HTTPPort              int               `json:"http_port"`
	HTTPBasePath          string            `json:"http_base_path"`
	HTTPSPort             int               `json:"https_port"`
	AuthTimeout           float64           `json:"auth_timeout"`
	MaxControlLine        int32             `json:"max_control_line"`
	MaxPayload            int               `json:"max_payload"`
	MaxPending            int64             `json:"max_pending"`
	Cluster               VarzCluster       `json:"cluster"`
	Gateway               struct{}          `json:"gateway"`
	LeafNode              struct{}          `json:"leaf"`
	MQTT                  struct{}          `json:"mqtt"`
	Websocket             struct{}          `json:"websocket"`
	JetStream             VarzJetStream     `json:"jetstream"`
	TLSTimeout            float64           `json:"tls_timeout"`
	WriteDeadline         time.Duration     `json:"write_deadline"`
	Start                 time.Time         `json:"start"`
	Now                   time.Time         `json:"now"`
	Uptime                string            `json:"uptime"`
	Mem                   int64             `json:"mem"`
	Cores                 int               `json:"cores"`
	MaxProcs              int               `json:"gomaxprocs"`
	MemLimit              int64             `json:"gomemlimit,omitempty"`
	CPU                   float64           `json:"cpu"`
	Connections           int               `json:"connections"`
	TotalConnections      uint64            `json:"total_connections"`
	Routes                int               `json:"routes"`
	Remotes               int               `json:"remotes"`
	Leafs                 int               `json:"leafnodes"`
	InMsgs                int64             `json:"in_msgs"`
	InBytes               int64             `json:"in_bytes"`
	InClientMsgs          int64             `json:"in_client_msgs"`
	InClientBytes         int64             `json:"in_client_bytes"`
	OutMsgs               int64             `json:"out_msgs"`
	OutBytes              int64             `json:"out_bytes"`
	OutClientMsgs         int64             `json:"out_client_msgs"`
	OutClientBytes        int64             `json:"out_client_bytes"`
	SlowConsumers         int64             `json:"slow_consumers"`
	StaleConnections      int64             `json:"stale_connections"`
	StalledClients        int64             `json:"stalled_clients"`
	Subscriptions         uint32            `json:"subscriptions"`
	HTTPReqStats          map[string]uint64 `json:"http_req_stats"`
	ConfigLoadTime        time.Time         `json:"config_load_time"`
	ConfigDigest          string            `json:"config_digest"`
	Tags                  []string          `json:"tags,omitempty"`
	Metadata              map[string]string `json:"metadata,omitempty"`
	FeatureFlags          map[string]bool   `json:"feature_flags,omitempty"`
	SystemAccount         string            `json:"system_account,omitempty"`
	SlowConsumersStats    KindCounts        `json:"slow_consumer_stats"`
	StaleConnectionsStats KindCounts        `json:"stale_connection_stats"`
}

// KindCounts counts by kind of connection.
type KindCounts struct {
	Clients  uint64 `json:"clients"`
	Routes   uint64 `json:"routes"`
	Gateways uint64 `json:"gateways"`
	Leafs    uint64 `json:"leafs"`
}

// VarzCluster is the configuration of the cluster; empty without one.
type VarzCluster struct {
	Name        string   `json:"name,omitempty"`
	Host        string   `json:"addr,omitempty"`
	Port        int      `json:"cluster_port,omitempty"`
	AuthTimeout float64  `json:"auth_timeout,omitempty"`
	URLs        []string `json:"urls,omitempty"`
	TLSTimeout  float64  `json:"tls_timeout,omitempty"`
	TLSRequired bool     `json:"tls_required,omitempty"`
	TLSVerify   bool     `json:"tls_verify,omitempty"`
	PoolSize    int      `json:"pool_size,omitempty"`
}

// VarzJetStream is empty without JetStream.
type VarzJetStream struct {
	Config *JetStreamConfig `json:"config,omitempty"`
	Stats  *JetStreamStats  `json:"stats,omitempty"`
	Meta   *MetaCluster     `json:"meta,omitempty"`
	Limits *JetStreamLimits `json:"limits,omitempty"`
}

// JetStreamConfig is how JetStream is configured.
type JetStreamConfig struct {
	MaxMemory    int64         `json:"max_memory"`
	MaxStore     int64         `json:"max_storage"`
	StoreDir     string        `json:"store_dir,omitempty"`
	SyncInterval time.Duration `json:"sync_interval,omitempty"`
	SyncAlways   bool          `json:"sync_always,omitempty"`
	Domain       string        `json:"domain,omitempty"`
	CompressOK   bool          `json:"compress_ok,omitempty"`
	UniqueTag    string        `json:"unique_tag,omitempty"`
	Strict       bool          `json:"strict,omitempty"`
}

// JetStreamStats is what JetStream holds.
type JetStreamStats struct {
	Memory         uint64       `json:"memory"`
	Store          uint64       `json:"storage"`
	ReservedMemory uint64       `json:"reserved_memory"`
	ReservedStore  uint64       `json:"reserved_storage"`
	Accounts       int          `json:"accounts"`
	HAAssets       int          `json:"ha_assets"`
	API            api.APIStats `json:"api"`
}

// JetStreamLimits are the server's limits; 0 for none.
type JetStreamLimits struct {
	MaxRequestBatch           int           `json:"max_request_batch,omitempty"`
	MaxAckPending             int           `json:"max_ack_pending,omitempty"`
	MaxHAAssets               int           `json:"max_ha_assets,omitempty"`
	DuplicateWindow           time.Duration `json:"max_duplicate_window,omitempty"`
	MaxBatchInflightPerStream int           `json:"max_batch_inflight_per_stream,omitempty"`
	MaxBatchInflightTotal     int           `json:"max_batch_inflight_total,omitempty"`
	MaxBatchSize              int           `json:"max_batch_size,omitempty"`
	MaxBatchTimeout           time.Duration `json:"max_batch_timeout,omitempty"`
	DefaultMaxConsumers       int           `json:"default_max_consumers,omitempty"`
}

// MetaCluster is the meta group. Peer is the leader's peer id; Replicas are the
// other members.
type MetaCluster struct {
	Name            string          `json:"name,omitempty"`
	Leader          string          `json:"leader,omitempty"`
	Peer            string          `json:"peer,omitempty"`
	Replicas        []*api.PeerInfo `json:"replicas,omitempty"`
	Size            int             `json:"cluster_size"`
	QuorumNeeded    int             `json:"quorum_needed"`
	Pending         int             `json:"pending"`
	PendingRequests int             `json:"pending_requests"`
	PendingInfos    int             `json:"pending_infos"`
	Snapshot        *MetaSnapshot   `json:"snapshot,omitempty"`
}

// MetaSnapshot says how much of the meta log is not in a snapshot.
type MetaSnapshot struct {
	PendingEntries uint64        `json:"pending_entries"`
	PendingSize    uint64        `json:"pending_size"`
	LastTime       time.Time     `json:"last_time,omitempty"`
	LastDuration   time.Duration `json:"last_duration,omitempty"`
}

// Varz is the document of /varz.
func (m *Monitor) Varz() *Varz {
	v := *m.source.Server()
	v.Now = m.now()
	v.Uptime = age(v.Now.Sub(v.Start))
	m.mu.Lock()
	v.HTTPReqStats = maps.Clone(m.requests)
	m.mu.Unlock()
	return &v
}

func (m *Monitor) serveVarz(url.Values) (*reply, error) { return ok(m.Varz()), nil }
