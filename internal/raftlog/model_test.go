package raftlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"

	"weir/internal/base"
)

// modelState is what one replica's log should be after some of its batches.
type modelState struct {
	base    position
	entries []modelEntry
	hard    hardState
	conf    uint64
}

type modelEntry struct {
	term uint64
	data []byte
}

func (s *modelState) last() uint64 { return s.base.index + uint64(len(s.entries)) }

func (s *modelState) lastTerm() uint64 {
	if len(s.entries) == 0 {
		return s.base.term
	}
	return s.entries[len(s.entries)-1].term
}

// modelGroup is the history of one replica.
type modelGroup struct {
	key groupKey
	mu  sync.Mutex
	// states has one more element than batches were appended. All that are at or
	// below durable were acknowledged after a sync.
	states  []modelState
	durable int
	// compacted is the highest index given to Compact.
	compacted uint64
	// removing is set before Remove, removed after it.
	removing, removed bool
}

func newModelGroup(id int) *modelGroup {
	return &modelGroup{
		key:    groupKey{base.GroupID(id), base.ReplicaID(100 + id)},
		states: make([]modelState, 1),
	}
}

func (m *modelGroup) now() *modelState { return &m.states[len(m.states)-1] }

// randomBatch makes the next batch and the state after it. lazy says that
// it may be lost although it was acknowledged.
func (m *modelGroup) randomBatch(rng *rand.Rand) (b Batch, lazy bool) {
	old := m.now()
	next := modelState{base: old.base, entries: old.entries, hard: old.hard, conf: old.conf}
	b = Batch{Group: m.key.group, Replica: m.key.replica}
	kind := rng.IntN(20)
	if kind == 0 {
		next.hard.commit = old.last()
		b.HardState = next.hard.proto()
		m.states = append(m.states, next)
		return b, len(m.states) > 2
	}
	if kind == 1 {
		next.base = position{old.last() + 1 + rng.Uint64N(5), old.lastTerm() + 1}
		next.entries = nil
		next.hard = hardState{max(next.base.term, old.hard.term), 0, next.base.index}
		next.conf = next.base.index
		b.HardState = next.hard.proto()
		b.Snapshot = &SnapshotMark{Index: next.base.index, Term: next.base.term,
			ConfState: &pb.ConfState{Voters: []uint64{1, 2}}, Members: []byte("snapshot")}
	}
	if kind == 2 {
		next.conf = next.last()
		b.ConfState = &ConfMark{Index: next.conf, ConfState: &pb.ConfState{Voters: []uint64{1, 2, 3}}, Members: []byte("conf")}
	}
	term := max(next.hard.term, next.lastTerm(), 1)
	first := next.last() + 1
	if low := max(next.base.index, m.compacted, next.hard.commit); kind == 3 && first > low+1 {
		first = low + 1 + rng.Uint64N(first-low)
		term++
	}
	count := rng.IntN(4) + 1
	kept := next.entries[:first-next.base.index-1]
	next.entries = append(make([]modelEntry, 0, len(kept)+count), kept...)
	for i := range count {
		data := bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(300))
		data = append(data, fmt.Sprintf("%v %d %d", m.key.group, first+uint64(i), term)...)
		next.entries = append(next.entries, modelEntry{term, data})
		b.Entries = append(b.Entries, entries(first+uint64(i), term, string(data))...)
	}
	next.hard.term = term
	if rng.IntN(2) == 0 {
		next.hard.commit = first - 1
	}
	b.HardState = next.hard.proto()
	m.states = append(m.states, next)
	b.Relaxed = kind > 12 && old.hard.term == term && len(m.states) > 2
	return b, b.Relaxed
}

// modelView is what must hold of a group at one moment.
type modelView struct {
	key               groupKey
	states            []modelState
	durable           int
	compacted         uint64
	removing, removed bool
}

func (m *modelGroup) view() modelView {
	m.mu.Lock()
	defer m.mu.Unlock()
	return modelView{m.key, m.states[:len(m.states):len(m.states)], m.durable, m.compacted, m.removing, m.removed}
}

// check compares the log's group with the model: it must be as after some
// prefix of the batches, and no acknowledged one may be missing.
func (v *modelView) check(l *Log) error {
	g := l.Group(v.key.group, v.key.replica)
	if err := g.Err(); err != nil {
		if err == ErrRemoved && v.removing {
			return nil
		}
		return fmt.Errorf("%v: %w", v.key.group, err)
	}
	last, _ := g.LastIndex()
	first, _ := g.FirstIndex()
	if v.removed && (last > 0 || first > 1) {
		return fmt.Errorf("%v is removed and has entries [%d, %d]", v.key.group, first, last)
	}
	if v.removing && last == 0 {
		return nil
	}
	var got []*pb.Entry
	for lo := first; lo <= last; {
		es, err := g.Entries(lo, last+1, 700)
		if err != nil || len(es) == 0 {
			return fmt.Errorf("%v: %d entries from %d: %w", v.key.group, len(es), lo, err)
		}
		got = append(got, es...)
		lo += uint64(len(es))
	}
	conf, err := g.ConfState()
	if err != nil {
		return err
	}
	baseIndex, baseTerm := g.Base()
	found := modelState{base: position{baseIndex, baseTerm}, hard: hardOf(g.HardState()), conf: conf.Index}
	for i, e := range got {
		if term, err := g.Term(e.GetIndex()); err != nil || term != e.GetTerm() || e.GetIndex() != first+uint64(i) {
			return fmt.Errorf("%v: entry %v at %d has term %d, %v", v.key.group, e, first+uint64(i), term, err)
		}
		found.entries = append(found.entries, modelEntry{e.GetTerm(), e.Data})
	}
	for i := v.durable; i < len(v.states); i++ {
		if v.states[i].allows(&found, v.compacted) {
			return nil
		}
	}
	return fmt.Errorf("%v: (%d, %d] %+v conf %d is none of the states %d to %d (%d, %d] %+v",
		v.key.group, baseIndex, last, found.hard, found.conf, v.durable, len(v.states)-1,
		v.states[v.durable].base.index, v.states[v.durable].last(), v.states[v.durable].hard)
}

// allows says whether found is s, but for compaction.
func (s *modelState) allows(found *modelState, compacted uint64) bool {
	b := found.base.index
	if found.hard != s.hard || found.conf != s.conf || found.last() != s.last() || b < s.base.index {
		return false
	}
	if b == s.base.index {
		if found.base.term != s.base.term {
			return false
		}
	} else if b > compacted || found.base.term != s.entries[b-s.base.index-1].term {
		return false
	}
	for i, e := range s.entries[b-s.base.index:] {
		if f := found.entries[i]; f.term != e.term || !bytes.Equal(f.data, e.data) {
			return false
		}
	}
	return true
}
