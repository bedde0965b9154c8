package sim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/wire"
)

// publisher wants messages to be in a stream, each of them once, and publishes them until
// they are acknowledged.
type publisher struct {
	world    *world
	inbox    string // of answers, behind the node's name
	subjects string // what all of them begin with
	letter   string // what all ids begin with
	// within bounds how long a message is published again, where ids are remembered for a
	// short time only; 0: for ever.
	within  time.Duration
	forgets bool // the stream may forget ids altogether
	// at is told of each acknowledgement; nil: nobody is.
	at func(seq uint64, id string)

	mu   sync.Mutex
	list []*publication
}

// publication is one message that a client wants to be in the stream.
type publication struct {
	id, subject string
	first       time.Time // when it was sent first
	again       time.Time // when to try again
	seq         uint64    // as acknowledged; 0: not yet
	acked       time.Time
}

// publish sends a new message by way of n.
func (u *publisher) publish(n *node) {
	u.mu.Lock()
	p := &publication{id: u.letter + strconv.Itoa(len(u.list)), subject: u.subjects + strconv.Itoa(u.world.rand.IntN(4)), first: now()}
	u.list = append(u.list, p)
	u.mu.Unlock()
	u.try(n, p)
}

func (u *publisher) try(n *node, p *publication) {
	u.mu.Lock()
	p.again = now().Add(u.world.between(300*time.Millisecond, 2*time.Second))
	u.mu.Unlock()
	n.say(p.subject, "_INBOX."+n.name+"."+u.inbox+p.id, wire.HeaderBlock("Nats-Msg-Id", p.id), []byte(p.id))
}

// retry sends publications again that nobody acknowledged in time.
func (u *publisher) retry(n *node) {
	for _, p := range u.unacknowledged() {
		if now().After(p.again) {
			u.try(n, p)
		}
	}
}

func (u *publisher) unacknowledged() []*publication {
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []*publication
	for _, p := range u.list {
		if p.seq == 0 && (u.within == 0 || now().Sub(p.first) < u.within) {
			list = append(list, p)
		}
	}
	return list
}

func (u *publisher) acknowledged() []*publication {
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []*publication
	for _, p := range u.list {
		if p.seq != 0 {
			list = append(list, p)
		}
	}
	return list
}

// answered takes a PubAck.
func (u *publisher) answered(id string, body []byte) {
	var a api.PubAck
	if err := json.Unmarshal(body, &a); err != nil {
		u.world.fail("publish %s: answer %q: %v", id, body, err)
		return
	}
	i, err := strconv.Atoi(id[len(u.letter):])
	if err != nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.list[i]
	switch {
	case a.Error != nil:
		u.world.logf("publish %s refused: %v", id, a.Error)
	case a.Sequence == 0:
		u.world.fail("publish %s: acknowledged without a sequence: %s", id, body)
	case p.seq != 0 && p.seq != a.Sequence && !u.forgets:
		u.world.fail("publish %s: acknowledged at %d, and at %d", id, p.seq, a.Sequence)
	case p.seq == 0:
		p.seq, p.acked = a.Sequence, now()
		if u.at != nil {
			u.at(a.Sequence, id)
		}
	}
}

// summary says how much happened.
func (u *publisher) summary() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	acknowledged := 0
	for _, p := range u.list {
		if p.seq != 0 {
			acknowledged++
		}
	}
	return fmt.Sprintf("%d of %d publishes acknowledged", acknowledged, len(u.list))
}
