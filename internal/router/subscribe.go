package router

import (
	"fmt"
	"maps"
	"slices"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/subject"
)

// Subscribe adds an internal subscription. The queue may be empty.
func (r *Router) Subscribe(acc *account.Account, subj, queue string, h Handler, opts SubOptions) (*Sub, error) {
	base.Assert(h != nil, "internal subscription to %q without a handler", subj)
	s := &Sub{Subject: subj, Queue: queue, handler: h, local: opts.Local, traces: opts.Traces}
	return s, r.insert(acc, s)
}

// ClientSub is what a client asks for with SUB.
type ClientSub struct {
	Subject, Queue, SID string
	Filtered            bool // see Sub
}

// SubscribeClient adds a client's subscription. The caller has checked the
// client's permissions.
func (r *Router) SubscribeClient(acc *account.Account, c Client, cs ClientSub) (*Sub, error) {
	s := &Sub{
		Subject: cs.Subject, Queue: cs.Queue, SID: cs.SID, Filtered: cs.Filtered,
		sid: []byte(cs.SID), client: c,
	}
	return s, r.insert(acc, s)
}

func (r *Router) insert(acc *account.Account, s *Sub) error {
	if !subject.Valid(s.Subject) {
		return fmt.Errorf("subscribe in account %s: invalid subject %q", acc.Name(), s.Subject)
	}
	s.acc = acc
	s.space = r.space(acc)
	if s.local {
		s.space.local.Insert(s.Subject, s.Queue, s)
		return nil
	}
	r.interestMu.Lock()
	defer r.interestMu.Unlock()
	s.space.local.Insert(s.Subject, s.Queue, s)
	r.changeInterestLocked(s, +1)
	r.shadowLocked(s)
	return nil
}

// Unsubscribe removes a subscription. Removing it twice does nothing.
func (r *Router) Unsubscribe(s *Sub) {
	if s.closed.Swap(true) {
		return
	}
	if s.local {
		s.space.local.Remove(s.Subject, s.Queue, s)
		return
	}
	r.interestMu.Lock()
	defer r.interestMu.Unlock()
	s.space.local.Remove(s.Subject, s.Queue, s)
	r.changeInterestLocked(s, -1)
	r.unshadowLocked(s)
}

// SetLimit makes the subscription end once it got max messages in all. True: it
// already has, and was removed.
func (r *Router) SetLimit(s *Sub, max int64) (ended bool) {
	s.limit.Store(max)
	if max > 0 && s.delivered.Load() >= max {
		r.Unsubscribe(s)
		return true
	}
	return false
}

// changeInterestLocked counts a subscription and tells the listener where peers
// have to know. The caller holds interestMu.
func (r *Router) changeInterestLocked(s *Sub, delta int) {
	key := interestKey{s.space.name, s.Subject, s.Queue}
	before := r.interest[key]
	after := before + delta
	base.Assert(after >= 0, "interest in %v fell to %d", key, after)
	if after == 0 {
		delete(r.interest, key)
	} else {
		r.interest[key] = after
	}
	if before == 0 || after == 0 {
		r.changed(key.account, key.subject)
	}
	if r.listener == nil {
		return
	}
	if s.Queue != "" || before == 0 || after == 0 {
		r.listener.Interest(key.account, key.subject, key.queue, after)
	}
}

// SetInterestListener makes l hear of every change of interest from now on,
// after it was told all that stands. Nil stops it.
func (r *Router) SetInterestListener(l InterestListener) {
	r.interestMu.Lock()
	defer r.interestMu.Unlock()
	r.listener = l
	if l == nil {
		return
	}
	r.eachInterestLocked(l)
}

// ReplayInterest tells l all interest that stands, in no order, under the same
// lock as changes: what a new peer has to be told before the changes that follow.
func (r *Router) ReplayInterest(l InterestListener) {
	r.interestMu.Lock()
	defer r.interestMu.Unlock()
	r.eachInterestLocked(l)
}

func (r *Router) eachInterestLocked(l InterestListener) {
	for key, count := range r.interest {
		if key.queue == "" {
			count = 1
		}
		l.Interest(key.account, key.subject, key.queue, count)
	}
}

// SetInterestWatcher makes f hear that interest in a subject or pattern came or
// went, here or on a peer: a hint to look with HasInterest. f must be quick and
// must not call the router. Internal Local subscriptions do not count.
func (r *Router) SetInterestWatcher(f func(account, subject string)) {
	r.watcher.Store(&f)
}

func (r *Router) changed(account, subj string) {
	if f := r.watcher.Load(); f != nil {
		(*f)(account, subj)
	}
}

// Subscriptions visits all subscriptions of this node but shadows, account by account,
// until visit returns false. visit must not call the router.
func (r *Router) Subscriptions(visit func(account string, s *Sub) bool) {
	r.mu.Lock()
	spaces := slices.Collect(maps.Values(r.byName))
	r.mu.Unlock()
	for _, sp := range spaces {
		more := true
		sp.local.All(func(_, _ string, s *Sub) bool {
			if s.of == nil {
				more = visit(sp.name, s)
			}
			return more
		})
		if !more {
			return
		}
	}
}
