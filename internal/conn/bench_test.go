package conn

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"weir/internal/conf"
)

// nullConn takes everything that is written.
type nullConn struct{ net.Conn }

func (nullConn) Write(b []byte) (int, error)      { return len(b), nil }
func (nullConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (nullConn) Close() error                     { return nil }
func (nullConn) SetWriteDeadline(time.Time) error { return nil }

// benchClient is a client whose parser is fed by the benchmark.
func benchClient(b testing.TB, h *harness, fed string) *client {
	c := newClient(h.Server, nullConn{}, h.lastID.Add(1), "STANDARD")
	go c.write()
	b.Cleanup(func() { c.end(ReasonClientClosed, ""); <-c.written })
	if !c.handle([]byte(fed)) {
		b.Fatal("refused")
	}
	return c
}

const quietConnect = `CONNECT {"verbose":false,"headers":true}` + "\r\n"

// drained writes away what is queued, on the caller's goroutine.
func (c *client) drained() {
	taken, _ := c.out.take()
	c.out.done(taken, totalLength(taken))
}

// The whole way from a publisher's read buffer to a subscriber's outbound
// buffer: parse, check, match, append.
func BenchmarkPublishToBuffer(b *testing.B) {
	for _, size := range []int{16, 128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := startServer(b, &conf.Config{}, nil)
			benchClient(b, h, quietConnect+"SUB foo.* 1\r\n")
			pub := benchClient(b, h, quietConnect)
			one := fmt.Appendf(nil, "PUB foo.bar %d\r\n%s\r\n", size, bytes.Repeat([]byte("x"), size))
			const perRead = 64
			read := bytes.Repeat(one, perRead)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for i := 0; i < b.N; i += perRead {
				pub.handle(read)
			}
		})
	}
}

func TestPublishDoesNotAllocate(t *testing.T) {
	h := startServer(t, &conf.Config{}, nil)
	sub := newClient(h.Server, nullConn{}, h.lastID.Add(1), "STANDARD")
	close(sub.written)
	if !sub.handle([]byte(quietConnect + "SUB foo.* 1\r\nSUB foo.> q 2\r\n")) {
		t.Fatal("refused")
	}
	pub := benchClient(t, h, quietConnect)
	read := bytes.Repeat([]byte("PUB foo.bar 5\r\nhello\r\nHPUB foo.baz 12 17\r\nNATS/1.0\r\n\r\nhello\r\n"), 32)
	run := func() { pub.handle(read); sub.drained() }
	run()
	if n := testing.AllocsPerRun(200, run); n > 0.5 {
		t.Fatalf("%v allocations per read of %d messages", n, 64)
	}
}

// Over loopback TCP, one publisher and one subscriber.
func BenchmarkLoopback(b *testing.B) {
	for _, size := range []int{16, 128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := startServer(b, &conf.Config{}, nil)
			dial := func(first string) net.Conn {
				nc, err := net.Dial("tcp", h.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { nc.Close() })
				io.WriteString(nc, quietConnect+first)
				return nc
			}
			sub, pub := dial("SUB foo 1\r\nPING\r\n"), dial("")
			head := make([]byte, 4096)
			for n := 0; !bytes.HasSuffix(head[:n], []byte("PONG\r\n")); {
				k, err := sub.Read(head[n:])
				if err != nil {
					b.Fatal(err)
				}
				n += k
			}
			one := fmt.Appendf(nil, "PUB foo %d\r\n%s\r\n", size, bytes.Repeat([]byte("x"), size))
			const perWrite = 100
			text := bytes.Repeat(one, perWrite)
			total := int64((b.N + perWrite - 1) / perWrite * perWrite)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				for range total / perWrite {
					pub.Write(text)
				}
			}()
			got := fmt.Sprintf("MSG foo 1 %d\r\n", size)
			if _, err := io.CopyN(io.Discard, sub, total*int64(len(got)+size+2)); err != nil {
				b.Fatal(err)
			}
		})
	}
}
