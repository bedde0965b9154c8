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

// least is the replica with the fewest consumers; replicas is not empty.
func (l *runnerLoad) least(replicas []base.ReplicaID) base.ReplicaID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.MinFunc(replicas, func(a, b base.ReplicaID) int { return l.count[a] - l.count[b] })
}
