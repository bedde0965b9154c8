package jetstream

import (
	"slices"
	"sync"

	"weir/internal/base"
	"weir/internal/consumer"
)

// runnerLoad counts how many consumers each replica runs.
type runnerLoad struct {
	mu    sync.Mutex
	at    map[uint64]base.ReplicaID // consumer ID to its runner
	count map[base.ReplicaID]int
}

func (l *runnerLoad) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at, l.count = make(map[uint64]base.ReplicaID), make(map[base.ReplicaID]int)
}

// note follows a change of a consumer.
func (l *runnerLoad) note(c *consumer.Consumer, deleted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil {
		l.at, l.count = make(map[uint64]base.ReplicaID), make(map[base.ReplicaID]int)
	}
	if before, ok := l.at[c.ID]; ok {
		l.count[before]--
	}
	if deleted {
		delete(l.at, c.ID)
		return
	}
	l.at[c.ID] = c.Runner
	l.count[c.Runner]++
}

// least is the replica with the fewest consumers, the first from an index on of
// several; replicas is not empty.
func (l *runnerLoad) least(replicas []base.ReplicaID, from int) base.ReplicaID {
	l.mu.Lock()
	defer l.mu.Unlock()
	from %= len(replicas)
	turned := slices.Concat(replicas[from:], replicas[:from])
	return slices.MinFunc(turned, func(a, b base.ReplicaID) int { return l.count[a] - l.count[b] })
}

// of is how many a replica runs.
func (l *runnerLoad) of(r base.ReplicaID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[r]
}

// total adds what each replica runs to what its node runs.
func (l *runnerLoad) total(sum map[base.NodeID]int, node func(base.ReplicaID) base.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r, n := range l.count {
		sum[node(r)] += n
	}
}
