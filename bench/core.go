package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	coreChunk  = 1000
	coreWindow = 50 // chunks on their way, so that nobody is a slow consumer
)

// core publishes without a stream on one node to a subscriber on another one. It
// counts what arrives.
func (w *work) core() (figure, error) {
	from, to := w.conns[0], w.conns[1]
	arrived := make(chan struct{}, coreWindow)
	received := 0 // by the subscription's callbacks, which follow each other
	sub, err := to.Subscribe("core", func(*nats.Msg) {
		if received++; received%coreChunk == 0 {
			arrived <- struct{}{}
		}
	})
	if err != nil {
		return figure{}, err
	}
	if err := errors.Join(sub.SetPendingLimits(-1, -1), to.Flush(), w.awaitRoute(from, to)); err != nil {
		return figure{}, err
	}
	m, err := w.begin()
	if err != nil {
		return figure{}, err
	}
	sent, done := 0, 0
	for until := m.begun.Add(w.length); time.Now().Before(until); sent++ {
		for range coreChunk {
			if err := from.Publish("core", w.payload); err != nil {
				return figure{}, fmt.Errorf("publish: %w", err)
			}
		}
		for sent-done >= coreWindow {
			if err := w.await(arrived); err != nil {
				return figure{}, err
			}
			done++
		}
	}
	if err := from.Flush(); err != nil {
		return figure{}, err
	}
	for ; done < sent; done++ {
		if err := w.await(arrived); err != nil {
			return figure{}, err
		}
	}
	return m.done(sent * coreChunk)
}

// awaitRoute waits until what one client publishes reaches the other one. What
// was subscribed before on the same connection is reached too.
func (w *work) awaitRoute(from, to *nats.Conn) error {
	sub, err := to.Subscribe("probe", func(m *nats.Msg) { _ = m.Respond(nil) }) // the request fails
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection ends with the row
	if err := to.Flush(); err != nil {
		return err
	}
	for {
		_, err := from.RequestWithContext(w.ctx, "probe", nil)
		if !errors.Is(err, nats.ErrNoResponders) {
			return err
		}
	}
}

func (w *work) await(arrived <-chan struct{}) error {
	select {
	case <-arrived:
		return nil
	case <-w.ctx.Done():
		return fmt.Errorf("messages are missing: %w", w.ctx.Err())
	}
}
