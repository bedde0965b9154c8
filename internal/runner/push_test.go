package runner

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/wire"
)

func pushing() api.ConsumerConfig { return api.ConsumerConfig{DeliverSubject: "d"} }

func TestPushInterest(t *testing.T) {
	cfg := pushing()
	cfg.Heartbeat, cfg.AckPolicy = 200*time.Millisecond, api.AckNone
	bubble(t, cfg, func(w *world) {
		w.set(func() { w.deaf["d"] = true })
		w.run.Wake()
		w.publish("s", "1")
		w.after(time.Second)
		w.want()
		w.set(func() { w.deaf["d"] = false })
		w.sched.InterestChanged("d")
		w.want("1000 d s 1.1.1.T.0 1")
		w.after(450 * time.Millisecond)
		w.publish("s", "2")
		w.want("1200 d  NATS/1.0 100 Idle Heartbeat|Nats-Last-Consumer: 1|Nats-Last-Stream: 1|",
			"1400 d  NATS/1.0 100 Idle Heartbeat|Nats-Last-Consumer: 1|Nats-Last-Stream: 1|", "1450 d s 1.2.2.T.0 2")
		w.set(func() { w.deaf["d"] = true })
		w.sched.InterestChanged(">")
		w.publish("s", "3")
		w.after(interestPoll)
		w.want()
		// A hint that was missed is made up for.
		w.set(func() { w.deaf["d"] = false })
		w.after(interestPoll)
		w.settle()
		if got := w.lines(); len(got) == 0 || !strings.HasSuffix(got[0], "d s 1.3.3.T.0 3") {
			t.Errorf("on the wire %q, want message 3 first", got)
		}
	})
}

// A mirror or source is told when its consumer is deleted; it makes another one by itself when a runner ends otherwise.
func TestCopierEnds(t *testing.T) {
	for reason, want := range map[CloseReason][]string{
		CloseDeleted:    {"0 d  NATS/1.0 409 Consumer Deleted|"},
		CloseLeadership: nil,
	} {
		t.Run(string(reason), func(t *testing.T) {
			cfg := pushing()
			cfg.Sourcing = true
			bubble(t, cfg, func(w *world) {
				w.run.Close(reason)
				w.want(want...)
			})
		})
	}
}

func TestPushQueueGroup(t *testing.T) {
	cfg := pushing()
	cfg.DeliverGroup = "g"
	bubble(t, cfg, func(w *world) {
		w.set(func() { w.noGroup["d g"] = true })
		w.publish("s", "1")
		w.want()
		w.set(func() { w.noGroup["d g"] = false })
		w.sched.InterestChanged("d")
		w.want("0 d s 1.1.1.T.0 1")
		if !w.run.Status().PushBound {
			t.Error("not bound")
		}
	})
}

func TestPushInactive(t *testing.T) {
	cfg := pushing()
	cfg.InactiveThreshold = time.Minute
	bubble(t, cfg, func(w *world) {
		w.after(time.Hour)
		w.set(func() { w.deaf["d"] = true })
		w.sched.InterestChanged("d")
		w.after(59 * time.Second)
		if n := w.ended(); n != 0 {
			t.Error("expired before its threshold")
		}
		w.after(2 * time.Second)
		if n := w.ended(); n != 1 {
			t.Errorf("asked %d times for its end, want 1", n)
		}
	})
}

func TestFlowControl(t *testing.T) {
	cfg := pushing()
	cfg.FlowControl, cfg.Heartbeat = true, time.Second
	bubble(t, cfg, func(w *world) {
		w.publish("s", strings.Split(strings.Repeat(strings.Repeat("x", 1000)+" ", 2000), " ")...)
		msgs, asked := 0, ""
		take := func() {
			asked = ""
			for _, line := range w.lines() {
				if f := strings.Fields(line); strings.Contains(line, "100 FlowControl Request") {
					asked = f[2]
				} else if f[2] == "s" {
					msgs++
				}
			}
		}
		take()
		if size := msgs * 1048; size < minFlowWindow || size > minFlowWindow+2000 || asked == "" {
			t.Fatalf("%d bytes sent without a confirmation; asked %q", size, asked)
		}
		w.after(time.Second)
		w.want("1000 d  NATS/1.0 100 Idle Heartbeat|Nats-Last-Consumer: " + fmt.Sprint(msgs) +
			"|Nats-Last-Stream: " + fmt.Sprint(msgs) + "|Nats-Consumer-Stalled: " + asked + "|")
		w.run.FlowReply("$JS.FC.S.C.other", nil)
		w.want()
		for i := 0; asked != "" && i < 100; i++ {
			w.run.FlowReply(asked, nil)
			w.settle()
			take()
		}
		if msgs != 2001 {
			t.Errorf("%d messages, want all 2001", msgs)
		}
	})
}

