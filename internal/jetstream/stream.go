package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/msgstore"
	"weir/internal/rafthost"
	"weir/internal/raftlog"
	"weir/internal/runner"
)

// Stream is this node's replica of a stream's Raft group: the state machine of
// the stream and its consumers over its store, the ingest while it leads, and
// the runners of the consumers that it was appointed to.
type Stream struct {
	node    *Node
	acc     *account.Account
	account string
	name    string
	id      base.GroupID
	replica base.ReplicaID
	memory  bool
	ackHead []byte // what its PubAcks begin with

	store  *msgstore.Store
	group  *rafthost.Group // set once, before opened
	opened chan struct{}   // closed once group is set; the group's first calls wait for it

	// applying is held from the first change of an Apply to its commit, where
	// machine and store stand at one index.
	applying sync.Mutex
	// mu keeps Apply out while the machine is read on another goroutine.
	mu      sync.RWMutex
	machine *machine.Machine

	assignment atomic.Pointer[meta.Assignment]
	lead       atomic.Pointer[rafthost.LeaderInfo]
	leadSince  atomic.Int64 // unix ns
	members    atomic.Pointer[members]
	failure    atomic.Pointer[error] // why the replica stopped
	damaged    atomic.Bool           // it is about to, as what it holds is damaged

	receiving atomic.Bool // somebody on this node brings a backup; see restore.go

	use   *accountUse
	tally tally

	requests *waiters[machine.Reply]
	ingest   ingest
	copying  copying
	outbox   outbox
	deltas   deltaQueue
	after    aftermath // of the entries being applied; apply worker only

	runs     runnerLoad
	runMu    sync.Mutex
	runners  map[uint64]*runner.Runner // by consumer ID
	comeback comeback
	contact  contact
	env      *runner.Env
	closed   bool

	duty duty
}

// members are the voters and learners of a group.
type members struct{ voters, learners []base.Replica }

var _ rafthost.Machine = (*Stream)(nil)

// openStream opens the replica that a names for this node and starts its group.
func (n *Node) openStream(a *meta.Assignment, r base.Replica, initial []base.Replica, campaign bool) (*Stream, error) {
	if a.Storage() != api.MemoryStorage && n.fileLog.LostUnknown() && !n.logKnows(a.Group, r.ID) {
		return nil, base.Corruptf("the log was damaged where it may have held replica %s", r)
	}
	if err := n.log(a.Storage() == api.MemoryStorage).Group(a.Group, r.ID).Err(); err != nil {
		return nil, err // before a store is made for it
	}
	s, err := n.newStream(a, r)
	if err != nil {
		return nil, err
	}
	if err := s.open(a, initial, campaign); err != nil {
		s.leave()
		return nil, err
	}
	return s, nil
}

// newStream is a replica that has its store and nothing else yet.
func (n *Node) newStream(a *meta.Assignment, r base.Replica) (*Stream, error) {
	acc := n.cfg.Accounts.Account(a.Account)
	if acc == nil {
		return nil, fmt.Errorf("account %q is not configured", a.Account)
	}
	s := &Stream{
		node: n, acc: acc, account: a.Account, name: a.Name, id: a.Group, replica: r.ID,
		memory:  a.Storage() == api.MemoryStorage,
		ackHead: ackHead(a.Name),
		runners: make(map[uint64]*runner.Runner),
		opened:  make(chan struct{}),
	}
	s.assignment.Store(a)
	s.lead.Store(&rafthost.LeaderInfo{})
	s.members.Store(&members{})
	s.requests = newWaiters[machine.Reply]()
	s.use = n.room.account(a.Account)
	s.ingest.init(s)
	s.copying.s = s
	s.outbox.init(s)
	s.deltas.s = s
	store, err := n.db(s.memory).Store(a.Group, r.ID)
	if err != nil {
		return nil, fmt.Errorf("open store of stream %s: %w", a.Name, err)
	}
	s.store = store
	s.env = s.runnerEnv()
	return s, nil
}

// open builds the machine and starts the group.
func (s *Stream) open(a *meta.Assignment, initial []base.Replica, campaign bool) (err error) {
	if err := s.loadMachine(); err != nil {
		return err
	}
	s.countRunners()
	s.recount()
	if err := s.comeback.open(s); err != nil {
		return fmt.Errorf("open log of stream %s: %w", a.Name, err)
	}
	g := rafthost.GroupConfig{ID: a.Group, Replica: s.replica, Members: initial, Memory: s.memory, Machine: s, Campaign: campaign}
	if a.Config.PersistMode == "async" { // for good
		g.Relaxed = machine.IsPublish
	}
	s.group, err = s.node.host.Open(g)
	close(s.opened)
	if err != nil {
		return fmt.Errorf("open group of stream %s: %w", a.Name, err)
	}
	return nil
}

