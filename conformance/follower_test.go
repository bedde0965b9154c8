package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// lateDelivery is how long after its confirmed ack a message may still come to
	// a push consumer's subscription: it was under way, with a node that was paused.
	lateDelivery = longestPause + 5*time.Second
	shortWait    = 2 * time.Second
)

// part names the subjects of a stream that a message or a consumer belongs to.
type part struct {
	stream string
	number int
}

// subject is what messages of this part are published to.
func (p part) subject() string { return strings.ToLower(p.stream) + "." + strconv.Itoa(p.number) }

// partOf reads the part from a message id, as "LIMITS.3:19".
func partOf(id string) part {
	name, _, _ := strings.Cut(id, ":")
	stream, number, _ := strings.Cut(name, ".")
	n, _ := strconv.Atoi(number)
	return part{stream, n}
}

// messageID is the id of the n'th message that is published to the part's stream.
func (p part) messageID(n int) string { return fmt.Sprintf("%s.%d:%d", p.stream, p.number, n) }

// numberOf is what messageID was given.
func numberOf(id string) int {
	_, number, _ := strings.Cut(id, ":")
	n, _ := strconv.Atoi(number)
	return n
}

// follower is a consumer at work, and what was seen of it.
type follower struct {
	part
	cfg  jetstream.ConsumerConfig
	nc   *nats.Conn
	pull string // what follows batch and expiry in a pull, if the consumer needs more
	naks int    // every so many'th delivery is refused; 0 is none

	running sync.WaitGroup
	stop    func()

	mu        sync.Mutex
	seen      map[string]int       // deliveries by message id
	confirmed map[string]time.Time // by message id: when its ack was confirmed
	last      jetstream.ConsumerInfo
	handled   int
	complete  int // number of the first message of the part that has not come
	wrong     []string
}

// newFollower is the i'th consumer of the trial. Consumers of the workqueue have
// a subject each; the rest share all subjects among all kinds.
func newFollower(i int, nc *nats.Conn) *follower {
	f := &follower{nc: nc, seen: map[string]int{}, confirmed: map[string]time.Time{}}
	f.cfg = jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, AckWait: shortWait}
	switch {
	case i < trialParts:
		f.part = part{"WORKS", i}
	case i%4 == 0:
		f.part = part{"INTEREST", i / 4 % trialParts}
	default:
		f.part = part{"LIMITS", i / 4 % trialParts}
	}
	f.cfg.FilterSubject, f.complete = f.subject(), f.number
	kind := kinds[i%len(kinds)]
	if f.stream == "WORKS" && i%2 == 1 {
		kind = kinds[pushKind]
	}
	f.cfg.Durable = fmt.Sprintf("c%03d-%s", i, kind.name)
	kind.shape(f)
	if f.stream == "INTEREST" || f.stream == "WORKS" {
		f.cfg.Replicas, f.cfg.MemoryStorage = 0, false
		if f.cfg.AckPolicy == jetstream.AckNonePolicy {
			f.cfg.AckPolicy = jetstream.AckExplicitPolicy
		}
		f.cfg.MaxDeliver = 0 // what is given up stays in a workqueue
		f.cfg.BackOff = nil
	}
	return f
}

func (f *follower) push() bool { return f.cfg.DeliverSubject != "" }

// start puts the follower to work until ctx ends or stop is called.
func (f *follower) start(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	f.stop = func() { cancel(); f.running.Wait() }
	if f.push() {
		f.subscribe(ctx, t)
	} else {
		f.running.Go(func() {
			for ctx.Err() == nil {
				f.fetch(ctx)
			}
		})
	}
}

// subscribe receives what a push consumer delivers; a queue group has two members.
func (f *follower) subscribe(ctx context.Context, t *testing.T) {
	t.Helper()
	for range 2 {
		sub, err := f.nc.QueueSubscribeSync(f.cfg.DeliverSubject, f.cfg.DeliverGroup)
		if err != nil {
			t.Fatal(err)
		}
		f.running.Go(func() {
			defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
			for {
				m, err := sub.NextMsgWithContext(ctx)
				if err != nil {
					return
				}
				f.pushed(ctx, m)
			}
		})
		if f.cfg.DeliverGroup == "" {
			return
		}
	}
}

func (f *follower) pushed(ctx context.Context, m *nats.Msg) {
	if m.Header.Get("Status") == "100" {
		if m.Reply != "" {
			_ = m.Respond(nil) // flow control; asked again if it is lost
		} else if stalled := m.Header.Get("Nats-Consumer-Stalled"); stalled != "" {
			_ = f.nc.Publish(stalled, nil)
		}
		return
	}
	f.message(ctx, m, time.Now().Add(-lateDelivery))
}

// fetch pulls once and handles what comes.
func (f *follower) fetch(ctx context.Context) {
	inbox := f.nc.NewInbox()
	sub, err := f.nc.SubscribeSync(inbox)
	if err != nil {
		pause(ctx)
		return
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	asked := time.Now()
	body := fmt.Sprintf(`{"batch":20,"expires":%d%s}`, shortWait, f.pull)
	if f.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+f.stream+"."+f.cfg.Durable, inbox, []byte(body)) != nil {
		pause(ctx)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shortWait+500*time.Millisecond)
	defer cancel()
	for range 20 {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return
		}
		if m.Header.Get("Status") != "" {
			f.pinned(m)
			return
		}
		f.message(ctx, m, asked)
	}
}

