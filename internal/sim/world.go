package sim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"weir/internal/api"
)

// Options say what a run is to be.
type Options struct {
	Seed   uint64
	Nodes  int
	Steps  int  // of the schedule
	Faults bool // otherwise nothing goes wrong
	Debug  bool // logs of the nodes in full

	// Wait returns once nothing happens any more at this instant of virtual time.
	Wait func()
	Logf func(format string, args ...any)
}

// world is a cluster, what it lives on, and what its clients know.
type world struct {
	options     Options
	rand        *rand.Rand // of the schedule: drawn from by the driver only
	began       time.Time
	network     *network
	nodes       []*node
	checkpoints time.Duration
	skew        time.Duration  // bound of what clocks are wrong by
	background  sync.WaitGroup // ends of lives, and what clients send
	replicas    int
	logTail     uint64
	wiped       bool  // a node lost its disk
	damaged     *node // whose disk has a bit flipped
	retention   api.Retention
	storage     api.Storage
	scales      bool // its number of replicas changes

	history   history
	registers registers
	ears      map[string]ear
	sides     map[string]side
	sideNames []string // in the order in which they were drawn
	streams   []string // the names of all
	holdings  []*holding
	checks    checker

	failMu sync.Mutex
	failed []string
}

func newWorld(o Options) *world {
	w := newCluster(o)
	w.skew = 500 * time.Millisecond
	w.checkpoints = time.Duration(1+w.rand.IntN(8)) * time.Second
	w.replicas = min(o.Nodes, 3)
	w.logTail = uint64(1 + w.rand.IntN(200))
	w.retention = []api.Retention{api.LimitsRetention, api.LimitsRetention, api.InterestRetention, api.WorkQueueRetention}[w.rand.IntN(4)]
	w.scales = o.Faults && w.chance(30)
	w.wiped = w.scales // a replica alone must not be wiped
	w.storage = api.FileStorage
	if !w.scales && w.chance(12) {
		w.storage, w.wiped = api.MemoryStorage, true
	}
	w.streams = []string{streamName}
	w.history.init(w)
	w.checks.init(w)
	return w
}

// newCluster is a world with nodes on empty disks, of which nobody wants anything.
func newCluster(o Options) *world {
	w := &world{options: o, rand: rand.New(rand.NewPCG(o.Seed, 0x7765697273696d)), began: now(), ears: map[string]ear{}}
	w.network = newNetwork(w.newRand())
	w.history.world = w
	for i := range o.Nodes {
		w.nodes = append(w.nodes, &node{world: w, index: i, name: fmt.Sprintf("n%d", i+1), disk: newDisk(w.newRand())})
	}
	return w
}

// newRand is a random source for something that the driver's draws must not
// depend on.
func (w *world) newRand() *rand.Rand {
	return rand.New(rand.NewPCG(w.rand.Uint64(), w.rand.Uint64()))
}

// between draws a duration from low to high.
func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rand.Int64N(int64(high-low)+1))
}

func (w *world) chance(percent int) bool { return w.rand.IntN(100) < percent }

func (w *world) logf(format string, args ...any) {
	w.options.Logf("%9.4f "+format, append([]any{now().Sub(w.began).Seconds()}, args...)...)
}

// fail notes that a promise was broken; the run goes on to its end.
func (w *world) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.logf("BROKEN: %s", text)
	w.failMu.Lock()
	defer w.failMu.Unlock()
	w.failed = append(w.failed, text)
}

func (w *world) failures() []string {
	w.failMu.Lock()
	defer w.failMu.Unlock()
	return w.failed
}

// startAll starts the nodes that are down; false: one can not start.
func (w *world) startAll() bool {
	for _, n := range w.nodes {
		if !n.up() && !w.startNode(n) {
			return false
		}
	}
	return true
}

func (w *world) startNode(n *node) bool {
	err := n.start(w.between(-w.skew, w.skew))
	if err == nil {
		err = w.history.attach(n.life)
	}
	if err != nil {
		w.fail("%v", err)
	}
	return err == nil
}

// stopAll ends the run.
func (w *world) stopAll() {
	for _, n := range w.nodes {
		if n.up() {
			if err := n.stop(); err != nil {
				w.fail("stop %s: %v", n.name, err)
			}
		}
	}
	w.background.Wait()
}

// upNodes are the nodes whose clients can talk to them.
func (w *world) upNodes() []*node {
	var list []*node
	for _, n := range w.nodes {
		if n.up() && !n.life.host.clock.paused() {
			list = append(list, n)
		}
	}
	return list
}

// someNode draws one of the nodes that clients can talk to; nil when there is none.
func (w *world) someNode() *node {
	list := w.upNodes()
	if len(list) == 0 {
		return nil
	}
	return list[w.rand.IntN(len(list))]
}

// eventually lets time pass until a condition holds; false: it did not in time.
func (w *world) eventually(limit time.Duration, holds func() bool) bool {
	for end := now().Add(limit); !holds(); {
		if now().After(end) {
			return false
		}
		sleep(20 * time.Millisecond)
	}
	return true
}
