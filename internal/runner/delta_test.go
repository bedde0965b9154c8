package runner

import (
	"testing"
	"time"

	"weir/internal/api"
)

// stands checks what is replicated: the last delivery, the ack floor, and how many
// deltas that took.
func (w *world) stands(delivered, floor, ticket uint64) {
	w.t.Helper()
	w.settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.state; c.Delivered.Stream != delivered || c.AckFloor.Stream != floor || c.Ticket != ticket {
		w.t.Errorf("delivered to %d, acked to %d after %d deltas; want %d, %d, %d", c.Delivered.Stream, c.AckFloor.Stream, c.Ticket, delivered, floor, ticket)
	}
}

// TestDeliveriesWaitForAcks: a delivery and its ack are one delta when the ack comes
// soon.
func TestDeliveriesWaitForAcks(t *testing.T) {
	bubble(t, explicit(), func(w *world) {
		w.patience = 20 * time.Millisecond
		w.publish("s", "1", "2", "3")
		w.pull("a", "2")
		w.stands(0, 0, 0)
		w.ack(1, 1, 1, "", "")
		w.stands(2, 1, 1)
		w.pull("a", "1")
		w.stands(2, 1, 1)
		w.after(30 * time.Millisecond)
		w.stands(3, 1, 2)
		w.ack(1, 2, 2, "", "")
		w.ack(1, 3, 3, "", "")
		w.stands(3, 3, 4)
	})
}

// TestDeliveriesThatDoNotWait: what somebody waits for is sent at once.
func TestDeliveriesThatDoNotWait(t *testing.T) {
	bubble(t, explicit(), func(w *world) {
		w.patience = time.Second
		w.publish("s", "1", "2")
		w.pull("a", "1")
		w.run.Sync(func() {})
		w.stands(1, 0, 1)
		w.pull("a", "1")
		w.run.Retire(func() {})
		w.stands(2, 0, 2)
	})
	limited := explicit()
	limited.MaxDeliver = 3
	bubble(t, limited, func(w *world) {
		w.patience = time.Second
		w.publish("s", "1")
		w.pull("a", "1")
		w.stands(1, 0, 1)
	})
	bubble(t, api.ConsumerConfig{AckPolicy: api.AckExplicit, AckWait: 10 * time.Second}, func(w *world) {
		w.patience = time.Second
		w.publish("s", "1")
		w.pull("a", "1")
		w.after(2 * time.Second)
		w.stands(1, 0, 1)
		w.pull("a", "1")
		w.after(10 * time.Second) // it is due again
		w.stands(1, 0, 2)
	})
}
