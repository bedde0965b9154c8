package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// limited is a stream with a limit that nothing reaches.
type limited struct {
	name   string
	config jetstream.StreamConfig
	header nats.Header
}

// limitedStreams begin and end with the same without a limit: what these two differ by
// says how much a difference means. A lifetime of a message is compared with a header of
// the same length.
var limitedStreams = []limited{
	{name: "no limit"},
	{name: "max_age", config: jetstream.StreamConfig{MaxAge: never}},
	{name: "max_msgs_per_subject", config: jetstream.StreamConfig{MaxMsgsPerSubject: math.MaxInt32}},
	{name: "max_bytes and max_msgs", config: jetstream.StreamConfig{MaxBytes: 8 << 30, MaxMsgs: math.MaxInt32}},
	{name: "a header", header: nats.Header{"Some-TTL": {never.String()}}},
	{name: "a TTL", config: jetstream.StreamConfig{AllowMsgTTL: true}, header: nats.Header{"Nats-TTL": {never.String()}}},
	{name: "no limit again"},
}

// never is longer than the program runs.
const never = 1000 * time.Hour

// calmTime is how long the servers are left alone before they count as idle.
const calmTime = 45 * time.Second

// limits is the part on limits that nothing reaches: what they cost for each message,
// and while nothing happens.
func (t *storeTrial) limits(ctx context.Context) error {
	nc, js, err := t.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	what := "limits not reached, " + thousands(float64(t.o.limited)) + " messages: "
	for i, l := range limitedStreams {
		name := fmt.Sprintf("LIMITED%d", i)
		l.config.Name, l.config.Subjects = name, []string{name + ".>"}
		if err := t.create(ctx, js, l.config); err != nil {
			return err
		}
		var keys [1000]string
		for k := range keys {
			keys[k] = name + "." + keyName(k)
		}
		subject := func(i int) string { return keys[i*7919%len(keys)] }
		done, err := t.publish(ctx, &filling{subject: subject, n: t.o.limited, header: l.header})
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		t.note(what+l.name, "%.1f µs, %s per second", done.cpu, thousands(done.rate))
		idle := "processor while idle, with all of these streams"
		switch i {
		case 0:
			idle = "processor while idle, with the stream without a limit"
		case len(limitedStreams) - 1:
		default:
			continue
		}
		if err := t.idle(ctx, what+idle, calmTime); err != nil {
			return err
		}
	}
	return nil
}
