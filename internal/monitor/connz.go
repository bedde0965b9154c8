package monitor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// ConnzOptions choose connections.
type ConnzOptions struct {
	Sort                string    `json:"sort"`
	Username            bool      `json:"auth"`
	Subscriptions       bool      `json:"subscriptions"`
	SubscriptionsDetail bool      `json:"subscriptions_detail"`
	Offset              int       `json:"offset"`
	Limit               int       `json:"limit"`
	CID                 uint64    `json:"cid"`
	MQTTClient          string    `json:"mqtt_client"`
	State               ConnState `json:"state"`
	User                string    `json:"user"`
	Account             string    `json:"acc"`
	FilterSubject       string    `json:"filter_subject"`
}

// ConnState is open (or empty), closed or any. In JSON it is their number, from 0.
type ConnState string

// UnmarshalJSON reads a number.
func (s *ConnState) UnmarshalJSON(raw []byte) error {
	var number int
	if err := json.Unmarshal(raw, &number); err != nil {
		return err
	}
	states := [...]ConnState{"open", "closed", "any"}
	if number < 0 || number >= len(states) {
		return fmt.Errorf("no connection state %d", number)
	}
	*s = states[number]
	return nil
}

// Connz is a page of connections.
type Connz struct {
	ServerID string        `json:"server_id"`
	Now      time.Time     `json:"now"`
	NumConns int           `json:"num_connections"`
	Total    int           `json:"total"`
	Offset   int           `json:"offset"`
	Limit    int           `json:"limit"`
	Conns    []*Connection `json:"connections"`
}

// Connection is one client connection. Uptime, idle and the text of the round
// trip follow from the times and are filled in here.
type Connection struct {
	CID            uint64        `json:"cid"`
	Kind           string        `json:"kind,omitempty"`
	Type           string        `json:"type,omitempty"`
	IP             string        `json:"ip"`
	Port           int           `json:"port"`
	Start          time.Time     `json:"start"`
	LastActivity   time.Time     `json:"last_activity"`
	Stop           *time.Time    `json:"stop,omitempty"`
	Reason         string        `json:"reason,omitempty"`
	RTTText        string        `json:"rtt,omitempty"`
	RTT            time.Duration `json:"-"` // 0: not measured
	Uptime         string        `json:"uptime"`
	Idle           string        `json:"idle"`
	Pending        int           `json:"pending_bytes"`
	InMsgs         int64         `json:"in_msgs"`
	OutMsgs        int64         `json:"out_msgs"`
	InBytes        int64         `json:"in_bytes"`
	OutBytes       int64         `json:"out_bytes"`
	Stalls         int64         `json:"stalls,omitempty"`
	NumSubs        int           `json:"subscriptions"`
	Name           string        `json:"name,omitempty"`
	Lang           string        `json:"lang,omitempty"`
	Version        string        `json:"version,omitempty"`
	TLSVersion     string        `json:"tls_version,omitempty"`
	TLSCipher      string        `json:"tls_cipher_suite,omitempty"`
	AuthorizedUser string        `json:"authorized_user,omitempty"`
	Account        string        `json:"account,omitempty"`
	NameTag        string        `json:"name_tag,omitempty"`

	// The source fills Detail; the options say in which form it is shown.
	Subs   []string       `json:"subscriptions_list,omitempty"`
	Detail []Subscription `json:"subscriptions_list_detail,omitempty"`
}

func (m *Monitor) serveConnz(values url.Values) (*reply, error) {
	q := &query{values: values}
	opts := ConnzOptions{
		Sort: q.text("sort"), Username: q.flag("auth"), Offset: q.number("offset"), Limit: q.number("limit"),
		CID: q.id("cid"), State: ConnState(q.text("state")), User: q.text("user"), Account: q.text("acc"),
		MQTTClient: q.text("mqtt_client"),
	}
	opts.Subscriptions, opts.SubscriptionsDetail = q.subs()
	if q.err != nil {
		return nil, q.err
	}
	doc, err := m.Connz(opts)
	if err != nil {
		return nil, err
	}
	return ok(doc), nil
}

