package runner

import (
	"testing"
	"time"

	"weir/internal/api"
)

// timedAck acknowledges a message as a client does that was given it.
func (w *world) timedAck(seq uint64, word, reply string) {
	w.run.Ack(Ack{Stream: seq, Consumer: seq, Deliveries: 1, Time: w.store.list[seq-1].Time, Reply: reply, Payload: []byte(word)})
	w.settle()
}

// lost delivers messages to a pull and has the runner die before that is committed.
func (w *world) lost(messages ...string) {
	w.publish("s", messages...)
	w.set(func() { w.stalled = true })
	w.pull("a", "100")
	w.lines()
	w.set(func() { w.stalled = false })
	w.takeOver()
}

// TestAckOfLostDelivery: what was acknowledged does not come again, though the runner
// that delivered it died before that was committed. What was delivered before it comes
// again when its ack does not come.
func TestAckOfLostDelivery(t *testing.T) {
	cfg := explicit()
	cfg.AckWait = 10 * time.Second
	bubble(t, cfg, func(w *world) {
		w.lost("1", "2", "3", "4")
		w.timedAck(2, "+ACK", "confirmed")
		w.want("0 confirmed  ")
		w.after(time.Second)
		w.timedAck(3, "-NAK", "")
		w.pull("b", "100")
		w.want("1000 b s 2.3.4.T.1 3", "1000 b s 1.4.5.T.0 4")
		w.timedAck(4, "", "")
		w.after(15 * time.Second)
		w.want("10000 b s 2.1.6.T.0 1", "11000 b s 3.3.7.T.0 3")
	})
}

// TestAckAllOfLostDelivery acknowledges what came before it, too.
func TestAckAllOfLostDelivery(t *testing.T) {
	cfg := explicit()
	cfg.AckPolicy = api.AckAll
	bubble(t, cfg, func(w *world) {
		w.lost("1", "2", "3", "4")
		w.timedAck(3, "", "confirmed")
		w.pull("b", "100")
		w.want("0 confirmed  ", "0 b s 1.4.4.T.0 4")
		w.after(time.Second)
		if floor := w.state.AckFloor.Stream; floor != 3 {
			t.Errorf("floor %d", floor)
		}
	})
}

// TestAckOfNoDelivery: an ack of what nobody can have been given is neither taken nor
// confirmed.
func TestAckOfNoDelivery(t *testing.T) {
	limited := explicit()
	limited.MaxDeliver = 5
	filtered := explicit()
	filtered.FilterSubject = "other"
	for name, c := range map[string]struct {
		cfg  api.ConsumerConfig
		send func(*world)
	}{
		"of another time":  {explicit(), func(w *world) { w.ack(1, 2, 2, "", "r") }},
		"stored since":     {explicit(), func(w *world) { w.publish("s", "3"); w.timedAck(3, "", "r") }},
		"with max_deliver": {limited, func(w *world) { w.timedAck(2, "", "r") }},
		"that is filtered": {filtered, func(w *world) { w.timedAck(2, "", "r") }},
		"that was removed": {explicit(), func(w *world) {
			at := w.store.list[1].Time
			w.store.remove(2)
			w.run.Ack(Ack{Stream: 2, Time: at, Reply: "r"})
		}},
		"of a higher place": {explicit(), func(w *world) { w.ack(1, 9, 9, "", "r") }},
	} {
		bubble(t, c.cfg, func(w *world) {
			w.lost("1", "2")
			c.send(w)
			w.after(time.Second)
			if got := w.lines(); len(got) > 0 || w.delivered().Stream != 0 {
				t.Errorf("%s: %q, delivered %v", name, got, w.delivered())
			}
		})
	}
}

// TestAckFromBeforeReset: an ack of what was delivered before the consumer was started
// over does not keep the message from coming again, though another runner begins then.
func TestAckFromBeforeReset(t *testing.T) {
	bubble(t, explicit(), func(w *world) {
		w.lost("1", "2")
		w.set(func() { w.state.Reset(1, 2) })
		w.takeOver()
		w.timedAck(2, "", "")
		w.publish("s", "3")
		w.pull("b", "100")
		w.want("0 b s 1.1.1.T.2 1", "0 b s 1.2.2.T.1 2", "0 b s 1.3.3.T.0 3")
	})
}
