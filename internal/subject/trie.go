package subject

import "sync/atomic"

// level is the choices for one token.
type level[T comparable] struct {
	literals map[string]*node[T]
	star     *node[T]
	rest     *node[T] // '>'
}

// node is what ends at one token, and what goes on behind it.
type node[T comparable] struct {
	pattern string // of what ends here; empty when nothing ever did
	plain   set[T]
	queues  map[string]*set[T]
	next    *level[T]
	// alone is the result of a subject that only this node matches; nil after a
	// change until it is asked for.
	alone atomic.Pointer[Result[T]]
}

// wildcard returns the place of the node of a '*' or '>' token; nil for a
// literal one.
func (l *level[T]) wildcard(token string, more bool) **node[T] {
	switch {
	case token == "*":
		return &l.star
	case token == ">" && !more:
		return &l.rest
	}
	return nil
}

func (l *level[T]) child(token string, more bool) *node[T] {
	if w := l.wildcard(token, more); w != nil {
		return *w
	}
	return l.literals[token]
}

func (l *level[T]) setChild(token string, more bool, n *node[T]) {
	if w := l.wildcard(token, more); w != nil {
		*w = n
		return
	}
	if n == nil {
		delete(l.literals, token)
		return
	}
	if l.literals == nil {
		l.literals = make(map[string]*node[T])
	}
	l.literals[token] = n
}

func (l *level[T]) empty() bool {
	return l == nil || (len(l.literals) == 0 && l.star == nil && l.rest == nil)
}

// insert tells whether v was new.
func (l *level[T]) insert(pattern, queue string, v T) bool {
	for rest := pattern; ; {
		token, tail, more := cut(rest)
		n := l.child(token, more)
		if n == nil {
			n = new(node[T])
			l.setChild(token, more, n)
		}
		if !more {
			n.pattern = pattern
			return n.add(queue, v)
		}
		if n.next == nil {
			n.next = new(level[T])
		}
		l, rest = n.next, tail
	}
}

// remove takes v out of the node at rest and prunes what became empty on the
// way back.
func (l *level[T]) remove(pattern, rest, queue string, v T) bool {
	token, tail, more := cut(rest)
	n := l.child(token, more)
	if n == nil {
		return false
	}
	if more {
		if n.next == nil || !n.next.remove(pattern, tail, queue, v) {
			return false
		}
	} else if !n.drop(queue, v) {
		return false
	}
	if n.next.empty() {
		n.next = nil
		if n.vacant() {
			l.setChild(token, more, nil)
		}
	}
	return true
}

// match visits the nodes that match literal until visit returns false, which
// is then its own result.
func (l *level[T]) match(literal string, visit func(*node[T]) bool) bool {
	token, tail, more := cut(literal)
	if l.rest != nil && !visit(l.rest) {
		return false
	}
	if l.star != nil && !l.star.matchTail(tail, more, visit) {
		return false
	}
	if n := l.literals[token]; n != nil {
		return n.matchTail(tail, more, visit)
	}
	return true
}

func (n *node[T]) matchTail(tail string, more bool, visit func(*node[T]) bool) bool {
	if !more {
		return n.vacant() || visit(n)
	}
	return n.next == nil || n.next.match(tail, visit)
}

// overlapping visits the nodes whose pattern overlaps with pattern.
func (l *level[T]) overlapping(pattern string, visit func(*node[T]) bool) bool {
	token, tail, more := cut(pattern)
	if token == ">" && !more {
		return l.all(visit)
	}
	if l.rest != nil && !visit(l.rest) {
		return false
	}
	if l.star != nil && !l.star.overlappingTail(tail, more, visit) {
		return false
	}
	if token != "*" {
		n := l.literals[token]
		return n == nil || n.overlappingTail(tail, more, visit)
	}
	for _, n := range l.literals {
		if !n.overlappingTail(tail, more, visit) {
			return false
		}
	}
	return true
}

