package conn

import (
	"cmp"
	"time"

	"weir/internal/conf"
)

// Config is what the client listener needs to know. Zero durations and sizes
// mean the protocol's defaults.
type Config struct {
	Host      string
	Port      int    // 0 takes any free port
	Advertise string // "host" or "host:port" told to clients instead

	ServerID   string // public nkey of the server
	ServerName string
	Version    string // protocol level that clients may rely on
	GitCommit  string
	Go         string
	Cluster    string // empty outside of a cluster
	Domain     string // JetStream domain
	JetStream  bool
	APILevel   int // JetStream API level told in INFO

	Limits              conf.Limits
	AuthTimeout         time.Duration
	NoFastProducerStall bool

	// Trace logs every operation; MaxTracedLen bounds the bytes shown of a
	// message, 0 is all.
	Trace        bool
	MaxTracedLen int

	// Observer hears of clients that come and go; may be nil.
	Observer Observer
}

// Observer hears of clients after they were accepted, and of all that authenticated
// after they are gone. Calls come from the connection's goroutine and must not block.
type Observer interface {
	Connected(c *ConnInfo)
	Disconnected(c *ConnInfo)
}

// Defaults of the protocol.
const (
	defaultMaxPayload    = 1 << 20
	defaultMaxPending    = 64 << 20
	defaultPingInterval  = 2 * time.Minute
	defaultPingMax       = 2
	defaultWriteDeadline = 10 * time.Second
	defaultAuthTimeout   = 2 * time.Second
	defaultMaxClosed     = 10_000

	// firstPing comes soon after CONNECT to measure the round trip time.
	firstPing = 2 * time.Second
	// lingerTime is how long a client that is sent away may take to read why, and then
	// to close its side.
	lingerTime = 250 * time.Millisecond
	// shutdownTime is how long a client may take to read what is queued for it when the
	// server shuts down.
	shutdownTime = 750 * time.Millisecond
	// maxStall is how long a publisher waits for a congested receiver after
	// each read.
	maxStall = 10 * time.Millisecond
)

func (c Config) withDefaults() Config {
	l := &c.Limits
	l.MaxPayload = cmp.Or(l.MaxPayload, defaultMaxPayload)
	l.MaxPending = cmp.Or(l.MaxPending, defaultMaxPending)
	l.PingInterval = cmp.Or(l.PingInterval, defaultPingInterval)
	l.PingMax = cmp.Or(l.PingMax, defaultPingMax)
	l.WriteDeadline = cmp.Or(l.WriteDeadline, defaultWriteDeadline)
	l.MaxClosedClients = cmp.Or(l.MaxClosedClients, defaultMaxClosed)
	c.AuthTimeout = cmp.Or(c.AuthTimeout, defaultAuthTimeout)
	return c
}
