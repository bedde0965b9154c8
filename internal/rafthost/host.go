package rafthost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/raftlog"
)

// Options of a Host. Zero values take the defaults given.
type Options struct {
	Node base.NodeID
	// FileLog holds the logs of durable groups, MemLog those of memory groups.
	// Either may be nil if no such group is opened. The owner closes them after Stop.
	FileLog, MemLog *raftlog.Log
	Transport       Transport
	Clock           base.Clock  // base.SystemClock
	Logger          base.Logger // none
	// Rand orders elections after a node's death. Called from several goroutines
	// under a lock of the host. Default: seeded by node and clock.
	Rand *rand.Rand

	TickInterval   time.Duration // 100 ms
	ElectionTicks  int           // 10
	HeartbeatTicks int           // 1
	// QuiesceTicks without anything to do put a group to sleep: 10. Negative: never.
	QuiesceTicks int
	// Workers run Raft, ApplyWorkers run machines: GOMAXPROCS each.
	Workers, ApplyWorkers int

	MaxMessageBytes     int // of entries in one message to a follower: 1 MiB
	MaxInflightBytes    int // sent to one follower and not yet answered: 16 MiB
	MaxUncommittedBytes int // proposed to one group and not yet applied: 32 MiB
	MaxApplyingBytes    int // handed to one machine at once: 4 MiB
	MaxInboxBytes       int // received for one group and not yet processed: 32 MiB
	// TailEntries stay in the log behind Compact for replicas that lag: 1024.
	TailEntries uint64
	// MaxSnapshots are sent, and as many received, at a time: 4.
	MaxSnapshots int
	// SnapshotTimeout without progress fails a transfer: 10 s.
	SnapshotTimeout time.Duration
}

func (o *Options) setDefaults() error {
	if o.Node == 0 || o.Transport == nil {
		return errors.New("raft host: Node and Transport are required")
	}
	if o.Clock == nil {
		o.Clock = base.SystemClock
	}
	if o.Logger == nil {
		o.Logger = base.NopLogger{}
	}
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(uint64(o.Node), uint64(o.Clock.Now().UnixNano())))
	}
	o.TickInterval = cmp.Or(o.TickInterval, 100*time.Millisecond)
	o.ElectionTicks = cmp.Or(o.ElectionTicks, 10)
	o.HeartbeatTicks = cmp.Or(o.HeartbeatTicks, 1)
	o.QuiesceTicks = cmp.Or(o.QuiesceTicks, 10)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	o.ApplyWorkers = cmp.Or(o.ApplyWorkers, runtime.GOMAXPROCS(0))
	o.MaxMessageBytes = cmp.Or(o.MaxMessageBytes, 1<<20)
	o.MaxInflightBytes = cmp.Or(o.MaxInflightBytes, 16<<20)
	o.MaxUncommittedBytes = cmp.Or(o.MaxUncommittedBytes, 32<<20)
	o.MaxApplyingBytes = cmp.Or(o.MaxApplyingBytes, 4<<20)
	o.MaxInboxBytes = cmp.Or(o.MaxInboxBytes, 32<<20)
	o.TailEntries = cmp.Or(o.TailEntries, 1024)
	o.MaxSnapshots = cmp.Or(o.MaxSnapshots, 4)
	o.SnapshotTimeout = cmp.Or(o.SnapshotTimeout, 10*time.Second)
	if o.ElectionTicks <= o.HeartbeatTicks || o.MaxInflightBytes < o.MaxMessageBytes {
		return errors.New("raft host: ElectionTicks must exceed HeartbeatTicks and MaxInflightBytes be at least MaxMessageBytes")
	}
	return nil
}

// Host runs the Raft groups of one node. All methods are safe for concurrent use.
type Host struct {
	o Options

	ready   *base.Queue[*Group] // groups with an inbox, for the Raft workers
	applies *base.Queue[*Group] // groups with something to apply, for the apply workers
	peers   outboxes
	streams streams

	mu     sync.RWMutex
	groups map[base.GroupID]*Group
	// opening are being opened.
	opening map[base.GroupID]bool
	// down holds the nodes that PeerDown named and PeerUp has not named since.
	down    map[base.NodeID]bool
	stopped bool

	randMu sync.Mutex

	awakeMu sync.Mutex
	// awake are the groups that get ticks; the others cost nothing.
	awake map[*Group]struct{}

	stop chan struct{}
	wg   sync.WaitGroup
}

// New returns a Host that does nothing before Start.
func New(o Options) (*Host, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	h := &Host{
		o:       o,
		ready:   base.NewQueue[*Group](),
		applies: base.NewQueue[*Group](),
		groups:  map[base.GroupID]*Group{},
		opening: map[base.GroupID]bool{},
		down:    map[base.NodeID]bool{},
		awake:   map[*Group]struct{}{},
		stop:    make(chan struct{}),
	}
	h.peers.init(o.Transport)
	h.streams.init()
	return h, nil
}

