package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/base"
	"weir/internal/router"
)

// linkKind is what a connection is for.
type linkKind byte

const (
	linkData linkKind = 1
	linkRaft linkKind = 2
)

func (k linkKind) String() string {
	if k == linkRaft {
		return "raft"
	}
	return "data"
}

const (
	readBufferSize = 64 << 10
	// bufferKept is how large a buffer may be that is used again.
	bufferKept = 1 << 20
)

var (
	errShutdown = errors.New("this node is shutting down")
	errOverflow = errors.New("the peer does not keep up: too much is waiting for it")
	errReplaced = errors.New("the peer has connected anew")
)

// link is an established connection to a peer. Senders append frames to
// pending; the writer takes all of it at once, so small frames share a write.
// The reader goroutine owns the link and takes it down. A data link is the
// router's Remote; a new one is a new Remote.
type link struct {
	mesh   *Mesh
	kind   linkKind
	node   base.NodeID
	name   string // of the peer's server
	boot   uint64
	conn   net.Conn
	dialed bool // by this node
	route  bool // of a configured route
	start  time.Time

	mu      sync.Mutex
	pending []byte
	// replayed is the bytes of pending that are the interest that stood when
	// the link began. They do not count against the bound.
	replayed int
	mark     router.Mark
	// caughtUp is not nil while publishers shall slow down, and closes when the
	// writer takes what is pending.
	caughtUp chan struct{}
	failure  error // why the link ended; the first reason counts
	// wake tells the writer that pending is not empty; it has room for one.
	wake chan struct{}
	// ended is closed when everything that the link stood for is gone.
	ended chan struct{}

	// synced is set once the peer's interest is known. Guarded by mesh.mu.
	synced bool

	stats linkCounters
}

// linkCounters are read by Stats while the link works.
type linkCounters struct {
	inFrames, outFrames, inBytes, outBytes atomic.Int64
	inMessages, outMessages                atomic.Int64
	lastRead                               atomic.Int64 // unix ns
	rtt                                    atomic.Int64 // ns
}

// Node is the peer.
func (l *link) Node() base.NodeID { return l.node }

// Deliver forwards a message. A peer that does not keep up, although publishers
// were asked to slow down, loses its link, so that nothing is missing from the
// middle of the stream.
func (l *link) Deliver(account string, b *router.Batch, m *router.Msg, queues []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failure != nil:
		return
	case !l.roomLocked(messageSize(account, m, queues)):
		l.failLocked(errOverflow)
		return
	}
	l.pending = appendMessage(l.pending, account, m, queues)
	l.queuedLocked()
	l.stats.outMessages.Add(1)
	if b != nil {
		b.Touch(&l.mark, l)
	}
}

// Flush has nothing to start, as the writer is awake. The channel is not nil while
// half of what may wait for the peer does.
func (l *link) Flush() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil || len(l.pending)-l.replayed <= l.mesh.cfg.MaxPendingData/2 {
		return nil
	}
	if l.caughtUp == nil {
		l.caughtUp = make(chan struct{})
	}
	return l.caughtUp
}

// calmLocked lets publishers go on.
func (l *link) calmLocked() {
	if l.caughtUp != nil {
		close(l.caughtUp)
		l.caughtUp = nil
	}
}

func (l *link) sendRequest(kind byte, payload []byte) error {
	if len(payload)+frameOverhead > maxFrame {
		return ErrTooLarge
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failure != nil:
		return ErrNoLink
	case len(l.pending)+len(payload) > l.mesh.cfg.MaxPendingData/2:
		// The other half is for messages and interest, which can not wait.
		return ErrQueueFull
	}
	l.pending = appendRequest(l.pending, kind, payload)
	l.queuedLocked()
	return nil
}

