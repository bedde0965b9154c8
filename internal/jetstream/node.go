// Package jetstream hosts the state machines of JetStream on one node: the meta
// group, the replicas of streams that live here, the ingest of streams that it
// leads, the runners of consumers appointed to it, and the reconcilers that move
// what is to what should be. See DESIGN.md.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/msgstore"
	"weir/internal/rafthost"
	"weir/internal/raftlog"
	"weir/internal/router"
	"weir/internal/runner"
)

// Config is what a node needs. All fields are required unless said otherwise.
type Config struct {
	Identity Identity
	Name     string // of the server
	Cluster  string // empty: not clustered
	Domain   string // may be empty
	// AckV2: consumers that run here name the domain and the account in their subjects
	// for acks and flow control. Both forms are always understood.
	AckV2 bool
	Tags  []string

	FS  vfs.FS
	Dir string // of the store
	// MaxMemory and MaxStore are bytes that streams may use on this node.
	MaxMemory, MaxStore int64
	UniqueTag           string
	MaxHAAssets         int
	Batches             BatchLimits
	Backlog             BacklogLimits

	Accounts *account.Registry
	Router   *router.Router
	Links    Links
	// Expected is how many JetStream nodes must be in sight before a first meta
	// group may form.
	Expected func() int

	Clock  base.Clock
	Logger base.Logger
	// Events hears of what advisories are made of; nil: nobody does.
	Events Events
	// TickInterval is Raft's; 0 is its default.
	TickInterval time.Duration
	// LogSegment is the size of the Raft log's files in bytes; 0 is its default.
	LogSegment int64
	// LogTail is how many entries stay in the log behind what is durable, for
	// replicas that lag; 0 is the Raft host's default.
	LogTail uint64
	// CheckpointInterval bounds how much log is replayed after a crash; 0: 30 s.
	CheckpointInterval time.Duration
	// BalanceAfter is how long after a node came back work moves to it; 0: 10 s.
	BalanceAfter time.Duration
}

// Peer is another node that this one is linked to.
type Peer struct {
	Node      base.NodeID
	Name      string
	JetStream bool
}

// Node is JetStream on this server.
type Node struct {
	cfg    Config
	ctx    context.Context // ends with Stop
	cancel context.CancelFunc
	wg     sync.WaitGroup
	crewMu sync.Mutex // guards ended, and wg from new members once it is set
	ended  bool       // nothing is spawned any more

	fileLog, memLog *raftlog.Log
	fileDB, memDB   *msgstore.DB
	kept            *keptConsumers
	host            *rafthost.Host
	sched           *runner.Scheduler
	calls           *caller
	boot            *bootstrap
	meta            atomic.Pointer[metaGroup]
	handlers        map[method]callHandler
	requests        func(*Request) // set by SetRequestHandler before Start

	mu      sync.RWMutex
	streams map[streamKey]*Stream
	groups  map[base.GroupID]*Stream
	peers   map[base.NodeID]Peer
	sick    error // why the node is unhealthy for good
	// saveFailure is why the last checkpoint failed; nil if it did not.
	saveFailure error
	// strangers are the linked nodes that make this one unhealthy, and why; see meet.
	strangers map[base.NodeID]error

	flushes   *base.Queue[*Stream]
	kick      chan struct{} // assignments changed
	changed   changedGroups
	rng       lockedRand
	losing    atomic.Bool // lost replicas are being reported
	answering atomic.Bool // surveys are being answered
	telling   atomic.Bool // this node's entry is being corrected
	standing  standings
	watching  watchList
	locations locations
	pulls     pulls
	acks      recentAcks
	balancer  balancer
	pulse     pulse
	batches   openBatches
	room      room

	checkpointMu sync.Mutex
	lastSaved    time.Time
	unsaved      atomic.Int64 // messages and deltas applied to file storage since, about
}

type streamKey struct{ account, name string }

// lockedRand is a random source for placement and the choice of runners.
type lockedRand struct {
	mu sync.Mutex
	*rand.Rand
}

// below is a number from 0 to n-1.
func (r *lockedRand) below(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.IntN(n)
}

