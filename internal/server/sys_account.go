package server

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/monitor"
	"weir/internal/router"
	"weir/internal/wire"
)

// system is the server's part of the system account: it answers requests on
// $SYS.REQ, publishes statistics, and tells of clients that come and go.
//
// Requests arrive on the goroutines of clients and links, which must not wait, so
// they are queued for one worker, and profiles for another one. When the queue is
// full, a request is dropped; whoever asked times out.
type system struct {
	server *Server
	doc    *monitor.Monitor
	acc    *account.Account
	// sequence numbers what this server sends on the system account.
	sequence atomic.Uint64
	jobs     chan func()
	profiles chan func()   // jobs that may take seconds
	quit     chan struct{} // closed by stop
	running  sync.WaitGroup

	mu   sync.Mutex
	subs map[*account.Account][]*router.Sub // nil after stop
}

// Bounds of the requests that wait.
const (
	maxSystemJobs = 1024
	maxProfiles   = 16
)

func newSystem(s *Server) *system {
	return &system{
		server: s, doc: s.newMonitor(), acc: s.accounts.System(),
		jobs: make(chan func(), maxSystemJobs), profiles: make(chan func(), maxProfiles), quit: make(chan struct{}),
		subs: map[*account.Account][]*router.Sub{},
	}
}

// start begins to serve.
func (y *system) start() error {
	if err := y.serveAccounts(); err != nil {
		return err
	}
	y.running.Go(func() { y.work(y.jobs) })
	y.running.Go(func() { y.work(y.profiles) })
	y.running.Go(y.publishStats)
	return nil
}

// stop tells the other servers that this one goes, and ends what start began.
func (y *system) stop() {
	y.publish("$SYS.SERVER."+y.server.id+".SHUTDOWN", y.identity())
	y.mu.Lock()
	subs := y.subs
	y.subs = nil
	y.mu.Unlock()
	if subs == nil {
		return
	}
	for _, list := range subs {
		for _, sub := range list {
			y.server.router.Unsubscribe(sub)
		}
	}
	close(y.quit)
	y.running.Wait()
}

// lameDuck tells the other servers that this one sends its clients away.
func (y *system) lameDuck() {
	y.publish("$SYS.SERVER."+y.server.id+".LAMEDUCK", y.identity())
}

func (y *system) work(jobs <-chan func()) {
	for {
		select {
		case <-y.quit:
			return
		case job := <-jobs:
			job()
		}
	}
}

// enqueue has a worker do a job; false when too many wait.
func enqueue(jobs chan<- func(), job func()) bool {
	select {
	case jobs <- job:
		return true
	default:
		return false
	}
}

// statsInterval is the time between two statistics; the first ones come sooner,
// so that a server is soon seen.
const (
	firstStats    = 250 * time.Millisecond
	statsInterval = 10 * time.Second
)

// publishStats publishes statistics until stop, while somebody listens.
func (y *system) publishStats() {
	subject := "$SYS.SERVER." + y.server.id + ".STATSZ"
	for wait := firstStats; ; wait = min(2*wait, statsInterval) {
		due := make(chan struct{})
		timer := y.server.clock.AfterFunc(wait, func() { close(due) })
		select {
		case <-y.quit:
			timer.Stop()
			return
		case <-due:
		}
		if y.server.router.HasInterest(y.acc, subject) {
			y.publish(subject, statszReply{y.identity(), y.statsz()})
		}
	}
}

// publish sends a document in the system account.
func (y *system) publish(subject string, doc any) {
	if y.server.router.HasInterest(y.acc, subject) {
		y.send(y.acc, subject, doc)
	}
}

func (y *system) send(acc *account.Account, subject string, doc any) {
	payload, err := json.Marshal(doc)
	base.Assert(err == nil, "encode %T for %s: %v", doc, subject, err)
	y.server.router.Publish(acc, router.Internal, &router.Msg{Subject: []byte(subject), Payload: payload})
}

// Bits of serverIdentity.Flags.
const flagJetStream = 1

// serverIdentity is the block that says which server speaks.
type serverIdentity struct {
	Name      string            `json:"name"`
	Host      string            `json:"host"`
	ID        string            `json:"id"`
	Cluster   string            `json:"cluster,omitempty"`
	Domain    string            `json:"domain,omitempty"`
	Version   string            `json:"ver"`
	Tags      []string          `json:"tags,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Features  map[string]bool   `json:"feature_flags,omitempty"`
	JetStream bool              `json:"jetstream"`
	Flags     uint64            `json:"flags"`
	Sequence  uint64            `json:"seq"`
	Time      time.Time         `json:"time"`
}

func (y *system) identity() *serverIdentity {
	s := y.server
	id := &serverIdentity{
		Name: s.name, Host: s.cfg.Host, ID: s.id, Cluster: s.clusterName(), Domain: s.cfg.JetStream.Domain,
		Version: wire.ServerVersion, Tags: s.cfg.Tags, Metadata: s.cfg.Metadata, Features: s.cfg.FeatureFlags, JetStream: s.node != nil,
		Sequence: y.sequence.Add(1), Time: s.clock.Now().UTC(),
	}
	if id.JetStream {
		id.Flags |= flagJetStream
	}
	return id
}
