package server

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/cluster"
	"weir/internal/jetstream"
	"weir/internal/wire"
)

func (s *Server) clusterName() string {
	if !s.cfg.Cluster.Enabled() {
		return ""
	}
	return s.cfg.Cluster.Name
}

// buildCluster makes the mesh, if the server is part of a cluster.
func (s *Server) buildCluster(node base.NodeID) error {
	c := &s.cfg.Cluster
	if !c.Enabled() {
		return nil
	}
	cfg := cluster.Config{
		Node: node, ID: s.id, Name: s.name, Cluster: c.Name, Version: wire.ServerVersion,
		Host: c.Host, Port: max(c.Port, 0), Advertise: c.Advertise, Routes: c.Routes,
		User: c.Authorization.Username, Password: c.Authorization.Password,
		ClientURLs: s.clientURLs, JetStream: s.cfg.JetStream.Enabled, Domain: s.cfg.JetStream.Domain, Tags: s.cfg.Tags,
		MaxPayload: s.cfg.Limits.MaxPayload, Clock: s.clock, Log: s.log, Seed: randomSeed(),
	}
	if c.Authorization.Username != "" {
		cfg.Authorize = func(user, password string) bool {
			return user == c.Authorization.Username && account.SamePassword(c.Authorization.Password, password)
		}
	}
	mesh, err := cluster.New(cfg, s.router, peerHandler{s})
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	s.mesh = mesh
	return nil
}

// links is how JetStream reaches other nodes; without a cluster there are none.
func (s *Server) links() jetstream.Links {
	if s.mesh == nil {
		return noLinks{}
	}
	return s.mesh
}

type noLinks struct{}

func (noLinks) SendRequest(base.NodeID, byte, []byte) error { return cluster.ErrNoLink }
func (noLinks) SendRaft(base.NodeID, []byte) bool           { return false }

// peerHandler passes on what comes from other nodes.
type peerHandler struct{ s *Server }

func (h peerHandler) PeerUp(p cluster.PeerInfo) {
	h.s.log.Noticef("Route to %s (%s) is up", p.Name, p.Addr)
	if h.s.node != nil {
		h.s.node.PeerUp(jetstream.Peer{Node: p.Node, Name: p.Name, JetStream: p.JetStream})
	}
	h.s.updateConnectURLs()
}

func (h peerHandler) PeerUpdated(cluster.PeerInfo) { h.s.updateConnectURLs() }

func (h peerHandler) PeerDown(node base.NodeID) {
	h.s.log.Noticef("Route to node %s is down", node)
	if h.s.node != nil {
		h.s.node.PeerDown(node)
	}
	h.s.updateConnectURLs()
}

func (h peerHandler) Request(from base.NodeID, kind byte, payload []byte) {
	if h.s.node != nil {
		h.s.node.HandleFrame(from, kind, payload)
	}
}

func (h peerHandler) Raft(from base.NodeID, frame []byte) {
	if h.s.node != nil {
		h.s.node.HandleRaft(from, frame)
	}
}

// clientURLs are the addresses that clients reach this server under.
func (s *Server) clientURLs() []string {
	if s.cfg.NoAdvertise {
		return nil
	}
	addr := s.clients.Addr()
	if addr == nil {
		return nil
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return nil
	}
	if adv := s.cfg.ClientAdvertise; adv != "" {
		if _, _, err := net.SplitHostPort(adv); err == nil {
			return []string{adv}
		}
		return []string{net.JoinHostPort(adv, port)}
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return []string{net.JoinHostPort(host, port)}
	}
	return localAddresses(port)
}

// localAddresses are the machine's own addresses, for a listener on all of them.
func localAddresses(port string) []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var list []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			list = append(list, net.JoinHostPort(n.IP.String(), port))
		}
	}
	if len(list) == 0 {
		list = append(list, net.JoinHostPort("127.0.0.1", port))
	}
	return list
}

// updateConnectURLs tells clients of all servers that they may connect to.
func (s *Server) updateConnectURLs() {
	if s.mesh == nil || s.cfg.NoAdvertise {
		return
	}
	s.urlsMu.Lock()
	defer s.urlsMu.Unlock()
	s.clients.SetConnectURLs(s.connectURLs())
}

// connectURLs are the addresses of all servers that clients are told of.
func (s *Server) connectURLs() []string {
	if s.mesh == nil {
		return nil
	}
	urls := s.clientURLs()
	for _, p := range s.mesh.Peers() {
		urls = append(urls, p.ClientURLs...)
	}
	slices.Sort(urls)
	return slices.Compact(urls)
}

// expectedPeers is how many JetStream nodes the configuration names, this one
// included.
func (s *Server) expectedPeers() int {
	if s.mesh == nil {
		return 1
	}
	own := map[string]bool{}
	if addr := s.mesh.Addr(); addr != nil {
		own[addr.String()] = true
	}
	own[net.JoinHostPort(s.cfg.Cluster.Host, strconv.Itoa(s.cfg.Cluster.Port))] = true
	if adv := s.cfg.Cluster.Advertise; adv != "" {
		own[adv] = true
	}
	named, self := map[string]bool{}, false
	for _, r := range s.cfg.Cluster.Routes {
		named[r.Host] = true
		self = self || own[r.Host] || s.isLocal(r.Host)
	}
	if self {
		return len(named)
	}
	return len(named) + 1
}

// isLocal tells whether a route names this machine under the cluster's port: a
// listener on all addresses is reached under any of them.
func (s *Server) isLocal(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != strconv.Itoa(s.cfg.Cluster.Port) {
		return false
	}
	if host == "localhost" || host == s.name {
		return true
	}
	for _, a := range localAddresses(port) {
		if a == address {
			return true
		}
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
