package router

import (
	"slices"
	"sync"

	"weir/internal/account"
	"weir/internal/subject"
)

// route delivers m to the subscriptions of this node and, unless it came from a
// peer, to the interested peers.
func (r *Router) route(sp *space, from *Source, m *Msg) (delivered int) {
	local := sp.local.MatchBytes(m.Route())
	for _, s := range local.Plain {
		if r.deliver(s, from, m) {
			delivered++
		}
	}
	if from.kind != KindRoute && sp.remote.Len() > 0 {
		return delivered + r.routeWithPeers(sp, local, from, m)
	}
	for i := range local.Queues {
		if r.deliverToOne(local.Queues[i].Members, from, m) {
			delivered++
		}
	}
	return delivered
}

// deliverToOne hands m to the first member that takes it, starting anywhere.
func (r *Router) deliverToOne(members []*Sub, from *Source, m *Msg) bool {
	n := len(members)
	if n == 1 {
		return r.deliver(members[0], from, m)
	}
	start := r.random.IntN(n)
	for i := range n {
		if r.deliver(members[(start+i)%n], from, m) {
			return true
		}
	}
	return false
}

// deliver hands m to one subscription. False: it does not take this message.
func (r *Router) deliver(s *Sub, from *Source, m *Msg) bool {
	if s.closed.Load() {
		return false
	}
	if s.client == nil {
		return r.deliverInside(s, from, m)
	}
	if from.noEcho && s.client == from.client {
		return false
	}
	if from.trace != nil {
		return r.deliverTraced(s, from, m)
	}
	return r.deliverToClient(s, from, m)
}

// deliverTraced is deliverToClient for a traced message.
func (r *Router) deliverTraced(s *Sub, from *Source, m *Msg) bool {
	taken, failure := from.trace.only || r.deliverToClient(s, from, m), ""
	if !taken {
		failure = "the client did not take it"
	}
	from.trace.delivered(s, failure)
	return taken
}

func (r *Router) deliverToClient(s *Sub, from *Source, m *Msg) bool {
	n := s.delivered.Add(1)
	limit := s.limit.Load()
	if limit > 0 && n > limit {
		s.delivered.Add(-1)
		return false
	}
	if !s.client.Receive(s, from.batch, m) {
		s.delivered.Add(-1)
		return false
	}
	r.flush(from, s.client)
	if limit > 0 && n == limit {
		r.Unsubscribe(s)
		s.client.Ended(s)
	}
	return true
}

// deliverInside hands m to a subscription that is of no client.
func (r *Router) deliverInside(s *Sub, from *Source, m *Msg) bool {
	switch {
	case s.local && from.kind == KindRoute:
		return false
	case s.of != nil:
		return r.deliverShadow(s, from, m)
	case s.service != nil:
		return r.request(s, from, m)
	case from.trace.Only() && !s.traces:
		return true
	}
	s.delivered.Add(1)
	s.handler(s, *from, m)
	return true
}

// DeliverTo hands m to one of the client's own subscriptions, if it has a
// matching one: for answers that are nobody else's business.
func (r *Router) DeliverTo(acc *account.Account, c Client, b *Batch, m *Msg) bool {
	from := Source{batch: b}
	local := r.space(acc).local.MatchBytes(m.Route())
	for _, s := range local.Plain {
		if s.client == c && r.deliver(s, &from, m) {
			return true
		}
	}
	for i := range local.Queues {
		for _, s := range local.Queues[i].Members {
			if s.client == c && r.deliver(s, &from, m) {
				return true
			}
		}
	}
	return false
}

// flush is for a receiver that just got something: at once without a batch,
// else only when the batch has grown too long.
func (r *Router) flush(from *Source, f Flusher) {
	if from.batch == nil {
		f.Flush()
	} else if from.batch.Full() {
		from.batch.Flush()
	}
}

// forwarding is the scratch space for choosing peers.
type forwarding struct{ peers []peerShare }

// peerShare is what one peer gets of a message.
type peerShare struct {
	peer   Remote
	queues []string
}

var forwardings = sync.Pool{New: func() any { return new(forwarding) }}

// share returns the entry of a peer, adding it if needed.
func (f *forwarding) share(peer Remote) *peerShare {
	for i := range f.peers {
		if f.peers[i].peer == peer {
			return &f.peers[i]
		}
	}
	if len(f.peers) < cap(f.peers) {
		f.peers = f.peers[:len(f.peers)+1] // keeps the entry's queues slice
	} else {
		f.peers = append(f.peers, peerShare{})
	}
	p := &f.peers[len(f.peers)-1]
	p.peer, p.queues = peer, p.queues[:0]
	return p
}

// routeWithPeers serves queue groups and peers: every interested peer gets the
// message once, with the names of the groups that it shall serve.
func (r *Router) routeWithPeers(sp *space, local *subject.Result[*Sub], from *Source, m *Msg) (delivered int) {
	remote := sp.remote.MatchBytes(m.Route())
	f := forwardings.Get().(*forwarding)
	for _, in := range remote.Plain {
		f.share(in.peer)
	}
	for i := range local.Queues {
		g := &local.Queues[i]
		if r.deliverToOne(g.Members, from, m) {
			delivered++
		} else if in := r.pickRemote(remote, g.Name); in != nil {
			p := f.share(in.peer)
			p.queues = append(p.queues, g.Name)
		}
	}
	for i := range remote.Queues {
		name := remote.Queues[i].Name
		if hasGroup(local, name) {
			continue // served above
		}
		if in := r.pickRemote(remote, name); in != nil {
			p := f.share(in.peer)
			p.queues = append(p.queues, name)
		}
	}
	for i := range f.peers {
		p := &f.peers[i]
		if from.trace != nil {
			p.peer.Deliver(sp.name, from.batch, from.trace.forward(p.peer, m), p.queues)
		} else {
			p.peer.Deliver(sp.name, from.batch, m, p.queues)
		}
		delivered++
	}
	for i := range f.peers {
		f.peers[i].peer = nil
		clear(f.peers[i].queues)
	}
	f.peers = f.peers[:0]
	forwardings.Put(f)
	return delivered
}

func hasGroup[T comparable](result *subject.Result[T], name string) bool {
	return slices.ContainsFunc(result.Queues, func(g subject.QueueGroup[T]) bool { return g.Name == name })
}
