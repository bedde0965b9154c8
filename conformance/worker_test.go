package conformance

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// worker consumes with double acks and notes every message that comes back after
// its ack was confirmed.
type worker struct {
	consumer jetstream.Consumer
	running  sync.WaitGroup
	stop     context.CancelFunc

	mu        sync.Mutex
	delivered map[uint64]int
	confirmed map[uint64]time.Time // of stream sequences
	back      []string
}

// ackWait of the worker's consumer: deliveries that were lost with a server come
// again after it.
const ackWait = 3 * time.Second

func startWorker(ctx context.Context, c jetstream.Consumer) *worker {
	w := &worker{consumer: c, delivered: map[uint64]int{}, confirmed: map[uint64]time.Time{}}
	ctx, w.stop = context.WithCancel(ctx)
	w.running.Go(func() {
		for ctx.Err() == nil {
			if w.fetch(ctx, time.Second) == 0 {
				pause(ctx)
			}
		}
	})
	return w
}

// fetch pulls a batch and acks it. A message of this batch counts as coming back
// if its ack was confirmed before the batch was asked for.
func (w *worker) fetch(ctx context.Context, wait time.Duration) int {
	asked := time.Now()
	batch, err := w.consumer.Fetch(128, jetstream.FetchMaxWait(wait))
	if err != nil {
		return 0
	}
	n := 0
	var acks sync.WaitGroup
	for m := range batch.Messages() {
		n++
		meta, err := m.Metadata()
		if err != nil {
			w.wrong(fmt.Sprintf("message without metadata: %v", err))
			continue
		}
		w.arrived(meta, asked)
		acks.Go(func() { w.ack(ctx, m, meta.Sequence.Stream) })
	}
	acks.Wait()
	return n
}

func (w *worker) ack(ctx context.Context, m jetstream.Msg, seq uint64) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if m.DoubleAck(ctx) != nil {
		return // it comes back, or it was taken
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.confirmed[seq]; !known {
		w.confirmed[seq] = time.Now()
	}
}

func (w *worker) arrived(meta *jetstream.MsgMetadata, asked time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seq := meta.Sequence.Stream
	w.delivered[seq]++
	if at, ok := w.confirmed[seq]; ok && at.Before(asked) {
		w.back = append(w.back, fmt.Sprintf("message %d (delivery %d) came %v after its ack was confirmed",
			seq, meta.NumDelivered, asked.Sub(at)))
	}
}

func (w *worker) wrong(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back = append(w.back, text)
}

// finish waits until the consumer has nothing left, then until nothing comes for
// longer than the ack wait.
func (w *worker) finish(ctx context.Context, t *testing.T) {
	t.Helper()
	eventually(ctx, t, "everything is delivered and acked", func(ctx context.Context) error {
		info, err := w.consumer.Info(ctx)
		if err != nil {
			return err
		}
		if info.NumPending > 0 || info.NumAckPending > 0 {
			return fmt.Errorf("%d pending, %d not acked", info.NumPending, info.NumAckPending)
		}
		return nil
	})
	w.stop()
	w.running.Wait()
	if n := w.fetch(ctx, ackWait+time.Second); n > 0 {
		t.Errorf("%d messages came after all were acked", n)
	}
	for _, text := range w.back {
		t.Error(text)
	}
}
