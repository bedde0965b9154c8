package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/meta"
)

// The tests of the files row_*_test.go show the rows of docs/clustered-consumers.md
// that a client can see, by their numbers.

// rowAccounts are the accounts of the clusters that rows are shown on: APP and APP2
// without limits, LIM with some, SMALL with narrow ones, SYS the system account.
const rowAccounts = `
system_account: SYS
accounts {
  SYS { users: [{user: "sys", password: "pw"}] }
  APP { jetstream: enabled, users: [{user: "app", password: "pw"}] }
  APP2 { jetstream: enabled, users: [{user: "app2", password: "pw"}] }
  LIM { jetstream { max_file: 10GB, max_mem: 1GB, max_streams: 3, max_consumers: 4 }, users: [{user: "lim", password: "pw"}] }
  SMALL { jetstream { max_file: 1MB, max_mem: 1MB }, users: [{user: "small", password: "pw"}] }
  OFF { users: [{user: "off", password: "pw"}] }
}`

// rows is a cluster to show rows on, with one connection for each account.
type rows struct {
	*testCluster
	ctx context.Context
	sys *nats.Conn
	app *nats.Conn
	js  jetstream.JetStream // of app
}

// shared is the cluster of three for rows that stop no server, made by the first
// test that needs it and ended by TestMain.
var shared struct {
	once sync.Once
	rows *rows
	end  func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.end != nil {
		shared.end()
	}
	os.Exit(code)
}

// sharedRows is the shared cluster for one test.
func sharedRows(t *testing.T) *rows {
	t.Helper()
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "rows")
		if err != nil {
			t.Fatal(err)
		}
		shared.rows = &rows{testCluster: newRowCluster(t, dir, 3)}
		shared.end = func() {
			shared.rows.shutdown()
			os.RemoveAll(dir)
		}
	})
	if shared.rows == nil {
		t.Fatal("the cluster did not start")
	}
	r := &rows{testCluster: shared.rows.in(t)}
	r.connectAll(t)
	for _, account := range []string{"APP", "APP2", "LIM", "SMALL"} { // what earlier tests left
		r.must(r.sys, "ACCOUNT.PURGE."+account, nil)
	}
	return r
}

// ownRows starts n servers for one test, which may stop some.
func ownRows(t *testing.T, n int) *rows {
	t.Helper()
	r := &rows{testCluster: newRowCluster(t, t.TempDir(), n)}
	t.Cleanup(func() { r.shutdown() })
	r.connectAll(t)
	return r
}

// newRowCluster starts n servers, of which server i is tagged n<i> and az:<i modulo 3> and has
// 100+i GB for files.
func newRowCluster(t *testing.T, dir string, n int) *testCluster {
	t.Helper()
	routes := freeAddresses(t, n)
	c := &testCluster{t: t, servers: make([]*Server, n)}
	for i, r := range routes {
		c.configs = append(c.configs, fmt.Sprintf(`
			server_name: n%d, listen: "127.0.0.1:-1", server_tags: ["n%d", "az:%d"]
			jetstream { store_dir: %q, max_file: %dGB, max_mem: 10GB }
			cluster { name: test, listen: %q, routes: [ "nats://%s" ] } %s`,
			i+1, i+1, i%3, filepath.Join(dir, fmt.Sprint(i)), 101+i, r, strings.Join(routes, `", "nats://`), rowAccounts))
	}
	for i := range n {
		c.start(i)
	}
	for i := range n {
		c.ready(i)
	}
	r := rows{testCluster: c}
	r.until("the tags of all are known", func() bool {
		known := 0
		c.servers[0].node.View(func(s *meta.State) {
			for _, x := range s.Nodes() {
				if len(x.Tags) > 0 {
					known++
				}
			}
		})
		return known == n
	})
	return c
}

func (c *testCluster) shutdown() {
	for _, s := range c.servers {
		if s != nil {
			s.Shutdown()
		}
	}
}

// in returns the cluster for another test.
func (c *testCluster) in(t *testing.T) *testCluster {
	other := *c
	other.t = t
	return &other
}

// connectAll connects the users that most rows need to the first server.
func (r *rows) connectAll(t *testing.T) {
	t.Helper()
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithTimeout(context.Background(), testTime)
	t.Cleanup(cancel)
	r.sys, r.app = r.as(t, "sys", 0), r.as(t, "app", 0)
	var err error
	if r.js, err = jetstream.New(r.app, jetstream.WithDefaultTimeout(patience)); err != nil {
		t.Fatal(err)
	}
}

