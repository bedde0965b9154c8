package msgstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
	"weir/internal/msg"
)

// widen puts a segment with records of the first format in the place of a random one.
func (d *driver) widen() {
	s := d.s
	s.mu.RLock()
	var run []*segment
	if n := len(s.segs) - 1; n > 0 {
		run = append(run, s.segs[d.rng.IntN(n)])
	}
	s.mu.RUnlock()
	if run == nil {
		return
	}
	fresh, err := s.copyWide(run[0])
	d.must(err)
	d.must(s.replace(s.number, run, fresh))
}

func (s *Store) copyWide(g *segment) (*segment, error) {
	fresh := &segment{id: s.nextFile(), size: segmentHead, format: wideFormat}
	t := newTable()
	fresh.tab.Store(t)
	h, err := s.createFile(fileKey{s.number, fresh.id})
	if err != nil {
		return nil, err
	}
	defer s.db.files.release(h)
	dead, err := s.deadNow(g)
	if err != nil {
		return nil, err
	}
	pos := 0
	err = s.walk(s.file(g), g, func(_ int64, rec record) error {
		var m msg.Message
		if pos++; dead.isDead(pos - 1) {
			return nil
		}
		if err := rec.message(&m); err != nil {
			return err
		}
		wide, _, err := parseHead(wideFormat, appendWide(nil, &m))
		if err == nil {
			err = s.db.files.writeTo(h, wide.bytes(), fresh.size)
		}
		fresh.add(t, wide)
		return err
	})
	if err != nil {
		return nil, err
	}
	return fresh, s.writeTable(h, fresh, t)
}

// TestRestoreWide restores an image of the first version.
func TestRestoreWide(t *testing.T) {
	db := openTest(t, vfs.NewMem())
	defer db.Close()
	var hashes []uint64
	var image bytes.Buffer
	for replica, write := range []func(s *Store) error{
		func(s *Store) error {
			for i := uint64(1); i <= 100; i++ {
				m := &msg.Message{Seq: 3 * i, Time: int64(i), Subject: fmt.Sprint("s.", i%7), Data: make([]byte, 3*i)}
				if i%3 == 0 {
					m.Header = []byte("NATS/1.0\r\n\r\n")
				}
				if err := s.Append(m); err != nil {
					return err
				}
			}
			if err := errors.Join(s.Set([]byte("k"), []byte("v")), s.Commit(1)); err != nil {
				return err
			}
			i, err := s.Snapshot()
			if err == nil {
				_, err = i.WriteTo(&image)
				err = errors.Join(err, i.Close())
			}
			return err
		},
		func(s *Store) error { return s.Restore(widenImage(t, &image)) },
	} {
		s, err := db.Store(1, base.ReplicaID(1+replica))
		if err == nil {
			err = write(s)
		}
		if err != nil {
			t.Fatal(err)
		}
		hash, err := s.Hash()
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hash)
	}
	if hashes[0] != hashes[1] {
		t.Fatalf("hashes %x", hashes)
	}
}

// widenImage makes an image one of the first version.
func widenImage(t *testing.T, image io.Reader) io.Reader {
	in, out := bufio.NewReader(image), &bytes.Buffer{}
	w := &frameWriter{w: bufio.NewWriter(out)}
	for kind := byte(0); kind != frameEnd; {
		var payload []byte
		var err error
		if kind, payload, _, err = readFrame(in, nil); err != nil {
			t.Fatal(err)
		}
		w.begin(kind)
		switch kind {
		case frameHeader:
			payload[0] = 1
			fallthrough
		default:
			w.buf = append(w.buf, payload...)
		case frameRecords:
			for len(payload) > 0 {
				var m msg.Message
				rec, _, err := parseHead(compactFormat, payload)
				if err == nil {
					err = rec.message(&m)
				}
				if err != nil {
					t.Fatal(err)
				}
				w.buf = appendWide(w.buf, &m)
				payload = payload[rec.size:]
			}
		}
		w.end()
	}
	if w.err = errors.Join(w.err, w.w.Flush()); w.err != nil {
		t.Fatal(w.err)
	}
	return out
}