// TestFlowControlAcks: answers to flow control requests are the acks, of what they say is stored, and nothing comes again.
func TestFlowControlAcks(t *testing.T) {
	cfg := pushing()
	cfg.AckPolicy, cfg.AckWait, cfg.MaxAckPending = api.AckFlowControl, 0, 2
	cfg.FlowControl, cfg.Heartbeat = true, time.Second
	bubble(t, cfg, func(w *world) {
		stored := func(seq string) []byte { return wire.HeaderBlock("Nats-Last-Stream", seq, "Nats-Last-Consumer", seq) }
		const request, beat = "NATS/1.0 100 FlowControl Request|", "NATS/1.0 100 Idle Heartbeat|Nats-Last-Consumer: %d|Nats-Last-Stream: %d|"
		flow := func(n int) string { return fmt.Sprintf("$JS.FC.S.C.%s-%d", strconv.FormatUint(w.run.Epoch(), 36), n) }
		w.publish("s", "1", "2", "3")
		w.want("0 d s 1.1.1.T.2 1", "0 d s 1.2.2.T.1 2", "0 d "+flow(1)+" "+request)
		w.after(time.Second)
		w.want("1000 d  " + fmt.Sprintf(beat, 2, 2) + "Nats-Consumer-Stalled: " + flow(1) + "|")
		w.run.FlowReply(flow(1), nil) // says nothing: asked again with the next heartbeat
		w.run.FlowReply(flow(1), stored("2"))
		w.want()
		w.after(time.Second)
		w.want("2000 d  "+fmt.Sprintf(beat, 2, 2), "2000 d "+flow(2)+" "+request)
		w.run.FlowReply(flow(2), stored("1"))
		w.want("2000 d s 1.3.3.T.0 3", "2000 d "+flow(3)+" "+request)
		w.run.FlowReply(flow(3), stored("3"))
		w.after(time.Second)
		w.want("3000 d  " + fmt.Sprintf(beat, 3, 3))
	})
}

func TestRateLimit(t *testing.T) {
	cfg := pushing()
	cfg.RateLimit = 8000 // 1000 bytes a second
	bubble(t, cfg, func(w *world) {
		w.publish("s", strings.Repeat("x", 455), strings.Repeat("y", 455), strings.Repeat("z", 455))
		w.after(10 * time.Second)
		var at []string
		for _, line := range w.lines() {
			at = append(at, strings.Fields(line)[0])
		}
		if got := strings.Join(at, " "); got != "0 484 978" {
			t.Errorf("delivered at %s ms", got)
		}
	})
}

func TestReplayOriginal(t *testing.T) {
	cfg := pushing()
	cfg.ReplayPolicy = api.ReplayOriginal
	cfg.AckPolicy = api.AckNone
	bubble(t, cfg, func(w *world) {
		w.set(func() { w.deaf["d"] = true })
		w.publish("s", "1")
		w.after(300 * time.Millisecond)
		w.publish("s", "2")
		w.after(700 * time.Millisecond)
		w.publish("s", "3")
		w.set(func() { w.deaf["d"] = false })
		w.run.Wake()
		w.after(time.Minute)
		w.want("1000 d s 1.1.1.T.2 1", "1300 d s 1.2.2.T.1 2", "2000 d s 1.3.3.T.0 3")
	})
}

func TestPushPaused(t *testing.T) {
	cfg := pushing()
	until := time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC)
	cfg.Heartbeat, cfg.PauseUntil = 400*time.Millisecond, &until
	bubble(t, cfg, func(w *world) {
		w.publish("s", "1")
		w.after(1100 * time.Millisecond)
		beat := " d  NATS/1.0 100 Idle Heartbeat|Nats-Last-Consumer: 0|Nats-Last-Stream: 0|"
		w.want("400"+beat, "800"+beat, "1000 d s 1.1.1.T.0 1")
		// An update resumes it, and may move it elsewhere.
		cfg := w.cfg
		later := until.Add(time.Hour)
		cfg.PauseUntil = &later
		w.run.Update(&cfg)
		w.publish("s", "2")
		w.want()
		cfg.PauseUntil, cfg.DeliverSubject = nil, "e"
		w.run.Update(&cfg)
		w.want("1100 e s 1.2.2.T.0 2")
	})
}

func TestLastPerSubject(t *testing.T) {
	bubble(t, api.ConsumerConfig{DeliverPolicy: api.DeliverLastPerSubject, AckPolicy: api.AckExplicit}, func(w *world) {
		w.store.add("s.a", "1")
		w.store.add("s.b", "2")
		w.store.add("s.a", "3")
		w.store.add("s.c", "4")
		w.state.LastPerSubject = 4
		w.takeOver()
		w.publish("s.b", "5")
		w.pull("a", "10")
		w.want("0 a s.b 1.2.1.T.3 2", "0 a s.a 1.3.2.T.2 3", "0 a s.c 1.4.3.T.1 4", "0 a s.b 1.5.4.T.0 5")
	})
}

// A message of which the index does not tell whether it is its subject's last waits until it does.
func TestLastPerSubjectUnreadable(t *testing.T) {
	bubble(t, api.ConsumerConfig{DeliverPolicy: api.DeliverLastPerSubject, AckPolicy: api.AckExplicit}, func(w *world) {
		w.store.add("s.a", "1")
		w.store.add("s.a", "2")
		w.state.LastPerSubject = 2
		w.store.failLast = errors.New("checksum differs")
		w.takeOver()
		w.pull("a", "10")
		w.want()
		w.store.mu.Lock()
		w.store.failLast = nil
		w.store.mu.Unlock()
		time.Sleep(2 * readRetry) // virtual
		w.want("1000 a s.a 1.2.1.T.0 2")
	})
}

func TestFilters(t *testing.T) {
	cfg := explicit()
	cfg.FilterSubjects = []string{"s.a", "s.c"}
	bubble(t, cfg, func(w *world) {
		for i, subj := range []string{"s.a", "s.b", "s.c", "s.b", "s.a"} {
			w.store.add(subj, fmt.Sprint(i+1))
		}
		w.run.Stored()
		w.pull("a", "2")
		w.publish("s.c", "6")
		w.publish("s.b", "7")
		w.pull("a", `{"batch":9,"no_wait":true}`)
		w.want("0 a s.a 1.1.1.T.2 1", "0 a s.c 1.3.2.T.1 3", "0 a s.a 1.5.3.T.1 5", "0 a s.c 1.6.4.T.0 6", "0 a  NATS/1.0 404 No Messages|")
	})
}
