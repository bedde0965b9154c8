package conformance

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// keyWatcher follows a bucket as a client does that lives through all faults.
type keyWatcher struct {
	mu     sync.Mutex
	latest map[string]uint64 // revision by key
	wrong  []string
	count  int
}

func startKeyWatcher(ctx context.Context, t *testing.T, kv jetstream.KeyValue) *keyWatcher {
	t.Helper()
	watch, err := kv.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := &keyWatcher{latest: map[string]uint64{}}
	var done sync.WaitGroup
	done.Go(func() {
		for e := range watch.Updates() {
			if e != nil { // nil: that was all there is for now
				w.saw(e)
			}
		}
	})
	t.Cleanup(func() {
		_ = watch.Stop() // its connection may be closed
		done.Wait()
	})
	return w
}

func (w *keyWatcher) saw(e jetstream.KeyValueEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	if last := w.latest[e.Key()]; e.Revision() <= last {
		w.wrong = append(w.wrong, fmt.Sprintf("%s: revision %d comes behind %d", e.Key(), e.Revision(), last))
	}
	w.latest[e.Key()] = e.Revision()
}

// check waits until the watcher has seen what the last reads returned.
func (w *keyWatcher) check(ctx context.Context, t *testing.T, h *keyHistory) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := procs.Until(ctx, "the watcher", func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for key, e := range h.known {
			if got := w.latest[key]; got != e.revision {
				return fmt.Errorf("saw revision %d of %s last, which has %d", got, key, e.revision)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, text := range w.wrong {
		t.Error(text)
	}
	t.Logf("the watcher saw %d updates", w.count)
}
