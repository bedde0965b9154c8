// Package server is the composition root: it builds a server from its
// configuration, and it is the only package that knows all the others.
package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nkeys"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/cluster"
	"weir/internal/conf"
	"weir/internal/conn"
	"weir/internal/jetstream"
	"weir/internal/jsapi"
	"weir/internal/router"
	"weir/internal/wire"
)

// Server is one Weir server.
type Server struct {
	cfg   *conf.Config
	log   base.Logger
	clock base.Clock
	id    string
	name  string
	start time.Time

	accounts *account.Registry
	router   *router.Router
	clients  *conn.Server
	mesh     *cluster.Mesh   // nil outside of a cluster
	node     *jetstream.Node // nil without JetStream
	api      *jsapi.Service  // nil without JetStream
	system   *system
	monitor  *monitoring // nil without a monitoring listener

	// urlsMu keeps clients from hearing last of addresses that were listed first.
	urlsMu sync.Mutex

	store   storeFS
	stopped chan struct{} // closed when Shutdown is done
	once    sync.Once
}

// New builds a server. Nothing is opened or listened on but the store, if the
// configuration has one.
func New(cfg *conf.Config, log base.Logger) (*Server, error) {
	id, err := newServerID()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: log, clock: base.SystemClock, id: id, name: cfg.ServerName,
		start: base.SystemClock.Now(), stopped: make(chan struct{}),
	}
	if s.name == "" {
		s.name = id
	}
	if s.accounts, err = account.NewRegistry(cfg); err != nil {
		return nil, err
	}
	s.router = router.New(randomSeed())
	if err := s.serveImports(); err != nil {
		return nil, err
	}
	s.system = newSystem(s)
	s.serveTraces()
	s.clients = conn.NewServer(s.clientConfig(), s.accounts, s.router, log, s.clock)
	identity := jetstream.Identity{Node: jetstream.NewNodeID(), Name: s.name}
	if cfg.JetStream.Enabled {
		if identity, err = s.openIdentity(); err != nil {
			return nil, err
		}
	}
	if err := s.buildCluster(identity.Node); err != nil {
		return nil, err
	}
	if cfg.JetStream.Enabled {
		if err := s.buildJetStream(identity); err != nil {
			return nil, err
		}
	}
	if cfg.HTTPPort != 0 {
		s.monitor = newMonitoring(s)
	}
	return s, nil
}

// newServerID makes the identity that clients see: a fresh public server nkey.
func newServerID() (string, error) {
	pair, err := nkeys.CreateServer()
	if err != nil {
		return "", fmt.Errorf("make server id: %w", err)
	}
	return pair.PublicKey()
}

func randomSeed() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

func (s *Server) clientConfig() conn.Config {
	return conn.Config{
		Host: s.cfg.Host, Port: max(s.cfg.Port, 0), Advertise: s.cfg.ClientAdvertise,
		ServerID: s.id, ServerName: s.name, Version: wire.ServerVersion, Go: runtime.Version(),
		Cluster: s.cfg.Cluster.Name, Domain: s.cfg.JetStream.Domain,
		JetStream: s.cfg.JetStream.Enabled, APILevel: jetstream.APILevel,
		Trace:        s.cfg.Log.Trace || s.cfg.Log.TraceVerbose,
		MaxTracedLen: s.cfg.Log.MaxTracedLen,
		Limits:       s.cfg.Limits, AuthTimeout: s.cfg.Authorization.Timeout,
		Observer: s.system,
	}
}

// fs is where JetStream keeps its files.
func (s *Server) fs() (vfs.FS, string) {
	if s.cfg.JetStream.InMemory {
		return vfs.NewMem(), "weir"
	}
	return vfs.Default, filepath.Join(s.cfg.JetStream.StorePath(), "weir")
}

// storeFS keeps the file system of New for buildJetStream: one in memory must not
// be made twice.
type storeFS struct {
	fs  vfs.FS
	dir string
}

