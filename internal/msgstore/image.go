package msgstore

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"weir/internal/msg"
)

// Image is a store as one Commit left it. Writes go on beside it; space is not
// given back before it is closed.
type Image struct {
	s    *Store
	meta meta
	// number is the store's at the time; a restore may have changed it.
	number uint32
	snap   *pebble.Snapshot
}

// Snapshot takes an image of what the last Commit left. The caller closes it.
func (s *Store) Snapshot() (*Image, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.db.garbage.pin(s.number, 1)
	return &Image{s: s, meta: s.committed, number: s.number, snap: s.db.p.NewSnapshot()}, nil
}

// Index is the applied index of the image.
func (i *Image) Index() uint64 { return i.meta.applied }

// Close gives up the image.
func (i *Image) Close() error {
	i.s.db.garbage.pin(i.number, -1)
	return i.snap.Close()
}

// WriteTo writes the image in the form that Restore reads, and returns the number
// of its bytes. A damaged record ends it with a corruption.
func (i *Image) WriteTo(w io.Writer) (int64, error) {
	out := &frameWriter{w: bufio.NewWriterSize(w, frameTarget)}
	out.begin(frameHeader)
	out.buf = i.meta.encode(append(out.buf, imageVersion))
	out.end()
	keys, records := uint64(0), uint64(0)
	out.begin(frameKeys)
	err := i.s.db.scanUser(i.snap, i.number, nil, func(key, value []byte) bool {
		out.buf = appendBytes(appendBytes(out.buf, key), value)
		keys++
		return out.next(frameKeys)
	})
	out.end()
	if err != nil {
		return out.n, err
	}
	out.begin(frameRecords)
	err = i.records(func(rec record) error {
		out.buf = append(out.buf, rec.bytes()...)
		records++
		out.next(frameRecords)
		return out.err
	})
	out.end()
	if err != nil {
		return out.n, err
	}
	out.begin(frameEnd)
	out.buf = appendUints(out.buf, keys, records)
	out.end()
	if out.err == nil {
		out.err = out.w.Flush()
	}
	return out.n, out.err
}

// records visits the live records in order.
func (i *Image) records(visit func(record) error) error {
	var segs []*segment
	prefix := appendPrefix(nil, i.number, kindSegment)
	err := i.s.db.scan(i.snap, prefix, func(key, value []byte) (bool, error) {
		id, _ := uintOfKey(prefix, key)
		g, err := decodeSegment(id, value)
		segs = append(segs, g)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(segs, func(a, b *segment) int { return cmp.Compare(a.base, b.base) })
	for _, g := range segs {
		if g.live() == 0 {
			continue
		}
		if err := i.segmentRecords(g, visit); err != nil {
			return err
		}
	}
	return nil
}

func (i *Image) segmentRecords(g *segment, visit func(record) error) error {
	prefix := appendPrefix(nil, i.number, kindDead)
	it, err := i.snap.NewIter(&pebble.IterOptions{
		LowerBound: appendUintKey(nil, i.number, kindDead, max(g.base, i.meta.state.FirstSeq)),
		UpperBound: appendUintKey(nil, i.number, kindDead, g.last+1),
	})
	if err != nil {
		return indexError("reading deletes", err)
	}
	defer it.Close()
	isDead := it.First()
	err = i.s.walk(fileKey{i.number, g.id}, g, func(_ int64, rec record) error {
		if rec.seq < i.meta.state.FirstSeq {
			return nil
		}
		for ; isDead; isDead = it.Next() {
			dead, _ := uintOfKey(prefix, it.Key())
			if dead == rec.seq {
				return nil
			}
			if dead > rec.seq {
				break
			}
		}
		if err := rec.checkBody(); err != nil {
			return err
		}
		rec, err := rec.renewed()
		if err != nil {
			return err
		}
		return visit(rec)
	})
	return errors.Join(err, it.Error())
}

// State sums up the image's messages.
func (i *Image) State() msg.State { return withDeleted(i.meta.state) }

// Messages visits the image's messages in their order, until visit returns an error. What visit gets is valid only during the
// call. A damaged record ends it with a corruption.
func (i *Image) Messages(visit func(*msg.Message) error) error {
	var m msg.Message
	return i.records(func(rec record) error {
		if err := rec.message(&m); err != nil {
			return err
		}
		return visit(&m)
	})
}

// ScanKeys visits the image's keys that start with prefix in their order, until visit returns false. What visit gets is valid
// only during the call.
func (i *Image) ScanKeys(prefix []byte, visit func(key, value []byte) bool) error {
	return i.s.db.scanUser(i.snap, i.number, prefix, visit)
}

// Hash is a digest of the committed messages, keys and state. Replicas at the
// same applied index have the same. It reads everything.
func (s *Store) Hash() (uint64, error) {
	i, err := s.Snapshot()
	if err != nil {
		return 0, err
	}
	defer i.Close()
	h := sha256.New()
	state := i.meta
	state.applied, state.openBase = 0, 0
	h.Write(state.encode(nil))
	var buf []byte
	err = s.db.scanUser(i.snap, i.number, nil, func(key, value []byte) bool {
		buf = appendBytes(appendBytes(buf[:0], key), value)
		h.Write(buf)
		return true
	})
	if err == nil {
		err = i.records(func(rec record) error {
			h.Write(rec.bytes())
			return nil
		})
	}
	return binary.LittleEndian.Uint64(h.Sum(nil)), err
}
