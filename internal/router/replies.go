package router

import (
	"container/heap"
	"strconv"
	"sync"
	"time"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/wire"
)

const (
	replyPrefix = "_R_."
	// maxReplies bounds the answers that are waited for. Beyond it, those whose
	// time ends first are given up.
	maxReplies = 64 << 10
)

// replyRoute leads answers from the account of a service to who asked.
type replyRoute struct {
	in, to *account.Account
	// subject is the reply subject of the request, in to.
	subject string
	// many: it holds for more than one answer, until one is empty or, with
	// untilStatus, is a status. Each has to come within threshold of the last.
	many, untilStatus bool
	threshold         time.Duration
	tail              string // ends the name, for the service to see

	name  string
	until time.Time
	index int // in the heap
}

// replies are the reply subjects that requests got on their way into another
// account: <prefix><token>[<tail>], where the prefix is this node's alone.
type replies struct {
	clock  base.Clock
	random *base.Random
	prefix string

	mu     sync.Mutex
	byName map[string]*replyRoute
	ending replyHeap
}

func (p *replies) init(clock base.Clock, random *base.Random) {
	p.clock, p.random = clock, random
	p.prefix = replyPrefix + p.token() + "."
	p.byName = make(map[string]*replyRoute)
}

func (p *replies) token() string { return strconv.FormatUint(p.random.Uint64(), 36) }

// add takes in a route and returns the subject of its answers.
func (p *replies) add(e *replyRoute) string {
	now := p.clock.Now()
	e.until = now.Add(e.threshold)
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ending) > 0 && (len(p.ending) >= maxReplies || !p.ending[0].until.After(now)) {
		p.removeLocked(p.ending[0])
	}
	for e.name = p.prefix + p.token() + e.tail; p.byName[e.name] != nil; {
		e.name = p.prefix + p.token() + e.tail
	}
	p.byName[e.name] = e
	heap.Push(&p.ending, e)
	return e.name
}

// use finds the route of an answer that was published in an account.
func (p *replies) use(name string, in *account.Account, m *Msg) (e *replyRoute, ok bool) {
	now := p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	e = p.byName[name]
	if e == nil || e.in.Name() != in.Name() {
		return nil, false
	}
	inTime := e.until.After(now)
	if !inTime || e.ends(m) {
		p.removeLocked(e)
		return e, inTime
	}
	e.until = now.Add(e.threshold)
	heap.Fix(&p.ending, e.index)
	return e, true
}

// ends tells whether m is the last answer.
func (e *replyRoute) ends(m *Msg) bool {
	if !e.many || len(m.Payload) > 0 {
		return !e.many
	}
	if code, _, ok := wire.Status(m.Header); ok {
		return code != 100
	}
	return !e.untilStatus && len(m.Header) == 0
}

// drop forgets a route, if it still is there.
func (p *replies) drop(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byName[name]; e != nil {
		p.removeLocked(e)
	}
}

func (p *replies) removeLocked(e *replyRoute) {
	heap.Remove(&p.ending, e.index)
	delete(p.byName, e.name)
}

// replyHeap has the route first whose time ends first.
type replyHeap []*replyRoute

func (h replyHeap) Len() int           { return len(h) }
func (h replyHeap) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h replyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *replyHeap) Push(x any) {
	e := x.(*replyRoute)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *replyHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
