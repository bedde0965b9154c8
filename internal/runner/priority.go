package runner

import (
	"slices"
	"time"

	"weir/internal/api"
	"weir/internal/consumer"
)

// pinState is the pinned client of a consumer with the policy pinned_client: the
// only one that gets messages. Who that is, is replicated, so that it stays so under
// the next runner; when it was last seen is not.
type pinState struct {
	id    string // empty: nobody is pinned
	since time.Time
	seen  time.Time // last sign of life of the pinned client
	// ticket of the delta that says so. Nothing is delivered before its commit: a
	// client that was told that it is pinned is pinned for the next runner, too.
	ticket uint64
}

// defaultPinTTL is how long a pinned client may be silent if the configuration
// does not say.
const defaultPinTTL = 2 * time.Minute

func (r *Runner) group() string {
	if len(r.cfg.PriorityGroups) == 0 {
		return ""
	}
	return r.cfg.PriorityGroups[0]
}

func (r *Runner) pinning() bool { return r.cfg.PriorityPolicy == api.PriorityPinned }

// refusal is why a pull is turned down as a bad request, in the words of the
// established server.
type refusal string

func (r refusal) Error() string { return string(r) }

// The reasons to turn a pull down as a bad request.
const (
	errGroupMissing refusal = "Priority Group missing"
	errGroupUnknown refusal = "Invalid Priority Group"
	errNotOverflow  refusal = "Not a Overflow Priority consumer"
	errNotPinned    refusal = "Not a Pinned Client Priority consumer"
	errPriority     refusal = "Priority must be between 0 and 9"
)

// checkPriority checks a request's fields for priority groups.
func (r *Runner) checkPriority(n *api.ConsumerNextRequest) error {
	groups := len(r.cfg.PriorityGroups) > 0
	switch {
	case groups && n.Group == "":
		return errGroupMissing
	case groups && !slices.Contains(r.cfg.PriorityGroups, n.Group):
		return errGroupUnknown
	case (n.MinPending > 0 || n.MinAckPending > 0) && r.cfg.PriorityPolicy != api.PriorityOverflow:
		return errNotOverflow
	case n.ID != "" && !r.pinning():
		return errNotPinned
	case n.Priority < 0 || n.Priority > 9:
		return errPriority
	}
	if r.cfg.PriorityPolicy != api.PriorityPrioritized {
		n.Priority = 0
	}
	return nil
}

// wrongPin tells that a request names another pin than the one in force. One that
// names the right one is a sign of life.
func (r *Runner) wrongPin(n *api.ConsumerNextRequest) bool {
	if n.ID == "" || r.pin.id == "" {
		return false
	}
	if n.ID != r.pin.id {
		return true
	}
	r.pin.seen = r.now
	return false
}

// lostPin tells that a waiting request names a pin that is not in force any more.
func (r *Runner) lostPin(w *request) bool {
	return r.pinning() && w.id != "" && w.id != r.pin.id
}

// eligible tells whether a waiting request may get the next message.
func (r *Runner) eligible(w *request, now time.Time) bool {
	switch r.cfg.PriorityPolicy {
	case api.PriorityOverflow:
		return r.overflows(w)
	case api.PriorityPinned:
		return r.holdsPin(w, now)
	}
	return true
}

func (r *Runner) overflows(w *request) bool {
	if w.minPending <= 0 && w.minAckPending <= 0 {
		return true
	}
	return w.minPending > 0 && r.pendingCount() >= uint64(w.minPending) ||
		w.minAckPending > 0 && r.pending.len() >= int(w.minAckPending)
}

// holdsPin tells whether w is the pinned client's. The first request to come while
// nobody is pinned, and something is there to deliver, gets the pin.
func (r *Runner) holdsPin(w *request, now time.Time) bool {
	if r.pin.id == "" {
		if len(r.redeliver) == 0 && (r.pendingCount() == 0 || r.ackRoom() == 0) {
			return false
		}
		r.setPin(pinState{id: r.env.NewPin(), since: now, seen: now})
		w.id = r.pin.id
		e := Event{Kind: EventPinned, Group: r.group(), PinID: r.pin.id}
		r.afterCommit(func(r *Runner) { r.env.Advise(r.id, e) })
	}
	w.pinned = w.id == r.pin.id
	return w.pinned && !r.pinUnderWay()
}

// pinUnderWay tells that who is pinned is not committed yet.
func (r *Runner) pinUnderWay() bool { return r.pin.ticket > r.committed }

// unpin takes the pin away. The waiting requests of its holder end when they
// would be served.
func (r *Runner) unpin(reason string) {
	if r.pin.id != "" {
		r.setPin(pinState{})
	}
	r.env.Advise(r.id, Event{Kind: EventUnpinned, Group: r.group(), Reason: reason})
}

// setPin changes who is pinned, in the replicated state, too.
func (r *Runner) setPin(p pinState) {
	r.pin = p
	r.lazyAt = r.now // does not wait as a position may
	since := int64(0)
	if p.id != "" {
		since = p.since.UnixNano()
	}
	r.record(func(o *consumer.Ops) { o.Pin(since, r.group(), p.id) })
	if r.pin.ticket = r.sentTicket; !r.rec.empty() {
		r.pin.ticket++
	}
}

// inheritPin goes on with the pin of the runner before on this node, who may not have
// had it committed.
func (r *Runner) inheritPin(p pinState) {
	switch {
	case !r.pinning():
	case p.id == r.pin.id:
		r.pin.seen = p.seen
	default:
		r.setPin(p)
	}
}

func (p *pinState) expiresAt(r *Runner) time.Time {
	if p.id == "" {
		return time.Time{}
	}
	ttl := r.cfg.PinnedTTL
	if ttl <= 0 {
		ttl = defaultPinTTL
	}
	return p.seen.Add(ttl)
}

// checkPin takes the pin from a client that was silent for too long. It may be
// talking to another runner while this one is out of touch.
func (r *Runner) checkPin(now time.Time) {
	switch at := r.pin.expiresAt(r); {
	case at.IsZero() || now.Before(at):
	case r.env.Live():
		r.unpin("timeout")
	default:
		r.pin.seen = now
	}
}
