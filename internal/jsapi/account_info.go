package jsapi

import (
	"context"
	"time"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/meta"
)

// gatherTimeout is how long answers that ask other nodes may take.
const gatherTimeout = 4 * time.Second

// accountInfo answers $JS.API.INFO: usage, limits and API counts of the account.
// The counts are those of the node that answers. A body is ignored.
func (c *call) accountInfo() {
	ctx, cancel := context.WithTimeout(context.Background(), gatherTimeout)
	defer cancel()
	used := c.svc.node.AccountUsage(ctx, c.Account)
	counts := c.svc.stats.of(c.Account)
	info := &api.AccountInfo{
		AccountStats: api.AccountStats{
			Memory: used.Memory, Store: used.Storage, Consumers: used.Consumers, Limits: accountLimits(c.acc),
		},
		Domain: c.svc.cfg.Domain,
		API:    api.APIStats{Level: jetstream.APILevel, Total: counts.total.Load(), Errors: counts.errors.Load()},
	}
	c.svc.node.View(func(s *meta.State) {
		for _, a := range s.Streams(c.Account) {
			reserved := uint64(max(a.Config.MaxBytes, 0)) * uint64(max(a.Config.Replicas, 1))
			if a.Storage() == api.MemoryStorage {
				info.ReservedMemory += reserved
			} else {
				info.ReservedStore += reserved
			}
		}
		info.Streams = s.NumStreams(c.Account)
	})
	c.answer(api.AccountInfoResponse{Response: c.response(), AccountInfo: info})
}

func accountLimits(acc *account.Account) api.AccountLimits {
	js := acc.JetStream()
	if js == nil {
		return api.AccountLimits{}
	}
	return api.AccountLimits{
		MaxMemory: js.MaxMemory, MaxStore: js.MaxStore, MaxStreams: js.MaxStreams, MaxConsumers: js.MaxConsumers,
		MaxAckPending: js.MaxAckPending, MemoryMaxStreamBytes: js.MemoryMaxStreamBytes,
		StoreMaxStreamBytes: js.StoreMaxStreamBytes, MaxBytesRequired: js.MaxBytesRequired,
	}
}

// metaLimits are the account's limits as the meta group judges streams by them.
func metaLimits(acc *account.Account) *meta.Limits {
	js := acc.JetStream()
	if js == nil {
		return nil
	}
	return &meta.Limits{MaxStreams: js.MaxStreams, MaxConsumers: js.MaxConsumers, MaxMemory: js.MaxMemory, MaxStore: js.MaxStore}
}
