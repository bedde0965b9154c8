// Package monitor is the HTTP monitoring port: the documents of /varz, /connz,
// /routez, /subsz, /jsz, /raftz, /healthz, /accountz and /accstatz, their options,
// and a page of links; /gatewayz and /leafz have nothing to show. The server gives
// it a Source of functions that read; it parses, filters, sorts and pages. The same
// documents answer the requests on $SYS.REQ.SERVER.*: call the methods of Monitor
// with options from JSON.
package monitor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"weir/internal/base"
)

// Source is what there is to see. An endpoint whose function is nil does not
// exist. Functions are called from many goroutines at once.
type Source struct {
	ServerID   string
	ServerName string
	Version    string

	// Server fills everything of /varz but Now, Uptime and HTTPReqStats.
	Server func() *Varz
	// Connections lists the open clients, the closed ones, or both, in any order.
	Connections func(open, closed bool) []*Connection
	Routes      func() []*Route
	// SubscriptionStats counts, of one account or (empty) of all; Subscriptions lists
	// them in a stable order.
	SubscriptionStats func(account string) SubscriptionStats
	Subscriptions     func(account string) []Subscription
	// Match tells whether a literal subject matches a pattern.
	Match func(literal, pattern string) bool

	// JetStream is the summary without Now, accounts and details.
	JetStream func(JszOptions) *Jsz
	// JetStreamAccounts lists the accounts that use JetStream by name, and
	// JetStreamAccount describes one; nil when it does not use it.
	JetStreamAccounts func() []string
	JetStreamAccount  func(account string, opts JszOptions) *AccountDetail
	// MetaLeader tells whether this server leads the meta group.
	MetaLeader func() bool
	// RaftGroups are the Raft groups of an account with a replica here, by name.
	RaftGroups func(account string) map[string]*RaftGroup

	// Health judges, after the options were found to fit each other.
	Health func(HealthzOptions) Health

	// Accounts lists all accounts by name; Account describes one, nil for none.
	Accounts     func() (system string, names []string)
	Account      func(name string) *AccountInfo
	AccountStats func() []*AccountStat
}

// Options are how the port is served.
type Options struct {
	BasePath string // prefix of every path; empty or /…
	Clock    base.Clock
	Logger   base.Logger
}

// Monitor serves a Source.
type Monitor struct {
	source   Source
	basePath string
	clock    base.Clock
	logger   base.Logger
	mux      *http.ServeMux

	mu       sync.Mutex
	requests map[string]uint64 // by path below the base path
}

// New makes a monitor. It starts nothing: serve Handler.
func New(source Source, opts Options) *Monitor {
	m := &Monitor{
		source: source, clock: opts.Clock, logger: opts.Logger,
		basePath: strings.TrimSuffix(opts.BasePath, "/"),
		mux:      http.NewServeMux(), requests: map[string]uint64{},
	}
	m.routes()
	return m
}

// Handler serves the endpoints.
func (m *Monitor) Handler() http.Handler { return m.mux }

// endpoints are the paths with the label of their links, in the page's order.
func (m *Monitor) endpoints() []endpoint {
	s := &m.source
	return []endpoint{
		{"/varz", "General", s.Server != nil, m.serveVarz},
		{"/jsz", "JetStream", s.JetStream != nil, m.serveJsz},
		{"/connz", "Connections", s.Connections != nil, m.serveConnz},
		{"/accountz", "Accounts", s.Accounts != nil, m.serveAccountz},
		{"/accstatz", "Account Stats", s.AccountStats != nil, m.serveAccstatz},
		{"/subsz", "Subscriptions", s.Subscriptions != nil, m.serveSubsz},
		{"/subscriptionsz", "", s.Subscriptions != nil, m.serveSubsz},
		{"/routez", "Routes", s.Routes != nil, m.serveRoutez},
		{"/gatewayz", "", true, m.serveGatewayz},
		{"/leafz", "", true, m.serveLeafz},
		{"/raftz", "", s.RaftGroups != nil, m.serveRaftz},
		{"/ipqueuesz", "", true, m.serveIPQueuesz},
		{"/debug/vars", "", true, m.serveExpvarz},
		{"/healthz", "Health Probe", s.Health != nil, m.serveHealthz},
	}
}

type endpoint struct {
	path, label string
	exists      bool
	serve       func(url.Values) (*reply, error)
}

// reply is a document on its way out.
type reply struct {
	status  int
	doc     any
	compact bool // not indented
}

func (m *Monitor) routes() {
	for _, e := range m.endpoints() {
		if e.exists {
			m.mux.HandleFunc(m.basePath+e.path, func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, e) })
		}
	}
	m.mux.HandleFunc(m.basePath+"/{$}", m.serveRoot)
}

func (m *Monitor) serve(w http.ResponseWriter, r *http.Request, e endpoint) {
	m.count(e.path)
	answer, err := e.serve(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var body []byte
	if answer.compact {
		body, err = json.Marshal(answer.doc)
	} else {
		body, err = json.MarshalIndent(answer.doc, "", "  ")
	}
	if err != nil {
		m.logger.Errorf("monitoring %s: %v", e.path, err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.WriteHeader(answer.status)
	_, _ = w.Write(body) // the client may be gone
}

func (m *Monitor) count(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[path]++
}

func (m *Monitor) now() time.Time { return m.clock.Now().UTC() }

func ok(doc any) *reply { return &reply{status: http.StatusOK, doc: doc} }

// age is a duration in whole seconds as the documents write it: 1d2h3m4s.
func age(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	var b strings.Builder
	for _, unit := range []struct {
		seconds int64
		name    string
	}{{365 * 86400, "y"}, {86400, "d"}, {3600, "h"}, {60, "m"}} {
		if b.Len() > 0 || s >= unit.seconds {
			fmt.Fprintf(&b, "%d%s", s/unit.seconds, unit.name)
			s %= unit.seconds
		}
	}
	fmt.Fprintf(&b, "%ds", s)
	return b.String()
}
