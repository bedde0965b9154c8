package router

import (
	"sync/atomic"

	"weir/internal/subject"
)

// remoteInterest is a peer's interest in one subject or queue group.
type remoteInterest struct {
	peer  Remote
	count atomic.Int64 // members of the queue group on that peer
}

// RemoteInterest records that peer has count subscriptions of the subject and
// queue group; 0 removes it. A plain subject counts as 0 or 1.
func (r *Router) RemoteInterest(peer Remote, account, subj, queue string, count int) {
	sp := r.named(account)
	key := interestKey{account, subj, queue}
	r.remoteMu.Lock()
	defer r.remoteMu.Unlock()
	known := r.remotes[peer]
	in := known[key]
	switch {
	case count <= 0 && in != nil:
		sp.remote.Remove(subj, queue, in)
		delete(known, key)
		r.changed(account, subj)
	case count > 0 && in != nil:
		in.count.Store(int64(count))
	case count > 0:
		in = &remoteInterest{peer: peer}
		in.count.Store(int64(count))
		if known == nil {
			known = make(map[interestKey]*remoteInterest)
			r.remotes[peer] = known
		}
		known[key] = in
		sp.remote.Insert(subj, queue, in)
		r.changed(account, subj)
	}
}

// RemotePeerGone forgets all interest of a peer.
func (r *Router) RemotePeerGone(peer Remote) {
	r.remoteMu.Lock()
	defer r.remoteMu.Unlock()
	for key, in := range r.remotes[peer] {
		r.named(key.account).remote.Remove(key.subject, key.queue, in)
		r.changed(key.account, key.subject)
	}
	delete(r.remotes, peer)
}

// pickRemote chooses among the peers that have members of a queue group,
// weighted by their number.
func (r *Router) pickRemote(remote *subject.Result[*remoteInterest], queue string) *remoteInterest {
	for i := range remote.Queues {
		if remote.Queues[i].Name != queue {
			continue
		}
		members := remote.Queues[i].Members
		total := int64(0)
		for _, in := range members {
			total += in.count.Load()
		}
		if total <= 0 {
			return nil
		}
		at := int64(r.random.Uint64() % uint64(total))
		for _, in := range members {
			if at -= in.count.Load(); at < 0 {
				return in
			}
		}
		return members[len(members)-1]
	}
	return nil
}
