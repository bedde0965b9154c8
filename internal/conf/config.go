package conf

import (
	"maps"
	"net/url"
	"time"
)

// Config is the whole configuration of one server. [Default], [Parse] and [Load]
// give complete ones: every field holds what is to be used, defaults included.
type Config struct {
	// File is the path that the configuration was read from, or empty.
	File string
	// Digest is "sha256:…" of what the text means, not of its bytes.
	Digest string
	// Warnings are things that work but should be changed.
	Warnings []Fault

	// ServerName is unique in the cluster. Empty: the server makes one up, which
	// a server with JetStream in a cluster may not.
	ServerName string
	Tags       []string // in lower case; used by placement
	Metadata   map[string]string

	// Host and Port are the client listener. Port -1 takes any free port.
	Host string
	Port int
	// ClientAdvertise is "host" or "host:port" told to clients and other servers
	// in place of the listener's address.
	ClientAdvertise string
	// NoAdvertise keeps this server's address from the clients of other servers.
	NoAdvertise bool

	// HTTPHost and HTTPPort are the monitoring listener. Port 0 is off, -1 any. The
	// host is Host unless it is set.
	HTTPHost     string
	HTTPPort     int
	HTTPBasePath string // with a leading slash and without one at the end

	Limits   Limits
	Log      Log
	LameDuck LameDuck

	PIDFile      string
	PortsFileDir string

	Authorization Authorization
	// NoAuthUser is the user or nkey of Authorization or of an account that
	// clients without credentials become.
	NoAuthUser string
	// Accounts are in the order of the text. $G and $SYS stand only here when the
	// text names them.
	Accounts        []Account
	SystemAccount   string
	NoSystemAccount bool
	// Mappings are those of $G.
	Mappings []Mapping

	Cluster   Cluster
	JetStream JetStream

	// FeatureFlags has every known flag.
	FeatureFlags    map[string]bool
	configuredFlags []string

	// keyPos maps "block key" to where the key stands, for Validate.
	keyPos map[string]Pos
}

// Limits bound what one client connection may use.
type Limits struct {
	MaxControlLine   int   // bytes of one protocol line
	MaxPayload       int   // bytes of one message, headers included
	MaxPending       int64 // bytes that wait to be written to one connection
	MaxConnections   int   // 0 is unlimited
	MaxSubscriptions int   // of one connection; 0 is unlimited
	MaxSubTokens     int   // of one subscription's subject; 0 is unlimited
	MaxClosedClients int   // closed connections remembered for monitoring
	NoHeaders        bool  // messages have none
	PingInterval     time.Duration
	PingMax          int // unanswered pings before a connection is stale
	WriteDeadline    time.Duration
}

// Log says where log lines go and which.
type Log struct {
	Debug        bool
	Trace        bool
	TraceVerbose bool // implies Trace; the system account too
	TraceHeaders bool // implies Trace; headers without payloads
	MaxTracedLen int  // bytes of a payload shown in a trace; 0 is all
	Time         bool // timestamps on lines
	UTC          bool
	File         string // empty is standard error
	SizeLimit    int64  // bytes after which File is rotated; 0 is never
	MaxFiles     int    // rotated files that are kept, File included; 0 is all
}

// LameDuck says how a server leaves: Grace after the signal its clients are
// disconnected one by one over Duration.
type LameDuck struct {
	Duration time.Duration // at least 30 s
	Grace    time.Duration // less than Duration
}

// Authorization is the block of that name, at the top level or of the cluster.
// Either Username and Password, or Token, or Users are set, or nothing.
type Authorization struct {
	Username           string
	Password           string // in plain text or a bcrypt hash
	Token              string // the same
	Users              []User
	Timeout            time.Duration // in which a client must authenticate
	DefaultPermissions *Permissions  // of users that have none of their own
}

// User is one user. It has either a name and a password or an nkey.
type User struct {
	Username    string
	Password    string // in plain text or a bcrypt hash
	NKey        string // public user key
	Permissions *Permissions
	// ConnectionTypes are the kinds of connection that the user may use, such as
	// STANDARD; empty is all.
	ConnectionTypes []string

	pos Pos
}

// Permissions say what a user may publish and subscribe.
type Permissions struct {
	Publish   SubjectPermission
	Subscribe SubjectPermission
	// Responses allows replies to received requests; nil does not.
	Responses *ResponsePermission
}

// SubjectPermission allows the subjects that match Allow (every subject if Allow
// is nil) and do not match Deny. Those of a subscription may be "subject queue".
type SubjectPermission struct {
	Allow []string
	Deny  []string
}

// ResponsePermission is a temporary permission to publish to a reply subject.
type ResponsePermission struct {
	MaxMsgs int           // -1 is unlimited
	Expires time.Duration // -1 is never
}

// Account is one entry of the accounts block.
type Account struct {
	Name               string
	NKey               string // public account key, or empty
	Users              []User
	DefaultPermissions *Permissions
	Limits             AccountLimits
	// JetStream is nil when the account may not use it.
	JetStream *AccountJetStream
	Exports   []Export
	Imports   []Import
	Mappings  []Mapping
}

