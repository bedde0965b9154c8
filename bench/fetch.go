package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// storedPerSecond is how many messages are stored before a fetch row for each
// second that it should last.
const storedPerSecond = 50_000

// fetch stores messages, then fetches them with a replicated durable consumer and
// acks each. It counts when the last ack is in force.
func (w *work) fetch() (figure, error) {
	stored := int(w.length.Seconds() * storedPerSecond)
	stored, err := w.sendAsync(w.conns[0], func(sent int) bool { return sent < stored })
	if err != nil {
		return figure{}, fmt.Errorf("store messages: %w", err)
	}
	consumer, err := w.stream.CreateConsumer(w.ctx, jetstream.ConsumerConfig{
		Durable: "bench", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10 * fetchBatch,
	})
	if err != nil {
		return figure{}, fmt.Errorf("create the consumer: %w", err)
	}
	return w.perSecond(func(int, *nats.Conn, time.Time) (int, error) {
		for n := 0; n < stored; {
			got, err := fetchOnce(consumer, min(fetchBatch, stored-n))
			if err != nil {
				return 0, fmt.Errorf("fetch after %d of %d messages: %w", n, stored, err)
			}
			n += got
		}
		return stored, w.allAcked(consumer)
	})
}

func fetchOnce(consumer jetstream.Consumer, size int) (int, error) {
	batch, err := consumer.Fetch(size)
	if err != nil {
		return 0, err
	}
	n := 0
	for m := range batch.Messages() {
		if err := m.Ack(); err != nil {
			return 0, err
		}
		n++
	}
	if err := batch.Error(); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errors.New("nothing came")
	}
	return n, nil
}

func (w *work) allAcked(consumer jetstream.Consumer) error {
	return procs.Until(w.ctx, "all acks are in force", func() error {
		info, err := consumer.Info(w.ctx)
		if err != nil {
			return err
		}
		if info.NumAckPending > 0 || info.NumPending > 0 {
			return fmt.Errorf("%d not acked, %d not delivered", info.NumAckPending, info.NumPending)
		}
		return nil
	})
}