// New opens the stores and logs of a node. Nothing runs before Start.
func New(cfg Config) (*Node, error) {
	if cfg.CheckpointInterval == 0 {
		cfg.CheckpointInterval = 30 * time.Second
	}
	if cfg.BalanceAfter == 0 {
		cfg.BalanceAfter = balanceAfter
	}
	if cfg.Events == nil {
		cfg.Events = noEvents{}
	}
	n := &Node{
		cfg:     cfg,
		streams: make(map[streamKey]*Stream),
		groups:  make(map[base.GroupID]*Stream),
		peers:   make(map[base.NodeID]Peer),
		flushes: base.NewQueue[*Stream](),
		kick:    make(chan struct{}, 1),
		calls:   newCaller(cfg.Links),
	}
	n.rng.Rand = rand.New(rand.NewPCG(uint64(cfg.Identity.Node), uint64(cfg.Clock.Now().UnixNano())))
	n.standing.own.Life = n.rng.Uint64()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	context.AfterFunc(n.ctx, n.flushes.Close)
	if err := n.openStores(); err != nil {
		n.closeStores()
		return nil, err
	}
	if err := n.openHost(); err != nil {
		n.closeStores()
		return nil, err
	}
	stands, err := readMembership(cfg.FS, cfg.Dir)
	if err != nil {
		n.closeStores()
		return nil, err
	}
	n.boot = &bootstrap{
		fs: cfg.FS, dir: cfg.Dir, id: cfg.Identity, log: cfg.Logger, stands: stands,
		self:     joinRequest{Node: cfg.Identity.Node, Name: cfg.Name, Cluster: cfg.Cluster, Tags: cfg.Tags, Room: meta.Room{MaxMemory: cfg.MaxMemory, MaxStore: cfg.MaxStore}},
		expected: cfg.Expected, peers: n.Peers, call: n.calls.call,
	}
	n.handlers = map[method]callHandler{
		methodHello: n.boot.handleHello, methodPlan: n.boot.handlePlan, methodJoin: n.handleJoin,
		methodMeta: n.handleMeta, methodUsage: n.handleUsage, methodDetail: n.handleDetail, methodPropose: n.handlePropose,
		methodReturn: n.handleReturn, methodStanding: n.handleStanding,
		methodRetire: n.handleRetire, methodApplied: n.handleApplied, methodLocate: n.handleLocate,
	}
	return n, nil
}

// openStores opens the logs and databases on disk and in memory.
func (n *Node) openStores() (err error) {
	fs, dir := n.cfg.FS, n.cfg.Dir
	if n.fileLog, err = raftlog.Open(raftlog.Options{
		FS: fs, Dir: fs.PathJoin(dir, "raft"), Logger: n.cfg.Logger, Clock: n.cfg.Clock, SegmentSize: n.cfg.LogSegment,
	}); err != nil {
		return fmt.Errorf("open raft log: %w", err)
	}
	if n.fileDB, err = msgstore.Open(msgstore.Options{
		FS: fs, Dir: fs.PathJoin(dir, "streams"), Logger: n.cfg.Logger, BeforeSync: n.fileLog.SyncRelaxed,
	}); err != nil {
		return fmt.Errorf("open message store: %w", err)
	}
	mem := vfs.NewMem()
	if n.memLog, err = raftlog.Open(raftlog.Options{FS: mem, Dir: "raft", Logger: n.cfg.Logger, SegmentSize: memorySegment}); err != nil {
		return fmt.Errorf("open raft log in memory: %w", err)
	}
	if n.memDB, err = msgstore.Open(msgstore.Options{FS: mem, Dir: "streams", Memory: true, Logger: n.cfg.Logger}); err != nil {
		return fmt.Errorf("open message store in memory: %w", err)
	}
	n.kept, err = openKept(fs, dir, n.cfg.Logger)
	return err
}

// memorySegment is the segment size of the log of memory streams.
const memorySegment = 4 << 20

func (n *Node) openHost() (err error) {
	n.host, err = rafthost.New(rafthost.Options{
		Node: n.cfg.Identity.Node, FileLog: n.fileLog, MemLog: n.memLog,
		Transport: raftTransport{n.cfg.Links}, Clock: n.cfg.Clock, Logger: n.cfg.Logger,
		TickInterval: n.cfg.TickInterval, TailEntries: n.cfg.LogTail,
	})
	return err
}

type raftTransport struct{ links Links }

func (t raftTransport) Send(to base.NodeID, frame []byte) bool { return t.links.SendRaft(to, frame) }

