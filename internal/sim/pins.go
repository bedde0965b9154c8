package sim

import (
	"time"

	"weir/internal/api"
	"weir/internal/router"
	"weir/internal/wire"
)

// pinMembers is how many clients of a pinned group there are.
const pinMembers = 2

// pins is what the members of a priority group with a pinned client know.
type pins struct {
	own   [pinMembers]string // empty: not pinned, as far as it knows
	owner map[string]int
	used  []pinned // in the order in which they came up
}

// pinned is a pin and when it was heard of first.
type pinned struct {
	id   string
	from time.Time
}

// hopeless is a number of pending messages that no consumer ever has.
const hopeless = 1 << 40

// join makes a pull one of a member of a priority group. The caller holds mu.
func (h *history) join(c *client, p *pull, req *api.ConsumerNextRequest) {
	if len(c.config.PriorityGroups) == 0 {
		return
	}
	req.Group = c.config.PriorityGroups[0]
	switch c.config.PriorityPolicy {
	case api.PriorityPrioritized:
		req.Priority = h.world.rand.IntN(3)
	case api.PriorityPinned:
		p.member = h.world.rand.IntN(pinMembers)
		req.ID = c.pins.own[p.member]
	case api.PriorityOverflow:
		switch h.world.rand.IntN(4) {
		case 0:
			req.MinPending = 5
		case 1:
			req.MinAckPending = 3
		case 2:
			req.MinPending, p.hopeless = hopeless, true
		}
	}
}

// pin takes the pin that a message came with: a member has its own, and one that was
// replaced is not served any more. The caller holds mu.
func (h *history) pin(p *pull, m *router.Msg) {
	header, ok := wire.GetHeader(m.Header, "Nats-Pin-Id")
	s := &p.client.pins
	if !ok {
		return
	}
	id := string(header)
	s.own[p.member] = id
	owner, known := s.owner[id]
	switch {
	case known && owner != p.member:
		h.world.fail("%s: pin %s is that of client %d and of client %d", p.client.name, id, owner, p.member)
	case !known:
		s.owner[id] = p.member
		s.used = append(s.used, pinned{id, now()})
	}
	if last := s.used[len(s.used)-1]; last.id != id && p.sent.Sub(last.from) > staleRunner {
		h.world.fail("%s: a pull of %v with pin %s is served, which %s replaced at %v", p.client.name,
			p.sent.Sub(h.world.began), id, last.id, last.from.Sub(h.world.began))
	}
}