// logKnows tells whether the log held a replica when it was opened.
func (n *Node) logKnows(group base.GroupID, replica base.ReplicaID) bool {
	return slices.ContainsFunc(n.fileLog.Groups(), func(g raftlog.GroupInfo) bool { return g.Group == group && g.Replica == replica })
}

// loadMachine builds the machine from what stands in the store.
func (s *Stream) loadMachine() error {
	m, err := machine.New(s.store, s.replica)
	if err != nil {
		return fmt.Errorf("load stream %s: %w", s.name, err)
	}
	s.mu.Lock()
	s.machine = m
	s.mu.Unlock()
	return nil
}

// Name is the stream's name within its account.
func (s *Stream) Name() string { return s.name }

// Account is the name of the account.
func (s *Stream) Account() string { return s.account }

// Store is the read side of the stream's messages on this node.
func (s *Stream) Store() *msgstore.Store { return s.store }

// Group is the stream's Raft group.
func (s *Stream) Group() *rafthost.Group { return s.group }

// Assignment is what should be of the stream, as this node last heard.
func (s *Stream) Assignment() *meta.Assignment { return s.assignment.Load() }

// View calls read with the machine while nothing is applied to it. read must not
// keep the machine, nor block.
func (s *Stream) View(read func(*machine.Machine)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	read(s.machine)
}

// appliedConfig is the stream's configuration as this replica has applied it.
func (s *Stream) appliedConfig() (cfg api.StreamConfig) {
	s.View(func(m *machine.Machine) { cfg = *m.Stream().Config() })
	return cfg
}

// Leads tells whether this replica leads the group and has applied all that came
// before its term.
func (s *Stream) Leads() bool {
	l := s.lead.Load()
	return l.Self && l.Ready
}

// LeaderNode is the node of the leader; 0 when none is known.
func (s *Stream) LeaderNode() base.NodeID { return s.lead.Load().LeaderNode }

