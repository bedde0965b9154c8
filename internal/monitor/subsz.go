package monitor

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Subscription is one subscription.
type Subscription struct {
	Account    string `json:"account,omitempty"`
	AccountTag string `json:"account_tag,omitempty"`
	Subject    string `json:"subject"`
	Queue      string `json:"qgroup,omitempty"`
	SID        string `json:"sid"`
	Msgs       int64  `json:"msgs"`
	Max        int64  `json:"max,omitempty"`
	CID        uint64 `json:"cid"`
}

// SubscriptionStats counts the index of subscriptions.
type SubscriptionStats struct {
	NumSubs      uint32  `json:"num_subscriptions"`
	NumCache     uint32  `json:"num_cache"`
	NumInserts   uint64  `json:"num_inserts"`
	NumRemoves   uint64  `json:"num_removes"`
	NumMatches   uint64  `json:"num_matches"`
	CacheHitRate float64 `json:"cache_hit_rate"`
	MaxFanout    uint32  `json:"max_fanout"`
	AvgFanout    float64 `json:"avg_fanout"`
}

// SubszOptions choose subscriptions. Test is a literal subject to match.
type SubszOptions struct {
	Offset        int    `json:"offset"`
	Limit         int    `json:"limit"`
	Subscriptions bool   `json:"subscriptions"`
	Account       string `json:"account,omitempty"`
	Test          string `json:"test,omitempty"`
}

// Subsz is the counts and a page of subscriptions. Total counts those of the
// page's list, which is empty unless asked for.
type Subsz struct {
	ServerID string    `json:"server_id"`
	Now      time.Time `json:"now"`
	SubscriptionStats
	Total  int            `json:"total"`
	Offset int            `json:"offset"`
	Limit  int            `json:"limit"`
	Subs   []Subscription `json:"subscriptions_list,omitempty"`
}

func (m *Monitor) serveSubsz(values url.Values) (*reply, error) {
	q := &query{values: values}
	opts := SubszOptions{Offset: q.number("offset"), Limit: q.number("limit"), Account: q.text("acc"), Test: q.text("test")}
	opts.Subscriptions, _ = q.subs()
	if q.err != nil {
		return nil, q.err
	}
	doc, err := m.Subsz(opts)
	if err != nil {
		return nil, err
	}
	return ok(doc), nil
}

// Subsz is the document of /subsz.
func (m *Monitor) Subsz(opts SubszOptions) (*Subsz, error) {
	if opts.Test != "" && strings.ContainsAny(opts.Test, "*> \t\r\n") {
		return nil, fmt.Errorf("invalid test subject, must be valid publish subject: %s", opts.Test)
	}
	z := &Subsz{ServerID: m.source.ServerID, Now: m.now()}
	if m.source.SubscriptionStats != nil {
		z.SubscriptionStats = m.source.SubscriptionStats(opts.Account)
	}
	var all []Subscription
	if opts.Subscriptions {
		all = slices.DeleteFunc(slices.Clone(m.source.Subscriptions(opts.Account)), func(s Subscription) bool {
			return opts.Test != "" && !m.source.Match(opts.Test, s.Subject)
		})
	}
	z.Subs, z.Offset, z.Limit = page(all, opts.Offset, opts.Limit)
	z.Total = len(all)
	return z, nil
}
