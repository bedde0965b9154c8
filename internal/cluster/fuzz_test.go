package cluster

import (
	"io"
	"net"
	"testing"

	"weir/internal/router"
)

// FuzzHandshake gives a node any bytes as the beginning of a connection.
func FuzzHandshake(f *testing.F) {
	begin := append([]byte(magic), protocolVersion)
	f.Add(append(begin, appendFrame(nil, frameHello, []byte(`{"info":{"node":7,"name":"x","cluster":"C","addr":":1"},"link":1}`))...))
	f.Add(append(begin, appendFrame(nil, frameRefuse, []byte(`{"reason":"no"}`))...))
	f.Add([]byte("INFO {}\r\n"))
	n := &node{id: 9}
	m, err := New(Config{Node: 9, Name: "n9", Cluster: "C", Authorize: func(string, string) bool { return false }}, router.New(1), n)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		mine, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		go func() {
			theirs.Write(sent)
			theirs.Close()
		}()
		if l, err := m.welcome(mine); err == nil {
			t.Fatalf("%q became a link to %q", sent, l.name)
		}
		mine.Close()
	})
}

// FuzzReceive gives the receiver of a data link any frames.
func FuzzReceive(f *testing.F) {
	f.Add(appendInterest(nil, "A", "a.>", "q", 7))
	f.Add(appendMessage(appendInterest(nil, "A", "a", "", 1), "A", &router.Msg{Subject: []byte("a"), Payload: []byte("x")}, []string{"q"}))
	f.Add(appendFrame(nil, frameInfo, []byte(`{"client_urls":["x:1"]}`)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		n := newNode(t, 9)
		n.mesh.closed = true // so that nobody is dialed
		conn, _ := net.Pipe()
		l := &link{mesh: n.mesh, kind: linkData, node: 7, conn: conn, wake: make(chan struct{}, 1), ended: make(chan struct{})}
		n.mesh.peers[7] = &peer{data: l}
		in := receiver{link: l, queueNames: make(names)}
		in.inbound = n.router.Inbound(l, &in.batch)
		rest, _, err := in.takeFrames(stream)
		if err == nil && len(rest) > len(stream) {
			t.Fatalf("%d bytes of %d are left", len(rest), len(stream))
		}
		n.router.RemotePeerGone(l)
	})
}