// AccountLimits bound what an account's clients may use together, except for
// MaxPayload, which is the bytes of one message. -1 is unlimited.
type AccountLimits struct {
	MaxConnections   int
	MaxSubscriptions int
	MaxPayload       int
}

// AccountJetStream is what an account may use of JetStream; -1 is unlimited.
type AccountJetStream struct {
	MaxMemory            int64 // bytes, all replicas counted
	MaxStore             int64 // bytes, all replicas counted
	MaxStreams           int
	MaxConsumers         int
	MaxBytesRequired     bool  // streams must set max_bytes
	MemoryMaxStreamBytes int64 // largest max_bytes of a stream in memory
	StoreMaxStreamBytes  int64 // largest max_bytes of a stream in files
	MaxAckPending        int   // largest max_ack_pending of a consumer
}

// Cluster is the listener for other servers and where to find them.
//
// The options pool_size, accounts, compression, ping_interval and ping_max of
// nats-server's route connections are accepted and checked but have no effect:
// Weir's links have a fixed pair of connections, are not compressed, and have
// their own heartbeat.
type Cluster struct {
	Name string
	Host string
	// Port is the listener's port, -1 for any free one, and 0 for no cluster.
	Port          int
	Advertise     string // "host" or "host:port" told to other servers
	Authorization Authorization
	// Routes are the servers to connect to: host and port, with user and password if
	// they want one. One that is reachable is enough to find all.
	Routes []*url.URL
	// ConnectRetries is how often a server that was learned from another one,
	// and is not in Routes, is dialled again.
	ConnectRetries int
}

// Enabled says whether the server is part of a cluster.
func (c *Cluster) Enabled() bool { return c.Port != 0 }

// JetStream is the block of that name.
//
// sync_interval is accepted and checked but has no effect: Weir acknowledges
// nothing before it is on disk. So are the options that tune how nats-server
// works inside: max_outstanding_catchup, meta_compact, meta_compact_size,
// meta_compact_sync and max_concurrent_io.
type JetStream struct {
	Enabled  bool
	StoreDir string
	// InMemory keeps what would be in StoreDir in memory, so that it is gone when
	// the server stops. No key of a file sets it.
	InMemory bool
	// MaxMemory and MaxStore are the bytes that all streams of this server may
	// use. -1 lets the server choose by what the machine has.
	MaxMemory int64
	MaxStore  int64
	Domain    string
	// UniqueTag is a tag prefix, such as "az:", whose value must differ between
	// the replicas of a stream.
	UniqueTag string
	// MaxBufferedMsgs and MaxBufferedSize (bytes) bound what was published to one
	// stream and is not under way to its replicas yet; 0 is the default.
	MaxBufferedMsgs int
	MaxBufferedSize int
	// RequestQueueLimit and InfoQueueLimit bound the API requests that wait on this
	// server, those that change something and those that read; 0 is the default.
	RequestQueueLimit int
	InfoQueueLimit    int
	// Strict refuses API requests with unknown fields.
	Strict bool
	Limits JetStreamLimits
}

// JetStreamLimits bound what any account may ask for; 0 is unlimited.
type JetStreamLimits struct {
	MaxAckPending   int           // of a consumer
	MaxHAAssets     int           // replicated streams on this server
	MaxRequestBatch int           // of a pull request
	DuplicateWindow time.Duration // of a stream
	Batch           BatchLimits
}

// BatchLimits bound publishing in batches; 0 is the default. Atomic and fast
// batches are counted apart.
type BatchLimits struct {
	MaxInflightPerStream int           // open at once: 50 atomic ones, 1000 fast ones
	MaxInflightTotal     int           // on the server: 1000 and 50000
	MaxMsgs              int           // of an atomic batch: 1000
	Timeout              time.Duration // of an idle batch: 10 s
}

// DefaultPort is the port for clients unless the configuration says another.
const DefaultPort = 4222

// DefaultClusterPort is the port of a route that names none.
const DefaultClusterPort = 6222

// GlobalAccount and DefaultSystemAccount are the accounts that stand without
// being configured.
const (
	GlobalAccount        = "$G"
	DefaultSystemAccount = "$SYS"
)

// Default returns the configuration of a server without a file.
func Default() *Config {
	return &Config{
		Host:         "0.0.0.0",
		Port:         DefaultPort,
		HTTPHost:     "0.0.0.0",
		HTTPBasePath: "",
		Limits: Limits{
			MaxControlLine:   4 << 10,
			MaxPayload:       1 << 20,
			MaxPending:       64 << 20,
			MaxConnections:   64 << 10,
			MaxClosedClients: 10000,
			PingInterval:     2 * time.Minute,
			PingMax:          2,
			WriteDeadline:    10 * time.Second,
		},
		Log:           Log{Time: true},
		LameDuck:      LameDuck{Duration: 2 * time.Minute, Grace: 10 * time.Second},
		Authorization: Authorization{Timeout: 2 * time.Second},
		SystemAccount: DefaultSystemAccount,
		Cluster:       Cluster{Host: "0.0.0.0", Authorization: Authorization{Timeout: 2 * time.Second}},
		JetStream:     JetStream{MaxMemory: -1, MaxStore: -1, Strict: true},
		FeatureFlags:  maps.Clone(flagDefaults),
	}
}
