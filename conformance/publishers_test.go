package conformance

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// attemptTime is how long a publisher waits for one ack before it publishes the
// message again with the same id.
const attemptTime = 250 * time.Millisecond

// publishers publish one message after another, each until it is acknowledged,
// and note what was acknowledged and how long it took.
type publishers struct {
	running sync.WaitGroup
	stop    chan struct{}

	mu      sync.Mutex
	acked   map[string]uint64 // sequence by message id
	since   []int             // acks of each publisher in this phase, for publishes begun in it
	phase   int
	longest []time.Duration // ack wait by phase; one that spans several counts in each
	failed  error
}

func startPublishers(ctx context.Context, t *testing.T, urls, subject string, n int) *publishers {
	t.Helper()
	p := newPublishers(n)
	for i := range n {
		_, js := connect(t, urls)
		p.running.Go(func() { p.publish(ctx, js, subject, i) })
	}
	return p
}

func newPublishers(n int) *publishers {
	return &publishers{
		stop: make(chan struct{}), acked: map[string]uint64{}, since: make([]int, n), longest: []time.Duration{0},
	}
}

func (p *publishers) publish(ctx context.Context, js jetstream.JetStream, subject string, who int) {
	for n := 0; ctx.Err() == nil && !p.stopped(); n++ {
		p.one(ctx, js, fmt.Sprintf("%s.%d", subject, who), fmt.Sprintf("p%d-%d", who, n), who)
	}
}

func (p *publishers) stopped() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// one publishes a message until it is acknowledged.
func (p *publishers) one(ctx context.Context, js jetstream.JetStream, subject, id string, who int) {
	begun, phase := time.Now(), p.inPhase()
	for ctx.Err() == nil {
		ack, err := attempt(ctx, js, subject, id)
		if err == nil {
			p.note(who, id, ack.Sequence, phase, time.Since(begun))
			return
		}
		pause(ctx)
	}
}

func attempt(ctx context.Context, js jetstream.JetStream, subject, id string) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	m := nats.NewMsg(subject)
	m.Data = []byte(id)
	return js.PublishMsg(ctx, m, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
}

func (p *publishers) inPhase() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.phase
}

func (p *publishers) note(who int, id string, seq uint64, phase int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, twice := p.acked[id]; twice {
		p.failed = fmt.Errorf("%s published twice by the test", id)
	}
	p.acked[id] = seq
	if phase == p.phase {
		p.since[who]++
	}
	for i := phase; i <= p.phase; i++ {
		p.longest[i] = max(p.longest[i], took)
	}
}

// nextPhase begins a phase of its own for ack waits.
func (p *publishers) nextPhase() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase++
	p.longest = append(p.longest, 0)
	clear(p.since)
}

// progress waits until each publisher has got n acks for what it began to publish
// in this phase.
func (p *publishers) progress(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	err := procs.Until(ctx, "every publisher goes on", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for who, acks := range p.since {
			if acks < n {
				return fmt.Errorf("publisher %d has %d of %d acks", who, acks, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// finish lets each publisher get the ack that it waits for.
func (p *publishers) finish(t *testing.T) map[string]uint64 {
	t.Helper()
	close(p.stop)
	p.running.Wait()
	if p.failed != nil {
		t.Fatal(p.failed)
	}
	return p.acked
}