func (n *Node) closeStores() error {
	var errs []error
	for _, db := range []*msgstore.DB{n.fileDB, n.memDB} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	for _, l := range []*raftlog.Log{n.fileLog, n.memLog} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// flushWorkers propose and send what was gathered.
const flushWorkers = 2

// runnerWorkers deliver messages.
const runnerWorkers = 2

// Start brings the node to life: it finds or forms the meta group and opens what
// is assigned to it.
func (n *Node) Start() error {
	n.pulse.began = n.cfg.Clock.Now()
	n.sched = runner.NewScheduler(n.cfg.Clock, runnerWorkers)
	n.cfg.Router.SetInterestWatcher(func(_, subj string) { n.sched.InterestChanged(subj) })
	n.host.Start()
	if n.cfg.Cluster == "" && n.boot.standing() == nil {
		if err := n.boot.alone(); err != nil {
			return err
		}
	}
	for range flushWorkers {
		n.spawn(n.flushLoop)
	}
	n.spawn(n.joinLoop)
	n.spawn(n.assignmentLoop)
	n.spawn(n.checkpointLoop)
	n.spawn(n.keepLoop)
	n.spawn(n.outboxLoop)
	n.spawn(n.pulseLoop)
	n.spawn(n.watchStores)
	n.spawn(n.watchQuorum)
	return nil
}

// watchStores stops what needs a log or a store that can not be written any more,
// before the next message meets it: others take over, and clients are told. The node
// stays up to tell.
func (n *Node) watchStores() {
	fileLog, memLog, files := n.fileLog.Failed(), n.memLog.Failed(), n.fileDB.Failed()
	for {
		select {
		case <-fileLog:
			fileLog = nil
			n.storageFailed(brokenLog, false, n.fileLog.Err())
		case <-memLog:
			memLog = nil
			n.storageFailed(brokenLog, true, n.memLog.Err())
		case <-files:
			files = nil
			n.storageFailed(brokenStore, false, n.fileDB.Err())
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) storageFailed(what string, memory bool, err error) {
	if n.ctx.Err() != nil {
		return
	}
	n.cfg.Logger.Errorf("JetStream can not write its %s; restart the server once the cause is gone: %v", what, err)
	err = fmt.Errorf("JetStream can not write its %s: %w", what, err)
	n.unhealthy(err)
	for _, s := range n.allStreams() {
		if s.memory == memory {
			s.group.Fail(err)
		}
	}
	if g := n.meta.Load(); g != nil && what == brokenLog && !memory {
		g.group.Fail(err)
	}
}

// What can break for good on a node.
const (
	brokenLog   = "log"
	brokenStore = "message store"
)

// spawn runs f until it returns; Stop waits for it. On a node that stops nothing
// begins any more.
func (n *Node) spawn(f func()) {
	n.crewMu.Lock()
	defer n.crewMu.Unlock()
	if !n.ended {
		n.wg.Go(f)
	}
}

// dismiss ends the node's context and waits for what was spawned.
func (n *Node) dismiss() {
	n.cancel()
	n.crewMu.Lock()
	n.ended = true
	n.crewMu.Unlock()
	n.wg.Wait()
}

// pause waits; false says that the node stops.
func (n *Node) pause(d time.Duration) bool {
	done := make(chan struct{})
	t := n.cfg.Clock.AfterFunc(d, func() { close(done) })
	select {
	case <-done:
		return true
	case <-n.ctx.Done():
		t.Stop()
		return false
	}
}

// Stop hands over what this node leads and runs, within the time of ctx, and
// closes it.
func (n *Node) Stop(ctx context.Context) error {
	if err := n.HandOver(ctx); err != nil {
		n.cfg.Logger.Debugf("Hand over leadership: %v", err)
	}
	n.retireAll(ctx, func(*Stream) bool { return true })
	n.cancel()
	for _, s := range n.allStreams() {
		s.close(runner.CloseShutdown)
	}
	if n.sched != nil {
		n.sched.Drain()
		n.sched.Stop()
	}
	n.host.Stop()
	n.dismiss()
	for _, s := range n.allStreams() {
		s.over()
	}
	n.checkpoint()
	n.writeKept()
	return n.closeStores()
}

// joinLoop finds or forms the meta group, then opens this node's replica.
func (n *Node) joinLoop() {
	for !n.boot.isDecided() {
		ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
		err := n.boot.attempt(ctx)
		cancel()
		if err != nil && n.ctx.Err() == nil {
			n.cfg.Logger.Warnf("JetStream is not yet a member of a meta group: %v", err)
		}
		if !n.boot.isDecided() && !n.pause(bootstrapPause) {
			return
		}
	}
	g, err := n.openMeta(n.boot.standing())
	if err != nil {
		n.cfg.Logger.Errorf("JetStream can not open the meta group: %v", err)
		n.unhealthy(err)
		return
	}
	n.meta.Store(g)
	n.assignmentsChanged()
	n.tendMeta()
}

// db is where a stream's messages are.
func (n *Node) db(memory bool) *msgstore.DB {
	if memory {
		return n.memDB
	}
	return n.fileDB
}

// log is where a stream's group has its log.
func (n *Node) log(memory bool) *raftlog.Log {
	if memory {
		return n.memLog
	}
	return n.fileLog
}

func (n *Node) unhealthy(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sick = err
}

// Stream finds this node's replica of a stream; nil when it has none, or it has failed,
// or a backup is still being put into it.
func (n *Node) Stream(account, name string) *Stream {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s := n.streams[streamKey{account, name}]
	if s == nil || s.Assignment().Restoring || s.hasFailed() {
		return nil
	}
	return s
}

func (n *Node) streamByGroup(id base.GroupID) *Stream {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.groups[id]
}

func (n *Node) allStreams() []*Stream {
	n.mu.RLock()
	defer n.mu.RUnlock()
	list := make([]*Stream, 0, len(n.streams))
	for _, s := range n.streams {
		list = append(list, s)
	}
	return list
}

// View calls read with the meta state; false when this node has none yet.
func (n *Node) View(read func(*meta.State)) bool {
	g := n.meta.Load()
	if g == nil {
		return false
	}
	g.View(read)
	return true
}

// publish puts a message of the server on the wire.
func (n *Node) publish(acc *account.Account, m *router.Msg) {
	n.cfg.Router.Publish(acc, router.Internal, m)
}
