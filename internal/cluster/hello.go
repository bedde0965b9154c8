package cluster

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"weir/internal/base"
)

// hello is what each side says first.
type hello struct {
	Info PeerInfo `json:"info"`
	Boot uint64   `json:"boot"` // differs between runs of a node
	// Link, User and Password are the dialer's.
	Link     linkKind  `json:"link,omitempty"`
	User     string    `json:"user,omitempty"`
	Password string    `json:"password,omitempty"`
	Peers    []address `json:"peers,omitempty"`
}

// address is where a node can be dialed.
type address struct {
	Node base.NodeID `json:"node"`
	Name string      `json:"name"`
	Addr string      `json:"addr"`
}

// refusal is why a connection does not become a link.
type refusal struct {
	Reason string `json:"reason"`
	// Quiet refusals belong to normal work: the link exists, or will.
	Quiet bool `json:"quiet,omitempty"`
}

func (r *refusal) Error() string { return r.Reason }

// Is makes a refusal that came over the wire equal to the one that was sent.
func (r *refusal) Is(other error) bool {
	o, ok := other.(*refusal)
	return ok && o.Reason == r.Reason
}

func refusef(format string, args ...any) *refusal {
	return &refusal{Reason: fmt.Sprintf(format, args...)}
}

var (
	refuseDuplicate = &refusal{Reason: "there is a link already", Quiet: true}
	refuseRestarted = &refusal{Reason: "the link of your previous run was still there: try again", Quiet: true}
	refuseSelf      = &refusal{Reason: "this is the node itself", Quiet: true}
	refuseShutdown  = &refusal{Reason: "the node is shutting down", Quiet: true}
)

// errForeign marks a peer that speaks another protocol.
var errForeign = errors.New("does not speak Weir's cluster protocol")

// errSilent marks a connection that was closed before a byte came, as the checks
// of load balancers do.
var errSilent = errors.New("closed without a word")

// foreignAnswer tells a text protocol peer, such as a route of the established
// server, that it is in the wrong place.
const foreignAnswer = "-ERR 'this port speaks the cluster protocol of Weir'\r\n"

// hello describes this node; kind is 0 from the side that did not dial.
func (m *Mesh) hello(kind linkKind) *hello {
	return &hello{Info: m.Info(), Boot: m.boot, Link: kind, Peers: m.addresses()}
}

// Info describes this node as its peers see it; only after Start.
func (m *Mesh) Info() PeerInfo {
	info := PeerInfo{
		Node: m.cfg.Node, ID: m.cfg.ID, Name: m.cfg.Name, Cluster: m.cfg.Cluster, Version: m.cfg.Version,
		Addr: m.advertised(), JetStream: m.cfg.JetStream, Domain: m.cfg.Domain, Tags: m.cfg.Tags,
	}
	if m.cfg.ClientURLs != nil {
		info.ClientURLs = m.cfg.ClientURLs()
	}
	return info
}

// advertised is the host:port under which this node is to be dialed. The host
// is empty when peers have to find it out.
func (m *Mesh) advertised() string {
	host := m.cfg.Host
	_, port, _ := net.SplitHostPort(m.listener.Addr().String())
	if m.cfg.Advertise != "" {
		host = m.cfg.Advertise
		if h, p, err := net.SplitHostPort(m.cfg.Advertise); err == nil {
			host, port = h, p
		}
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	return net.JoinHostPort(host, port)
}

// reachable completes an advertised address with the host of the connection.
func reachable(advertised string, conn net.Conn) string {
	host, port, err := net.SplitHostPort(advertised)
	if err != nil || host != "" {
		return advertised
	}
	remote, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return advertised
	}
	return net.JoinHostPort(remote, port)
}

