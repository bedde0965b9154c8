package msgstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"weir/internal/base"
	"weir/internal/msg"
)

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
	for d := (base.Decoder{Rest: b}); len(d.Rest) > 0; n++ {
		key, value := d.Block(), d.Block()
		if d.Bad {
			return n, base.Corruptf("keys of image do not decode")
		}
		if err := s.Set(key, value); err != nil {
			return n, err
		}
	}
	return n, nil
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
