package conn

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/conf"
)

// deadlines notes the last write deadline; meanwhile runs once, just before one is set.
type deadlines struct {
	net.Conn
	mu        sync.Mutex
	meanwhile func()
	last      time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.mu.Lock()
	meanwhile := d.meanwhile
	d.meanwhile = nil
	d.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = t
	return d.Conn.SetWriteDeadline(t)
}

// A client that is sent away while its writer is about to write gets no more time than
// any other.
func TestEndWhileWriterSetsDeadline(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	ours, theirs := net.Pipe()
	defer theirs.Close()
	nc := &deadlines{Conn: ours}
	nc.meanwhile = func() { h.snapshot()[0].end(ReasonServerShutdown, "") }
	began := base.SystemClock.Now()
	h.serve(nc, account.ConnectionInProcess) // its INFO is never read
	waitFor(t, "the client is gone", func() bool { return len(h.ClosedConnections()) == 1 })
	nc.mu.Lock()
	defer nc.mu.Unlock()
	if d := nc.last.Sub(began); d > defaultWriteDeadline/2 {
		t.Errorf("the last deadline is %v later", d)
	}
}

// Shutting down waits neither for a client that does not read nor for one that does not
// stop to send, and a client that reads gets all that it is owed.
func TestShutdownTakesShort(t *testing.T) {
	h := startServer(t, &conf.Config{}, func(c *Config) { c.NoFastProducerStall = true })
	const size, messages = 64 << 10, 128
	stuck, healthy, flood := h.raw(t), h.raw(t), h.raw(t)
	stuck.nc.(*net.TCPConn).SetReadBuffer(size)
	for _, c := range []*rawClient{stuck, healthy} {
		c.expect(plainConnect+"SUB a 1\r\nPING\r\n", "PONG")
	}
	flood.expect(plainConnect+"PING\r\n", "PONG")
	pub := h.connect(t, nats.NoReconnect())
	for range messages {
		if err := pub.Publish("a", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := pub.Flush(); err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup
	busy.Go(func() {
		noise := bytes.Repeat([]byte("PUB b 0\r\n\r\n"), 1000)
		for {
			if _, err := flood.nc.Write(noise); err != nil {
				return
			}
		}
	})
	began := base.SystemClock.Now()
	busy.Go(h.Shutdown)
	got, err := io.Copy(io.Discard, healthy.r)
	if err != nil || got < size*messages {
		t.Errorf("the healthy client got %d bytes of %d messages: %v", got, messages, err)
	}
	busy.Wait()
	if d := base.SystemClock.Now().Sub(began); d > defaultWriteDeadline/2 {
		t.Errorf("shutting down took %v", d)
	}
}
