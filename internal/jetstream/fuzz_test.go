package jetstream

import (
	"bytes"
	"reflect"
	"testing"
)

func FuzzDecodeRequest(f *testing.F) {
	f.Add((&Request{Account: "$G", Subject: "$JS.API.INFO", Reply: "_INBOX.a", Origin: 7, Hops: 2, Body: []byte("{}")}).encode(nil))
	f.Add((&Request{Header: []byte("NATS/1.0\r\n\r\n"), Client: []byte("{}")}).encode(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := decodeRequest(frame)
		if err != nil {
			return
		}
		again, err := decodeRequest(r.encode(nil))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v became %+v: %v", r, again, err)
		}
	})
}

func FuzzDecodeCall(f *testing.F) {
	f.Add([]byte("12345678\x01body"))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		_, m, body, err := decodeCall(frame)
		if err != nil {
			if len(frame) >= 9 {
				t.Fatal("a whole frame was refused")
			}
			return
		}
		if method(frame[8]) != m || !bytes.Equal(body, frame[9:]) {
			t.Fatalf("%x became %d %x", frame, m, body)
		}
		newCaller(nil).reply(frame) // to a call that nobody made
	})
}

// FuzzHandleFrame gives a node whatever another may send.
func FuzzHandleFrame(f *testing.F) {
	c := startCluster(f, 1+1) // two, as one alone forms no cluster
	n := c.all[0].node
	f.Add(frameDeltas, []byte{1})
	f.Add(frameRedirect, make([]byte, 40))
	f.Add(frameCall, []byte("12345678\x0abody"))
	f.Fuzz(func(t *testing.T, kind byte, frame []byte) {
		if kind == frameCall && len(frame) > 8 && method(frame[8]) != methodStanding {
			return // calls that change the cluster
		}
		n.HandleFrame(c.all[1].node.cfg.Identity.Node, kind, frame)
	})
}
