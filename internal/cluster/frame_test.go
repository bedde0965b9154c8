package cluster

import (
	"bytes"
	"slices"
	"testing"

	"weir/internal/router"
)

func TestMessageFrame(t *testing.T) {
	for _, c := range []struct {
		msg    router.Msg
		queues []string
	}{
		{router.Msg{Subject: []byte("a"), Payload: []byte("x")}, nil},
		{router.Msg{Subject: []byte("a.b"), Reply: []byte("r"), Header: []byte("NATS/1.0\r\n\r\n")}, []string{"q1", "q2"}},
	} {
		frame := appendMessage([]byte("before"), "acc", &c.msg, c.queues)[len("before"):]
		if size := messageSize("acc", &c.msg, c.queues); len(frame) > size {
			t.Errorf("%d bytes, bound is %d", len(frame), size)
		}
		kind, body, rest, _, ok, err := nextFrame(append(slices.Clone(frame), "after"...), maxFrame)
		if err != nil || !ok || kind != frameMessage || string(rest) != "after" {
			t.Fatalf("nextFrame = %v, %q, %v, %v", kind, rest, ok, err)
		}
		var m message
		if err := m.decode(body); err != nil {
			t.Fatal(err)
		}
		if string(m.account) != "acc" || !bytes.Equal(m.msg.Subject, c.msg.Subject) || !bytes.Equal(m.msg.Reply, c.msg.Reply) ||
			!bytes.Equal(m.msg.Header, c.msg.Header) || !bytes.Equal(m.msg.Payload, c.msg.Payload) || len(m.queues) != len(c.queues) {
			t.Errorf("got %+v of %+v", m, c)
		}
		for n := range frame {
			if _, _, _, _, ok, err := nextFrame(frame[:n], maxFrame); ok || err != nil {
				t.Errorf("%d of %d bytes: %v, %v", n, len(frame), ok, err)
			}
		}
	}
}

func TestInterestFrame(t *testing.T) {
	want := interest{"acc", "a.>", "q", 7}
	_, body, _, _, _, err := nextFrame(appendInterest(nil, want.account, want.subject, want.queue, want.count), maxFrame)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeInterest(body); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for n := range body {
		if _, err := decodeInterest(body[:n]); err == nil {
			t.Errorf("%d of %d bytes decode", n, len(body))
		}
	}
}

// FuzzFrames checks that no bytes break the decoders and that what decodes
// encodes to something that decodes to the same.
func FuzzFrames(f *testing.F) {
	f.Add(appendMessage(nil, "acc", &router.Msg{Subject: []byte("a"), Payload: []byte("x")}, []string{"q"}))
	f.Add(appendInterest(nil, "acc", "a.>", "q", 7))
	f.Add(appendPing(appendRequest(nil, 1, []byte("x")), framePing, 9))
	f.Fuzz(func(t *testing.T, stream []byte) {
		for {
			kind, body, rest, _, ok, err := nextFrame(stream, maxFrame)
			if err != nil || !ok {
				return
			}
			stream = rest
			switch kind {
			case frameMessage:
				fuzzMessage(t, body)
			case frameInterest:
				if in, err := decodeInterest(body); err == nil {
					again := appendInterest(nil, in.account, in.subject, in.queue, in.count)
					if got, err := decodeInterest(again[frameOverhead:]); err != nil || got != in {
						t.Fatalf("%+v became %+v, %v", in, got, err)
					}
				}
			case framePing, framePong:
				decodeStamp(body)
			case frameRefuse:
				decodeRefusal(body)
			}
		}
	})
}

func fuzzMessage(t *testing.T, body []byte) {
	var m, again message
	if m.decode(body) != nil {
		return
	}
	var queues []string
	for _, q := range m.queues {
		queues = append(queues, string(q))
	}
	frame := appendMessage(nil, string(m.account), &m.msg, queues)
	if err := again.decode(frame[frameOverhead:]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.msg.Payload, again.msg.Payload) || !bytes.Equal(m.msg.Subject, again.msg.Subject) || len(again.queues) != len(queues) {
		t.Fatalf("%+v became %+v", m, again)
	}
}
