package meta

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
)

func (a *Assignment) reservedMemory() int64 {
	if a.Storage() == api.MemoryStorage {
		return reserved(a.Config)
	}
	return 0
}

func (a *Assignment) reservedStore() int64 {
	if a.Storage() == api.MemoryStorage {
		return 0
	}
	return reserved(a.Config)
}

// checkCount judges a new stream by the number of streams of the account (or
// tier), and its consumer limit by the account's.
func (s *State) checkCount(a *Assignment, limits *Limits) *apierr.Error {
	if limits == nil {
		return nil
	}
	if limits.MaxStreams > 0 {
		streams, _ := s.use(a, limits)
		if streams >= limits.MaxStreams {
			return apierr.JSMaximumStreamsLimitErr
		}
	}
	return checkConsumers(a, limits)
}

// CheckLimits judges a new stream that has no place yet by the limits of its account.
func (s *State) CheckLimits(account string, cfg *api.StreamConfig, limits *Limits) *apierr.Error {
	a := &Assignment{Account: account, Name: cfg.Name, Config: cfg}
	if err := s.checkCount(a, limits); err != nil {
		return err
	}
	return s.checkBytes(a, limits)
}

// checkConsumers judges a stream's limit of consumers by the account's.
func checkConsumers(a *Assignment, limits *Limits) *apierr.Error {
	if limits != nil && limits.MaxConsumers > 0 && a.Config.MaxConsumers > limits.MaxConsumers {
		return apierr.JSMaximumConsumersLimitErr
	}
	return nil
}

// checkBytes judges what a stream reserves with the others of its account.
// Without tiers every replica counts; a tier's limit is for one replica each.
func (s *State) checkBytes(a *Assignment, limits *Limits) *apierr.Error {
	if limits == nil || reserved(a.Config) == 0 {
		return nil
	}
	limit, exceeded := limits.MaxStore, apierr.JSStorageResourcesExceededErr
	if a.Storage() == api.MemoryStorage {
		limit, exceeded = limits.MaxMemory, apierr.JSMemoryResourcesExceededErr
	}
	if limit < 0 {
		return nil
	}
	_, bytes := s.use(a, limits)
	if add(bytes, reservation(a, limits)) > limit {
		return exceeded
	}
	return nil
}

// use counts the account's (or tier's) other streams and what those of the
// same storage reserve.
func (s *State) use(a *Assignment, limits *Limits) (streams int, bytes int64) {
	acc := s.accounts[a.Account]
	if acc == nil {
		return 0, 0
	}
	for _, other := range acc.streams {
		if other.Name == a.Name || limits.Tiered && other.Config.Replicas != a.Config.Replicas {
			continue
		}
		streams++
		if other.Storage() == a.Storage() {
			bytes = add(bytes, reservation(other, limits))
		}
	}
	return streams, bytes
}

func reservation(a *Assignment, limits *Limits) int64 {
	bytes, replicas := reserved(a.Config), max(int64(a.Config.Replicas), 1)
	if limits.Tiered {
		return bytes
	}
	if bytes > maxBytes/replicas {
		return maxBytes
	}
	return bytes * replicas
}

const maxBytes = int64(1<<63 - 1)

// add does not overflow: operands are not negative.
func add(a, b int64) int64 {
	if a > maxBytes-b {
		return maxBytes
	}
	return a + b
}

// checkNodes judges the chosen nodes: known, no two alike, not more than asked
// for. They may have gone since they were chosen.
func (s *State) checkNodes(nodes []base.NodeID, replicas int) *apierr.Error {
	if len(nodes) == 0 || len(nodes) > max(replicas, 1) {
		return apierr.JSClusterNoPeersErrF(&PlacementError{Misc: true})
	}
	seen := make(map[base.NodeID]bool, len(nodes))
	for _, id := range nodes {
		if n := s.byNode[id]; n == nil || n.Removed || seen[id] {
			return apierr.JSClusterNoPeersErrF(&PlacementError{Misc: true})
		}
		seen[id] = true
	}
	return nil
}