// verify tells why a peer can not be linked with; nil if it can.
func (m *Mesh) verify(h *hello) *refusal {
	info := &h.Info
	switch {
	case info.Node == m.cfg.Node && h.Boot == m.boot:
		return refuseSelf
	case info.Node == 0 || info.Name == "":
		return refusef("hello without node id or name")
	case info.Cluster != m.cfg.Cluster:
		return refusef("cluster names differ: %q of server %q and %q of server %q",
			info.Cluster, info.Name, m.cfg.Cluster, m.cfg.Name)
	case info.Node == m.cfg.Node:
		return refusef("servers %q and %q have the same node id %s: one store directory is a copy of the other",
			info.Name, m.cfg.Name, info.Node)
	case info.Name == m.cfg.Name:
		return refusef("duplicate server name %q in the cluster", info.Name)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for node, p := range m.peers {
		if node != info.Node && p.info.Name == info.Name && (p.data != nil || p.raft != nil) {
			return refusef("duplicate server name %q in the cluster", info.Name)
		}
	}
	return nil
}

// decides tells whether this node is the one of the pair that decides about
// connections.
func (m *Mesh) decides(peer base.NodeID) bool { return m.cfg.Node < peer }

func writePreamble(conn net.Conn) error {
	_, err := conn.Write(append([]byte(magic), protocolVersion))
	return err
}

// readPreamble checks that the peer speaks the protocol, byte by byte as far as
// it goes, so that a short text is not waited on.
func readPreamble(conn net.Conn) error {
	got := make([]byte, 0, preambleSize)
	for len(got) < preambleSize {
		n, err := conn.Read(got[len(got):preambleSize])
		got = got[:len(got)+n]
		if known := got[:min(len(got), len(magic))]; !bytes.HasPrefix([]byte(magic), known) {
			return fmt.Errorf("%w: it begins with %s", errForeign, strconv.QuoteToASCII(string(got)))
		}
		if errors.Is(err, io.EOF) && len(got) == 0 {
			return errSilent
		}
		if err != nil {
			return fmt.Errorf("waiting for a hello: %w", err)
		}
	}
	if v := got[len(magic)]; v != protocolVersion {
		return fmt.Errorf("%w: it has version %d of it, this node %d", errForeign, v, protocolVersion)
	}
	return nil
}

func writeDocument(conn net.Conn, t frameType, document any) error {
	body, err := json.Marshal(document)
	base.Assert(err == nil, "encoding a document of the handshake: %v", err)
	if _, err := conn.Write(appendFrame(nil, t, body)); err != nil {
		return fmt.Errorf("sending %T: %w", document, err)
	}
	return nil
}

// refuse tells the peer why and returns the reason as an error.
func refuse(conn net.Conn, r *refusal) error {
	if err := writeDocument(conn, frameRefuse, r); err != nil {
		return errors.Join(r, err)
	}
	return r
}

// readHandshakeFrame reads one frame and not a byte more. A refusal comes back
// as error.
func readHandshakeFrame(conn net.Conn, want frameType) (body []byte, err error) {
	var head [frameOverhead]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, fmt.Errorf("waiting for an answer: %w", err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n < 1 || n > maxHandshakeFrame {
		return nil, fmt.Errorf("%w: %d bytes in the handshake", errMalformed, n)
	}
	body = make([]byte, n-1)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, fmt.Errorf("waiting for an answer: %w", err)
	}
	switch t := frameType(head[lengthSize]); t {
	case want:
		return body, nil
	case frameRefuse:
		return nil, decodeRefusal(body)
	default:
		return nil, fmt.Errorf("%w: type %d in the handshake", errMalformed, t)
	}
}

func readHello(conn net.Conn) (*hello, error) {
	body, err := readHandshakeFrame(conn, frameHello)
	if err != nil {
		return nil, err
	}
	h := new(hello)
	if err := json.Unmarshal(body, h); err != nil {
		return nil, fmt.Errorf("%w: hello: %w", errMalformed, err)
	}
	h.Info.Addr = reachable(h.Info.Addr, conn)
	return h, nil
}

// decodeRefusal returns the refusal as the error that it is.
func decodeRefusal(body []byte) error {
	r := new(refusal)
	if err := json.Unmarshal(body, r); err != nil {
		return fmt.Errorf("%w: refusal: %w", errMalformed, err)
	}
	return r
}
