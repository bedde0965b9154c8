package runner

import (
	"testing"
	"time"

	"weir/internal/api"
)

// Statuses here are those of nats-server 2.15.2, seen on the wire.

func TestPullStatuses(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  api.ConsumerConfig
		msgs []string
		body string
		want []string
	}{
		{name: "no_wait", body: `{"no_wait":true}`, want: []string{"0 in  NATS/1.0 404 No Messages|"}},
		{name: "expires", body: `{"batch":2,"expires":250000000}`,
			want: []string{"250 in  NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 2|Nats-Pending-Bytes: 0|"}},
		{name: "expires only", body: `{"expires":250000000}`,
			want: []string{"250 in  NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 0|Nats-Pending-Bytes: 0|"}},
		{name: "negative expires", body: `{"batch":1,"expires":-5}`,
			want: []string{"0 in  NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 1|Nats-Pending-Bytes: 0|"}},
		{name: "no_wait and expires", body: `{"batch":5,"expires":250000000,"no_wait":true}`,
			want: []string{"250 in  NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 5|Nats-Pending-Bytes: 0|"}},
		{name: "heartbeat", body: `{"batch":2,"expires":500000000,"idle_heartbeat":200000000}`, want: []string{
			"200 in  NATS/1.0 100 Idle Heartbeat|Nats-Last-Consumer: 0|Nats-Last-Stream: 0|",
			"400 in  NATS/1.0 100 Idle Heartbeat|Nats-Last-Consumer: 0|Nats-Last-Stream: 0|",
			"500 in  NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 2|Nats-Pending-Bytes: 0|"}},
		{name: "heartbeat too large", body: `{"expires":500000000,"idle_heartbeat":300000000}`,
			want: []string{"0 in  NATS/1.0 400 Bad Request - heartbeat value too large|"}},
		{name: "bad json", body: `{"batch":`, want: []string{"0 in  NATS/1.0 400 Bad Request - unexpected end of JSON input|"}},
		{name: "word", body: `abc`, msgs: []string{"a", "b"}, want: []string{"0 in s 1.1.1.T.1 a"}},
		{name: "zero", body: `0`, msgs: []string{"a", "b"}, want: []string{"0 in s 1.1.1.T.1 a"}},
		{name: "empty", msgs: []string{"a", "b"}, want: []string{"0 in s 1.1.1.T.1 a"}},
		{name: "number", body: `2`, msgs: []string{"a", "b", "c"}, want: []string{"0 in s 1.1.1.T.2 a", "0 in s 1.2.2.T.1 b"}},
		{name: "no_wait for what there is", body: `{"batch":2,"no_wait":true}`, msgs: []string{"a", "b"},
			want: []string{"0 in s 1.1.1.T.1 a", "0 in s 1.2.2.T.0 b"}},
		{name: "no_wait for more", body: `{"batch":3,"no_wait":true}`, msgs: []string{"a", "b"},
			want: []string{"0 in s 1.1.1.T.1 a", "0 in s 1.2.2.T.0 b", "0 in  NATS/1.0 404 No Messages|"}},
		{name: "no_wait and expires for more", body: `{"batch":3,"no_wait":true,"expires":1000000000}`, msgs: []string{"a"},
			want: []string{"0 in s 1.1.1.T.0 a", "0 in  NATS/1.0 404 No Messages|"}},
		{name: "max_bytes", body: `{"batch":5,"max_bytes":80,"expires":1000}`, msgs: []string{"hello0", "hello1", "hello2"}, want: []string{
			"0 in s 1.1.1.T.2 hello0", "0 in  NATS/1.0 409 Message Size Exceeds MaxBytes|Nats-Pending-Messages: 4|Nats-Pending-Bytes: 35|"}},
		{name: "max_bytes with a full batch", body: `{"batch":1,"max_bytes":1000,"expires":1000}`, msgs: []string{"hello0"}, want: []string{
			"0 in s 1.1.1.T.0 hello0", "0 in  NATS/1.0 409 Batch Completed|Nats-Pending-Messages: 0|Nats-Pending-Bytes: 955|"}},
		{name: "max_batch", cfg: api.ConsumerConfig{MaxRequestBatch: 2}, body: "3",
			want: []string{"0 in  NATS/1.0 409 Exceeded MaxRequestBatch of 2|"}},
		{name: "max_expires", cfg: api.ConsumerConfig{MaxRequestExpires: 2 * time.Second}, body: `{"expires":5000000000}`,
			want: []string{"0 in  NATS/1.0 409 Exceeded MaxRequestExpires of 2s|"}},
		{name: "max_bytes limit", cfg: api.ConsumerConfig{MaxRequestMaxBytes: 100}, body: `{"max_bytes":500}`,
			want: []string{"0 in  NATS/1.0 409 Exceeded MaxRequestMaxBytes of 100|"}},
		{name: "push", cfg: api.ConsumerConfig{DeliverSubject: "d"}, body: "1", want: []string{"0 in  NATS/1.0 409 Consumer is push based|"}},
		{name: "headers only", cfg: api.ConsumerConfig{HeadersOnly: true}, body: "1", msgs: []string{"ab"},
			want: []string{"0 in s 1.1.1.T.0 NATS/1.0|Nats-Msg-Size: 2|"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, c.cfg, func(w *world) {
				w.publish("s", c.msgs...)
				w.pull("in", c.body)
				w.after(time.Second)
				w.want(c.want...)
			})
		})
	}
}

