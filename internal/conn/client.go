package conn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/router"
	"weir/internal/wire"
)

// errEnded stops the parser after the client was sent away.
var errEnded = errors.New("connection ended")

// client is one connected client. Its reader goroutine parses and routes what
// the client sends; its writer goroutine writes what others queued for it. The
// reader owns the client's end: whatever makes the connection fail closes the
// socket, the reader meets that and cleans up.
type client struct {
	server *Server
	id     uint64
	nc     net.Conn
	start  time.Time
	kind   string // what of account.Connection… it is
	nonce  []byte // for nkeys, as sent in INFO
	out    outbound

	// The reader's own.
	parser      *wire.Parser
	handler     wire.Handler // the client, or a tracer around it
	batch       router.Batch
	source      router.Source
	options     wire.ConnectOptions
	connected   bool   // CONNECT was accepted, or none is needed
	ponged      bool   // the first PONG is out, so asynchronous INFO may follow
	lastSubject []byte // last one that passed all checks
	verdicts    map[string]bool
	inMsgs      int64 // of this read
	inBytes     int64

	// Written by the reader before the first subscription, then fixed.
	account *account.Account
	user    *account.User // nil before CONNECT
	stats   *accountStats

	headers  atomic.Bool // takes HMSG
	takeInfo atomic.Bool // takes asynchronous INFO
	info     atomic.Pointer[router.ClientInfo]

	mu     sync.Mutex
	subs   map[string]*router.Sub // by sid
	reason Reason                 // set once, by whoever ends the connection first
	timer  base.Timer
	timers int       // series of timer, advanced when CONNECT replaces it
	pings  int       // unanswered
	pinged time.Time // when the last PING was queued
	rtt    time.Duration

	replies replies

	totalInMsgs, totalInBytes atomic.Int64
	lastActivity              atomic.Int64 // unix nanoseconds
	stalls                    atomic.Int64
	ended                     atomic.Bool   // reason and lastWrite are set
	lastWrite                 time.Time     // when all must be written
	written                   chan struct{} // closed when the writer has ended
}

func newClient(s *Server, nc net.Conn, id uint64, kind string) *client {
	now := s.clock.Now()
	c := &client{
		server: s, id: id, nc: nc, start: now, kind: kind,
		out:     newOutbound(s.cfg().Limits.MaxPending),
		parser:  wire.NewParser(s.parserLimits()),
		options: wire.ConnectOptions{Verbose: true, Echo: true},
		subs:    make(map[string]*router.Sub),
		written: make(chan struct{}),
	}
	c.handler = c
	if s.cfg().Trace {
		c.handler = tracer{c}
	}
	c.lastActivity.Store(now.UnixNano())
	host, port := address(nc.RemoteAddr())
	c.info.Store(&router.ClientInfo{Start: now, Host: host, Port: port, ID: id, Kind: "Client", ClientType: "nats"})
	return c
}

// address splits a socket address; in-process connections have none.
func address(a net.Addr) (host string, port int) {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.IP.String(), tcp.Port
	}
	return a.String(), 0
}

// Read buffers grow while reads fill them and shrink when they do not.
const (
	minReadBuffer = 512
	maxReadBuffer = 64 << 10
	shortReads    = 8 // in a row before the buffer shrinks
)

// read runs until the connection ends.
func (c *client) read() {
	defer c.gone()
	buf := make([]byte, minReadBuffer)
	short := 0
	for {
		n, err := c.nc.Read(buf)
		if n > 0 && !c.handle(buf[:n]) {
			c.linger(buf)
			return
		}
		if err != nil {
			c.end(readFailure(err), "")
			return
		}
		switch {
		case n == len(buf) && len(buf) < maxReadBuffer:
			buf, short = make([]byte, len(buf)*2), 0
		case n < len(buf)/2 && len(buf) > minReadBuffer:
			if short++; short > shortReads {
				buf, short = make([]byte, len(buf)/2), 0
			}
		default:
			short = 0
		}
	}
}

func readFailure(err error) Reason {
	if errors.Is(err, io.EOF) {
		return ReasonClientClosed
	}
	return ReasonReadError
}

// handle parses what one read returned, then wakes everybody who got something
// of it. False: the connection is ending.
func (c *client) handle(buf []byte) bool {
	if c.ending() {
		return false // what a client sends that was sent away does not count
	}
	c.lastActivity.Store(c.server.clock.Now().UnixNano())
	err := c.parser.Parse(buf, c.handler)
	published := c.inMsgs > 0
	c.count() // before receivers are woken, who may ask for the numbers
	calm := c.batch.Flush()
	if err != nil {
		c.fail(err)
		return false
	}
	if c.ending() {
		return false
	}
	if published && calm != nil && !c.server.cfg().NoFastProducerStall {
		c.stall(calm)
	}
	return true
}

// count adds what this read brought to the totals.
func (c *client) count() {
	if c.inMsgs == 0 {
		return
	}
	c.totalInMsgs.Add(c.inMsgs)
	c.totalInBytes.Add(c.inBytes)
	c.server.inMsgs.Add(c.inMsgs)
	c.server.inBytes.Add(c.inBytes)
	if c.stats != nil {
		c.stats.inMsgs.Add(c.inMsgs)
		c.stats.inBytes.Add(c.inBytes)
	}
	c.inMsgs, c.inBytes = 0, 0
}

