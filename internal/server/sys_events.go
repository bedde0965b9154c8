package server

import (
	"github.com/nats-io/nuid"

	"weir/internal/api"
	"weir/internal/conn"
	"weir/internal/monitor"
)

// Types of the events.
const (
	clientConnectType      = "io.nats.server.advisory.v1.client_connect"
	clientDisconnectType   = "io.nats.server.advisory.v1.client_disconnect"
	accountConnectionsType = "io.nats.server.advisory.v1.account_connections"
)

// clientConnected tells of a client that came.
type clientConnected struct {
	api.Advisory
	Server *serverIdentity `json:"server"`
	Client *api.ClientInfo `json:"client"`
}

// clientDisconnected tells of a client that went. Sent and received are as the
// client sees them.
type clientDisconnected struct {
	clientConnected
	Sent     monitor.DataStats `json:"sent"`
	Received monitor.DataStats `json:"received"`
	Reason   string            `json:"reason"`
}

// accountConnections tells how many clients an account has here.
type accountConnections struct {
	api.Advisory
	Server *serverIdentity `json:"server"`
	*monitor.AccountStat
}

var _ conn.Observer = (*system)(nil)

// Connected publishes that a client came. Without anybody to hear it, it costs a
// look at the interest.
func (y *system) Connected(c *conn.ConnInfo) {
	y.connectionsChanged(c.Account)
	if subject := "$SYS.ACCOUNT." + c.Account + ".CONNECT"; y.server.router.HasInterest(y.acc, subject) {
		y.send(y.acc, subject, clientConnected{y.advisory(clientConnectType), y.identity(), eventClient(c)})
	}
}

// Disconnected publishes that a client went.
func (y *system) Disconnected(c *conn.ConnInfo) {
	y.connectionsChanged(c.Account)
	subject := "$SYS.ACCOUNT." + c.Account + ".DISCONNECT"
	if !y.server.router.HasInterest(y.acc, subject) {
		return
	}
	client := eventClient(c)
	client.RTT = c.RTT
	if stop := c.Stop.UTC(); !c.Stop.IsZero() {
		client.Stop = &stop
	}
	y.send(y.acc, subject, clientDisconnected{
		clientConnected: clientConnected{y.advisory(clientDisconnectType), y.identity(), client},
		Sent:            monitor.DataStats{Msgs: c.InMsgs, Bytes: c.InBytes},
		Received:        monitor.DataStats{Msgs: c.OutMsgs, Bytes: c.OutBytes},
		Reason:          string(c.Reason),
	})
}

// connectionsChanged publishes the counts of an account under both of their
// subjects. Counting looks at all clients, so the worker does it.
func (y *system) connectionsChanged(account string) {
	subjects := [...]string{"$SYS.ACCOUNT." + account + ".SERVER.CONNS", "$SYS.SERVER.ACCOUNT." + account + ".CONNS"}
	r := y.server.router
	if !r.HasInterest(y.acc, subjects[0]) && !r.HasInterest(y.acc, subjects[1]) {
		return
	}
	// When too many requests wait, the next change tells.
	_ = enqueue(y.jobs, func() {
		opts := monitor.AccstatzOptions{Accounts: []string{account}, IncludeUnused: true}
		for _, st := range y.doc.Accstatz(opts).Accounts {
			for _, subject := range subjects {
				y.publish(subject, y.accountConnections(st))
			}
		}
	})
}

func (y *system) accountConnections(st *monitor.AccountStat) accountConnections {
	return accountConnections{y.advisory(accountConnectionsType), y.identity(), st}
}

func (y *system) advisory(kind string) api.Advisory {
	return api.Advisory{Type: kind, ID: nuid.Next(), Time: y.server.clock.Now().UTC()}
}

func eventClient(c *conn.ConnInfo) *api.ClientInfo {
	start := c.Start.UTC()
	return &api.ClientInfo{
		Start: &start, Host: c.IP, ID: c.CID, Account: c.Account, User: c.AuthorizedUser, Name: c.Name,
		Lang: c.Lang, Version: c.Version, NameTag: c.Account, Kind: c.Kind, ClientType: c.Type,
	}
}
