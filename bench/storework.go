package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// groups is the number of second tokens of the subjects: a filter on one matches
// one message in so many.
const groups = 100

// stride spreads subsequent messages over all subjects; it is prime.
const stride = 7_368_787

// keyName is the subject of key i.
func keyName(i int) string { return fmt.Sprintf("k.%d.%d.device-%08d", i%groups, i/groups%10, i) }

// manySubjects is the part with one message for each of many subjects.
func (t *storeTrial) manySubjects(ctx context.Context) error {
	n := t.o.subjects
	what := thousands(float64(n)) + " subjects"
	err := t.stream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{"k.>"}, MaxMsgsPerSubject: 1, MaxAge: 1000 * time.Hour,
	})
	if err != nil {
		return err
	}
	key := func(i int) string { return keyName(int(uint64(i) * stride % uint64(n))) }
	stored, err := t.fill(ctx, what, n, key)
	if err != nil {
		return err
	}
	perMessage := len(key(0)) + t.o.size
	steps := []func() error{
		func() error { return t.memory(what) },
		func() error { return t.settled(ctx, what, perMessage) },
		func() error { return t.idle(ctx, what+": processor while idle", 0) },
		func() error { return t.subjectReads(ctx, what, stored, key) },
		func() error { return t.memory(what + " after reads") },
		func() error { return t.crashed(ctx, what, key(0)) },
		func() error { return t.overwrite(ctx, stored, key, perMessage) },
		func() error { return t.purge(ctx, what) },
		func() error { return t.settled(ctx, what+" after the purges", perMessage) },
		func() error { return t.memory(what + " after all") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// overwrite replaces the messages of random subjects.
func (t *storeTrial) overwrite(ctx context.Context, n int, key func(i int) string, perMessage int) error {
	if t.o.overwrites == 0 {
		return nil
	}
	what := thousands(float64(t.o.overwrites)) + " overwrites"
	rng := rand.New(rand.NewPCG(5, 6))
	if _, err := t.fill(ctx, what, t.o.overwrites, func(int) string { return key(rng.IntN(n)) }); err != nil {
		return err
	}
	return t.settled(ctx, what, perMessage)
}

// purgeTime is how long a purge may take.
const purgeTime = 3 * time.Minute

// purge removes the subjects of one group, then a tenth of all.
func (t *storeTrial) purge(ctx context.Context, what string) error {
	nc, _, err := t.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	for _, p := range []struct{ name, filter string }{{"1 %", "k.7.>"}, {"10 %", "k.*.3.>"}} {
		before, err := t.cpu()
		if err != nil {
			return err
		}
		begun := time.Now()
		row := what + ": purge of " + p.name + " by subject, processor time"
		err = requestWithin(ctx, purgeTime, nc, "$JS.API.STREAM.PURGE."+streamName, fmt.Sprintf(`{"filter":%q}`, p.filter))
		if err != nil {
			t.note(row, "failed: %v", err)
			continue
		}
		took := time.Since(begun)
		after, err := t.cpu()
		if err != nil {
			return err
		}
		t.note(row, "%s, %s", short(took), short(after-before))
	}
	return nil
}

// manyMessages is the part with many messages on few subjects.
func (t *storeTrial) manyMessages(ctx context.Context) error {
	n := t.o.messages
	what := thousands(float64(n)) + " messages"
	if err := t.stream(ctx, jetstream.StreamConfig{Name: streamName, Subjects: []string{"k.>"}, MaxAge: 1000 * time.Hour}); err != nil {
		return err
	}
	key := func(i int) string { return keyName(i * 7919 % 1000) }
	stored, err := t.fill(ctx, what, n, key)
	if err != nil {
		return err
	}
	steps := []func() error{
		func() error { return t.memory(what) },
		func() error { return t.settled(ctx, what, len(key(0))+t.o.size) },
		func() error { return t.idle(ctx, what+": processor while idle", 0) },
		func() error { return t.sequenceReads(ctx, what, stored) },
		func() error { return t.subjectReads(ctx, what, 1000, key) },
		func() error { return t.memory(what + " after reads") },
		func() error { return t.crashed(ctx, what, key(0)) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
