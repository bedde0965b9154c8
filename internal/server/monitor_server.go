package server

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/cluster"
	"weir/internal/monitor"
	"weir/internal/wire"
)

// varz describes the server.
func (s *source) varz() *monitor.Varz {
	cfg := s.cfg
	v := &monitor.Varz{
		ServerID: s.id, ServerName: s.name, Version: wire.ServerVersion, Proto: 1, GoVersion: runtime.Version(),
		Host: cfg.Host, Port: portOf(s.clients.Addr(), cfg.Port),
		AuthRequired: s.accounts.Required() || s.cfg.NoAuthUser != "", ClientConnectURLs: s.connectURLs(),
		MaxConn: cfg.Limits.MaxConnections, MaxSubs: cfg.Limits.MaxSubscriptions,
		PingInterval: cfg.Limits.PingInterval, MaxPingsOut: cfg.Limits.PingMax,
		HTTPHost: cfg.HTTPHost, HTTPPort: s.monitorPort(), HTTPBasePath: cfg.HTTPBasePath,
		AuthTimeout: cfg.Authorization.Timeout.Seconds(), MaxControlLine: int32(cfg.Limits.MaxControlLine),
		MaxPayload: cfg.Limits.MaxPayload, MaxPending: cfg.Limits.MaxPending, WriteDeadline: cfg.Limits.WriteDeadline,
		Start: s.start.UTC(), Cores: runtime.NumCPU(), MaxProcs: runtime.GOMAXPROCS(0),
		ConfigLoadTime: s.start.UTC(), ConfigDigest: cfg.Digest, Tags: cfg.Tags, Metadata: cfg.Metadata,
		FeatureFlags:  cfg.FeatureFlags,
		SystemAccount: s.accounts.System().Name(), Subscriptions: uint32(s.router.NumSubscriptions()),
	}
	usage := s.usage.read(s.clock.Now())
	v.Mem, v.CPU = usage.memory, usage.cpu
	s.fillTraffic(v)
	v.Cluster = s.varzCluster()
	if j := s.varzJetStream(); j != nil {
		v.JetStream = *j
	}
	return v
}

// fillTraffic counts what clients and other nodes sent and got.
func (s *source) fillTraffic(v *monitor.Varz) {
	c := s.clients.Stats()
	v.Connections, v.TotalConnections = c.Connections, uint64(c.TotalConnections)
	v.InClientMsgs, v.InClientBytes, v.OutClientMsgs, v.OutClientBytes = c.InMsgs, c.InBytes, c.OutMsgs, c.OutBytes
	v.InMsgs, v.InBytes, v.OutMsgs, v.OutBytes = c.InMsgs, c.InBytes, c.OutMsgs, c.OutBytes
	v.SlowConsumers, v.StaleConnections, v.StalledClients = c.SlowConsumers, c.StaleConnections, c.StalledClients
	v.SlowConsumersStats.Clients, v.StaleConnectionsStats.Clients = uint64(c.SlowConsumers), uint64(c.StaleConnections)
	for _, l := range s.linkStats() {
		v.Routes++
		v.InMsgs, v.OutMsgs = v.InMsgs+l.InMessages, v.OutMsgs+l.OutMessages
		if l.Kind == dataLink {
			v.InBytes, v.OutBytes = v.InBytes+l.InBytes, v.OutBytes+l.OutBytes
		}
	}
	if s.mesh != nil {
		v.Remotes = len(s.mesh.Peers())
	}
}

// dataLink is the kind of link that carries messages.
const dataLink = "data"

// linkStats describes the links to other nodes.
func (s *source) linkStats() []cluster.LinkStats {
	if s.mesh == nil {
		return nil
	}
	return s.mesh.Stats()
}

func (s *source) varzCluster() (v monitor.VarzCluster) {
	c := &s.cfg.Cluster
	if s.mesh == nil {
		return v
	}
	v = monitor.VarzCluster{
		Name: c.Name, Host: c.Host, Port: portOf(s.mesh.Addr(), c.Port), AuthTimeout: c.Authorization.Timeout.Seconds(),
	}
	for _, r := range c.Routes {
		v.URLs = append(v.URLs, r.Host)
	}
	return v
}

func (s *source) monitorPort() int {
	if s.monitor == nil {
		return s.cfg.HTTPPort
	}
	return portOf(s.monitor.addr(), s.cfg.HTTPPort)
}

// portOf is the port of an address; the configured one before there is any.
func portOf(addr net.Addr, configured int) int {
	if addr == nil {
		return configured
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return configured
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return configured
	}
	return n
}

// usageEvery is how long a reading of the process's usage stands, so that a
// percentage of the processor means something.
const usageEvery = time.Second

// processUsage watches what the process uses of the machine.
type processUsage struct {
	mu    sync.Mutex
	last  usageReading
	at    time.Time
	spent time.Duration // processor time until then
}

// usageReading is one reading: resident memory in bytes, and per cent of a
// processor since the reading before.
type usageReading struct {
	memory int64
	cpu    float64
}

func (u *processUsage) read(now time.Time) usageReading {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.at.IsZero() && now.Sub(u.at) < usageEvery {
		return u.last
	}
	spent := processorTime()
	if wall := now.Sub(u.at); !u.at.IsZero() && wall > 0 {
		u.last.cpu = float64(int64(1000*float64(spent-u.spent)/float64(wall))) / 10
	}
	u.at, u.spent = now, spent
	u.last.memory = residentMemory()
	return u.last
}

func processorTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// residentMemory is from the kernel where it says, else what the Go runtime has.
func residentMemory() int64 {
	if f, err := vfs.Default.Open("/proc/self/statm"); err == nil {
		defer f.Close()
		var buf [128]byte
		n, err := f.Read(buf[:])
		if fields := bytes.Fields(buf[:n]); (err == nil || err == io.EOF) && len(fields) > 1 {
			if pages, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil {
				return pages * int64(syscall.Getpagesize())
			}
		}
	}
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64() - sample[1].Value.Uint64())
}