// as connects a user to a server, and to no other.
func (r *rows) as(t *testing.T, user string, server int) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(r.servers[server].ClientURL(), nats.UserInfo(user, "pw"), nats.Timeout(patience), nats.DontRandomize(),
		nats.IgnoreDiscoveredServers(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// answer is what all answers of the API have.
type answer struct {
	Type    string `json:"type"`
	Success bool   `json:"success"`
	Error   *struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
	raw []byte
}

func (a *answer) code() int {
	if a.Error == nil {
		return 0
	}
	return a.Error.ErrCode
}

// into decodes the whole document.
func (a *answer) into(t testing.TB, doc any) {
	t.Helper()
	if err := json.Unmarshal(a.raw, doc); err != nil {
		t.Fatalf("%v in %s", err, a.raw)
	}
}

// ask sends a request to the API, again if nobody answered in time or, by the answer, could:
// what a client does.
func (r *rows) ask(nc *nats.Conn, subj string, body any) *answer {
	r.t.Helper()
	for {
		m, err := nc.Request("$JS.API."+subj, encode(r.t, body), 6*time.Second)
		if err == nil {
			a := parse(r.t, m)
			if a.code() != int(apierr.JSClusterNotAvailErr.ErrCode) || r.ctx.Err() != nil {
				return a
			}
			continue
		}
		if !errors.Is(err, nats.ErrTimeout) || r.ctx.Err() != nil {
			r.t.Fatalf("%s: %v", subj, err)
		}
	}
}

func encode(t testing.TB, body any) []byte {
	switch b := body.(type) {
	case nil:
		return nil
	case string:
		return []byte(b)
	}
	doc, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func parse(t testing.TB, m *nats.Msg) *answer {
	t.Helper()
	a := &answer{raw: m.Data}
	if err := json.Unmarshal(m.Data, a); err != nil {
		t.Fatalf("%v in %q", err, m.Data)
	}
	return a
}

// must wants success.
func (r *rows) must(nc *nats.Conn, subj string, body any) *answer {
	r.t.Helper()
	a := r.ask(nc, subj, body)
	if a.Error != nil {
		r.t.Fatalf("%s: %s", subj, a.raw)
	}
	return a
}

// refused wants an error.
func (r *rows) refused(nc *nats.Conn, subj string, body any, code int) *answer {
	r.t.Helper()
	a := r.ask(nc, subj, body)
	if a.code() != code {
		r.t.Errorf("%s: want %d, got %s", subj, code, a.raw)
	}
	return a
}

// together sends equal or different requests at once, without waiting for answers.
func (r *rows) together(nc *nats.Conn, n int, request func(i int) (subj string, body any)) []*answer {
	r.t.Helper()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox + ".*")
	if err != nil {
		r.t.Fatal(err)
	}
	defer sub.Unsubscribe()
	for i := range n {
		subj, body := request(i)
		if err := nc.PublishRequest("$JS.API."+subj, fmt.Sprintf("%s.%d", inbox, i), encode(r.t, body)); err != nil {
			r.t.Fatal(err)
		}
	}
	list := make([]*answer, n)
	for range n {
		m, err := sub.NextMsg(patience)
		if err != nil {
			r.t.Fatal(err)
		}
		var i int
		fmt.Sscanf(m.Subject[len(inbox)+1:], "%d", &i)
		list[i] = parse(r.t, m)
	}
	return list
}

// codes counts answers by their error code; 0 is success.
func codes(list []*answer) map[int]int {
	count := map[int]int{}
	for _, a := range list {
		count[a.code()]++
	}
	return count
}

// once sends a request, and wants one answer and no more: what comes later than the
// answers of all servers to another request is not waited for.
func (r *rows) once(nc *nats.Conn, subj string, body any) *answer {
	r.t.Helper()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		r.t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest("$JS.API."+subj, inbox, encode(r.t, body)); err != nil {
		r.t.Fatal(err)
	}
	m, err := sub.NextMsg(patience)
	if err != nil {
		r.t.Fatalf("%s: %v", subj, err)
	}
	r.settle(nc)
	if n, _, _ := sub.Pending(); n != 0 {
		r.t.Errorf("%s: %d more answers", subj, n)
	}
	return parse(r.t, m)
}

// settle waits until every server has answered a question that was sent after all
// that nc has sent so far.
func (r *rows) settle(nc *nats.Conn) {
	r.t.Helper()
	running := 0
	for _, s := range r.servers {
		if s != nil {
			running++
		}
	}
	if err := nc.Flush(); err != nil {
		r.t.Fatal(err)
	}
	inbox := nats.NewInbox()
	sub, err := r.sys.SubscribeSync(inbox)
	if err != nil {
		r.t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := r.sys.PublishRequest("$SYS.REQ.SERVER.PING", inbox, nil); err != nil {
		r.t.Fatal(err)
	}
	for range running {
		if _, err := sub.NextMsg(patience); err != nil {
			r.t.Fatalf("servers that answer: %v", err)
		}
	}
	if err := nc.Flush(); err != nil {
		r.t.Fatal(err)
	}
}

// until waits for a condition.
func (r *rows) until(what string, holds func() bool) {
	r.t.Helper()
	until(r.t, what, holds)
}

// stream makes a stream of its name's subject tree.
func (r *rows) stream(name string, replicas int, change ...func(*api.StreamConfig)) *api.StreamInfo {
	r.t.Helper()
	cfg := api.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Replicas: replicas, Retention: api.LimitsRetention,
		Storage: api.FileStorage, MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, MaxMsgSize: -1}
	for _, f := range change {
		f(&cfg)
	}
	doc := new(api.StreamInfo)
	r.must(r.app, "STREAM.CREATE."+name, cfg).into(r.t, doc)
	return doc
}

// update changes the configuration that a stream has now.
func (r *rows) update(name string, change func(*api.StreamConfig)) *answer {
	r.t.Helper()
	cfg := r.info(name).Config
	change(&cfg)
	return r.ask(r.app, "STREAM.UPDATE."+name, cfg)
}

func (r *rows) info(name string) *api.StreamInfo {
	r.t.Helper()
	doc := new(api.StreamInfo)
	r.must(r.app, "STREAM.INFO."+name, nil).into(r.t, doc)
	return doc
}

// consumer makes a consumer by a configuration in JSON.
func (r *rows) consumer(stream, name, config string) *api.ConsumerInfo {
	r.t.Helper()
	doc := new(api.ConsumerInfo)
	r.must(r.app, "CONSUMER.CREATE."+stream+"."+name, consumerBody(stream, "", name, config)).into(r.t, doc)
	return doc
}

// consumerBody is a create request; config are fields besides the name, as in JSON.
func consumerBody(stream, action, name, config string) string {
	if config != "" {
		config = "," + config
	}
	return fmt.Sprintf(`{"stream_name":%q,"action":%q,"config":{"name":%q%s}}`, stream, action, name, config)
}

func (r *rows) consumerInfo(stream, name string) *api.ConsumerInfo {
	r.t.Helper()
	doc := new(api.ConsumerInfo)
	r.must(r.app, "CONSUMER.INFO."+stream+"."+name, nil).into(r.t, doc)
	return doc
}

// members are the servers of a cluster block, the leader first.
func members(c *api.ClusterInfo) []string {
	var list []string
	if c.Leader != "" {
		list = append(list, c.Leader)
	}
	for _, p := range c.Replicas {
		list = append(list, p.Name)
	}
	return list
}

// server is the number of the server with a name.
func (r *rows) server(name string) int {
	for i, s := range r.servers {
		if s != nil && s.name == name {
			return i
		}
	}
	r.t.Fatalf("no server %q runs", name)
	return -1
}

// listen subscribes to advisories.
func (r *rows) listen(nc *nats.Conn, event string) *nats.Subscription {
	r.t.Helper()
	sub, err := nc.SubscribeSync("$JS.EVENT.ADVISORY." + event)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { sub.Unsubscribe() })
	r.settle(nc) // every server knows of it
	return sub
}

// next wants an advisory and returns its fields.
func (r *rows) next(sub *nats.Subscription) map[string]any {
	r.t.Helper()
	m, err := sub.NextMsg(patience)
	if err != nil {
		r.t.Fatalf("%s: %v", sub.Subject, err)
	}
	var doc map[string]any
	if err := json.Unmarshal(m.Data, &doc); err != nil {
		r.t.Fatal(err)
	}
	doc["subject"] = m.Subject
	return doc
}

// silent wants no more messages.
func (r *rows) silent(nc *nats.Conn, sub *nats.Subscription) {
	r.t.Helper()
	r.settle(nc)
	if n, _, _ := sub.Pending(); n != 0 {
		m, _ := sub.NextMsg(time.Second)
		r.t.Errorf("%d more messages on %s, the first on %s: %s", n, sub.Subject, m.Subject, m.Data)
	}
}

// publish publishes n messages and wants acks.
func (r *rows) publish(subj string, n int) {
	r.t.Helper()
	for range n {
		for id := jetstream.WithMsgID(nats.NewInbox()); ; {
			err := r.tryPublish(subj, id)
			if err == nil {
				break
			}
			if r.ctx.Err() != nil {
				r.t.Fatalf("publish %s: %v", subj, err)
			}
		}
	}
}

func (r *rows) tryPublish(subj string, opts ...jetstream.PublishOpt) error {
	return tryPublish(r.ctx, r.js, subj, opts...)
}
