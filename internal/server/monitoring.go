package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"weir/internal/monitor"
	"weir/internal/subject"
	"weir/internal/wire"
)

// monitoring is the HTTP monitoring listener. Its documents come from a
// source.
type monitoring struct {
	server *Server
	doc    *monitor.Monitor

	mu       sync.Mutex
	listener net.Listener
	http     *http.Server
	serving  sync.WaitGroup
}

func newMonitoring(s *Server) *monitoring {
	return &monitoring{server: s, doc: s.system.doc}
}

// newMonitor makes the documents of this server.
func (s *Server) newMonitor() *monitor.Monitor {
	seen := &source{Server: s}
	return monitor.New(seen.functions(), monitor.Options{BasePath: s.cfg.HTTPBasePath, Clock: s.clock, Logger: s.log})
}

// Bounds of one monitoring request.
const (
	monitorReadTimeout  = 10 * time.Second
	monitorWriteTimeout = 30 * time.Second
	monitorHeaderBytes  = 64 << 10
	monitorStopTime     = time.Second
)

// start listens and serves until stop.
func (m *monitoring) start() error {
	cfg := m.server.cfg
	host := cfg.HTTPHost
	if host == "" {
		host = cfg.Host
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(max(cfg.HTTPPort, 0))))
	if err != nil {
		return fmt.Errorf("listen for monitoring: %w", err)
	}
	server := &http.Server{
		Handler:     m.doc.Handler(),
		ReadTimeout: monitorReadTimeout, WriteTimeout: monitorWriteTimeout, MaxHeaderBytes: monitorHeaderBytes,
	}
	m.mu.Lock()
	m.listener, m.http = listener, server
	m.mu.Unlock()
	m.serving.Go(func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			m.server.log.Errorf("Monitoring ends: %v", err)
		}
	})
	m.server.log.Noticef("Starting http monitor on %s", listener.Addr())
	return nil
}

// addr is where the listener is; nil before start.
func (m *monitoring) addr() net.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listener == nil {
		return nil
	}
	return m.listener.Addr()
}

// stop ends the listener, lets requests under way finish for a moment, and
// returns when nothing runs any more.
func (m *monitoring) stop() {
	m.mu.Lock()
	server := m.http
	m.mu.Unlock()
	if server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), monitorStopTime)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close() // what is left is cut off
	}
	m.serving.Wait()
}

// source reads what monitoring shows of the server.
type source struct {
	*Server
	usage processUsage
}

// functions are what monitoring can see.
func (s *source) functions() monitor.Source {
	return monitor.Source{
		ServerID: s.id, ServerName: s.name, Version: wire.ServerVersion,
		Server: s.varz, Connections: s.connections, Routes: s.routes,
		SubscriptionStats: s.subscriptionStats, Subscriptions: s.subscriptions, Match: subject.Match,
		JetStream: s.jetStream, JetStreamAccounts: s.jetStreamAccounts, JetStreamAccount: s.jetStreamAccount,
		MetaLeader: s.metaLeader, RaftGroups: s.raftGroups, Health: s.health,
		Accounts: s.accountNames, Account: s.accountInfo, AccountStats: s.accountStats,
	}
}
