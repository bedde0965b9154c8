package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// Bounds of what is measured of one kind of read.
const (
	manyReads = 20_000
	fewReads  = 20
	readTime  = 15 * time.Second
)

// reads makes a request again and again, and notes how long it took. A request
// that fails is noted as such.
func (t *storeTrial) reads(ctx context.Context, row string, n int, do func(ctx context.Context) error) error {
	var took []time.Duration
	for begun := time.Now(); len(took) < n && time.Since(begun) < readTime; {
		at := time.Now()
		if err := do(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.note(row, "failed: %v", err)
			return nil
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	t.note(row, "%s, %s", short(took[len(took)/2]), short(took[len(took)*99/100]))
	return nil
}

// requestTime is how long one request may take.
const requestTime = 30 * time.Second

// request sends a request and wants an answer that is not an error.
func request(ctx context.Context, nc *nats.Conn, subject, body string) error {
	return requestWithin(ctx, requestTime, nc, subject, body)
}

func requestWithin(ctx context.Context, limit time.Duration, nc *nats.Conn, subject, body string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, subject, []byte(body))
	if err != nil {
		return err
	}
	if status := m.Header.Get("Status"); status != "" && status != "204" {
		return fmt.Errorf("%s %s", status, m.Header.Get("Description"))
	}
	if strings.Contains(string(m.Data[:min(len(m.Data), 300)]), `"error":{`) {
		return errors.New(string(m.Data[:min(len(m.Data), 300)]))
	}
	return nil
}

// subjectReads measures reads by subject. n subjects are there, named by subject.
func (t *storeTrial) subjectReads(ctx context.Context, what string, n int, subject func(i int) string) error {
	nc, js, err := t.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	api := func(verb, body string) func(context.Context) error {
		return func(ctx context.Context) error { return request(ctx, nc, verb, body) }
	}
	get := "$JS.API.DIRECT.GET." + streamName
	info := "$JS.API.STREAM.INFO." + streamName
	what += ": "
	return errors.Join(
		t.reads(ctx, what+"last by subject, p50, p99", manyReads, func(ctx context.Context) error {
			return request(ctx, nc, get+"."+subject(rng.IntN(n)), "")
		}),
		t.reads(ctx, what+"next by subject from the first on, p50, p99", manyReads, func(ctx context.Context) error {
			return request(ctx, nc, get, fmt.Sprintf(`{"seq":1,"next_by_subj":%q}`, subject(rng.IntN(n))))
		}),
		t.reads(ctx, what+"next by a wildcard that 1 % match, p50, p99", manyReads, func(ctx context.Context) error {
			return request(ctx, nc, get, fmt.Sprintf(`{"seq":%d,"next_by_subj":"k.%d.>"}`, 1+rng.IntN(n/2), rng.IntN(groups)))
		}),
		t.reads(ctx, what+"stream info, p50, p99", manyReads, api(info, "")),
		t.reads(ctx, what+"stream info with the subjects of 1 %, p50, p99", fewReads, func(ctx context.Context) error {
			return request(ctx, nc, info, fmt.Sprintf(`{"subjects_filter":"k.%d.>"}`, rng.IntN(groups)))
		}),
		t.reads(ctx, what+"last of two subjects at once, p50, p99", fewReads, func(ctx context.Context) error {
			first := rng.IntN(n / 2)
			return request(ctx, nc, get, fmt.Sprintf(`{"multi_last":[%q,%q],"batch":2}`, subject(first), subject(first+1)))
		}),
		t.reads(ctx, what+"consumer with a filter that 1 % match, p50, p99", fewReads, func(ctx context.Context) error {
			return makeConsumer(ctx, js, rng.IntN(groups))
		}),
	)
}

func makeConsumer(ctx context.Context, js jetstream.JetStream, group int) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	config := jetstream.ConsumerConfig{Name: "probe", FilterSubject: fmt.Sprintf("k.%d.>", group), MemoryStorage: true}
	if _, err := js.CreateConsumer(ctx, streamName, config); err != nil {
		return err
	}
	return js.DeleteConsumer(ctx, streamName, "probe")
}

// sequenceReads measures reads of random sequences among n.
func (t *storeTrial) sequenceReads(ctx context.Context, what string, n int) error {
	nc, _, err := t.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	rng := rand.New(rand.NewPCG(3, 4))
	return t.reads(ctx, what+": message by sequence, p50, p99", manyReads, func(ctx context.Context) error {
		return request(ctx, nc, "$JS.API.DIRECT.GET."+streamName, fmt.Sprintf(`{"seq":%d}`, 1+rng.IntN(n)))
	})
}

// crashed kills all nodes, starts them, and notes when the first message is read
// again.
func (t *storeTrial) crashed(ctx context.Context, what string, subject string) error {
	t.c.Kill()
	begun := time.Now()
	for _, n := range t.c.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, t.o.limit)
	defer cancel()
	err := procs.Until(ctx, "a message is read", func() error {
		nc, _, err := t.connect()
		if err != nil {
			return err
		}
		defer nc.Close()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return request(short, nc, "$JS.API.DIRECT.GET."+streamName+"."+subject, "")
	})
	if err != nil {
		return err
	}
	t.note(what+": from the start after SIGKILL to the first read", "%s", short(time.Since(begun)))
	return t.memory(what + " opened after a crash")
}