// stall makes a fast publisher wait a moment for a receiver that falls behind.
func (c *client) stall(calm <-chan struct{}) {
	if c.stalls.Add(1) == 1 {
		c.server.stalledClients.Add(1)
	}
	timeout := c.server.clock.NewTicker(maxStall)
	defer timeout.Stop()
	select {
	case <-calm:
	case <-timeout.C():
	case <-c.written:
	}
}

// fail ends the connection for what the parser returned.
func (c *client) fail(err error) {
	var fault *wire.ProtocolError
	if !errors.As(err, &fault) {
		c.end(ReasonProtocolViolation, "")
		return
	}
	c.errorf("%v", fault)
	switch fault.Text {
	case wire.FaultMaxPayload:
		c.end(ReasonMaxPayload, fault.Text)
	case wire.FaultMaxControlLine:
		c.end(ReasonMaxControlLine, fault.Text)
	case wire.FaultParser:
		c.end(ReasonProtocolViolation, "")
	default:
		c.end(ReasonProtocolViolation, fault.Text)
	}
}

// end ends the connection; the first reason counts. With a text the client is
// told, and the writer closes the socket after it has written all; without, the
// socket closes at once.
func (c *client) end(reason Reason, text string) {
	c.mu.Lock()
	first := c.reason == ""
	if first {
		c.reason = reason
		c.lastWrite = c.server.clock.Now().Add(reason.linger())
		c.ended.Store(true)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	stats := c.stats
	c.mu.Unlock()
	if !first {
		return
	}
	if reason.slow() {
		c.server.slowConsumers.Add(1)
		if stats != nil {
			stats.slowConsumers.Add(1)
		}
	}
	if text == "" && reason != ReasonServerShutdown && reason != ReasonClientClosed {
		c.out.abandon()
		c.nc.Close()
		c.out.signal()
		return
	}
	if text != "" {
		c.out.protocol(wire.AppendErr(nil, text))
	}
	// A deadline also frees a writer that is stuck already.
	c.nc.SetWriteDeadline(c.lastWrite)
	c.out.finish()
}

// linger reads and drops what the client still sends, so that closing the
// socket with unread bytes does not destroy the -ERR on its way. The writer sees
// to it that it ends.
func (c *client) linger(buf []byte) {
	for {
		if _, err := c.nc.Read(buf); err != nil {
			return
		}
	}
}

// gone cleans up; the reader's last act.
func (c *client) gone() {
	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	if reason == ReasonClientClosed {
		// It may only have ended its own side: it still gets what it asked for.
		c.out.finish()
	} else {
		c.out.abandon()
		c.nc.Close()
		c.out.signal()
	}
	<-c.written
	c.nc.Close()
	c.batch.Flush()
	c.mu.Lock()
	subs := c.subs
	c.subs = nil
	c.mu.Unlock()
	for _, sub := range subs {
		c.server.router.Unsubscribe(sub)
	}
	c.server.remove(c, subs)
}

// write runs until the connection ends.
func (c *client) write() {
	defer close(c.written)
	var iov net.Buffers
	for range c.out.wake {
		for {
			taken, last := c.out.take()
			if len(taken) == 0 {
				c.out.done(taken, 0)
				if last {
					c.closeWrite()
					return
				}
				break
			}
			n := totalLength(taken)
			c.setWriteDeadline()
			err := writeTo(c.nc, taken, &iov)
			c.out.done(taken, n)
			if err != nil {
				c.writeFailed(err)
				return
			}
		}
	}
}

// setWriteDeadline is for the next write.
func (c *client) setWriteDeadline() {
	if !c.ending() {
		c.nc.SetWriteDeadline(c.server.clock.Now().Add(c.server.cfg().Limits.WriteDeadline))
	}
	// end may have come in between, and what it allowed must hold.
	if c.ending() {
		c.nc.SetWriteDeadline(c.lastWrite)
	}
}

func (c *client) writeFailed(err error) {
	reason := ReasonWriteError
	if errors.Is(err, os.ErrDeadlineExceeded) {
		reason = ReasonSlowWrite
		if !c.ending() {
			c.noticef("Slow Consumer Detected: WriteDeadline of %v exceeded", c.server.cfg().Limits.WriteDeadline)
		}
	}
	c.end(reason, "")
	c.out.abandon()
	c.nc.Close()
}

// closeWrite ends the stream; the reader closes the socket after it.
func (c *client) closeWrite() {
	if tcp, ok := c.nc.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		c.nc.SetReadDeadline(c.server.clock.Now().Add(lingerTime))
		return
	}
	c.nc.Close()
}

func (c *client) ending() bool { return c.ended.Load() }

// send queues protocol text.
func (c *client) send(text []byte) {
	c.traceText(text)
	if c.out.protocol(text) == overflow {
		c.overflow()
	}
}

// sendNow queues protocol text and starts writing it.
func (c *client) sendNow(text []byte) {
	c.send(text)
	c.out.signal()
}

// answer queues protocol text on the reader's goroutine; it is written after
// the current read was handled.
func (c *client) answer(text []byte) {
	c.send(text)
	c.out.mu.Lock()
	c.batch.Touch(&c.out.mark, c)
	c.out.mu.Unlock()
}

func (c *client) overflow() {
	c.noticef("Slow Consumer Detected: MaxPending of %d Exceeded", c.out.maxPending)
	c.end(ReasonSlowPending, "")
}
