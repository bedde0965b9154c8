package router

import "slices"

// Inbound delivers what one peer forwards. It belongs to one goroutine, and knows the
// accounts that it has met without asking the router.
type Inbound struct {
	router *Router
	peer   Remote
	batch  *Batch
	known  map[string]*space // no more than the router has
}

// Inbound returns what delivers messages of a peer. The batch may be nil.
func (r *Router) Inbound(peer Remote, b *Batch) *Inbound {
	return &Inbound{router: r, peer: peer, batch: b, known: make(map[string]*space)}
}

func (in *Inbound) space(account []byte) *space {
	sp := in.known[string(account)]
	if sp == nil {
		sp = in.router.named(string(account))
		in.known[sp.name] = sp
	}
	return sp
}

// Deliver delivers what the peer forwarded: to the plain subscriptions of this node
// and to one member of each named queue group. It is not forwarded again.
func (in *Inbound) Deliver(account []byte, m *Msg, queues []string) {
	r, sp := in.router, in.space(account)
	from := FromRoute(in.peer, in.batch)
	if len(m.Header) > 0 {
		if from.trace = r.BeginTrace(sp.name, &from, m); from.trace != nil {
			defer from.trace.End()
		}
	}
	local := sp.local.MatchBytes(m.Route())
	for _, s := range local.Plain {
		r.deliver(s, &from, m)
	}
	if len(queues) == 0 {
		return
	}
	for i := range local.Queues {
		if g := &local.Queues[i]; slices.Contains(queues, g.Name) {
			r.deliverToOne(g.Members, &from, m)
		}
	}
}