func TestPullWaits(t *testing.T) {
	bubble(t, api.ConsumerConfig{MaxWaiting: 2}, func(w *world) {
		w.pull("a", `{"batch":2,"expires":1000000000}`)
		w.pull("b", `{"batch":1,"expires":1000000000}`)
		w.pull("c", `{"batch":1,"expires":1000000000}`)
		w.want("0 c  NATS/1.0 409 Exceeded MaxWaiting|")
		w.pull("c", `{"no_wait":true}`)
		w.want("0 c  NATS/1.0 404 No Messages|")
		w.publish("s", "1", "2", "3", "4")
		w.want("0 a s 1.1.1.T.3 1", "0 b s 1.2.2.T.2 2", "0 a s 1.3.3.T.1 3") // in turns
		w.set(func() { w.deaf["gone"] = true })
		w.pull("gone", "1")
		if n := w.run.Status().Waiting; n != 0 {
			t.Errorf("%d waiting pulls, want 0: the client is gone", n)
		}
		w.pull("d", "1")
		w.want("0 d s 1.4.4.T.0 4")
	})
}

// Clients that went away make room for others, and heartbeats find them out.
func TestPullClientGone(t *testing.T) {
	bubble(t, api.ConsumerConfig{MaxWaiting: 1}, func(w *world) {
		w.pull("a", `{"expires":10000000000}`)
		w.set(func() { w.deaf["a"] = true })
		w.pull("b", `{"expires":10000000000,"idle_heartbeat":1000000000}`)
		w.set(func() { w.deaf["b"] = true })
		w.after(time.Second)
		w.want()
		if n := w.run.Status().Waiting; n != 0 {
			t.Errorf("%d waiting pulls, want 0", n)
		}
	})
}

func TestPullRequestsPending(t *testing.T) {
	bubble(t, api.ConsumerConfig{MaxAckPending: 2}, func(w *world) {
		w.publish("s", "1", "2", "3")
		w.pull("a", `{"batch":5,"no_wait":true}`)
		w.want("0 a s 1.1.1.T.2 1", "0 a s 1.2.2.T.1 2", "0 a  NATS/1.0 404 No Messages|")
		w.pull("a", `{"batch":5,"expires":1000000000}`)
		w.pull("b", `{"batch":5,"no_wait":true}`)
		w.pull("c", `{"batch":5,"no_wait":true,"expires":1000000000}`)
		w.want("0 b  NATS/1.0 408 Requests Pending|", "0 c  NATS/1.0 408 Requests Pending|")
		w.ack(1, 1, 1, "", "")
		w.want("0 a s 1.3.3.T.0 3")
		w.after(time.Second)
		w.want("1000 a  NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 4|Nats-Pending-Bytes: 0|")
	})
}

func TestPullPaused(t *testing.T) {
	until := time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC) // a bubble begins one second before
	bubble(t, api.ConsumerConfig{PauseUntil: &until}, func(w *world) {
		w.publish("s", "1")
		w.pull("a", `{"no_wait":true}`)
		w.pull("b", `{"expires":3000000000}`)
		w.want("0 a  NATS/1.0 404 No Messages|")
		w.after(time.Second)
		w.want("1000 b s 1.1.1.T.0 1")
	})
}

func TestCloseReasons(t *testing.T) {
	for reason, want := range map[CloseReason][]string{
		CloseSilent:     nil,
		CloseDeleted:    {"0 a  NATS/1.0 409 Consumer Deleted|"},
		CloseLeadership: {"0 a  NATS/1.0 409 Leadership Change|Nats-Pending-Messages: 5|Nats-Pending-Bytes: 100|"},
		CloseShutdown:   {"0 a  NATS/1.0 409 Server Shutdown|Nats-Pending-Messages: 5|Nats-Pending-Bytes: 100|"},
	} {
		t.Run(string(reason), func(t *testing.T) {
			bubble(t, api.ConsumerConfig{}, func(w *world) {
				w.pull("a", `{"batch":5,"max_bytes":100,"expires":1000000000}`)
				w.run.Close(reason)
				w.publish("s", "1")
				w.pull("b", "1")
				w.after(time.Minute)
				w.want(want...)
			})
		})
	}
}

func TestInactiveThreshold(t *testing.T) {
	bubble(t, api.ConsumerConfig{InactiveThreshold: 10 * time.Second}, func(w *world) {
		w.pull("a", `{"expires":3600000000000}`)
		w.after(time.Minute)
		w.set(func() { w.deaf["a"] = true })
		if w.ended() != 0 {
			t.Error("expired while a client waited")
		}
		w.after(20 * time.Second)
		if w.ended() == 0 {
			t.Error("the client of the only pull has gone, and the consumer stays")
		}
		w.want()
	})
}

func TestReadFailure(t *testing.T) {
	bubble(t, api.ConsumerConfig{}, func(w *world) {
		w.store.fail = errHeartbeat
		w.publish("s", "1")
		w.pull("a", "1")
		w.want()
		w.store.mu.Lock()
		w.store.fail = nil
		w.store.mu.Unlock()
		w.after(readRetry)
		w.want("1000 a s 1.1.1.T.0 1")
	})
}

func TestNotLive(t *testing.T) {
	bubble(t, api.ConsumerConfig{}, func(w *world) {
		w.set(func() { w.dead = true })
		w.publish("s", "1")
		w.pull("a", "1")
		w.after(time.Minute)
		w.want()
		w.set(func() { w.dead = false })
		w.run.Wake()
		w.want("60000 a s 1.1.1.T.0 1")
	})
}
