package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestSchedulesSurvive has schedules go on under another leader and after all
// nodes were down, where what was missed comes once.
func TestSchedulesSurvive(t *testing.T) {
	c := startCluster(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	nc, js := c.connect(0)
	cfg := jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>", "t.>"}, Replicas: 3, AllowMsgSchedules: true}
	if _, err := js.CreateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	schedule := func(subj string, opts ...jetstream.PublishOpt) {
		t.Helper()
		opts = append(opts, jetstream.WithScheduleTarget("t"+strings.TrimPrefix(subj, "s")))
		if _, err := js.Publish(ctx, subj, []byte(subj), opts...); err != nil {
			t.Fatalf("publish to %s: %v", subj, err)
		}
	}
	schedule("s.every", jetstream.WithScheduleEvery(time.Second))
	schedule("s.zone", jetstream.WithScheduleCron("* * * * * *"), jetstream.WithScheduleTimeZone("Asia/Tokyo"))
	due := time.Now().Add(5 * time.Second)
	schedule("s.at", jetstream.WithScheduleAt(due))
	_, err := js.Publish(ctx, "s.bad", nil, jetstream.WithScheduleCron("@daily"), jetstream.WithScheduleTimeZone("No/Where"),
		jetstream.WithScheduleTarget("t.bad"))
	if err == nil || !strings.Contains(err.Error(), "10223") && !strings.Contains(err.Error(), "time zone") {
		t.Errorf("a time zone that does not exist: %v", err)
	}

	untilScheduled(ctx, t, js, "t.every", 1)
	untilScheduled(ctx, t, js, "t.zone", 1)
	if _, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.S", nil, patience); err != nil {
		t.Fatal(err)
	}
	untilScheduled(ctx, t, js, "t.every", 2)
	for i := range 3 {
		c.stop(i)
	}
	<-time.After(time.Until(due))
	for i := range 3 {
		c.start(i)
	}
	for i := range 3 {
		c.ready(i)
	}
	_, js = c.connect(1)
	at := untilScheduled(ctx, t, js, "t.at", 1)
	every := untilScheduled(ctx, t, js, "t.every", 2)
	untilScheduled(ctx, t, js, "t.every", every+2)
	untilScheduled(ctx, t, js, "t.zone", 2)
	if n := untilScheduled(ctx, t, js, "t.at", 1); at != 1 || n != 1 {
		t.Errorf("the message for one time came %d times, then %d", at, n)
	}
}

// untilScheduled waits for at least n messages on a subject of stream S and returns how many there are.
func untilScheduled(ctx context.Context, t *testing.T, js jetstream.JetStream, subj string, n uint64) uint64 {
	t.Helper()
	for {
		var have uint64
		s, err := js.Stream(ctx, "S")
		if err == nil {
			var info *jetstream.StreamInfo
			if info, err = s.Info(ctx, jetstream.WithSubjectFilter(subj)); err == nil {
				have = info.State.Subjects[subj]
			}
		}
		if have >= n {
			return have
		}
		if ctx.Err() != nil {
			t.Fatalf("%s has %d of %d messages: %v", subj, have, n, err)
		}
	}
}
