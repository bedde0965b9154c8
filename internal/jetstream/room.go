package jetstream

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/msg"
)

// What streams may hold is bounded by the account and by the server. The leader
// judges a message by these bounds before it proposes it: what is used elsewhere is
// no part of the stream's replicated state, so it can not be judged at apply.
//
// What this node leads, the leader knows to the byte, with what it has taken and
// not stored yet. What others lead it asks them for while somebody publishes, so
// that several leaders together may go beyond an account's bound by what they take
// in that time.
const (
	askUseEvery = 500 * time.Millisecond
	// askUseAgain is how often they are asked while messages are refused.
	askUseAgain = 50 * time.Millisecond
)

// bytesHeld are bytes by kind of storage.
type bytesHeld struct{ memory, store atomic.Int64 }

func (b *bytesHeld) of(memory bool) *atomic.Int64 {
	if memory {
		return &b.memory
	}
	return &b.store
}

// accountUse is what the streams of an account hold, all replicas counted.
type accountUse struct {
	led       bytesHeld // by streams that this node leads, with what waits to be stored
	elsewhere bytesHeld // by others, as last heard

	asking atomic.Bool
	asked  atomic.Int64 // when they were last, unix ns
}

func (u *accountUse) sum(memory bool) int64 {
	return u.led.of(memory).Load() + u.elsewhere.of(memory).Load()
}

// room is what is held on this node, and by account.
type room struct {
	here bytesHeld // by the replicas of this node

	mu       sync.Mutex
	accounts map[string]*accountUse
}

func (r *room) account(name string) *accountUse {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.accounts[name]
	if u == nil {
		u = new(accountUse)
		if r.accounts == nil {
			r.accounts = make(map[string]*accountUse)
		}
		r.accounts[name] = u
	}
	return u
}

// tally is a stream's part in these sums.
type tally struct {
	mu        sync.Mutex
	waiting   int64 // taken by the ingest and not stored yet
	led, here int64 // as counted
	closed    bool
}

// recount brings the sums in line with what the stream holds.
func (s *Stream) recount() {
	t := &s.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	var led, here int64
	if !t.closed {
		here = int64(s.store.Reader().State().Bytes)
		if s.lead.Load().Self {
			led = (here + t.waiting) * s.copies()
		}
	}
	s.node.room.here.of(s.memory).Add(here - t.here)
	s.use.led.of(s.memory).Add(led - t.led)
	t.led, t.here = led, here
}

// copies are the replicas that the stream should have.
func (s *Stream) copies() int64 { return int64(max(s.Assignment().Config.Replicas, 1)) }

// await counts bytes that were taken, or, negative, that wait no longer. What was
// stored is counted first.
func (s *Stream) await(bytes int) {
	t := &s.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting += int64(bytes)
	if t.closed || !s.lead.Load().Self {
		return
	}
	change := int64(bytes) * s.copies()
	s.use.led.of(s.memory).Add(change)
	t.led += change
}

// leave takes the stream out of the sums.
func (s *Stream) leave() {
	s.tally.mu.Lock()
	s.tally.closed = true
	s.tally.mu.Unlock()
	s.recount()
}

// checkRoom tells why a message can not be stored, if the bounds say so. As with
// nats-server a server takes one message more than it has room for, an account none.
func (s *Stream) checkRoom(subject, header, data int) *apierr.Error {
	n := s.node
	limit := n.cfg.MaxStore
	if s.memory {
		limit = n.cfg.MaxMemory
	}
	if n.room.here.of(s.memory).Load() > limit {
		return apierr.JSInsufficientResourcesErr
	}
	limits := s.acc.JetStream()
	if limits == nil {
		return nil
	}
	limit = limits.MaxStore
	if s.memory {
		limit = limits.MaxMemory
	}
	if limit < 0 {
		return nil
	}
	size := int64(msg.Size(s.memory, subject, header, data)) * s.copies()
	if s.use.sum(s.memory)+size > limit {
		n.askUse(s.account, s.use, askUseAgain)
		return apierr.JSAccountResourcesExceededErr
	}
	n.askUse(s.account, s.use, askUseEvery)
	return nil
}

// askUse asks the other nodes what they lead of an account, unless it did so a
// short time ago. It returns at once.
func (n *Node) askUse(account string, u *accountUse, every time.Duration) {
	now := n.cfg.Clock.Now().UnixNano()
	if now-u.asked.Load() < int64(every) || u.asking.Swap(true) {
		return
	}
	u.asked.Store(now)
	n.spawn(func() {
		defer u.asking.Store(false)
		sum := n.useElsewhere(n.ctx, account)
		u.elsewhere.memory.Store(int64(sum.Memory))
		u.elsewhere.store.Store(int64(sum.Storage))
	})
}

// useElsewhere sums up what the other nodes lead of an account, over those that
// answer in time.
func (n *Node) useElsewhere(ctx context.Context, account string) (sum Usage) {
	var mu sync.Mutex
	n.askAll(ctx, methodUsage, []byte(account), func(_ base.NodeID, answer []byte) {
		var u Usage
		if json.Unmarshal(answer, &u) == nil {
			mu.Lock()
			sum.add(u)
			mu.Unlock()
		}
	})
	return sum
}
