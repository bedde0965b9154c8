package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"weir/internal/base"
)

// conn is one end of a connection.
type conn struct {
	network       *network
	local, remote *host
	in, out       *pipe

	mu       sync.Mutex
	deadline time.Time // of reads, in virtual time
	closed   bool
}

var _ net.Conn = (*conn)(nil)

// Read waits for what the other end sent: its delay must be over, its direction
// mended and this end's node not paused.
func (c *conn) Read(b []byte) (int, error) {
	for {
		c.local.clock.await()
		c.mu.Lock()
		closed, deadline := c.closed, c.deadline
		c.mu.Unlock()
		if closed {
			return 0, net.ErrClosed
		}
		t := now()
		if !deadline.IsZero() && !t.Before(deadline) {
			return 0, os.ErrDeadlineExceeded
		}
		n, wait, err := c.in.take(b, t)
		if n > 0 || err != nil {
			return n, err
		}
		if !deadline.IsZero() && (wait == 0 || deadline.Sub(t) < wait) {
			wait = deadline.Sub(t)
		}
		c.in.await(wait)
	}
}

func (c *conn) Write(b []byte) (int, error) {
	for {
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return 0, net.ErrClosed
		}
		ok, err := c.out.put(b)
		if err != nil {
			return 0, err
		}
		if ok {
			return len(b), nil
		}
		<-c.out.room
	}
}

// Close ends the connection; the other end hears of it behind what was sent.
func (c *conn) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if !was {
		c.out.end()
		c.in.drop(true)
		c.network.forget(c)
	}
	return nil
}

// die is Close for a node that is no more: what is under way is lost.
func (c *conn) die(loud bool) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.out.cutOff(loud)
	c.in.drop(loud)
	c.network.forget(c)
}

func (c *conn) LocalAddr() net.Addr  { return address(c.local.name + ":0") }
func (c *conn) RemoteAddr() net.Addr { return address(c.remote.name + ":0") }

func (c *conn) SetDeadline(t time.Time) error      { return c.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return nil }

// SetReadDeadline takes a time of the node's own clock.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.IsZero() {
		t = t.Add(-c.local.clock.ahead())
	}
	c.deadline = t
	c.in.wake()
	return nil
}

// pipe is one direction of a connection.
type pipe struct {
	network *network
	way     direction
	changed chan struct{} // holds one sign that the reader should look
	room    chan struct{} // holds one sign that the writer should look

	mu     sync.Mutex
	chunks []chunk
	size   int
	last   time.Time // when the last chunk arrives
	ended  bool      // the writer closed
	lost   bool      // nothing comes any more, not even an end
	broken error     // of both ends
	deaf   bool      // nobody reads any more
	gone   bool      // and the writer knows
}

type chunk struct {
	at   time.Time
	data []byte
}

func newPipe(n *network, way direction) *pipe {
	return &pipe{network: n, way: way, changed: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *pipe) wake() { signal(p.changed) }

// await waits for a change, or for d unless it is 0.
func (p *pipe) await(d time.Duration) {
	if d > 0 {
		defer base.SystemClock.AfterFunc(d, p.wake).Stop()
	}
	<-p.changed
}

// take reads what has arrived. With n 0 and no error nothing has; wait, unless
// 0, is when something will.
func (p *pipe) take(b []byte, t time.Time) (n int, wait time.Duration, err error) {
	cut := p.network.isCut(p.way)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.broken != nil:
		return 0, 0, p.broken
	case cut || p.lost:
		return 0, 0, nil
	case len(p.chunks) == 0 && p.ended:
		return 0, 0, io.EOF
	case len(p.chunks) == 0:
		return 0, 0, nil
	}
	for n < len(b) && len(p.chunks) > 0 {
		first := &p.chunks[0]
		if first.at.After(t) {
			break
		}
		k := copy(b[n:], first.data)
		n += k
		if first.data = first.data[k:]; len(first.data) == 0 {
			p.chunks = p.chunks[1:]
		}
	}
	if n == 0 {
		return 0, p.chunks[0].at.Sub(t), nil
	}
	p.size -= n
	signal(p.room)
	return n, 0, nil
}

// put sends b; false: there is no room.
func (p *pipe) put(b []byte) (bool, error) {
	delay := p.network.latency(p.way)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.broken != nil:
		return false, p.broken
	case p.gone:
		return false, errReset
	case p.deaf:
		return true, nil
	case p.size > 0 && p.size+len(b) > maxBuffered:
		return false, nil
	}
	if at := now().Add(delay); at.After(p.last) {
		p.last = at
	}
	p.chunks = append(p.chunks, chunk{p.last, append([]byte(nil), b...)})
	p.size += len(b)
	p.wake()
	return true, nil
}

func (p *pipe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.wake()
}

// drop throws away what nobody will read. If it is loud the writer hears of it.
func (p *pipe) drop(loud bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone, p.deaf, p.chunks, p.size = loud, true, nil, 0
	signal(p.room)
	p.wake()
}

// cutOff loses what is under way.
func (p *pipe) cutOff(loud bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chunks, p.size = nil, 0
	p.ended, p.lost = true, !loud
	signal(p.room)
	p.wake()
}

func (p *pipe) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = errReset
	signal(p.room)
	p.wake()
}
