package server

import (
	"fmt"
	"math"
	"slices"

	"weir/internal/account"
	"weir/internal/conf"
	"weir/internal/jetstream"
	"weir/internal/jsapi"
	"weir/internal/subject"
)

// Defaults of what streams may use when the configuration leaves it to the
// server. The established server takes three quarters of the machine's memory and
// of the disk's free space; reserving nothing, Weir only bounds.
const (
	defaultMaxMemory = 4 << 30
	defaultMaxStore  = 1 << 40
)

func (s *Server) buildJetStream(identity jetstream.Identity) error {
	js := &s.cfg.JetStream
	node, err := jetstream.New(jetstream.Config{
		Identity: identity, Name: s.name, Cluster: s.clusterName(), Domain: js.Domain, Tags: s.cfg.Tags,
		AckV2: s.cfg.FeatureFlags[conf.FlagAckV2],
		FS:    s.store.fs, Dir: s.store.dir,
		MaxMemory: orDefault(js.MaxMemory, defaultMaxMemory), MaxStore: orDefault(js.MaxStore, defaultMaxStore),
		UniqueTag: js.UniqueTag, MaxHAAssets: js.Limits.MaxHAAssets, Batches: batchLimits(&js.Limits.Batch),
		Backlog:  jetstream.BacklogLimits{Messages: js.MaxBufferedMsgs, Bytes: js.MaxBufferedSize},
		Accounts: s.accounts, Router: s.router, Links: s.links(),
		Expected: s.expectedPeers, Clock: s.clock, Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("open JetStream in %s: %w", s.store.dir, err)
	}
	s.node = node
	s.api = jsapi.New(node, jsapi.Config{
		Name: s.name, ServerID: s.id, Cluster: s.clusterName(), Domain: js.Domain,
		Limits: jsapi.Limits{
			MaxAckPending: js.Limits.MaxAckPending, MaxRequestBatch: js.Limits.MaxRequestBatch, DuplicateWindow: js.Limits.DuplicateWindow,
			RequestQueue: js.RequestQueueLimit, InfoQueue: js.InfoQueueLimit,
		},
		Router: s.router, Accounts: s.accounts, Logger: s.log, Clock: s.clock,
	})
	return nil
}

func batchLimits(l *conf.BatchLimits) jetstream.BatchLimits {
	return jetstream.BatchLimits{PerStream: l.MaxInflightPerStream, Total: l.MaxInflightTotal, Messages: l.MaxMsgs, Timeout: l.Timeout}
}

// orDefault is a configured number of bytes; negative leaves it to the server.
func orDefault(bytes, def int64) int64 {
	if bytes < 0 || bytes == math.MaxInt64 {
		return def
	}
	return bytes
}

// interceptAPI takes JetStream requests of every account's clients. The handler
// answers accounts without JetStream that it is off for them, unless they import
// some of the API from others: then all else has nobody to answer.
func (s *Server) interceptAPI() error {
	for _, a := range s.accounts.Accounts() {
		if a.JetStream() == nil && importsAPI(a) {
			continue
		}
		if err := s.node.Intercept(a); err != nil {
			return fmt.Errorf("serve the JetStream API in account %s: %w", a.Name(), err)
		}
	}
	return nil
}

func importsAPI(a *account.Account) bool {
	return slices.ContainsFunc(a.ServiceImports(), func(im *account.ServiceImport) bool {
		return subject.Overlap(im.Mapping.From(), "$JS.API.>")
	})
}
