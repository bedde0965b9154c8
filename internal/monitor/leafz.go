package monitor

import (
	"net/url"
	"time"
)

// Leafz is the leaf nodes and Gatewayz the gateways. Weir has neither yet, and
// the documents say so.
type Leafz struct {
	ServerID string    `json:"server_id"`
	Now      time.Time `json:"now"`
	NumLeafs int       `json:"leafnodes"`
	Leafs    []string  `json:"leafs"`
}

// Gatewayz has no name, host and port, as no gateway is configured.
type Gatewayz struct {
	ServerID string              `json:"server_id"`
	Now      time.Time           `json:"now"`
	Outbound map[string]struct{} `json:"outbound_gateways"`
	Inbound  map[string]struct{} `json:"inbound_gateways"`
}

// Leafz is the document of /leafz.
func (m *Monitor) Leafz() *Leafz {
	return &Leafz{ServerID: m.source.ServerID, Now: m.now(), Leafs: []string{}}
}

// Gatewayz is the document of /gatewayz.
func (m *Monitor) Gatewayz() *Gatewayz {
	none := map[string]struct{}{}
	return &Gatewayz{ServerID: m.source.ServerID, Now: m.now(), Outbound: none, Inbound: none}
}

func (m *Monitor) serveLeafz(url.Values) (*reply, error)    { return ok(m.Leafz()), nil }
func (m *Monitor) serveGatewayz(url.Values) (*reply, error) { return ok(m.Gatewayz()), nil }
