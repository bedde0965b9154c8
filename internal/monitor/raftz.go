package monitor

import "net/url"

// RaftzOptions choose Raft groups: those of an account, the system account if it is
// empty, or the one of a name.
type RaftzOptions struct {
	Account string `json:"account,omitempty"`
	Group   string `json:"group,omitempty"`
}

// Raftz is the document of /raftz: groups with a replica on this server, by account
// and name. The meta group is the system account's and is called _meta_. A stream's
// group runs its consumers, too, so there are none of consumers.
type Raftz map[string]map[string]*RaftGroup

// RaftGroup is a group as its replica on this server knows it. What nats-server shows
// of its own log files and queues has nothing to stand for here.
type RaftGroup struct {
	ID            string               `json:"id"`
	State         string               `json:"state"` // LEADER, FOLLOWER or CLOSED
	Size          int                  `json:"size"`
	QuorumNeeded  int                  `json:"quorum_needed"`
	Committed     uint64               `json:"committed"`
	Applied       uint64               `json:"applied"`
	Leader        string               `json:"leader,omitempty"`
	EverHadLeader bool                 `json:"ever_had_leader"`
	Term          uint64               `json:"term"`
	LastIndex     uint64               `json:"pindex"`
	Peers         map[string]*RaftPeer `json:"peers"`
}

// RaftPeer is another member by its id. How far it is, the leader knows.
type RaftPeer struct {
	Name      string `json:"name"`
	Known     bool   `json:"known"`
	LastIndex uint64 `json:"last_replicated_index,omitempty"`
	LastSeen  string `json:"last_seen,omitempty"` // a duration
}

// Raftz is the document of /raftz.
func (m *Monitor) Raftz(opts RaftzOptions) (*Raftz, error) {
	doc := Raftz{}
	if opts.Account == "" && m.source.Accounts != nil {
		opts.Account, _ = m.source.Accounts()
	}
	groups := m.source.RaftGroups(opts.Account)
	if opts.Group != "" {
		one := groups[opts.Group]
		groups = nil
		if one != nil {
			groups = map[string]*RaftGroup{opts.Group: one}
		}
	}
	if len(groups) > 0 {
		doc[opts.Account] = groups
	}
	return &doc, nil
}

func (m *Monitor) serveRaftz(values url.Values) (*reply, error) {
	doc, err := m.Raftz(RaftzOptions{Account: values.Get("acc"), Group: values.Get("group")})
	if err != nil {
		return nil, err
	}
	return ok(doc), nil
}
