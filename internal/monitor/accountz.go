package monitor

import (
	"net/url"
	"time"
)

// Accountz is the list of accounts, or one of them.
type Accountz struct {
	ServerID      string       `json:"server_id"`
	Now           time.Time    `json:"now"`
	SystemAccount string       `json:"system_account,omitempty"`
	Accounts      []string     `json:"accounts,omitempty"`
	Account       *AccountInfo `json:"account_detail,omitempty"`
}

// AccountInfo describes an account.
type AccountInfo struct {
	Name        string    `json:"account_name"`
	LastUpdate  time.Time `json:"update_time"`
	IsSystem    bool      `json:"is_system,omitempty"`
	Expired     bool      `json:"expired"`
	Complete    bool      `json:"complete"`
	JetStream   bool      `json:"jetstream_enabled"`
	LeafCount   int       `json:"leafnode_connections"`
	ClientCount int       `json:"client_connections"`
	SubCount    uint32    `json:"subscriptions"`
	// Mappings are by the subject that is mapped.
	Mappings map[string][]MappingDestination `json:"mappings,omitempty"`
	Exports  []Export                        `json:"exports,omitempty"`
	Imports  []Import                        `json:"imports,omitempty"`
	NameTag  string                          `json:"name_tag,omitempty"`
	Tags     []string                        `json:"tags,omitempty"`
	Sublist  SubscriptionStats               `json:"sublist_stats"`
}

// AccountzOptions name one account, or none.
type AccountzOptions struct {
	Account string `json:"account"`
}

func (m *Monitor) serveAccountz(values url.Values) (*reply, error) {
	doc, err := m.Accountz(AccountzOptions{Account: values.Get("acc")})
	if err != nil {
		return nil, err
	}
	return ok(doc), nil
}

// Accountz is the document of /accountz.
func (m *Monitor) Accountz(opts AccountzOptions) (*Accountz, error) {
	z := &Accountz{ServerID: m.source.ServerID, Now: m.now()}
	system, names := m.source.Accounts()
	z.SystemAccount = system
	if opts.Account == "" {
		z.Accounts = names
		return z, nil
	}
	if m.source.Account != nil {
		z.Account = m.source.Account(opts.Account)
	}
	if z.Account == nil {
		return nil, complaint("Account " + opts.Account + " does not exist")
	}
	return z, nil
}

// AccstatzOptions name accounts (none: all); those without connections are left
// out unless wanted.
type AccstatzOptions struct {
	Accounts      []string `json:"accounts"`
	IncludeUnused bool     `json:"include_unused"`
}

// Accstatz is the counts of accounts.
type Accstatz struct {
	ServerID string         `json:"server_id"`
	Now      time.Time      `json:"now"`
	Accounts []*AccountStat `json:"account_statz"`
}

// AccountStat is the counts of one account.
type AccountStat struct {
	Account       string      `json:"acc"`
	Name          string      `json:"name"`
	Conns         int         `json:"conns"`
	LeafNodes     int         `json:"leafnodes"`
	TotalConns    int         `json:"total_conns"`
	NumSubs       uint32      `json:"num_subscriptions"`
	Sent          AccountData `json:"sent"`
	Received      AccountData `json:"received"`
	SlowConsumers int64       `json:"slow_consumers"`
}

// AccountData counts messages in one direction, with the part that went over
// other servers.
type AccountData struct {
	DataStats
	Gateways DataStats `json:"gateways"`
	Routes   DataStats `json:"routes"`
	Leafs    DataStats `json:"leafs"`
}

// DataStats counts messages and their bytes.
type DataStats struct {
	Msgs  int64 `json:"msgs"`
	Bytes int64 `json:"bytes"`
}

func (m *Monitor) serveAccstatz(values url.Values) (*reply, error) {
	q := &query{values: values}
	opts := AccstatzOptions{IncludeUnused: q.flag("unused")}
	if q.err != nil {
		return nil, q.err
	}
	return ok(m.Accstatz(opts)), nil
}

// Accstatz is the document of /accstatz.
func (m *Monitor) Accstatz(opts AccstatzOptions) *Accstatz {
	wanted := map[string]bool{}
	for _, name := range opts.Accounts {
		wanted[name] = true
	}
	z := &Accstatz{ServerID: m.source.ServerID, Now: m.now(), Accounts: []*AccountStat{}}
	for _, a := range m.source.AccountStats() {
		used := a.Conns > 0 || a.LeafNodes > 0
		if (used || opts.IncludeUnused) && (len(wanted) == 0 || wanted[a.Account]) {
			z.Accounts = append(z.Accounts, a)
		}
	}
	return z
}
