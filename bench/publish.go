package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publishSync publishes one message after another with each client.
func (w *work) publishSync() (figure, error) {
	return w.perSecond(func(_ int, nc *nats.Conn, until time.Time) (int, error) {
		js, err := jetstream.New(nc)
		if err != nil {
			return 0, err
		}
		n := 0
		for ; time.Now().Before(until); n++ {
			if _, err := js.Publish(w.ctx, streamSubject, w.payload); err != nil {
				return 0, fmt.Errorf("publish message %d: %w", n+1, err)
			}
		}
		return n, nil
	})
}

// publishAsync publishes with a window of unanswered messages per client. It
// counts when the last answer has come.
func (w *work) publishAsync() (figure, error) {
	return w.perSecond(func(_ int, nc *nats.Conn, until time.Time) (int, error) {
		return w.sendAsync(nc, func(int) bool { return time.Now().Before(until) })
	})
}

// clockEvery is how many messages go out between two looks at the clock.
const clockEvery = 64

// sendAsync publishes for as long as more says so, asked every clockEvery
// messages, and waits for all answers.
func (w *work) sendAsync(nc *nats.Conn, more func(sent int) bool) (int, error) {
	var failed atomic.Pointer[error]
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(window),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { failed.Store(&err) }))
	if err != nil {
		return 0, err
	}
	n := 0
	for ; n%clockEvery != 0 || more(n); n++ {
		if _, err := js.PublishAsync(streamSubject, w.payload, jetstream.WithStallWait(spareTime)); err != nil {
			return 0, fmt.Errorf("publish message %d: %w", n+1, err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-w.ctx.Done():
		return 0, fmt.Errorf("wait for the answers to %d messages: %w", n, w.ctx.Err())
	}
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("publish: %w", *err)
	}
	return n, nil
}
