package sim

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"weir/internal/router"
)

// calls are requests whose answers are waited for.
type calls struct {
	world *world

	mu     sync.Mutex
	number int
	got    []*router.Msg // to the inbox in use
}

// callTime is how long an answer may take.
const callTime = 3 * time.Second

// open begins a new inbox for a client of n.
func (c *calls) open(n *node) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	c.got = nil
	return fmt.Sprintf("_INBOX.%s.call.%d", n.name, c.number)
}

// heard takes a message to _INBOX.<node>.call.<number>.
func (c *calls) heard(_ *life, rest string, m *router.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rest == fmt.Sprint(c.number) {
		c.got = append(c.got, &router.Msg{Reply: bytes.Clone(m.Reply), Header: bytes.Clone(m.Header), Payload: bytes.Clone(m.Payload)})
	}
}

// next waits for the next message to the inbox in use; nil: none comes.
func (c *calls) next() (m *router.Msg) {
	c.world.eventually(callTime, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.got) > 0 {
			m, c.got = c.got[0], c.got[1:]
		}
		return m != nil
	})
	return m
}

// call sends a request and waits for its answer; nil: none comes.
func (c *calls) call(n *node, subject string, body []byte) *router.Msg {
	n.say(subject, c.open(n), nil, body)
	return c.next()
}