func (n *node[T]) overlappingTail(tail string, more bool, visit func(*node[T]) bool) bool {
	if !more {
		return n.vacant() || visit(n)
	}
	return n.next == nil || n.next.overlapping(tail, visit)
}

// all visits every node that something ends at.
func (l *level[T]) all(visit func(*node[T]) bool) bool {
	for _, n := range [...]*node[T]{l.rest, l.star} {
		if n != nil && !n.all(visit) {
			return false
		}
	}
	for _, n := range l.literals {
		if !n.all(visit) {
			return false
		}
	}
	return true
}

func (n *node[T]) all(visit func(*node[T]) bool) bool {
	if !n.vacant() && !visit(n) {
		return false
	}
	return n.next == nil || n.next.all(visit)
}

func (n *node[T]) vacant() bool { return n.plain.len() == 0 && len(n.queues) == 0 }

func (n *node[T]) add(queue string, v T) bool {
	n.alone.Store(nil)
	if queue == "" {
		return n.plain.add(v)
	}
	group := n.queues[queue]
	if group == nil {
		if n.queues == nil {
			n.queues = make(map[string]*set[T])
		}
		group = new(set[T])
		n.queues[queue] = group
	}
	return group.add(v)
}

func (n *node[T]) drop(queue string, v T) bool {
	n.alone.Store(nil)
	if queue == "" {
		return n.plain.drop(v)
	}
	group := n.queues[queue]
	if group == nil || !group.drop(v) {
		return false
	}
	if group.len() == 0 {
		delete(n.queues, queue)
	}
	return true
}

// result is what matches a subject that only this node matches.
func (n *node[T]) result() *Result[T] {
	r := n.alone.Load()
	if r == nil {
		r = new(Result[T])
		n.collect(r)
		n.alone.Store(r)
	}
	return r
}

// collect appends what ends here to r, which shares no memory with the trie.
func (n *node[T]) collect(r *Result[T]) {
	r.Plain = append(r.Plain, n.plain.list...)
	for name, group := range n.queues {
		at := -1
		for i := range r.Queues {
			if r.Queues[i].Name == name {
				at = i
				break
			}
		}
		if at < 0 {
			at = len(r.Queues)
			r.Queues = append(r.Queues, QueueGroup[T]{Name: name})
		}
		r.Queues[at].Members = append(r.Queues[at].Members, group.list...)
	}
}

func (n *node[T]) visit(visit func(pattern, queue string, v T) bool) bool {
	for _, v := range n.plain.list {
		if !visit(n.pattern, "", v) {
			return false
		}
	}
	for name, group := range n.queues {
		for _, v := range group.list {
			if !visit(n.pattern, name, v) {
				return false
			}
		}
	}
	return true
}

// manyMembers is the number of members from which a set keeps their positions
// in a map.
const manyMembers = 32

// set is an unordered list without duplicates.
type set[T comparable] struct {
	list []T
	at   map[T]int // position in list; nil while there are few
}

func (s *set[T]) len() int { return len(s.list) }

func (s *set[T]) find(v T) int {
	if s.at != nil {
		if i, ok := s.at[v]; ok {
			return i
		}
		return -1
	}
	for i := range s.list {
		if s.list[i] == v {
			return i
		}
	}
	return -1
}

func (s *set[T]) add(v T) bool {
	if s.find(v) >= 0 {
		return false
	}
	s.list = append(s.list, v)
	if s.at != nil {
		s.at[v] = len(s.list) - 1
	} else if len(s.list) >= manyMembers {
		s.at = make(map[T]int, len(s.list))
		for i, v := range s.list {
			s.at[v] = i
		}
	}
	return true
}

func (s *set[T]) drop(v T) bool {
	i := s.find(v)
	if i < 0 {
		return false
	}
	last := len(s.list) - 1
	moved := s.list[last]
	s.list[i] = moved
	var zero T
	s.list[last] = zero
	s.list = s.list[:last]
	if s.at != nil {
		s.at[moved] = i
		delete(s.at, v)
	}
	if last == 0 {
		*s = set[T]{}
	}
	return true
}
