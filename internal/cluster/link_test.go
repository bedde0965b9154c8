package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"weir/internal/router"
)

// blockedPair is two nodes of which b subscribes to x and reads nothing more from
// the data link until release is closed.
func blockedPair(t *testing.T) (a, b *node, release chan struct{}) {
	t.Helper()
	a = startNode(t, 1, func(cfg *Config) { cfg.MaxPendingData = 1 << 20 })
	b = newNode(t, 2, routeTo(a))
	blocked := make(chan struct{})
	release = make(chan struct{})
	b.onRequest = func(kind byte, _ []byte) {
		if kind == 'b' {
			close(blocked)
			<-release
		}
	}
	if err := b.mesh.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.mesh.Shutdown)
	b.subscribe("x", "")
	a.awaitUp(b)
	b.awaitUp(a)
	b.fence(a)
	if err := a.mesh.SendRequest(b.id, 'b', nil); err != nil {
		t.Fatal(err)
	}
	<-blocked
	return a, b, release
}

// TestSlowDataLink blocks a peer's reader: Raft frames go on, requests are
// refused, and messages cost the data link, which is built again.
func TestSlowDataLink(t *testing.T) {
	a, b, release := blockedPair(t)
	refused := error(nil)
	for refused == nil {
		refused = a.mesh.SendRequest(b.id, 'x', make([]byte, 64<<10))
	}
	if !errors.Is(refused, ErrQueueFull) {
		t.Errorf("SendRequest = %v", refused)
	}
	if !a.mesh.SendRaft(b.id, []byte("through")) {
		t.Error("Raft frame dropped")
	}
	b.await(t, "a Raft frame", func() bool { return len(b.raft) == 1 })

	payload := strings.Repeat("x", 64<<10)
	for a.publish("x", payload) > 0 && a.mesh.link(b.id, linkData) != nil {
	}
	a.awaitEvent("down n2")
	a.awaitLog("data link to \"n2\" ended: " + errOverflow.Error())
	if !a.mesh.SendRaft(b.id, []byte("still")) {
		t.Error("the Raft link ended with the data link")
	}
	b.await(t, "another Raft frame", func() bool { return len(b.raft) == 2 })
	close(release)
	a.awaitUp(b)
	b.awaitUp(a)
}

// A publisher that waits when it is asked to loses nothing, however slow the peer is.
func TestPublisherWaitsForSlowLink(t *testing.T) {
	a, b, release := blockedPair(t)
	const messages = 400
	var batch router.Batch
	from := router.FromClient(nil, false, &batch)
	m := &router.Msg{Subject: []byte("x"), Payload: make([]byte, 64<<10)}
	asked := 0
	for range messages {
		a.router.Publish(a.acc, from, m)
		if caughtUp := batch.Flush(); caughtUp != nil {
			if asked++; asked == 1 {
				close(release)
			}
			<-caughtUp
		}
	}
	if asked == 0 {
		t.Fatal("the publisher was not asked to wait")
	}
	b.await(t, "every message", func() bool { return len(b.messages) == messages })
}

// The largest message that can be configured gets through, and so does a Raft frame
// with it, while others wait. Time stands still meanwhile: with so many bytes to copy, a
// busy machine would let the links fall silent.
func TestLargestMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const largest = 64 << 20
		network := new(memoryNetwork)
		a := startNode(t, 1, network.node(1), func(cfg *Config) { cfg.MaxPayload = largest })
		b := memoryNode(t, network, 2, "host1")
		var sizes []int
		if _, err := b.router.Subscribe(b.acc, "x", "", func(_ *router.Sub, _ router.Source, m *router.Msg) {
			b.change(func() { sizes = append(sizes, len(m.Payload)) })
		}, router.SubOptions{}); err != nil {
			t.Fatal(err)
		}
		a.awaitUp(b)
		b.awaitUp(a)
		b.fence(a)
		payload := make([]byte, largest)
		for range 2 {
			a.router.Publish(a.acc, router.Internal, &router.Msg{Subject: []byte("x"), Payload: payload})
		}
		b.await(t, "both messages", func() bool { return slices.Equal(sizes, []int{largest, largest}) })
		if !a.mesh.SendRaft(b.id, payload) || !a.mesh.SendRaft(b.id, []byte("behind")) {
			t.Error("a Raft frame was dropped")
		}
		b.await(t, "both Raft frames", func() bool { return len(b.raft) == 2 })
		b.mesh.Shutdown()
		a.mesh.Shutdown()
	})
}
