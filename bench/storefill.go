package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// storeWindow is how many publishes wait for an answer at once.
const storeWindow = 2000

// filling publishes messages with a window and takes the time of every answer.
type filling struct {
	subject func(i int) string
	n       int
	payload []byte
	header  nats.Header
	limit   time.Duration

	sent    [storeWindow]time.Time // by place in the window
	answers []time.Duration
	longest time.Duration
}

// filled is what a filling did.
type filled struct {
	n            int
	rate         float64
	p99, longest time.Duration // from a publish to its answer
	cpu          float64       // of the servers per message, µs
}

// run publishes until all is answered or the limit is reached. The reply subject
// ends with the place in the window, which is free again when the answer is there.
func (f *filling) run(ctx context.Context, nc *nats.Conn) (filled, error) {
	inbox := nats.NewInbox()
	replies := make(chan *nats.Msg, storeWindow)
	sub, err := nc.ChanSubscribe(inbox+".*", replies)
	if err != nil {
		return filled{}, err
	}
	defer sub.Unsubscribe()
	places := make([]string, storeWindow)
	free := make([]int, storeWindow)
	for i := range places {
		places[i], free[i] = inbox+"."+strconv.Itoa(i), i
	}
	begun := time.Now()
	sent := 0
	for sent < f.n || len(free) < storeWindow {
		if f.limit > 0 && time.Since(begun) > f.limit {
			f.n = sent // wait for what is under way
		}
		for len(free) > 0 && sent < f.n {
			place := free[len(free)-1]
			free = free[:len(free)-1]
			f.sent[place] = time.Now()
			m := nats.Msg{Subject: f.subject(sent), Reply: places[place], Header: f.header, Data: f.payload}
			if err := nc.PublishMsg(&m); err != nil {
				return filled{}, err
			}
			sent++
		}
		if len(free) == storeWindow {
			break
		}
		if free, err = f.take(ctx, replies, free); err != nil {
			return filled{}, fmt.Errorf("after %d messages: %w", sent, err)
		}
	}
	took := time.Since(begun)
	slices.Sort(f.answers)
	out := filled{n: sent, rate: float64(sent) / took.Seconds(), longest: f.longest}
	if n := len(f.answers); n > 0 {
		out.p99 = f.answers[n*99/100]
	}
	return out, nil
}

// answerTime is how long a publish may go without an answer.
const answerTime = time.Minute

// sampleEvery is one in how many answers counts for the percentile.
const sampleEvery = 16

// take waits for an answer and takes all that are there.
func (f *filling) take(ctx context.Context, replies chan *nats.Msg, free []int) ([]int, error) {
	overdue := time.NewTimer(answerTime)
	defer overdue.Stop()
	for more := true; more; more = len(replies) > 0 {
		select {
		case m := <-replies:
			place, err := strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
			if err != nil || bytes.Contains(m.Data, []byte(`"error"`)) || len(m.Data) == 0 {
				return free, fmt.Errorf("publish refused: %s %v", m.Data, m.Header)
			}
			took := time.Since(f.sent[place])
			f.longest = max(f.longest, took)
			if place%sampleEvery == 0 {
				f.answers = append(f.answers, took)
			}
			free = append(free, place)
		case <-overdue.C:
			return free, fmt.Errorf("no answer for %v", answerTime)
		case <-ctx.Done():
			return free, ctx.Err()
		}
	}
	return free, nil
}

// publish does a filling with payloads of the usual size.
func (t *storeTrial) publish(ctx context.Context, f *filling) (done filled, err error) {
	nc, _, err := t.connect()
	if err != nil {
		return filled{}, err
	}
	defer nc.Close()
	f.payload, f.limit = bytes.Repeat([]byte("x"), t.o.size), t.o.limit
	before, err := t.cpu()
	if err != nil {
		return filled{}, err
	}
	if done, err = f.run(ctx, nc); err != nil {
		return filled{}, err
	}
	after, err := t.cpu()
	done.cpu = float64((after - before).Microseconds()) / float64(done.n)
	return done, err
}

// fill publishes and notes the rate and the times to the answer.
func (t *storeTrial) fill(ctx context.Context, what string, n int, subject func(i int) string) (int, error) {
	done, err := t.publish(ctx, &filling{subject: subject, n: n})
	if err != nil {
		return 0, err
	}
	if done.n < n {
		t.note(what+": messages within the time limit", "%s of %s", thousands(float64(done.n)), thousands(float64(n)))
	}
	t.note(what+": messages per second", "%s", thousands(done.rate))
	t.note(what+": processor time of the servers per message", "%.1f µs", done.cpu)
	t.note(what+": answer to a publish, p99, longest", "%s, %s", short(done.p99), short(done.longest))
	return done.n, nil
}

// short is a duration to about three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
}
