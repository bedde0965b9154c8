package conn

import (
	"net"
	"sync"

	"weir/internal/router"
	"weir/internal/wire"
)

// Buffers come in two sizes: a small one for connections with little to say,
// and a large one as soon as more than that waits. A larger message gets a
// buffer of its own.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
	// maxBuffersPerWrite bounds one write, so that the write deadline is for a
	// bounded number of bytes.
	maxBuffersPerWrite = 32
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

func newBuffer(need int, first bool) []byte {
	switch {
	case first && need <= smallBuffer:
		return smallBuffers.Get().(*[smallBuffer]byte)[:0]
	case need <= largeBuffer:
		return largeBuffers.Get().(*[largeBuffer]byte)[:0]
	}
	return make([]byte, 0, need)
}

func freeBuffer(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}

// outbound is what waits to be written to one client. Any goroutine appends
// under a short lock; one writer goroutine takes all that is there and writes
// it without the lock. Appending never waits: past maxPending the client is a
// slow consumer and loses its connection; past half of it publishers are asked
// to slow down.
type outbound struct {
	maxPending int64
	wake       chan struct{} // capacity 1

	mu   sync.Mutex
	mark router.Mark
	// queued is what the writer has not taken yet; the last buffer is being
	// filled. pending counts its bytes and those being written.
	queued  [][]byte
	spare   [][]byte
	pending int64
	// closing: nothing more is taken; the writer writes the rest and ends.
	closing bool
	// calm is not nil while congested, and closes when that is over.
	calm chan struct{}

	msgs, bytes int64 // messages and their payload bytes so far
}

func newOutbound(maxPending int64) outbound {
	return outbound{maxPending: maxPending, wake: make(chan struct{}, 1)}
}

// tailLocked returns the buffer to append need bytes to; putLocked stores it.
func (o *outbound) tailLocked(need int) []byte {
	if n := len(o.queued); n > 0 {
		if tail := o.queued[n-1]; cap(tail)-len(tail) >= need {
			return tail
		}
	}
	o.queued = append(o.queued, newBuffer(need, len(o.queued) == 0))
	return o.queued[len(o.queued)-1]
}

// putLocked stores what tailLocked returned. False: too much is waiting.
func (o *outbound) putLocked(tail []byte) (ok bool) {
	last := len(o.queued) - 1
	o.pending += int64(len(tail) - len(o.queued[last]))
	o.queued[last] = tail
	if o.calm == nil && o.pending > o.maxPending/2 {
		o.calm = make(chan struct{})
	}
	return o.pending <= o.maxPending
}

// outcome of queueing something.
type outcome uint8

const (
	queued outcome = iota
	refused
	overflow
)

// sizesLength is enough for verb, spaces, sizes and line ends of MSG and HMSG.
const sizesLength = 32

// message queues MSG or HMSG.
func (o *outbound) message(sid, header []byte, m *router.Msg) outcome {
	need := sizesLength + len(sid) + len(m.Subject) + len(m.Reply) + len(header) + len(m.Payload)
	tail := o.tailLocked(need)
	tail = wire.AppendMsg(tail, m.Subject, sid, m.Reply, header, m.Payload)
	o.msgs++
	o.bytes += int64(len(header) + len(m.Payload))
	if !o.putLocked(tail) {
		return overflow
	}
	return queued
}

// protocol queues anything else.
func (o *outbound) protocol(text []byte) outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return refused
	}
	if !o.putLocked(append(o.tailLocked(len(text)), text...)) {
		return overflow
	}
	return queued
}

// signal wakes the writer. It returns a channel while congested.
func (o *outbound) signal() <-chan struct{} {
	select {
	case o.wake <- struct{}{}:
	default:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calm == nil {
		return nil
	}
	return o.calm
}

// finish makes the writer end after it wrote what is queued. It tells whether
// it was the first call.
func (o *outbound) finish() bool {
	o.mu.Lock()
	first := !o.closing
	o.closing = true
	o.mu.Unlock()
	o.signal()
	return first
}

// take hands some of what is queued to the writer; last tells that there will
// be no more after it.
func (o *outbound) take() (taken [][]byte, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queued) <= maxBuffersPerWrite {
		taken, o.queued, o.spare = o.queued, o.spare[:0], nil
		return taken, o.closing
	}
	taken = append(o.spare[:0], o.queued[:maxBuffersPerWrite]...)
	o.spare = nil
	n := copy(o.queued, o.queued[maxBuffersPerWrite:])
	clear(o.queued[n:])
	o.queued = o.queued[:n]
	return taken, false
}

// done takes back what take gave, after it was written.
func (o *outbound) done(taken [][]byte, written int64) {
	for i, b := range taken {
		freeBuffer(b)
		taken[i] = nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending -= written
	o.spare = taken[:0]
	if o.calm != nil && o.pending <= o.maxPending/2 {
		close(o.calm)
		o.calm = nil
	}
}

// abandon frees what is queued, and whoever waits for calm.
func (o *outbound) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closing = true
	for _, b := range o.queued {
		freeBuffer(b)
	}
	o.queued = nil
	if o.calm != nil {
		close(o.calm)
		o.calm = nil
	}
}

// writeTo writes taken buffers; iov is scratch space that it returns.
func writeTo(nc net.Conn, taken [][]byte, iov *net.Buffers) error {
	if len(taken) == 1 {
		_, err := nc.Write(taken[0])
		return err
	}
	*iov = append((*iov)[:0], taken...)
	whole := *iov
	_, err := iov.WriteTo(nc)
	clear(whole)
	*iov = whole[:0]
	return err
}

func totalLength(buffers [][]byte) (n int64) {
	for _, b := range buffers {
		n += int64(len(b))
	}
	return n
}
