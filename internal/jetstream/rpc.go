package jetstream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"weir/internal/base"
)

// Frame kinds on the data link between two nodes. Numbers are wire format:
// never reused.
const (
	frameRequest  byte = 1 // a client's API request, pull or ack, on its way to who answers it
	frameRedirect byte = 2 // the same, sent back because another node answers it
	frameCall     byte = 3 // a call from node to node
	frameReply    byte = 4 // its answer
	frameDeltas   byte = 5 // consumer deltas for a group's leader
)

var (
	errNoLink     = errors.New("no link to that node")
	errBadFrame   = errors.New("malformed frame")
	errToAndFro   = errors.New("nodes send the request to and fro")
	errCallFailed = errors.New("call failed")
)

// Links is the way to the other nodes. Frames of one call sequence to one node
// arrive in order, after every change of interest announced before them.
type Links interface {
	SendRequest(to base.NodeID, kind byte, payload []byte) error
	SendRaft(to base.NodeID, frame []byte) bool
}

// method names what a call asks for. Numbers are wire format: never reused. 4 was one.
type method byte

const (
	methodHello    method = 1  // bootstrap: who are you, have you a meta group?
	methodPlan     method = 2  // bootstrap: accept this first membership
	methodJoin     method = 3  // meta leader: make me a member
	methodUsage    method = 5  // what do the streams that you lead hold?
	methodDetail   method = 6  // info of the streams that you lead
	methodPropose  method = 7  // group leader: propose this command
	methodMeta     method = 8  // meta leader: propose this command
	methodReturn   method = 9  // group leader: appoint this replica's runners anew
	methodStanding method = 10 // this is how I stand
	methodApplied  method = 11 // has this replica applied that much?
	methodRetire   method = 12 // let runners of these consumers stop delivering
	methodLocate   method = 13 // where does this consumer run?
)

// callHandler answers one call; it may block. An error travels as its text.
type callHandler func(ctx context.Context, from base.NodeID, body []byte) ([]byte, error)

// caller matches answers to calls.
type caller struct {
	links Links

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan callResult // by call number; each has room for one
}

type callResult struct {
	body []byte
	err  error
}

func newCaller(links Links) *caller {
	return &caller{links: links, waiting: make(map[uint64]chan callResult)}
}

// call asks node to for m and waits for its answer or the end of ctx.
func (c *caller) call(ctx context.Context, to base.NodeID, m method, body []byte) ([]byte, error) {
	ch := make(chan callResult, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.waiting[id] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	frame := binary.LittleEndian.AppendUint64(make([]byte, 0, 9+len(body)), id)
	frame = append(frame, byte(m))
	if err := c.links.SendRequest(to, frameCall, append(frame, body...)); err != nil {
		return nil, err
	}
	select {
	case r := <-ch:
		return r.body, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("call node %s: %w", to, ctx.Err())
	}
}

// reply hands an answer frame to the call that waits for it.
func (c *caller) reply(frame []byte) {
	if len(frame) < 9 {
		return
	}
	r := callResult{body: append([]byte(nil), frame[9:]...)}
	if frame[8] != 0 {
		r = callResult{err: fmt.Errorf("%w: %s", errCallFailed, frame[9:])}
	}
	c.mu.Lock()
	ch := c.waiting[binary.LittleEndian.Uint64(frame)]
	c.mu.Unlock()
	if ch != nil {
		select {
		case ch <- r:
		default: // a second answer to one call
		}
	}
}

// encodeReply frames an answer to the call with number id.
func encodeReply(id uint64, body []byte, err error) []byte {
	frame := binary.LittleEndian.AppendUint64(make([]byte, 0, 9+len(body)), id)
	if err != nil {
		return append(append(frame, 1), err.Error()...)
	}
	return append(append(frame, 0), body...)
}

// decodeCall splits a call frame.
func decodeCall(frame []byte) (id uint64, m method, body []byte, err error) {
	if len(frame) < 9 {
		return 0, 0, nil, errBadFrame
	}
	return binary.LittleEndian.Uint64(frame), method(frame[8]), append([]byte(nil), frame[9:]...), nil
}
