package monitor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"weir/internal/api"
	"weir/internal/base"
)

// stoppedClock is a clock that shows one time.
type stoppedClock struct {
	base.Clock
	now time.Time
}

func (c stoppedClock) Now() time.Time { return c.now }

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// TestRequests runs testdata/requests: "get <path>" prints status, type and body.
func TestRequests(t *testing.T) {
	m := New(testSource(), Options{BasePath: "/base", Clock: stoppedClock{now: noon}, Logger: base.NopLogger{}})
	datadriven.RunTest(t, "testdata/requests", func(t *testing.T, d *datadriven.TestData) string {
		var b strings.Builder
		for target := range strings.Lines(d.Input) {
			b.WriteString(get(m.Handler(), strings.TrimSpace(target)))
		}
		return b.String()
	})
}

func get(h http.Handler, target string) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return fmt.Sprintf("%d %s origin=%s\n%s\n", w.Code, w.Header().Get("Content-Type"),
		w.Header().Get("Access-Control-Allow-Origin"), strings.TrimSuffix(w.Body.String(), "\n"))
}

func testSource() Source {
	stop := noon.Add(-time.Minute)
	client := func(cid uint64, account, user string) *Connection {
		return &Connection{CID: cid, Kind: "Client", Type: "nats", IP: "127.0.0.1", Port: int(4000 + cid),
			Start: noon.Add(-time.Duration(cid) * time.Hour), LastActivity: noon.Add(-time.Duration(cid) * time.Second),
			RTT: time.Duration(cid) * time.Millisecond, OutMsgs: int64(cid % 2), NumSubs: 1,
			Account: account, AuthorizedUser: user,
			Detail: []Subscription{{Subject: fmt.Sprintf("s.%d.*", cid), SID: "1", CID: cid}}}
	}
	closed := client(9, "A", "ann")
	closed.Stop, closed.Reason = &stop, "Client Closed"
	subs := []Subscription{{Account: "A", Subject: "a.*", SID: "1", CID: 1}, {Account: "A", Subject: "a.b", Queue: "q", SID: "2", CID: 1}}
	return Source{
		ServerID: "ID", ServerName: "n<1>", Version: "2.15.2",
		Server: func() *Varz { return &Varz{ServerID: "ID", ServerName: "n1", Start: noon.Add(-26 * time.Hour)} },
		Connections: func(open, wantClosed bool) (list []*Connection) {
			if open {
				list = append(list, client(3, "B", "bob"), client(1, "A", "ann"), client(2, "A", "al"))
			}
			if wantClosed {
				list = append(list, closed)
			}
			return list
		},
		Routes: func() []*Route {
			return []*Route{{RID: 5, RemoteName: "n2", RTT: time.Millisecond, Start: noon.Add(-time.Minute), LastActivity: noon}}
		},
		SubscriptionStats: func(string) SubscriptionStats { return SubscriptionStats{NumSubs: 2} },
		Subscriptions:     func(string) []Subscription { return subs },
		Match: func(literal, pattern string) bool {
			matched, _ := path.Match(strings.ReplaceAll(pattern, ".", "/"), strings.ReplaceAll(literal, ".", "/"))
			return matched
		},
		JetStream: func(JszOptions) *Jsz {
			return &Jsz{Streams: 2, JetStreamStats: JetStreamStats{API: api.APIStats{Level: 5}}}
		},
		JetStreamAccounts: func() []string { return []string{"A", "B", "C"} },
		JetStreamAccount: func(name string, opts JszOptions) *AccountDetail {
			a := &AccountDetail{Name: name, ID: name}
			if opts.Streams {
				a.Streams = []*StreamDetail{{Name: "S", Created: noon}}
			}
			return a
		},
		MetaLeader:   func() bool { return false },
		Health:       testHealth,
		Accounts:     func() (string, []string) { return "$SYS", []string{"$SYS", "A"} },
		Account:      func(name string) *AccountInfo { return map[string]*AccountInfo{"A": {Name: "A", Complete: true}}[name] },
		AccountStats: func() []*AccountStat { return []*AccountStat{{Account: "A", Conns: 2}, {Account: "B"}} },
	}
}

func testHealth(opts HealthzOptions) Health {
	switch {
	case opts.JSServerOnly:
		return Health{Status: http.StatusInternalServerError, Errors: []HealthError{{Type: HealthConnection, Error: "not ready"}}}
	case opts.JSMetaOnly:
		return Health{Status: http.StatusServiceUnavailable, Errors: []HealthError{{Type: HealthJetStream, Error: "no meta leader"}}}
	case opts.Account == "zz":
		return Health{Status: http.StatusNotFound, Errors: []HealthError{{Type: HealthAccount, Account: "zz", Error: "not found"}}}
	}
	return Health{Status: http.StatusOK}
}

func TestMissingEndpointsAreNotThere(t *testing.T) {
	m := New(Source{}, Options{Clock: stoppedClock{now: noon}, Logger: base.NopLogger{}})
	for _, target := range []string{"/varz", "/connz", "/jsz", "/healthz", "/routez", "/subsz", "/accountz"} {
		if got := get(m.Handler(), target); !strings.HasPrefix(got, "404 ") {
			t.Errorf("%s: %s", target, got)
		}
	}
}

func TestAge(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0s"}, {999 * time.Millisecond, "0s"}, {61 * time.Second, "1m1s"}, {time.Hour, "1h0m0s"},
		{49*time.Hour + 3*time.Second, "2d1h0m3s"}, {366 * 24 * time.Hour, "1y1d0h0m0s"},
	} {
		if got := age(c.d); got != c.want {
			t.Errorf("age(%s) is %s, want %s", c.d, got, c.want)
		}
	}
}

// TestOptionsAreJSON: the requests of the system account carry the same options.
func TestOptionsAreJSON(t *testing.T) {
	m := New(testSource(), Options{Clock: stoppedClock{now: noon}, Logger: base.NopLogger{}})
	var opts ConnzOptions
	if err := json.Unmarshal([]byte(`{"sort":"rtt","limit":1,"acc":"A","filter_subject":"s.2.x"}`), &opts); err != nil {
		t.Fatal(err)
	}
	z, err := m.Connz(opts)
	if err != nil || z.Total != 1 || z.Conns[0].CID != 2 {
		t.Errorf("%+v, %v", z, err)
	}
	if _, err := m.Jsz(JszOptions{LeaderOnly: true}); err != ErrNotLeader {
		t.Error(err)
	}
}
