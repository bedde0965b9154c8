package runner

import "container/heap"

// pendingMsg is a delivered message and when its ack wait ends.
type pendingMsg struct {
	consumer   uint64
	deadline   int64 // unix ns; 0 while it stands in the redeliver queue, or heldBack or never
	sent       int64 // of the last delivery, unix ns
	deliveries uint32
	turn       uint32 // of its place in the redeliver queue, while it stands there
}

// heldBack is the deadline of a message whose delivery waits for its commit: it
// can neither be due nor be delivered again until then.
const heldBack = -1

// never is the deadline of a message that waits for its ack as long as it takes.
const never = -2

// pendingSet holds the messages that were delivered and not acknowledged, and
// when each is due again. The zero value is empty.
type pendingSet struct {
	msgs        map[uint64]pendingMsg
	redelivered int // of msgs, delivered more than once
	peak        int // of len(msgs) since msgs was made

	// order is the stream sequences in order of first delivery, which is that of
	// the stream. Entries before head, and those not in msgs, are over.
	order []uint64
	head  int

	// Deadlines mostly come in rising order: those go to a queue, the others to a
	// heap. An entry that no longer equals its message's deadline is stale; none is
	// removed early.
	rising     []deadline
	risingHead int
	odd        deadlineHeap
}

// deadline is when a message's ack wait ends.
type deadline struct {
	at  int64 // unix ns
	seq uint64
}

// slack is how many stale entries a queue may hold besides the live ones.
const slack = 1024

func (s *pendingSet) len() int { return len(s.msgs) }

func (s *pendingSet) get(seq uint64) (pendingMsg, bool) {
	p, ok := s.msgs[seq]
	return p, ok
}

// add makes room for a message that is pending for the first time; set follows.
// Sequences rise.
func (s *pendingSet) add(seq uint64) {
	if s.msgs == nil {
		s.msgs = make(map[uint64]pendingMsg)
	}
	if s.head > slack && s.head > len(s.order)/2 {
		s.order = append(s.order[:0], s.order[s.head:]...)
		s.head = 0
	}
	if len(s.order)-s.head > 2*len(s.msgs)+slack {
		s.compactOrder()
	}
	s.order = append(s.order, seq)
}

func (s *pendingSet) compactOrder() {
	kept := s.order[:0]
	for _, seq := range s.order[s.head:] {
		if _, ok := s.msgs[seq]; ok {
			kept = append(kept, seq)
		}
	}
	s.order, s.head = kept, 0
}

// set stores the message and, if it has one, its deadline.
func (s *pendingSet) set(seq uint64, p pendingMsg) {
	if p.deliveries > 1 {
		if old, ok := s.msgs[seq]; !ok || old.deliveries <= 1 {
			s.redelivered++
		}
	}
	s.msgs[seq] = p
	s.peak = max(s.peak, len(s.msgs))
	if p.deadline <= 0 {
		return
	}
	d := deadline{p.deadline, seq}
	if n := len(s.rising); n == s.risingHead || s.rising[n-1].at <= d.at {
		s.rising = append(s.rising, d)
		return
	}
	s.odd.add(d)
	if len(s.odd) > 2*len(s.msgs)+slack {
		s.compactOdd()
	}
}

func (s *pendingSet) stale(d deadline) bool {
	p, ok := s.msgs[d.seq]
	return !ok || p.deadline != d.at
}

func (s *pendingSet) compactOdd() {
	kept := s.odd[:0]
	for _, d := range s.odd {
		if !s.stale(d) {
			kept = append(kept, d)
		}
	}
	s.odd = kept
	heap.Init(&s.odd)
}

// remove ends the wait for a message.
func (s *pendingSet) remove(seq uint64, p pendingMsg) {
	delete(s.msgs, seq)
	if p.deliveries > 1 {
		s.redelivered--
	}
}

// removeTo ends the wait for all messages up to a sequence and shows each to
// visit.
func (s *pendingSet) removeTo(seq uint64, visit func(seq uint64)) {
	for s.head < len(s.order) && s.order[s.head] <= seq {
		at := s.order[s.head]
		s.head++
		if p, ok := s.msgs[at]; ok {
			s.remove(at, p)
			visit(at)
		}
	}
}

// nextDeadline is the earliest deadline, 0 when there is none.
func (s *pendingSet) nextDeadline() int64 {
	for s.risingHead < len(s.rising) && s.stale(s.rising[s.risingHead]) {
		s.risingHead++
	}
	if s.risingHead == len(s.rising) {
		s.rising, s.risingHead = s.rising[:0], 0
	} else if s.risingHead > slack && s.risingHead > len(s.rising)/2 {
		s.rising = append(s.rising[:0], s.rising[s.risingHead:]...)
		s.risingHead = 0
	}
	for len(s.odd) > 0 && s.stale(s.odd[0]) {
		s.odd.pop()
	}
	var at int64
	if s.risingHead < len(s.rising) {
		at = s.rising[s.risingHead].at
	}
	if len(s.odd) > 0 && (at == 0 || s.odd[0].at < at) {
		at = s.odd[0].at
	}
	return at
}

// popDue returns a message whose deadline is not after now (unix ns), the
// earliest first.
func (s *pendingSet) popDue(now int64) (seq uint64, ok bool) {
	at := s.nextDeadline()
	if at == 0 || at > now {
		return 0, false
	}
	if len(s.odd) > 0 && s.odd[0].at == at {
		seq = s.odd[0].seq
		s.odd.pop()
		return seq, true
	}
	seq = s.rising[s.risingHead].seq
	s.risingHead++
	return seq, true
}

// large tells that the set is empty and holds much memory.
func (s *pendingSet) large() bool {
	return len(s.msgs) == 0 && (s.peak > 64 || cap(s.order) > 64 || cap(s.rising) > 64)
}

// deadlineHeap is a heap by time.
type deadlineHeap []deadline

func (h *deadlineHeap) add(d deadline) {
	*h = append(*h, d)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up].at <= s[i].at {
			return
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

// pop removes the earliest entry.
func (h *deadlineHeap) pop() { heap.Pop(h) }

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h deadlineHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is not used: add does it without boxing.
func (h *deadlineHeap) Push(any) { panic("bug: deadlineHeap.Push") }

func (h *deadlineHeap) Pop() any {
	*h = (*h)[:len(*h)-1]
	return nil
}
