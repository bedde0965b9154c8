package rafthost

import (
	"slices"
	"sync"

	"weir/internal/base"
)

// flushBytes is the size at which a frame is sent without waiting for more.
const flushBytes = 512 << 10

// outboxes gather what goes to each peer into frames.
type outboxes struct {
	transport Transport
	mu        sync.RWMutex
	boxes     map[base.NodeID]*outbox
}

// outbox is the frame in the making for one peer. The lock is held while the
// transport takes a frame (it does not block), which keeps frames in order.
type outbox struct {
	node base.NodeID
	mu   sync.Mutex
	buf  []byte
	hint int // size of the last frame, to allocate the next in one piece
}

func (o *outboxes) init(t Transport) {
	o.transport = t
	o.boxes = map[base.NodeID]*outbox{}
}

func (o *outboxes) box(node base.NodeID) *outbox {
	o.mu.RLock()
	b := o.boxes[node]
	o.mu.RUnlock()
	if b != nil {
		return b
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if b = o.boxes[node]; b == nil {
		b = &outbox{node: node}
		o.boxes[node] = b
	}
	return b
}

// add appends a record of about size bytes to the node's frame. The caller flushes
// the returned box.
func (o *outboxes) add(node base.NodeID, kind recordKind, size int, fill func([]byte) []byte) *outbox {
	b := o.box(node)
	b.mu.Lock()
	if b.buf == nil {
		b.buf = make([]byte, 0, max(b.hint, size+64))
	}
	b.buf = appendRecord(slices.Grow(b.buf, size), kind, fill)
	if len(b.buf) >= flushBytes {
		o.sendLocked(b)
	}
	b.mu.Unlock()
	return b
}

func (o *outboxes) flush(b *outbox) {
	b.mu.Lock()
	o.sendLocked(b)
	b.mu.Unlock()
}

func (o *outboxes) sendLocked(b *outbox) bool {
	if len(b.buf) == 0 {
		return true
	}
	frame := b.buf
	b.hint = min(len(frame), 64<<10)
	b.buf = nil
	return o.transport.Send(b.node, frame)
}

// now sends a record at once; false: dropped.
func (o *outboxes) now(node base.NodeID, kind recordKind, fill func([]byte) []byte) bool {
	b := o.box(node)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = appendRecord(b.buf, kind, fill)
	return o.sendLocked(b)
}