// pinned forgets a pin that is no longer ours.
func (f *follower) pinned(m *nats.Msg) {
	if m.Header.Get("Status") == "423" {
		f.pull, _, _ = strings.Cut(f.pull, `,"id"`)
	}
}

// message handles a delivery. One whose ack was confirmed before since came back.
func (f *follower) message(ctx context.Context, m *nats.Msg, since time.Time) {
	id := m.Header.Get(jetstream.MsgIDHeader)
	f.arrived(id, m, since)
	if pin := m.Header.Get("Nats-Pin-Id"); pin != "" && !strings.Contains(f.pull, pin) {
		f.pull, _, _ = strings.Cut(f.pull, `,"id"`)
		f.pull += fmt.Sprintf(`,"id":%q`, pin)
	}
	if f.cfg.AckPolicy == jetstream.AckNonePolicy {
		return
	}
	switch {
	case f.refuses():
		_ = m.Nak() // comes back after the ack wait if it is lost
		return
	case f.cfg.AckPolicy == jetstream.AckAllPolicy && !f.hasAllUpTo(id):
		return // what was lost comes again, and then this
	}
	ctx, cancel := context.WithTimeout(ctx, shortWait)
	defer cancel()
	if _, err := f.nc.RequestWithContext(ctx, m.Reply, []byte("+ACK")); err != nil {
		return // it comes back, or it was taken
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.confirmed[id]; !known {
		f.confirmed[id] = time.Now()
	}
}

func (f *follower) arrived(id string, m *nats.Msg, since time.Time) {
	meta, err := m.Metadata()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[id]++
	if err != nil {
		f.wrong = append(f.wrong, fmt.Sprintf("%s without metadata: %v", id, err))
		return
	}
	if partOf(id) != f.part {
		f.wrong = append(f.wrong, id+" does not match the filter")
	}
	if at, ok := f.confirmed[id]; ok && at.Before(since) {
		f.wrong = append(f.wrong, fmt.Sprintf("%s (sequence %d, delivery %d) came back %v after its ack was confirmed at %s",
			id, meta.Sequence.Stream, meta.NumDelivered, time.Since(at), at.Format(time.TimeOnly)))
	}
	if limit := f.cfg.MaxDeliver; limit > 0 && (f.seen[id] > limit || int(meta.NumDelivered) > limit) {
		f.wrong = append(f.wrong, fmt.Sprintf("%s came %d times, as delivery %d of %d", id, f.seen[id], meta.NumDelivered, limit))
	}
}

// hasAllUpTo tells whether a message and all before it in its part have come: one
// that was under way with a node that was killed must not be acked with the rest.
func (f *follower) hasAllUpTo(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.seen[f.messageID(f.complete)] > 0 {
		f.complete += trialParts
	}
	return numberOf(id) < f.complete
}

// refuses says whether to nak this delivery.
func (f *follower) refuses() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handled++
	return f.naks > 0 && f.handled%f.naks == 0
}

// look reads the consumer's positions, which never go back.
func (f *follower) look(ctx context.Context, nc *nats.Conn) error {
	m, err := nc.RequestWithContext(ctx, "$JS.API.CONSUMER.INFO."+f.stream+"."+f.cfg.Durable, nil)
	if err != nil {
		return err
	}
	var now struct {
		jetstream.ConsumerInfo
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &now); err != nil {
		return err
	}
	if now.Error != nil {
		return now.Error
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range [][2]jetstream.SequenceInfo{{f.last.Delivered, now.Delivered}, {f.last.AckFloor, now.AckFloor}} {
		if was, is := p[0], p[1]; is.Stream < was.Stream || is.Consumer < was.Consumer {
			f.wrong = append(f.wrong, fmt.Sprintf("positions go back: delivered %+v, floor %+v; then delivered %+v, floor %+v",
				f.last.Delivered, f.last.AckFloor, now.Delivered, now.AckFloor))
			break
		}
	}
	f.last = now.ConsumerInfo
	return nil
}

// settled is an error while the consumer has something to deliver or to wait for.
func (f *follower) settled(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, shortWait)
	defer cancel()
	if err := f.look(ctx, nc); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last.NumPending > 0 || f.last.NumAckPending > 0 {
		return fmt.Errorf("%d pending, %d not acked, run by %s", f.last.NumPending, f.last.NumAckPending, f.last.Cluster.Leader)
	}
	return nil
}

// check looks for what was acknowledged and never came, and reports all that was wrong.
func (f *follower) check(t *testing.T, acked map[string]uint64) {
	t.Helper()
	missing := 0
	for id, seq := range acked {
		if partOf(id) != f.part || f.seen[id] > 0 || f.cfg.AckPolicy == jetstream.AckNonePolicy || f.cfg.MaxDeliver > 0 {
			continue
		}
		if missing++; missing <= 3 {
			t.Errorf("%s: %s, stored at %d, never came", f.cfg.Durable, id, seq)
		}
	}
	for i, text := range f.wrong {
		if i == 5 {
			t.Errorf("%s: %d more", f.cfg.Durable, len(f.wrong)-i)
			break
		}
		t.Errorf("%s: %s", f.cfg.Durable, text)
	}
}
