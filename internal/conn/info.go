package conn

import (
	"encoding/json"
	"net"
	"strconv"

	"weir/internal/base"
	"weir/internal/wire"
)

// clientInfo is the INFO document with what it says about one client.
type clientInfo struct {
	wire.Info
	ConnectInfo   bool   `json:"connect_info,omitempty"`
	RemoteAccount string `json:"remote_account,omitempty"`
	IsSystem      bool   `json:"acc_is_sys,omitempty"`
}

// info is what all clients are told.
func (s *Server) info() wire.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, port := s.advertisedLocked()
	return wire.Info{
		ServerID: s.cfg().ServerID, ServerName: s.cfg().ServerName,
		Version: s.cfg().Version, GitCommit: s.cfg().GitCommit, Go: s.cfg().Go,
		Proto: 1, Host: host, Port: port, Headers: !s.cfg().Limits.NoHeaders,
		AuthRequired: s.registry.Required(),
		MaxPayload:   s.cfg().Limits.MaxPayload,
		JetStream:    s.cfg().JetStream, APILevel: s.cfg().APILevel,
		Cluster: s.cfg().Cluster, Domain: s.cfg().Domain,
		ConnectURLs: s.connectURLs,
		LameDuck:    s.lameDuck,
	}
}

// advertisedLocked is the address that clients shall use.
func (s *Server) advertisedLocked() (host string, port int) {
	host, port = s.cfg().Host, s.cfg().Port
	if s.listener != nil {
		_, port = address(s.listener.Addr())
	}
	if s.cfg().Advertise == "" {
		return host, port
	}
	h, p, err := net.SplitHostPort(s.cfg().Advertise)
	if err != nil {
		return s.cfg().Advertise, port
	}
	if n, err := strconv.Atoi(p); err == nil {
		port = n
	}
	return h, port
}

// infoFor encodes INFO for one client.
func (s *Server) infoFor(c *client) []byte {
	doc := clientInfo{Info: s.info()}
	doc.ClientID = c.id
	doc.ClientIP = c.info.Load().Host
	doc.Nonce = string(c.nonce)
	if c.account != nil {
		doc.ConnectInfo = true
		doc.RemoteAccount = c.account.Name()
		doc.IsSystem = c.account.IsSystem()
	}
	text, err := json.Marshal(&doc)
	base.Assert(err == nil, "encoding INFO: %v", err)
	return append(append([]byte("INFO "), text...), "\r\n"...)
}

// SetConnectURLs tells clients the addresses of all servers of the cluster,
// this one included if it may be told. Clients that take asynchronous INFO hear
// of a change at once.
func (s *Server) SetConnectURLs(urls []string) {
	s.mu.Lock()
	s.connectURLs = urls
	s.mu.Unlock()
	s.pushInfo()
}

// SetJetStream tells clients whether JetStream is available.
func (s *Server) SetJetStream(available bool) {
	s.Update(func(c *Config) { c.JetStream = available })
}

// Update changes the configuration while the server runs, and tells clients.
// Limits of connections that exist already stay, except for those in time and
// in number. The listener's address, the server's identity and the size of the
// memory of closed connections are fixed.
func (s *Server) Update(change func(*Config)) {
	s.mu.Lock()
	config := *s.cfg()
	change(&config)
	config = config.withDefaults()
	s.config.Store(&config)
	s.mu.Unlock()
	s.pushInfo()
}

// pushInfo tells clients that take asynchronous INFO what holds now.
func (s *Server) pushInfo() {
	s.telling.Lock()
	defer s.telling.Unlock()
	for _, c := range s.snapshot() {
		if c.takeInfo.Load() {
			c.sendNow(s.infoFor(c))
		}
	}
}
