package jetstream

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
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

// FuzzReplies reads any reply subject as a place in a fast batch and as the one that a
// copied message comes with.
func FuzzReplies(f *testing.F) {
	f.Add([]byte("_INBOX.x.id.10.ok.1.0" + string(fastSuffix)))
	f.Add([]byte("$JS.ACK.S.C.1.2.3.4.5"))
	f.Add(fastSuffix)
	f.Fuzz(func(t *testing.T, reply []byte) {
		parseArrival(string(reply))
		tail := ReplyTail(reply)
		if !bytes.HasSuffix(reply, tail) {
			t.Fatalf("%q ends with %q", reply, tail)
		}
		if !bytes.HasSuffix(reply, fastSuffix) {
			return
		}
		if part, ok := parseFast(reply); ok && (part.ID == "" || part.Seq == 0 || part.maxFlow == 0) {
			t.Fatalf("%q is %+v", reply, part)
		}
	})
}

// FuzzBatchStep reads any header block as that of a message of an atomic batch.
func FuzzBatchStep(f *testing.F) {
	f.Add([]byte("NATS/1.0\r\nNats-Batch-Id: x\r\nNats-Batch-Sequence: 1\r\nNats-Batch-Commit: eob\r\n\r\n"))
	f.Add([]byte("NATS/1.0\r\nNats-Batch-Id: x\r\nNats-Required-Api-Level: -1"))
	f.Fuzz(func(t *testing.T, header []byte) {
		h, ok := parseBatchStep(header)
		if ok && (h.id == "" || h.seq < 0 || h.badEnd && h.commit) {
			t.Fatalf("%q is %+v", header, h)
		}
	})
}

// FuzzStoreFiles reads any bytes as the small files of a store directory.
func FuzzStoreFiles(f *testing.F) {
	f.Add([]byte(`{"version":1,"node":5,"name":"n"}`))
	f.Add([]byte(`{"version":1,"consumers":[{"config":{"name":"c"}},{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		fs := vfs.NewMem()
		if id, err := readIdentity(bytes.NewReader(raw), "file", "n"); err == nil && (id.Node == 0 || id.Name != "n") {
			t.Fatalf("%q is the identity %+v", raw, id)
		}
		if err := fs.MkdirAll(keptDir, 0o750); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{membershipFile, fs.PathJoin(keptDir, "7"+keptSuffix)} {
			if err := writeDurably(fs, "", name, raw); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := readMembership(fs, ""); err == nil {
			m.nameOf(5)
			m.replicaOf(5)
		}
		kept, err := openKept(fs, "", base.NopLogger{})
		if err != nil {
			t.Fatal(err)
		}
		kept.of(7)
	})
}