// Start starts the host's goroutines. Groups may be opened before and after.
func (h *Host) Start() {
	for range h.o.Workers {
		h.wg.Go(h.runWorker)
	}
	for range h.o.ApplyWorkers {
		h.wg.Go(h.applyWorker)
	}
	h.wg.Go(h.tickLoop)
}

// Stop closes all groups and waits for the host's goroutines. It hands over no
// leadership (see TransferAll).
func (h *Host) Stop() {
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return
	}
	h.stopped = true
	groups := h.groups
	h.groups = map[base.GroupID]*Group{}
	h.mu.Unlock()
	for _, g := range groups {
		g.shut(ErrStopped)
	}
	close(h.stop)
	h.ready.Close()
	h.applies.Close()
	h.wg.Wait()
}

func (h *Host) group(id base.GroupID) *Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.groups[id]
}

// Group returns an open group, or nil.
func (h *Host) Group(id base.GroupID) *Group { return h.group(id) }

func (h *Host) allGroups() []*Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := make([]*Group, 0, len(h.groups))
	for _, g := range h.groups {
		all = append(all, g)
	}
	return all
}

// Close closes a group, keeping its log. When it returns, nothing calls the
// machine any more. Peers that followed this replica are told to elect another.
func (h *Host) Close(id base.GroupID) error {
	_, err := h.take(id)
	return err
}

// Remove closes a group and deletes its log, durably: this replica will never be
// again. (The log of a group that is not open is deleted by raftlog.)
func (h *Host) Remove(id base.GroupID) error {
	g, err := h.take(id)
	if err != nil {
		return err
	}
	if err := g.log.Remove(); err != nil {
		return fmt.Errorf("remove the log of %v: %w", id, err)
	}
	return nil
}

func (h *Host) take(id base.GroupID) (*Group, error) {
	h.mu.Lock()
	g := h.groups[id]
	delete(h.groups, id)
	h.mu.Unlock()
	if g == nil {
		return nil, fmt.Errorf("close %v: %w", id, ErrStopped)
	}
	g.resign()
	g.shut(ErrStopped)
	return g, nil
}

func (h *Host) nodeDown(node base.NodeID) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.down[node]
}

// HandleFrame takes a frame from a peer. The frame is borrowed. It never blocks.
func (h *Host) HandleFrame(from base.NodeID, frame []byte) {
	err := decodeFrame(frame, func(kind recordKind, id base.GroupID, to base.ReplicaID, d *decoder) {
		switch kind {
		case recordMessage:
			h.handleMessage(from, id, to, d)
		case recordQuiesce:
			h.handleQuiesce(id, to, d)
		case recordGone:
			h.handleGone(id, to, d)
		case recordSnapBegin:
			h.handleSnapBegin(from, id, to, d)
		case recordSnapChunk:
			h.handleSnapChunk(from, d)
		case recordSnapAck:
			h.handleSnapAck(from, d)
		default:
			d.failIf(true, "unknown kind of record")
		}
	})
	if err != nil {
		h.o.Logger.Warnf("raft frame from node %v dropped: %v", from, err)
	}
}

func (h *Host) handleMessage(from base.NodeID, id base.GroupID, to base.ReplicaID, d *decoder) {
	g := h.group(id)
	if g == nil || g.replica != to {
		return
	}
	size := len(d.b)
	m := decodeMessage(d, uint64(to))
	if d.err == nil && fromPeer(m) {
		g.deliver(m, size, from)
	}
}

func (h *Host) tickLoop() {
	t := h.o.Clock.NewTicker(h.o.TickInterval)
	defer t.Stop()
	var awake []*Group
	for {
		select {
		case <-h.stop:
			return
		case <-t.C():
		}
		awake = awake[:0]
		h.awakeMu.Lock()
		for g := range h.awake {
			awake = append(awake, g)
		}
		h.awakeMu.Unlock()
		for i, g := range awake {
			g.tick()
			awake[i] = nil
		}
	}
}

func (h *Host) setAwake(g *Group, on bool) {
	h.awakeMu.Lock()
	if on {
		h.awake[g] = struct{}{}
	} else {
		delete(h.awake, g)
	}
	h.awakeMu.Unlock()
}

// random returns a duration in [0, d).
func (h *Host) random(d time.Duration) time.Duration {
	h.randMu.Lock()
	defer h.randMu.Unlock()
	return time.Duration(h.o.Rand.Int64N(int64(d)))
}

// TransferAll hands over every leadership to the most advanced follower that is
// up and whose node is not to be avoided (nil avoids none), and waits until none is
// left here that could go, or until ctx is done.
func (h *Host) TransferAll(ctx context.Context, avoid func(base.NodeID) bool) error {
	for {
		left := 0
		for _, g := range h.allGroups() {
			if g.handOver(avoid) {
				left++
			}
		}
		if left == 0 {
			return nil
		}
		wait := make(chan struct{})
		t := h.o.Clock.AfterFunc(h.o.TickInterval, func() { close(wait) })
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("hand over leadership of %d groups: %w", left, ctx.Err())
		case <-wait:
		}
	}
}
