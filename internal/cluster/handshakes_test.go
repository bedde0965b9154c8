package cluster

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// Connections that are open without a word hold up nobody: a peer has its links long
// before they are given up.
func TestSilentConnectionsDoNotHoldUpPeers(t *testing.T) {
	a := startNode(t, 1)
	began := time.Now()
	for range 2 * maxHandshakes {
		conn, err := net.Dial("tcp", a.mesh.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	a.awaitLog(errMadeRoom.Error())
	b := startNode(t, 2, routeTo(a))
	b.awaitUp(a)
	a.mesh.handshakes.mu.Lock()
	defer a.mesh.handshakes.mu.Unlock()
	if n := len(a.mesh.handshakes.under); n == 0 && time.Since(began) < handshakeTimeout {
		t.Error("the others were all closed")
	} else if n > maxHandshakes {
		t.Errorf("%d handshakes at a time", n)
	}
}

type closes struct {
	net.Conn
	from   memoryAddr
	closed bool
}

func (c *closes) RemoteAddr() net.Addr { return c.from }
func (c *closes) Close() error         { c.closed = true; return nil }

func TestWhichHandshakeMakesRoom(t *testing.T) {
	var s handshakes
	begin := func(host string, stranger bool) *closes {
		c := &closes{from: memoryAddr(net.JoinHostPort(host, "1"))}
		s.begin(c, stranger)
		return c
	}
	known := begin("10.0.0.1", false)
	alone := begin("10.0.0.2", true)
	first, second := begin("10.0.0.3", true), begin("10.0.0.3", true)
	var others []*closes
	for i := range maxHandshakes - 4 {
		others = append(others, begin(fmt.Sprintf("10.1.0.%d", i), true))
	}
	begin("10.2.0.1", true)
	if !first.closed || second.closed {
		t.Fatal("not the oldest of the host with the most made room")
	}
	begin("10.2.0.2", true)
	if !alone.closed || known.closed {
		t.Fatal("not the oldest stranger made room")
	}
	for range 2 * maxHandshakes {
		begin("10.0.0.1", false)
	}
	for _, c := range others {
		if !c.closed {
			t.Fatal("a stranger is there still while hosts of peers had to make room")
		}
	}
	if stranger := begin("10.3.0.1", true); !stranger.closed {
		t.Error("a host of peers made room for a stranger")
	}
	if len(s.under) != maxHandshakes {
		t.Errorf("%d handshakes", len(s.under))
	}
}
