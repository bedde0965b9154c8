package server

import (
	"cmp"
	"net"
	"slices"
	"strconv"

	"weir/internal/conn"
	"weir/internal/monitor"
	"weir/internal/router"
)

// connections lists clients for /connz.
func (s *source) connections(open, closed bool) []*monitor.Connection {
	var list []*monitor.Connection
	if open {
		for _, c := range s.clients.Connections() {
			list = append(list, connection(c))
		}
	}
	if closed {
		for _, c := range s.clients.ClosedConnections() {
			list = append(list, connection(c))
		}
	}
	return list
}

func connection(c *conn.ConnInfo) *monitor.Connection {
	m := &monitor.Connection{
		CID: c.CID, Kind: c.Kind, Type: c.Type, IP: c.IP, Port: c.Port,
		Start: c.Start.UTC(), LastActivity: c.LastActivity.UTC(), Reason: string(c.Reason), RTT: c.RTT,
		Pending: int(c.PendingBytes), InMsgs: c.InMsgs, OutMsgs: c.OutMsgs, InBytes: c.InBytes, OutBytes: c.OutBytes,
		Stalls: c.Stalls, NumSubs: c.NumSubs, Name: c.Name, Lang: c.Lang, Version: c.Version,
		AuthorizedUser: c.AuthorizedUser, Account: c.Account, NameTag: c.Account,
	}
	if !c.Stop.IsZero() {
		stop := c.Stop.UTC()
		m.Stop = &stop
	}
	for _, sub := range c.Subs {
		m.Detail = append(m.Detail, subscription(sub))
	}
	return m
}

func subscription(sub conn.SubInfo) monitor.Subscription {
	return monitor.Subscription{
		Account: sub.Account, AccountTag: sub.Account, Subject: sub.Subject, Queue: sub.Queue, SID: sub.SID,
		Msgs: sub.Msgs, Max: sub.Max, CID: sub.CID,
	}
}

// routes lists the links to other nodes: one for messages and one for Raft to
// each. They have no number of their own; it is their place in the list.
func (s *source) routes() []*monitor.Route {
	var list []*monitor.Route
	for i, l := range s.linkStats() {
		r := &monitor.Route{
			RID: uint64(i + 1), RemoteID: l.Peer.ID, RemoteName: l.Peer.Name, DidSolicit: l.Dialed, IsConfigured: l.Configured,
			Start: l.Start.UTC(), LastActivity: l.LastRead.UTC(), RTT: l.RTT, Pending: l.PendingBytes,
			InMsgs: l.InMessages, OutMsgs: l.OutMessages, InBytes: l.InBytes, OutBytes: l.OutBytes, Compression: "off",
		}
		if host, port, err := net.SplitHostPort(l.Remote); err == nil {
			r.IP = host
			r.Port, _ = strconv.Atoi(port) // 0 for a port that is a name
		}
		list = append(list, r)
	}
	return list
}

// subscriptions lists those of clients and of the server itself, of one account
// or of all. The server's own have no id, and no client.
func (s *source) subscriptions(account string) []monitor.Subscription {
	var list []monitor.Subscription
	for _, c := range s.clients.Connections() {
		for _, sub := range c.Subs {
			if account == "" || sub.Account == account {
				list = append(list, subscription(sub))
			}
		}
	}
	s.router.Subscriptions(func(name string, sub *router.Sub) bool {
		if sub.SID == "" && (account == "" || name == account) {
			list = append(list, monitor.Subscription{
				Account: name, AccountTag: name, Subject: sub.Subject, Queue: sub.Queue, Msgs: sub.Delivered(), Max: sub.Limit(),
			})
		}
		return true
	})
	slices.SortFunc(list, func(a, b monitor.Subscription) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.CID, b.CID),
			cmp.Compare(len(a.SID), len(b.SID)), cmp.Compare(a.SID, b.SID), cmp.Compare(a.Subject, b.Subject))
	})
	return list
}

func (s *source) subscriptionStats(account string) monitor.SubscriptionStats {
	if account == "" {
		return monitor.SubscriptionStats{NumSubs: uint32(s.router.NumSubscriptions())}
	}
	return monitor.SubscriptionStats{NumSubs: s.subscriptionCounts()[account]}
}

// subscriptionCounts counts subscriptions by account.
func (s *source) subscriptionCounts() map[string]uint32 {
	counts := map[string]uint32{}
	s.router.Subscriptions(func(name string, _ *router.Sub) bool {
		counts[name]++
		return true
	})
	return counts
}

func (s *source) accountNames() (system string, names []string) {
	for _, a := range s.accounts.Accounts() {
		names = append(names, a.Name())
	}
	return s.accounts.System().Name(), names
}

// accountInfo describes an account; nil when there is none of that name.
func (s *source) accountInfo(name string) *monitor.AccountInfo {
	a := s.accounts.Account(name)
	if a == nil {
		return nil
	}
	info := &monitor.AccountInfo{
		Name: name, NameTag: name, LastUpdate: s.start.UTC(), IsSystem: a.IsSystem(), Complete: true,
		JetStream: s.node != nil && a.JetStream() != nil, Sublist: s.subscriptionStats(name),
	}
	info.SubCount = info.Sublist.NumSubs
	info.Mappings, info.Exports, info.Imports = describeMappings(a), describeExports(a), describeImports(a)
	for _, st := range s.clients.AccountStats() {
		if st.Account == name {
			info.ClientCount = int(st.Connections)
		}
	}
	return info
}

// accountStats counts clients and messages of every account.
func (s *source) accountStats() []*monitor.AccountStat {
	used := map[string]conn.AccountStats{}
	for _, st := range s.clients.AccountStats() {
		used[st.Account] = st
	}
	subs := s.subscriptionCounts()
	var list []*monitor.AccountStat
	for _, a := range s.accounts.Accounts() {
		st := used[a.Name()]
		list = append(list, &monitor.AccountStat{
			Account: a.Name(), Name: a.Name(), Conns: int(st.Connections), TotalConns: int(st.Connections),
			NumSubs: subs[a.Name()], SlowConsumers: st.SlowConsumers,
			Sent:     monitor.AccountData{DataStats: monitor.DataStats{Msgs: st.OutMsgs, Bytes: st.OutBytes}},
			Received: monitor.AccountData{DataStats: monitor.DataStats{Msgs: st.InMsgs, Bytes: st.InBytes}},
		})
	}
	return list
}
