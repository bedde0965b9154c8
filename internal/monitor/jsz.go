package monitor

import (
	"errors"
	"net/url"
	"slices"
	"time"

	"weir/internal/api"
)

// JszOptions say how much of JetStream is shown. Consumer implies Streams,
// Streams implies Accounts; Account shows that one. DirectConsumer adds to Streams the
// consumers that copying streams read through, which are shown and counted nowhere else.
type JszOptions struct {
	Account        string `json:"account,omitempty"`
	Accounts       bool   `json:"accounts,omitempty"`
	Streams        bool   `json:"streams,omitempty"`
	Consumer       bool   `json:"consumer,omitempty"`
	DirectConsumer bool   `json:"direct_consumer,omitempty"`
	Config         bool   `json:"config,omitempty"`
	LeaderOnly     bool   `json:"leader_only,omitempty"`
	Offset         int    `json:"offset,omitempty"`
	Limit          int    `json:"limit,omitempty"`
	RaftGroups     bool   `json:"raft,omitempty"`
	// StateHash asks for the hash of every stream's state. It reads all of it.
	StateHash        bool `json:"state_hash,omitempty"`
	StreamLeaderOnly bool `json:"stream_leader_only,omitempty"`
}

// Jsz is JetStream on this server.
type Jsz struct {
	JetStreamStats
	ServerID        string           `json:"server_id"`
	Now             time.Time        `json:"now"`
	Disabled        bool             `json:"disabled,omitempty"`
	Config          JetStreamConfig  `json:"config"`
	Limits          *JetStreamLimits `json:"limits,omitempty"`
	Streams         int              `json:"streams"`
	StreamsLeader   int              `json:"streams_leader,omitempty"`
	Consumers       int              `json:"consumers"`
	ConsumersLeader int              `json:"consumers_leader,omitempty"`
	Messages        uint64           `json:"messages"`
	Bytes           uint64           `json:"bytes"`
	Meta            *MetaCluster     `json:"meta_cluster,omitempty"`
	AccountDetails  []*AccountDetail `json:"account_details,omitempty"`
	Total           int              `json:"total"`
}

// AccountDetail is one account's use of this server.
type AccountDetail struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	JetStreamStats
	Streams []*StreamDetail `json:"stream_detail,omitempty"`
}

// StreamDetail is one stream's replica here.
type StreamDetail struct {
	Name               string                 `json:"name"`
	Created            time.Time              `json:"created"`
	Cluster            *api.ClusterInfo       `json:"cluster,omitempty"`
	Config             *api.StreamConfig      `json:"config,omitempty"`
	State              api.StreamState        `json:"state"`
	Consumer           []*api.ConsumerInfo    `json:"consumer_detail,omitempty"`
	DirectConsumer     []*api.ConsumerInfo    `json:"direct_consumer_detail,omitempty"`
	Mirror             *api.StreamSourceInfo  `json:"mirror,omitempty"`
	Sources            []api.StreamSourceInfo `json:"sources,omitempty"`
	RaftGroup          string                 `json:"stream_raft_group,omitempty"`
	ConsumerRaftGroups []RaftGroupName        `json:"consumer_raft_groups,omitempty"`
	// Applied and StateHash are Weir's own: the index of the stream's log that this
	// replica stands at, and a hash of all that it holds. Replicas at one index have
	// one hash.
	Applied   uint64 `json:"applied,omitempty"`
	StateHash string `json:"state_hash,omitempty"`
}

// RaftGroupName is the Raft group of a consumer.
type RaftGroupName struct {
	Name      string `json:"name"`
	RaftGroup string `json:"raft_group,omitempty"`
}

func (m *Monitor) serveJsz(values url.Values) (*reply, error) {
	q := &query{values: values}
	opts := JszOptions{
		Account: q.text("acc"), Accounts: q.flag("accounts"), Streams: q.flag("streams"), Consumer: q.flag("consumers"),
		DirectConsumer: q.flag("direct-consumers"), Config: q.flag("config"), LeaderOnly: q.flag("leader-only"),
		Offset: q.number("offset"), Limit: q.number("limit"), RaftGroups: q.flag("raft"), StateHash: q.flag("state-hash"),
		StreamLeaderOnly: q.flag("stream-leader-only"),
	}
	if q.err != nil {
		return nil, q.err
	}
	doc, err := m.Jsz(opts)
	if err != nil {
		return nil, err
	}
	return ok(doc), nil
}

// ErrNotLeader refuses a leader-only request on another server. Nothing answers it
// on the system account.
var ErrNotLeader = errors.New("filtered response: not leader")

// Jsz is the document of /jsz.
func (m *Monitor) Jsz(opts JszOptions) (*Jsz, error) {
	if opts.LeaderOnly && (m.source.MetaLeader == nil || !m.source.MetaLeader()) {
		return nil, ErrNotLeader
	}
	opts.Streams = opts.Streams || opts.Consumer
	opts.Accounts = opts.Accounts || opts.Streams
	z := *m.source.JetStream(opts)
	z.ServerID, z.Now = m.source.ServerID, m.now()
	if z.Disabled || m.source.JetStreamAccounts == nil {
		return &z, nil
	}
	names := m.source.JetStreamAccounts()
	z.Total = len(names)
	switch {
	case opts.Account != "":
		if !slices.Contains(names, opts.Account) {
			names = nil
		} else {
			names = []string{opts.Account}
		}
	case opts.Accounts:
		names, _, _ = page(names, opts.Offset, opts.Limit)
	default:
		names = nil
	}
	for _, name := range names {
		if detail := m.source.JetStreamAccount(name, opts); detail != nil {
			z.AccountDetails = append(z.AccountDetails, detail)
		}
	}
	return &z, nil
}