func (l *link) sendRaft(frame []byte) bool {
	if len(frame)+frameOverhead > maxFrame {
		l.mesh.cfg.Log.Errorf("Raft frame of %d bytes for %s dropped: %v", len(frame), l.name, ErrTooLarge)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil || len(l.pending)+len(frame) > l.mesh.cfg.MaxPendingRaft {
		return false
	}
	l.pending = appendFrame(l.pending, frameRaft, frame)
	l.queuedLocked()
	return true
}

// sendControl queues a ready frame of the protocol itself.
func (l *link) sendControl(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return
	}
	if !l.roomLocked(len(frame)) {
		l.failLocked(errOverflow)
		return
	}
	l.pending = append(l.pending, frame...)
	l.queuedLocked()
}

// roomLocked tells whether size more bytes may wait for the peer.
func (l *link) roomLocked(size int) bool {
	return len(l.pending)-l.replayed+size <= l.mesh.cfg.MaxPendingData
}

// ping asks for a sign of life. Behind a long queue that queue is sign enough.
func (l *link) ping() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil && len(l.pending) < bufferKept {
		l.pending = appendPing(l.pending, framePing, uint64(l.mesh.cfg.Clock.Now().UnixNano()))
		l.queuedLocked()
	}
}

func (l *link) queuedLocked() {
	l.stats.outFrames.Add(1)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// fail ends the link; run takes it down.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failLocked(err)
}

func (l *link) failLocked(err error) {
	if l.failure != nil {
		return
	}
	l.failure = err
	l.pending = nil
	l.calmLocked()
	l.conn.Close()
	close(l.wake)
}

// write sends what is pending until the link fails.
func (l *link) write() {
	var buf []byte
	for range l.wake {
		for {
			l.mu.Lock()
			if l.failure != nil {
				l.mu.Unlock()
				return
			}
			buf, l.pending, l.replayed = l.pending, buf[:0], 0
			l.calmLocked()
			l.mu.Unlock()
			if len(buf) == 0 {
				break
			}
			if _, err := l.conn.Write(buf); err != nil {
				l.fail(fmt.Errorf("writing: %w", err))
				return
			}
			l.stats.outBytes.Add(int64(len(buf)))
			if cap(buf) > bufferKept {
				buf = nil
			}
		}
	}
}

// run is the life of a link that is registered.
func (l *link) run() {
	var writer sync.WaitGroup
	writer.Go(l.write)
	l.mesh.started(l)
	if l.kind == linkData {
		l.sendInterest()
	}
	l.fail(l.read())
	writer.Wait()
	l.mesh.unlink(l)
	close(l.ended)
}

// read handles frames until the link fails.
func (l *link) read() error {
	in := receiver{link: l, queueNames: make(names)}
	in.inbound = l.mesh.router.Inbound(l, &in.batch)
	buf := make([]byte, readBufferSize)
	filled := 0
	for {
		now := l.mesh.cfg.Clock.Now()
		if err := l.conn.SetReadDeadline(now.Add(deadAfter)); err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		n, err := l.conn.Read(buf[filled:])
		if err != nil {
			return readError(err)
		}
		l.stats.inBytes.Add(int64(n))
		l.stats.lastRead.Store(now.UnixNano())
		filled += n
		rest, size, err := in.takeFrames(buf[:filled])
		if err != nil {
			return err
		}
		buf, filled = shiftBuffer(buf, filled, rest, size)
	}
}

// shiftBuffer moves what is left of the filled bytes to the front, in a larger
// buffer if it is full, and in one of the usual length when nothing is left.
func shiftBuffer(buf []byte, filled int, rest []byte, size int) (_ []byte, left int) {
	switch {
	case len(rest) == filled && filled < len(buf):
		return buf, filled // nothing was taken
	case size > len(buf):
		// Doubling bounds what a frame that is only announced takes.
		larger := make([]byte, min(size, 2*len(buf)))
		return larger, copy(larger, rest)
	case len(rest) == 0 && len(buf) > bufferKept:
		return make([]byte, readBufferSize), 0
	}
	return buf, copy(buf, rest)
}

func readError(err error) error {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("nothing heard for %v", deadAfter)
	case errors.Is(err, io.EOF):
		return errors.New("closed by the peer")
	}
	return fmt.Errorf("reading: %w", err)
}
