package monitor

import (
	"net/url"
	"time"
)

// RoutezOptions say whether subscriptions are listed.
type RoutezOptions struct {
	Subscriptions       bool `json:"subscriptions"`
	SubscriptionsDetail bool `json:"subscriptions_detail"`
}

// Routez is the links to other servers of the cluster.
type Routez struct {
	ServerID   string    `json:"server_id"`
	ServerName string    `json:"server_name"`
	Now        time.Time `json:"now"`
	NumRoutes  int       `json:"num_routes"`
	Routes     []*Route  `json:"routes"`
}

// Route is one link. Uptime, idle and the text of the round trip are filled in here.
type Route struct {
	RID          uint64         `json:"rid"`
	RemoteID     string         `json:"remote_id"`
	RemoteName   string         `json:"remote_name"`
	DidSolicit   bool           `json:"did_solicit"`
	IsConfigured bool           `json:"is_configured"`
	IP           string         `json:"ip"`
	Port         int            `json:"port"`
	Start        time.Time      `json:"start"`
	LastActivity time.Time      `json:"last_activity"`
	RTTText      string         `json:"rtt,omitempty"`
	RTT          time.Duration  `json:"-"`
	Uptime       string         `json:"uptime"`
	Idle         string         `json:"idle"`
	Pending      int            `json:"pending_size"`
	InMsgs       int64          `json:"in_msgs"`
	OutMsgs      int64          `json:"out_msgs"`
	InBytes      int64          `json:"in_bytes"`
	OutBytes     int64          `json:"out_bytes"`
	NumSubs      uint32         `json:"subscriptions"`
	Subs         []string       `json:"subscriptions_list,omitempty"`
	Detail       []Subscription `json:"subscriptions_list_detail,omitempty"`
	Account      string         `json:"account,omitempty"`
	Compression  string         `json:"compression,omitempty"`
}

func (m *Monitor) serveRoutez(values url.Values) (*reply, error) {
	q := &query{values: values}
	var opts RoutezOptions
	opts.Subscriptions, opts.SubscriptionsDetail = q.subs()
	if q.err != nil {
		return nil, q.err
	}
	return ok(m.Routez(opts)), nil
}

// Routez is the document of /routez.
func (m *Monitor) Routez(opts RoutezOptions) *Routez {
	now := m.now()
	z := &Routez{ServerID: m.source.ServerID, ServerName: m.source.ServerName, Now: now, Routes: []*Route{}}
	for _, r := range m.source.Routes() {
		out := *r
		out.Uptime, out.Idle = age(now.Sub(r.Start)), age(now.Sub(r.LastActivity))
		if r.RTT > 0 {
			out.RTTText = r.RTT.String()
		}
		out.Subs = nil
		if !opts.SubscriptionsDetail {
			out.Detail = nil
		}
		if opts.Subscriptions && !opts.SubscriptionsDetail {
			for _, s := range r.Detail {
				out.Subs = append(out.Subs, s.Subject)
			}
		}
		z.Routes = append(z.Routes, &out)
	}
	z.NumRoutes = len(z.Routes)
	return z
}