func (s *Server) openIdentity() (jetstream.Identity, error) {
	fs, dir := s.fs()
	id, err := jetstream.OpenIdentity(fs, dir, s.storeName())
	if err != nil {
		return id, fmt.Errorf("JetStream store %s: %w", dir, err)
	}
	s.store = storeFS{fs, dir}
	return id, nil
}

// storeName is whose the store directory is: a server without a configured name
// has another one at each start.
func (s *Server) storeName() string { return s.cfg.ServerName }

// Start opens all listeners and begins to serve. When it returns an error, what
// was started is ended by Shutdown.
func (s *Server) Start() error {
	if s.monitor != nil {
		if err := s.monitor.start(); err != nil {
			return err
		}
	}
	if s.node != nil {
		if err := s.node.Start(); err != nil {
			return fmt.Errorf("start JetStream: %w", err)
		}
		if err := s.interceptAPI(); err != nil {
			return err
		}
	}
	if s.mesh != nil {
		if err := s.mesh.Start(); err != nil {
			return fmt.Errorf("start cluster: %w", err)
		}
	}
	if err := s.system.start(); err != nil {
		return err
	}
	if err := s.clients.Start(); err != nil {
		return err
	}
	if s.mesh != nil {
		s.mesh.Announce()
		s.updateConnectURLs()
	}
	s.log.Noticef("Server is ready")
	return nil
}

// readyPoll is how often Ready looks.
const readyPoll = 20 * time.Millisecond

// Ready waits until the server can do all that it is configured for: with
// JetStream, until the meta group has a leader and what is assigned here runs.
func (s *Server) Ready(ctx context.Context) error {
	if s.node == nil {
		return nil
	}
	for {
		err := s.node.Healthy()
		if err == nil {
			return nil
		}
		wait := make(chan struct{})
		t := s.clock.AfterFunc(readyPoll, func() { close(wait) })
		select {
		case <-wait:
		case <-ctx.Done():
			t.Stop()
			return errors.Join(ctx.Err(), err)
		}
	}
}

// handOverTime is how long a server that goes may take to pass its groups on.
const handOverTime = 3 * time.Second

// Shutdown ends the server and returns when everything is down. Repeated calls
// wait for the first.
func (s *Server) Shutdown() {
	s.once.Do(func() {
		defer close(s.stopped)
		s.log.Noticef("Initiating Shutdown...")
		s.system.stop()
		if s.api != nil {
			s.api.Stop() // before the node: it reads the node's stores
		}
		if s.node != nil {
			ctx, cancel := context.WithTimeout(context.Background(), handOverTime)
			if err := s.node.Stop(ctx); err != nil {
				s.log.Errorf("Shut down JetStream: %v", err)
			}
			cancel()
		}
		s.clients.Shutdown()
		if s.mesh != nil {
			s.mesh.Shutdown()
		}
		if s.monitor != nil {
			s.monitor.stop()
		}
		s.log.Noticef("Server Exiting..")
	})
	<-s.stopped
}

// LameDuck takes no new clients, hands over what this server leads, and sends its
// clients away one by one. It returns when they are gone or ctx ends.
func (s *Server) LameDuck(ctx context.Context) {
	s.system.lameDuck()
	if s.node != nil {
		if err := s.node.HandOver(ctx); err != nil {
			s.log.Warnf("Hand over leadership: %v", err)
		}
	}
	if err := s.clients.LameDuck(ctx, s.cfg.LameDuck.Grace, s.cfg.LameDuck.Duration); err != nil && ctx.Err() == nil {
		s.log.Warnf("Lame duck mode: %v", err)
	}
}

// InProcessConn is a client connection within this process.
func (s *Server) InProcessConn() (net.Conn, error) { return s.clients.InProcessConn() }

// ClientURL is where clients connect.
func (s *Server) ClientURL() string {
	addr := s.clients.Addr()
	if addr == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, port)
}

// Addrs are the addresses of the listeners; nil for one that is off.
func (s *Server) Addrs() (client, monitor, cluster net.Addr) {
	client = s.clients.Addr()
	if s.monitor != nil {
		monitor = s.monitor.addr()
	}
	if s.mesh != nil {
		cluster = s.mesh.Addr()
	}
	return client, monitor, cluster
}
