package jetstream

import (
	"errors"
	"slices"
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/msgstore"
	"weir/internal/rafthost"
)

// flushSoon has a worker propose and send what a stream gathered. Who calls it keeps
// a mark until then, as a stream's ingest and outbox do. It never waits: what a
// worker answers may be a message for another stream.
func (n *Node) flushSoon(s *Stream) { n.flushes.Push(s) }

func (n *Node) flushLoop() {
	var turn []*Stream
	for ok := true; ok; turn, ok = n.flushes.Pop(turn[:0], 1) {
		for _, s := range turn {
			s.ingest.flush()
			s.outbox.flush()
		}
	}
}

// watchList is what the node remembers across streams.
type watchList struct {
	mu sync.Mutex
	// outboxes have deltas under way.
	outboxes map[*Stream]struct{}
	// origins wait for the first leader of a group, or for its update.
	origins map[base.GroupID][]pendingOrigin
	// earlier are the memory replicas that an earlier life of this process may
	// have run.
	earlier map[meta.LostReplica]struct{}
}

// pendingOrigin is who waits for the answer to a create or update.
type pendingOrigin struct {
	created bool
	origin  meta.Origin
	// revision is the assignment's with which the request is fulfilled.
	revision uint64
	since    time.Time
}

// originTime is how long a request waits for the leader that answers it; by then
// its client has given up.
const originTime = 10 * time.Second

func (w *watchList) addOrigin(id base.GroupID, o pendingOrigin) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.origins == nil {
		w.origins = make(map[base.GroupID][]pendingOrigin)
	}
	w.origins[id] = append(w.origins[id], o)
}

// takeOrigins removes and returns the requests of a group that an assignment up to
// revision fulfils and that still wait at now.
func (w *watchList) takeOrigins(id base.GroupID, revision uint64, now time.Time) (due []pendingOrigin) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var later []pendingOrigin
	for _, o := range w.origins[id] {
		switch {
		case o.revision > revision:
			later = append(later, o)
		case now.Sub(o.since) <= originTime:
			due = append(due, o)
		}
	}
	if len(later) > 0 {
		w.origins[id] = later
	} else {
		delete(w.origins, id)
	}
	return due
}

// dropOrigins forgets requests whose time is over.
func (w *watchList) dropOrigins(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, list := range w.origins {
		if list = slices.DeleteFunc(list, func(o pendingOrigin) bool { return now.Sub(o.since) > originTime }); len(list) == 0 {
			delete(w.origins, id)
		} else {
			w.origins[id] = list
		}
	}
}

func (w *watchList) setEarlier(id meta.LostReplica) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.earlier == nil {
		w.earlier = make(map[meta.LostReplica]struct{})
	}
	w.earlier[id] = struct{}{}
}

func (w *watchList) isEarlier(id meta.LostReplica) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.earlier[id]
	return ok
}

// watchOutbox has a stream's outbox looked after until it is empty.
func (n *Node) watchOutbox(s *Stream) {
	n.watching.mu.Lock()
	defer n.watching.mu.Unlock()
	if n.watching.outboxes == nil {
		n.watching.outboxes = make(map[*Stream]struct{})
	}
	n.watching.outboxes[s] = struct{}{}
}

// outboxLoop sends again what got no verdict in time.
func (n *Node) outboxLoop() {
	tick := n.cfg.Clock.NewTicker(resendAfter / 2)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case now := <-tick.C():
			n.tendOutboxes(now)
			n.watching.dropOrigins(now)
			n.pulls.sweep(now)
			n.batches.dropIdle(now)
		}
	}
}

func (n *Node) tendOutboxes(now time.Time) {
	n.watching.mu.Lock()
	var list []*Stream
	for s := range n.watching.outboxes {
		switch {
		case !s.outbox.waits():
			delete(n.watching.outboxes, s)
		case s.lead.Load().Leader != 0: // a leader that is elected gets all of it anyway
			list = append(list, s)
		}
	}
	n.watching.mu.Unlock()
	for _, s := range list {
		s.outbox.resendLate(now)
		s.deltas.propose()
	}
}

// checkpointLoop bounds the log that is replayed after a crash.
func (n *Node) checkpointLoop() {
	tick := n.cfg.Clock.NewTicker(checkPressureEvery)
	defer tick.Stop()
	trimmed := n.cfg.Clock.Now()
	for {
		select {
		case <-n.ctx.Done():
			return
		case now := <-tick.C():
			if now.Sub(trimmed) >= trimEvery {
				trimmed = now
				n.fileLog.Trim()
				n.memLog.Trim()
				n.fileDB.Tidy()
				n.memDB.Tidy()
			}
			if n.checkpointDue(now) {
				n.checkpoint()
			}
		}
	}
}

func (n *Node) checkpointDue(now time.Time) bool {
	since := now.Sub(n.lastSaved)
	n.mu.RLock()
	failed := n.saveFailure != nil
	n.mu.RUnlock()
	return since >= n.cfg.CheckpointInterval || failed && since >= saveAgain || n.unsaved.Load() >= maxUnsaved ||
		len(n.fileLog.Pressure()) > 0 || len(n.memLog.Pressure()) > 0
}

// saveAgain is how long after a checkpoint that failed another one is tried.
const saveAgain = 5 * time.Second

// trimEvery is for how long the log fills no file until it gives back those that wait
// to be used again, and for how long nothing comes to a stream or goes until its store
// gives back more.
const trimEvery = 10 * time.Second

// maxUnsaved is how many messages and deltas may be applied between two checkpoints,
// about: to apply them again after a crash takes seconds.
const maxUnsaved = 400_000

// checkPressureEvery is how often the log is asked whether it needs room.
const checkPressureEvery = time.Second

// checkpoint makes what was applied durable in the stores and lets go of the log
// behind it. The node is unhealthy from one that failed to the next that does not.
func (n *Node) checkpoint() {
	err := n.save()
	n.mu.Lock()
	before := n.saveFailure
	n.saveFailure = err
	n.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		n.cfg.Logger.Errorf("JetStream checkpoint: %v", err)
	case err == nil && before != nil:
		n.cfg.Logger.Noticef("JetStream checkpoints succeed again")
	}
}

func (n *Node) save() error {
	n.checkpointMu.Lock()
	defer n.checkpointMu.Unlock()
	n.lastSaved = n.cfg.Clock.Now()
	n.unsaved.Store(0)
	pressed := make(map[base.GroupID]bool)
	for _, id := range append(n.fileLog.Pressure(), n.memLog.Pressure()...) {
		pressed[id] = true
	}
	g := n.meta.Load()
	n.forgetKept(g)
	if g != nil {
		if err := g.save(); err != nil {
			return err
		}
	}
	var errs []error
	for _, db := range []*msgstore.DB{n.fileDB, n.memDB} {
		durable, err := db.Checkpoint()
		errs = append(errs, err)
		for id, index := range durable {
			n.compact(g, id, index, pressed[id.Group])
		}
	}
	return errors.Join(errs...)
}

// compact lets go of a group's log up to an index. A group that holds back the
// log's oldest files keeps nothing for replicas that lag: they get an image.
func (n *Node) compact(g *metaGroup, id msgstore.StoreID, index uint64, pressed bool) {
	var group *rafthost.Group
	if s := n.streamByGroup(id.Group); s != nil && s.replica == id.Replica {
		group = s.group
	} else if id.Group == base.MetaGroup && g != nil && g.replica == id.Replica {
		group = g.group
	}
	switch {
	case group == nil || index == 0:
	case pressed:
		group.CompactAll(index)
	default:
		group.Compact(index)
	}
}