// Ready tells that the stream was made and takes requests here.
func (s *Stream) Ready() bool {
	if !s.Leads() {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.machine.Exists() && !s.machine.Stream().Loading()
}

// Propose proposes a command and waits for its result.
func (s *Stream) Propose(ctx context.Context, c machine.Command) (machine.Reply, error) {
	return s.requests.propose(ctx, s.node.cfg.Clock.Now(), s.group.Propose, func(seq uint64) []byte {
		return machine.Append(nil, machine.Origin{Proposer: s.replica, Seq: seq}, c)
	})
}

// StateHash is a hash of all that the replica holds, as of the applied index. It
// reads everything while nothing is applied.
func (s *Stream) StateHash() (applied, hash uint64, err error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	hash, err = s.store.Hash()
	return s.store.Applied(), hash ^ s.machine.Hash(), err
}

// ProposeFunc proposes a command and returns; done gets the result. It runs on
// the apply worker, or where leadership is lost, and must not block. Commands
// proposed by one goroutine keep their order.
func (s *Stream) ProposeFunc(c machine.Command, done func(machine.Reply, error)) error {
	seq := s.requests.add(s.node.cfg.Clock.Now(), done)
	err := s.group.Propose(machine.Append(nil, machine.Origin{Proposer: s.replica, Seq: seq}, c))
	if err != nil {
		s.requests.take(seq)
	}
	return err
}

// maxAppointments bounds one runners command.
const maxAppointments = 4096

// appoint proposes runners for consumers.
func (s *Stream) appoint(list machine.Runners) error {
	for part := range slices.Chunk(list, maxAppointments) {
		if err := s.group.Propose(machine.Append(nil, machine.Origin{Proposer: s.replica}, part)); err != nil {
			return err
		}
	}
	return nil
}

// Members are the group's voters and learners, as this replica knows them.
func (s *Stream) Members() (voters, learners []base.Replica) {
	m := s.members.Load()
	return m.voters, m.learners
}

// Replica is this node's member of the group.
func (s *Stream) Replica() base.ReplicaID { return s.replica }

// Applied is the index up to which the store stands.
func (s *Stream) Applied() uint64 { return s.store.Applied() }

// Snapshot returns an image of the store as of the last Apply.
func (s *Stream) Snapshot() (rafthost.Snapshot, error) {
	image, err := s.store.Snapshot()
	if err != nil {
		return nil, err
	}
	return readSnapshot{image, s}, nil
}

// Restore replaces the store by an image and loads the machine anew.
func (s *Stream) Restore(index uint64, r io.Reader) error {
	s.stopRunners(runner.CloseLeadership)
	s.requests.failAll(errLostLeadership) // what they wait for may be behind the image
	if err := s.store.Restore(r); err != nil {
		return err
	}
	base.Assert(s.store.Applied() == index, "image of %s stands at %d, not %d", s.name, s.store.Applied(), index)
	if err := s.loadMachine(); err != nil {
		return err
	}
	s.countRunners()
	s.recount()
	s.keepAll()
	s.comeback.need(s)
	return nil
}

// LeaderChange notes who leads and sets the reconciler to work.
func (s *Stream) LeaderChange(l rafthost.LeaderInfo) {
	<-s.opened
	before := s.lead.Swap(&l)
	if before.Leader != l.Leader || before.Term != l.Term {
		s.contact.lose(s)
		s.leadSince.Store(s.node.cfg.Clock.Now().UnixNano())
	}
	if before.Self && (!l.Self || before.Term != l.Term) {
		// What was under way in another term may be lost, even if this replica was
		// elected again at once.
		s.ingest.stop()
		s.copying.stop(false)
		s.requests.fail(s.node.cfg.Clock.Now(), errLostLeadership)
		s.deltas.clear()
	}
	s.recount()
	if l.Self && l.Ready && !(before.Self && before.Ready) {
		s.node.leaderElected(s)
	}
	s.outbox.resend()
	s.wakeAll()
	s.comeback.seek(s)
	s.node.reconcile(s)
}

// MembersChange notes the group's members.
func (s *Stream) MembersChange(voters, learners []base.Replica) {
	<-s.opened
	s.members.Store(&members{voters: voters, learners: learners})
	isSelf := func(r base.Replica) bool { return r.ID == s.replica }
	if !slices.ContainsFunc(voters, isSelf) && !slices.ContainsFunc(learners, isSelf) {
		s.stopRunners(runner.CloseLeadership)
	}
	s.node.reconcile(s)
}

// Stopped says that this replica failed. It never serves what it has any more;
// the meta group is asked for a fresh one.
func (s *Stream) Stopped(err error) {
	s.failure.Store(&err)
	s.node.cfg.Logger.Errorf("JetStream replica of %s > %s stopped: %v", s.account, s.name, err)
	s.stopRunners(runner.CloseSilent)
	s.over()
	s.node.replicaFailed(meta.LostReplica{Group: s.id, Replica: s.replica}, err)
	if vfs.IsNoSpaceError(err) {
		s.node.cfg.Events.OutOfSpace(s)
	}
	s.node.assignmentsChanged() // which asks for another one, until there is one
}

// Failure is why the replica stopped; nil while it works.
func (s *Stream) Failure() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// hasFailed tells that the replica has nothing to say any more. One that stopped for a
// survey may come back.
func (s *Stream) hasFailed() bool {
	err := s.Failure()
	return err != nil && !errors.Is(err, errSurveyed)
}

// close ends the replica's work on this node. The store is left as it is.
func (s *Stream) close(reason runner.CloseReason) {
	s.runMu.Lock()
	s.closed = true
	s.runMu.Unlock()
	s.ingest.stop()
	s.copying.stop(reason == runner.CloseDeleted && !s.assigned())
	s.stopRunners(reason)
	s.duty.stop()
	s.leave()
}

// assigned tells whether the meta group, as far as this node knows it, has the stream.
func (s *Stream) assigned() (ok bool) {
	s.node.View(func(m *meta.State) { ok = m.ByGroup(s.id) != nil })
	return ok
}

// over leaves nothing behind of a group that calls no more: a replica that was
// leading leads no longer, and nobody waits for it.
func (s *Stream) over() {
	s.lead.Store(&rafthost.LeaderInfo{Term: s.lead.Load().Term})
	s.ingest.stop()
	s.copying.stop(false)
	s.duty.stop()
	s.deltas.clear()
	s.requests.failAll(errLostLeadership)
	s.recount()
}