// Connz is the document of /connz.
func (m *Monitor) Connz(opts ConnzOptions) (*Connz, error) {
	open, closed := true, false
	switch opts.State {
	case "", "open":
	case "closed":
		open, closed = false, true
	case "any", "all":
		closed = true
	default:
		return nil, complaint(fmt.Sprintf("Error decoding state for %s", opts.State))
	}
	order, err := opts.order(closed && !open)
	if err != nil {
		return nil, err
	}
	if opts.FilterSubject != "" && opts.Account == "" {
		return nil, complaint("filter by subject only valid with account filtering")
	}
	now := m.now()
	all := m.source.Connections(open, closed)
	z := &Connz{ServerID: m.source.ServerID, Now: now}
	suits := slices.DeleteFunc(slices.Clone(all), func(c *Connection) bool { return !m.suits(c, &opts) })
	slices.SortFunc(suits, func(a, b *Connection) int { return cmp.Or(order(a, b), cmp.Compare(a.CID, b.CID)) })
	z.Total = len(suits)
	if opts.CID != 0 {
		z.Total, opts.Limit, opts.Offset = len(all), 1, 0
	}
	part, offset, limit := page(suits, opts.Offset, opts.Limit)
	z.Offset, z.Limit, z.NumConns, z.Conns = offset, limit, len(part), make([]*Connection, 0, len(part))
	for _, c := range part {
		z.Conns = append(z.Conns, c.show(now, &opts))
	}
	return z, nil
}

func (m *Monitor) suits(c *Connection, opts *ConnzOptions) bool {
	if opts.CID != 0 && c.CID != opts.CID {
		return false
	}
	if opts.Account != "" && c.Account != opts.Account {
		return false
	}
	if opts.Username && opts.User != "" && c.AuthorizedUser != opts.User {
		return false
	}
	if opts.MQTTClient != "" {
		return false // no client here speaks MQTT
	}
	if opts.FilterSubject != "" && m.source.Match != nil {
		return slices.ContainsFunc(c.Detail, func(s Subscription) bool { return m.source.Match(opts.FilterSubject, s.Subject) })
	}
	return true
}

// show is the connection as the options want it seen.
func (c *Connection) show(now time.Time, opts *ConnzOptions) *Connection {
	out := *c
	until := now
	if c.Stop != nil {
		until = *c.Stop
	}
	out.Uptime, out.Idle = age(until.Sub(c.Start)), age(until.Sub(c.LastActivity))
	if c.RTT > 0 {
		out.RTTText = c.RTT.String()
	}
	if !opts.Username {
		out.AuthorizedUser, out.Account, out.NameTag = "", "", ""
	}
	out.Subs = nil
	if !opts.SubscriptionsDetail {
		out.Detail = nil
	}
	if opts.Subscriptions && !opts.SubscriptionsDetail {
		for _, s := range c.Detail {
			out.Subs = append(out.Subs, s.Subject)
		}
	}
	return &out
}

// order is the comparison of a sort option. All but cid put the largest first.
func (opts *ConnzOptions) order(closedOnly bool) (func(a, b *Connection) int, error) {
	down := func(key func(*Connection) int64) (func(a, b *Connection) int, error) {
		return func(a, b *Connection) int { return cmp.Compare(key(b), key(a)) }, nil
	}
	switch opts.Sort {
	case "", "cid":
		return func(a, b *Connection) int { return cmp.Compare(a.CID, b.CID) }, nil
	case "start":
		return down(func(c *Connection) int64 { return c.Start.UnixNano() })
	case "subs":
		return down(func(c *Connection) int64 { return int64(c.NumSubs) })
	case "pending":
		return down(func(c *Connection) int64 { return int64(c.Pending) })
	case "msgs_to":
		return down(func(c *Connection) int64 { return c.OutMsgs })
	case "msgs_from":
		return down(func(c *Connection) int64 { return c.InMsgs })
	case "bytes_to":
		return down(func(c *Connection) int64 { return c.OutBytes })
	case "bytes_from":
		return down(func(c *Connection) int64 { return c.InBytes })
	case "last":
		return down(func(c *Connection) int64 { return c.LastActivity.UnixNano() })
	case "idle":
		return down(func(c *Connection) int64 { return -c.LastActivity.UnixNano() })
	case "uptime":
		return down(func(c *Connection) int64 { return -c.Start.UnixNano() })
	case "rtt":
		return down(func(c *Connection) int64 { return int64(c.RTT) })
	case "stop", "reason":
		if !closedOnly {
			return nil, fmt.Errorf("sort by %s only valid on closed connections", opts.Sort)
		}
		if opts.Sort == "reason" {
			return func(a, b *Connection) int { return cmp.Compare(b.Reason, a.Reason) }, nil
		}
		return func(a, b *Connection) int { return stopped(b).Compare(stopped(a)) }, nil
	}
	return nil, fmt.Errorf("invalid sorting option: %s", opts.Sort)
}

func stopped(c *Connection) time.Time {
	if c.Stop == nil {
		return time.Time{}
	}
	return *c.Stop
}
