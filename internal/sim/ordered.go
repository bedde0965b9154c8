package sim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/msg"
	"weir/internal/router"
	"weir/internal/wire"
)

// ordered is an ordered consumer as clients build them: an ephemeral that acknowledges
// nothing, in its place another one as soon as a delivery is missing or nothing is heard
// any more. Its client sees every message that stays, once and in order.
type ordered struct {
	world  *world
	stream string
	policy api.DeliverPolicy // of the first one

	// broken tells that the stream may have lost what it held, and begun anew.
	broken func() bool

	mu      sync.Mutex
	number  int // of the consumer in use
	sub     *router.Sub
	of      *life     // that sub is of
	asked   time.Time // when it was asked for
	made    bool
	heardAt time.Time
	next    uint64 // delivery
	last    uint64 // message
	seen    map[uint64]string
}

// quiet is for how long nothing may be heard of a consumer with a heartbeat of a second.
const quiet = 3 * time.Second

func newOrdered(w *world, stream string, policy api.DeliverPolicy, broken func() bool) *ordered {
	return &ordered{world: w, stream: stream, policy: policy, broken: broken, seen: map[uint64]string{}}
}

// follow makes a consumer by way of n where there is none that is heard of.
func (o *ordered) follow(n *node) {
	o.mu.Lock()
	if t := now(); t.Sub(o.asked) < quiet || o.made && t.Sub(o.heardAt) < quiet {
		o.mu.Unlock()
		return
	}
	o.asked, o.made, o.next = now(), false, 1
	if err := o.listen(n); err != nil {
		o.world.fail("ordered consumer: %v", err)
	}
	inbox := o.inbox()
	cfg := api.ConsumerConfig{
		Name: "ordered" + strconv.Itoa(o.number), DeliverSubject: inbox + "msg", DeliverPolicy: o.policy, FilterSubject: ">", ReplayPolicy: api.ReplayInstant,
		AckPolicy: api.AckNone, AckWait: 22 * time.Hour, MaxDeliver: 1, FlowControl: true, Heartbeat: time.Second,
		InactiveThreshold: briefThreshold, MemoryStorage: true, Replicas: 1,
	}
	if o.last > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = api.DeliverByStartSequence, o.last+1
	}
	o.mu.Unlock()
	body, err := json.Marshal(api.ConsumerCreateRequest{Stream: o.stream, Config: cfg})
	if err != nil {
		o.world.fail("ordered consumer: %v", err)
	}
	n.say(apiPrefix+"CONSUMER.CREATE."+o.stream+"."+cfg.Name, inbox+"made", nil, body)
}

// inbox is the beginning of the subjects on which the consumer in use is heard. The caller holds mu.
func (o *ordered) inbox() string { return fmt.Sprintf("_ORDERED.%s.%d.", o.stream, o.number) }

// listen has the next consumer's client live on n. The caller holds mu.
func (o *ordered) listen(n *node) (err error) {
	if o.sub != nil {
		o.of.router.Unsubscribe(o.sub)
	}
	o.number++
	number, l := o.number, n.life
	o.of = l
	o.sub, err = l.router.Subscribe(l.account(), o.inbox()+">", "", func(_ *router.Sub, _ router.Source, m *router.Msg) {
		if !l.isOver() {
			o.heard(l, number, m)
		}
	}, router.SubOptions{})
	return err
}

// heard takes a message to the consumer that has a number.
func (o *ordered) heard(l *life, number int, m *router.Msg) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if number != o.number {
		return // of one that was given up
	}
	o.heardAt = now()
	if strings.HasSuffix(string(m.Route()), ".made") {
		var a struct {
			Error *apierr.Error `json:"error"`
		}
		if err := json.Unmarshal(m.Payload, &a); err != nil || a.Error != nil {
			o.world.logf("ordered consumer %d of %s: %s", o.number, o.stream, m.Payload)
			return
		}
		o.made = true
		return
	}
	if _, _, ok := wire.Status(m.Header); ok && !strings.HasPrefix(string(m.Reply), ackPrefix) {
		o.status(l, m)
		return
	}
	o.delivered(m)
}

// status takes a heartbeat or a request to go on. The caller holds mu.
func (o *ordered) status(l *life, m *router.Msg) {
	answerFlow(l, m)
	if last, ok := wire.GetHeader(m.Header, "Nats-Last-Consumer"); ok && string(last) != strconv.FormatUint(o.next-1, 10) {
		o.abandon("the last delivery was " + string(last))
	}
}

// abandon has another consumer made. The caller holds mu.
func (o *ordered) abandon(why string) {
	o.world.logf("ordered consumer %d of %s: delivery %d is due, %s", o.number, o.stream, o.next, why)
	o.number, o.asked, o.made = o.number+1, time.Time{}, false
}

// delivered takes a message. The caller holds mu.
func (o *ordered) delivered(m *router.Msg) {
	parts := strings.Split(string(m.Reply), ".")
	if len(parts) != 9 {
		o.world.fail("delivery to an ordered consumer with ack subject %q", m.Reply)
		return
	}
	seq, err := strconv.ParseUint(parts[5], 10, 64)
	delivery, err2 := strconv.ParseUint(parts[6], 10, 64)
	switch {
	case err != nil || err2 != nil:
		o.world.fail("delivery to an ordered consumer with ack subject %q", m.Reply)
	case delivery != o.next:
		o.abandon("this is " + parts[6])
	case seq <= o.last && o.broken():
		o.abandon("the stream has begun anew")
	case seq <= o.last:
		o.world.fail("ordered consumer %d of %s gets message %d after %d", o.number, o.stream, seq, o.last)
	default:
		o.next, o.last = delivery+1, seq
		o.seen[seq] = string(m.Payload)
	}
}

// answerFlow answers if a status message is about flow control.
func answerFlow(l *life, m *router.Msg) {
	reply := string(m.Reply)
	if stalled, ok := wire.GetHeader(m.Header, "Nats-Consumer-Stalled"); ok {
		reply = string(stalled)
	}
	if reply != "" {
		l.router.Publish(l.account(), router.Internal, &router.Msg{Subject: []byte(reply)})
	}
}

// startOver forgets all, as the stream has lost what it held.
func (o *ordered) startOver() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last, o.seen = 0, map[uint64]string{}
	o.abandon("the stream is another one")
}

// behind tells whether a message that the stream has at its end was not seen yet.
func (o *ordered) behind(last uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last < last
}

// check compares what was seen with what a replica holds that wanted names.
func (o *ordered) check(n *node, list []msg.Message, wanted func(*msg.Message) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range list {
		if got, ok := o.seen[m.Seq]; ok && got != string(m.Data) || !ok && wanted(&m) {
			o.world.fail("%s: an ordered consumer of %s saw %q at %d, which is %q", n.name, o.stream, got, m.Seq, m.Data)
		}
	}
}
