package server

import (
	"time"

	"weir/internal/monitor"
)

// statszReply answers a request for statistics, and is published regularly.
type statszReply struct {
	Server *serverIdentity `json:"server"`
	Stats  *statsz         `json:"statsz"`
}

// statsz is the server's statistics.
type statsz struct {
	Start               time.Time              `json:"start"`
	Mem                 int64                  `json:"mem"` // bytes
	Cores               int                    `json:"cores"`
	CPU                 float64                `json:"cpu"` // per cent of one core
	Connections         int                    `json:"connections"`
	TotalConnections    uint64                 `json:"total_connections"`
	ActiveAccounts      int                    `json:"active_accounts"`
	Subscriptions       uint32                 `json:"subscriptions"`
	Sent                monitor.DataStats      `json:"sent"`
	SentToClients       monitor.DataStats      `json:"sent_to_clients"`
	Received            monitor.DataStats      `json:"received"`
	ReceivedFromClients monitor.DataStats      `json:"received_from_clients"`
	SlowConsumers       int64                  `json:"slow_consumers"`
	SlowConsumersStats  *monitor.KindCounts    `json:"slow_consumer_stats,omitempty"`
	StaleConnections    int64                  `json:"stale_connections,omitempty"`
	StaleStats          *monitor.KindCounts    `json:"stale_connection_stats,omitempty"`
	StalledClients      int64                  `json:"stalled_clients,omitempty"`
	Routes              []routeStats           `json:"routes,omitempty"`
	ActiveServers       int                    `json:"active_servers,omitempty"`
	JetStream           *monitor.VarzJetStream `json:"jetstream,omitempty"`
	MaxProcs            int                    `json:"gomaxprocs,omitempty"`
}

// routeStats is one link to another server.
type routeStats struct {
	ID       uint64            `json:"rid"`
	Name     string            `json:"name"`
	Sent     monitor.DataStats `json:"sent"`
	Received monitor.DataStats `json:"received"`
	Pending  int               `json:"pending"`
}

func (y *system) statsz() *statsz {
	v := y.doc.Varz()
	st := &statsz{
		Start: v.Start, Mem: v.Mem, Cores: v.Cores, CPU: v.CPU, MaxProcs: v.MaxProcs,
		Connections: v.Connections, TotalConnections: v.TotalConnections, Subscriptions: v.Subscriptions,
		Sent:                monitor.DataStats{Msgs: v.OutMsgs, Bytes: v.OutBytes},
		SentToClients:       monitor.DataStats{Msgs: v.OutClientMsgs, Bytes: v.OutClientBytes},
		Received:            monitor.DataStats{Msgs: v.InMsgs, Bytes: v.InBytes},
		ReceivedFromClients: monitor.DataStats{Msgs: v.InClientMsgs, Bytes: v.InClientBytes},
		SlowConsumers:       v.SlowConsumers, StaleConnections: v.StaleConnections, StalledClients: v.StalledClients,
		ActiveServers: v.Remotes + 1, ActiveAccounts: len(y.doc.Accstatz(monitor.AccstatzOptions{}).Accounts),
	}
	if v.SlowConsumers > 0 {
		st.SlowConsumersStats = &v.SlowConsumersStats
	}
	if v.StaleConnections > 0 {
		st.StaleStats = &v.StaleConnectionsStats
	}
	if v.JetStream.Config != nil {
		st.JetStream = &v.JetStream
	}
	for _, r := range y.doc.Routez(monitor.RoutezOptions{}).Routes {
		st.Routes = append(st.Routes, routeStats{
			ID: r.RID, Name: r.RemoteName, Pending: r.Pending,
			Sent:     monitor.DataStats{Msgs: r.OutMsgs, Bytes: r.OutBytes},
			Received: monitor.DataStats{Msgs: r.InMsgs, Bytes: r.InBytes},
		})
	}
	return st
}
