package jetstream

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"weir/internal/api"
	"weir/internal/meta"
	"weir/internal/router"
)

// faultyNode is a node on a disk whose operations fail that fails picks, while on.
func faultyNode(t *testing.T, on *atomic.Bool, fails func(errorfs.Op) bool) *harness {
	t.Helper()
	h := startNode(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && fails(op) {
			return errors.New("disk on fire")
		}
		return nil
	})))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		h.node.Stop(ctx) //nolint:errcheck // the disk may have failed
	})
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	return h
}

// A node whose checkpoint fails is unhealthy until one succeeds, which is tried soon. What is durable by then is let go of all
// the same.
func TestCheckpointIsTriedAgain(t *testing.T) {
	var on atomic.Bool
	h := faultyNode(t, &on, func(op errorfs.Op) bool {
		return (op.Kind == errorfs.OpRemove || op.Kind == errorfs.OpRemoveAll) && strings.Contains(op.Path, "segments")
	})
	s := h.createStream(streamConfig("S", api.FileStorage, 1))
	h.rt.Publish(h.acc, router.Internal, &router.Msg{Subject: []byte(s.appliedConfig().Subjects[0]), Payload: []byte("x")})
	h.until("message", func() bool { return s.Store().Reader().State().Msgs == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := h.node.ProposeMeta(ctx, &meta.StreamDelete{Account: h.acc.Name(), Name: "S"}); err != nil {
		t.Fatal(err)
	}
	h.until("end of S", func() bool { return len(h.node.fileDB.Stores()) == 1 })
	on.Store(true)
	h.node.checkpoint()
	if err := h.node.Healthy(); err == nil || !strings.Contains(err.Error(), "JetStream checkpoint: ") || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("after a checkpoint that failed: %v", err)
	}
	on.Store(false)
	h.until("health", func() bool { return h.node.Healthy() == nil })
	if names, err := h.fs.List(h.fs.PathJoin("store", "streams", "segments")); err != nil || len(names) > 0 {
		t.Errorf("stores that nothing needs: %v, %v", names, err)
	}
}

// A store that can not be written any more stops the streams in it before another message comes, and no others.
func TestBrokenStoreStopsStreams(t *testing.T) {
	for name, dir := range map[string]string{"store": "streams", "log": "raft"} {
		t.Run(name, func(t *testing.T) {
			var on atomic.Bool
			h := faultyNode(t, &on, func(op errorfs.Op) bool {
				return (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && strings.Contains(op.Path, dir)
			})
			file := h.createStream(streamConfig("F", api.FileStorage, 1))
			other := h.createStream(streamConfig("O", api.FileStorage, 1))
			memory := h.createStream(streamConfig("M", api.MemoryStorage, 1))
			on.Store(true)
			h.rt.Publish(h.acc, router.Internal, &router.Msg{Subject: []byte(file.appliedConfig().Subjects[0]), Payload: []byte("x")})
			h.node.checkpoint()
			h.until("failure of the other stream", func() bool { return other.Failure() != nil && h.node.Broken(other.Assignment()) != "" })
			h.until("word of it", func() bool { return h.node.Failure() != nil })
			if err := h.node.Healthy(); err == nil || !strings.Contains(err.Error(), "disk on fire") {
				t.Errorf("health: %v", err)
			}
			if why := h.node.Broken(other.Assignment()); !strings.Contains(why, "disk on fire") {
				t.Errorf("broken: %s", why)
			}
			if broken := h.node.MetaBroken(); (broken != nil) != (name == "log") {
				t.Errorf("meta group: %v", broken)
			}
			if memory.Failure() != nil || !memory.Leads() {
				t.Errorf("memory stream: %v", memory.Failure())
			}
		})
	}
}
