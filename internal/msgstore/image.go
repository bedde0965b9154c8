package msgstore

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"weir/internal/base"
	"weir/internal/msg"
)

// An image is a stream of frames: kind (byte), length (uint32), payload, CRC32C
// of all that (uint32), little endian. The header comes first, then keys, then
// records in the order of their sequences, then the end with the counts.
const (
	imageVersion = byte(compactFormat) // and of the records; those of the first are read too

	frameHeader  = 'H' // version, then the store's meta
	frameKeys    = 'K' // key and value, each with its length before it, repeated
	frameRecords = 'M' // whole records
	frameEnd     = 'E' // number of keys, number of records

	frameTarget = 128 << 10 // bytes after which a frame is ended
	frameMax    = 2 * maxRecord
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

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// frameWriter writes frames; the first error stays.
type frameWriter struct {
	w   *bufio.Writer
	buf []byte
	n   int64
	err error
}

func (f *frameWriter) begin(kind byte) {
	f.buf = append(f.buf[:0], kind, 0, 0, 0, 0)
}

// next ends the frame if it is large and begins another; false after an error.
func (f *frameWriter) next(kind byte) bool {
	if len(f.buf) >= frameTarget {
		f.end()
		f.begin(kind)
	}
	return f.err == nil
}

func (f *frameWriter) end() {
	binary.LittleEndian.PutUint32(f.buf[1:], uint32(len(f.buf)-5))
	f.buf = binary.LittleEndian.AppendUint32(f.buf, crc32.Checksum(f.buf, castagnoli))
	if f.err == nil {
		var n int
		n, f.err = f.w.Write(f.buf)
		f.n += int64(n)
	}
}

// readFrame reads one frame into buf, which it may grow.
func readFrame(r io.Reader, buf []byte) (kind byte, payload, grown []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, buf, fmt.Errorf("reading image: %w", err)
	}
	n := int(binary.LittleEndian.Uint32(head[1:]))
	if n > frameMax {
		return 0, nil, buf, base.Corruptf("image has a frame of %d bytes", n)
	}
	buf = append(buf[:0], head[:]...)
	w := bytes.NewBuffer(buf)
	if _, err := io.CopyN(w, r, int64(n)+4); err != nil {
		return 0, nil, buf, fmt.Errorf("reading image: %w", err)
	}
	buf = w.Bytes()
	body := buf[:5+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(buf[5+n:]) {
		return 0, nil, buf, base.Corruptf("frame %q of image: checksum differs", head[0])
	}
	return head[0], body[5:], buf, nil
}

// Restore replaces everything in the store by an image. The image is staged under
// another number and switched to in one step; when Restore returns without an
// error, the new content is durable, and otherwise the old content stands. It is
// of the apply side: uncommitted changes are lost.
func (s *Store) Restore(r io.Reader) error {
	staged, err := s.stage(r)
	if err != nil {
		return fmt.Errorf("restoring store %s: %w", s.id, err)
	}
	if err := s.db.flush(); err != nil {
		return err
	}
	s.mu.Lock()
	old := s.number
	err = errors.Join(s.lookup.close(), staged.lookup.close())
	if err != nil {
		s.mu.Unlock()
		return err
	}
	err = s.db.discard(old, catalogKey(s.id), binary.BigEndian.AppendUint32(nil, staged.number))
	if err == nil {
		s.core = staged.core
		s.staged = false
		s.fileID.Store(max(s.fileID.Load(), staged.fileID.Load()))
		s.areaLoaded.Store(true)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.db.setNumber(s.id, s.number, s.committed.applied)
	return s.db.flush()
}

// setNumber notes which number a store has.
func (db *DB) setNumber(id StoreID, number uint32, applied uint64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if _, ok := db.catalog[id]; ok {
		db.catalog[id] = catalogEntry{number: number, applied: applied}
	}
}

// stage reads an image into a store of its own that no catalog entry names.
func (s *Store) stage(r io.Reader) (*Store, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	s.db.mu.Lock()
	number, err := s.db.allocateLocked()
	s.db.mu.Unlock()
	if err != nil {
		return nil, err
	}
	staged := &Store{db: s.db, id: s.id}
	if err = staged.load(number); err == nil {
		staged.staged = true
		err = staged.fill(r)
	}
	if err != nil {
		s.db.garbage.addStore(number)
		return nil, errors.Join(err, staged.close(), s.db.deleteStoreKeys(number))
	}
	return staged, nil
}

// fill reads an image into an empty store.
func (s *Store) fill(r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	kind, payload, buf, err := readFrame(in, nil)
	if err != nil {
		return err
	}
	if kind != frameHeader || len(payload) == 0 || payload[0] == 0 || payload[0] > imageVersion {
		return base.Corruptf("not an image of version %d or before", imageVersion)
	}
	f := format(payload[0])
	want, err := decodeMeta(payload[1:])
	if err != nil {
		return err
	}
	sealed := 0 // segments whose tables have been dropped
	for keys, records := uint64(0), uint64(0); ; {
		var n uint64
		kind, payload, buf, err = readFrame(in, buf)
		switch {
		case err != nil:
			return err
		case kind == frameKeys:
			n, err = s.fillKeys(payload)
			keys += n
		case kind == frameRecords:
			n, err = s.fillRecords(f, payload)
			records += n
		case kind == frameEnd:
			d := base.Decoder{Rest: payload}
			if k, m := d.Uvarint(), d.Uvarint(); d.Bad || k != keys || m != records {
				return base.Corruptf("image has %d keys and %d messages, its end says %d and %d", keys, records, k, m)
			}
			return s.finishFill(want)
		default:
			return base.Corruptf("image has a frame of kind %q", kind)
		}
		if err == nil {
			err = s.Commit(0)
		}
		if err != nil {
			return err
		}
		for ; sealed < len(s.segs)-1; sealed++ {
			s.segs[sealed].tab.Store(nil)
		}
	}
}

func (s *Store) finishFill(want meta) error {
	s.SetLast(want.state.LastSeq, 0)
	s.cur.state.LastTime = want.state.LastTime
	if s.cur.state != want.state {
		return base.Corruptf("image has state %+v, its messages make %+v", want.state, s.cur.state)
	}
	return s.Commit(want.applied)
}

func (s *Store) fillKeys(b []byte) (n uint64, err error) {
	take := func() (field []byte) {
		size, k := binary.Uvarint(b)
		if k <= 0 || size > uint64(len(b)-k) {
			err = base.Corruptf("keys of image do not decode")
			return nil
		}
		field, b = b[k:k+int(size)], b[k+int(size):]
		return field
	}
	for len(b) > 0 && err == nil {
		key := take()
		if value := take(); err == nil {
			n++
			err = s.Set(key, value)
		}
	}
	return n, err
}

func (s *Store) fillRecords(f format, b []byte) (n uint64, err error) {
	var m msg.Message
	for len(b) > 0 {
		rec, need, err := parseHead(f, b)
		if err == nil && (need > 0 || rec.size > len(b)) {
			err = errRecordCut
		}
		if err == nil {
			err = rec.message(&m)
		}
		if err == nil && m.Seq <= s.cur.state.LastSeq {
			err = base.Corruptf("image has message %d after %d", m.Seq, s.cur.state.LastSeq)
		}
		if err == nil {
			err = s.Append(&m)
		}
		if err != nil {
			return n, err
		}
		n++
		b = b[rec.size:]
	}
	return n, nil
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
