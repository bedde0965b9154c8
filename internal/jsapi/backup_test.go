package jsapi

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/router"
	"weir/internal/wire"
)

// snapshotClient takes the chunks of a backup.
type snapshotClient struct {
	b      *bench
	acks   bool
	chunks []router.Msg
}

func (c *snapshotClient) take(sub *router.Sub, _ router.Source, m *router.Msg) {
	chunk := router.Msg{Reply: bytes.Clone(m.Reply), Header: bytes.Clone(m.Header), Payload: bytes.Clone(m.Payload)}
	c.chunks = append(c.chunks, chunk)
	if c.acks && len(chunk.Reply) > 0 {
		go c.b.cfg.Router.Publish(sub.Account(), router.Internal, &router.Msg{Subject: chunk.Reply})
	}
}

func (b *bench) snapshot(t *testing.T, req *api.StreamSnapshotRequest) *snapshotWriter {
	t.Helper()
	c := b.newCall(&jetstream.Request{Account: "A", Subject: "$JS.API.STREAM.SNAPSHOT.S", Reply: "inbox"})
	w, err := c.newSnapshotWriter(req)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (b *bench) client(t *testing.T, subj string, acks bool) *snapshotClient {
	t.Helper()
	c := &snapshotClient{b: b, acks: acks}
	if _, err := b.cfg.Router.Subscribe(b.cfg.Accounts.Account("A"), subj, "", c.take, router.SubOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSnapshotFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		c := b.client(t, "to", true)
		w := b.snapshot(t, &api.StreamSnapshotRequest{DeliverSubject: "to", ChunkSize: 1024, WindowSize: 2048})
		data := bytes.Repeat([]byte("0123456789"), 1000)
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		w.close(nil)
		var got []byte
		for i, m := range c.chunks {
			got = append(got, m.Payload...)
			last := i >= len(c.chunks)-2 // what is left, and the end
			if asks := len(m.Reply) > 0; asks == last || !last && len(m.Payload) != 1024 {
				t.Errorf("chunk %d of %d bytes with reply %q", i, len(m.Payload), m.Reply)
			}
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%d bytes came of %d", len(got), len(data))
		}
		if code, _, _ := wire.Status(c.chunks[len(c.chunks)-1].Header); code != 204 {
			t.Errorf("ends with %d", code)
		}
	})
}

// TestSnapshotWithoutAcks sends no more than the window, and gives up after a while.
func TestSnapshotWithoutAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		c := b.client(t, "to", false)
		w := b.snapshot(t, &api.StreamSnapshotRequest{DeliverSubject: "to", ChunkSize: 1024, WindowSize: 3000})
		start := time.Now()
		_, err := w.Write(make([]byte, 100_000))
		if !errors.Is(err, errNoFlow) || time.Since(start) != snapshotPatience || len(c.chunks) != 2 {
			t.Fatalf("%v after %v and %d chunks", err, time.Since(start), len(c.chunks))
		}
		w.close(err)
		code, text, _ := wire.Status(c.chunks[2].Header)
		if code != 408 || string(text) != "No Flow Response" {
			t.Errorf("ends with %d %s", code, text)
		}
	})
}

func TestSnapshotToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := b.snapshot(t, &api.StreamSnapshotRequest{DeliverSubject: "to"})
		if _, err := w.Write(make([]byte, 1<<20)); !errors.Is(err, errNoInterest) {
			t.Errorf("%v", err)
		}
	})
}

func TestSnapshotSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for _, tc := range []struct{ chunk, window, wantChunk, wantWindow int }{
			{0, 0, 128 << 10, 8 << 20},
			{-1, -1, 128 << 10, 8 << 20},
			{5, 1, 1 << 10, 1 << 10},
			{5 << 20, 1 << 30, 1 << 20, 32 << 20},
			{64 << 10, 1, 64 << 10, 64 << 10},
		} {
			w := b.snapshot(t, &api.StreamSnapshotRequest{DeliverSubject: "to", ChunkSize: tc.chunk, WindowSize: tc.window})
			if w.chunk != tc.wantChunk || w.window != tc.wantWindow {
				t.Errorf("%+v: chunks of %d, window %d", tc, w.chunk, w.window)
			}
		}
	})
}

func newReceiver(b *bench) *restoreReceiver {
	c := b.newCall(&jetstream.Request{Account: "A", Subject: "$JS.API.STREAM.RESTORE.S", Reply: "inbox"})
	return &restoreReceiver{call: c, more: make(chan struct{}, 1)}
}

func TestRestoreEndsWhenNothingComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newReceiver(newBench(t))
		in.take(nil, router.Source{}, &router.Msg{Payload: []byte("first")})
		buf := make([]byte, 100)
		if n, err := in.Read(buf); err != nil || string(buf[:n]) != "first" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		start := time.Now()
		if _, err := in.Read(buf); !errors.Is(err, errRestoreIdle) || time.Since(start) != restoreIdle {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestRestoreAnswersChunks wants an answer to each chunk that was taken, and the end of the data at an empty one.
func TestRestoreAnswersChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		in := newReceiver(b)
		for _, part := range []string{"one", "two", ""} {
			in.take(nil, router.Source{}, &router.Msg{Reply: []byte("inbox"), Payload: []byte(part)})
		}
		got, err := io.ReadAll(in)
		if err != nil || string(got) != "onetwo" || !in.ended || in.bytes != 6 {
			t.Errorf("%q, %v", got, err)
		}
		if b.mu.Lock(); len(b.answers) != 2 || len(b.answers[0].Payload) != 0 {
			t.Errorf("answers %v", b.answers)
		}
		b.mu.Unlock()
	})
}

func TestRestoreRefusesAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newReceiver(newBench(t))
		for range maxRestoreBacklog + 1 {
			in.take(nil, router.Source{}, &router.Msg{Payload: []byte("x")})
		}
		if _, err := in.Read(make([]byte, 1)); !errors.Is(err, errRestoreFlood) {
			t.Errorf("%v", err)
		}
	})
}

// TestRestoreTellsOfAFailure answers the next chunk with an error that clients know, and an empty one with a document.
func TestRestoreTellsOfAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for part, want := range map[string]string{"more": "-ERR 'restore failed: broken'", "": `"err_code":10062`} {
			b := newBench(t)
			in := newReceiver(b)
			over := make(chan struct{})
			go func() {
				in.conclude(errors.New("broken"))
				close(over)
			}()
			synctest.Wait()
			in.take(nil, router.Source{}, &router.Msg{Reply: []byte("inbox"), Payload: []byte(part)})
			<-over
			if b.mu.Lock(); len(b.answers) != 1 || !strings.Contains(string(b.answers[0].Payload), want) {
				t.Errorf("answers %v", b.answers)
			}
			b.mu.Unlock()
		}
	})
}
