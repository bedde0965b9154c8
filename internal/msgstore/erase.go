package msgstore

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"weir/internal/base"
	"weir/internal/msg"
)

// erasure is the overwriting of a deleted message's bytes. It is recorded in the
// batch that deletes the message, done after that batch is durable, and done
// again when the store is opened as long as the record is there: overwriting is
// cut short by a crash at worst, and never happens to a message that a crash
// brings back.
type erasure struct {
	key  fileKey
	seq  uint64
	time int64
	off  int64
	size int
	// format is that of the record; blank ones are of the same.
	format format
}

func (x erasure) dbKey() []byte { return appendUintKey(nil, x.key.store, kindErase, x.seq) }

func (x erasure) encode() []byte {
	return appendUints([]byte{metaVersion}, x.key.id, uint64(x.time), uint64(x.off), uint64(x.size), uint64(x.format))
}

// blank is a record of the same size that says nothing but its sequence and, as
// searches by time go through it, its time.
func (x erasure) blank() []byte {
	m := msg.Message{Seq: x.seq, Time: x.time}
	if x.format == wideFormat {
		m.Data = make([]byte, x.size-wideHead)
		return appendWide(nil, &m)
	}
	// Bodies of some lengths do not exist with one subject, but then with another.
	for _, subject := range []string{"", "-"} {
		if n, ok := bodyLen(x.size - compactHead(x.seq, len(subject), false)); ok {
			m.Subject, m.Data = subject, make([]byte, n)
			break
		}
	}
	return appendRecord(nil, &m)
}

// erase overwrites messages whose removal is durable.
func (db *DB) erase(all []erasure) error {
	if len(all) == 0 {
		return nil
	}
	b := db.p.NewBatch()
	defer b.Close()
	for _, x := range all {
		err := db.files.write(x.key, x.blank(), x.off)
		// A file that is gone has taken the message with it.
		if err != nil && !base.IsCorrupt(err) {
			return fmt.Errorf("erasing message %d: %w", x.seq, err)
		}
		if err := b.Delete(x.dbKey(), nil); err != nil {
			return err
		}
	}
	if err := db.files.sync(); err != nil {
		db.fail(err)
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return indexError("erasing messages", err)
	}
	return nil
}

// redoErasures does what a crash may have left undone.
func (s *Store) redoErasures() error {
	known := map[uint64]bool{}
	for _, g := range s.segs {
		known[g.id] = true
	}
	var todo []erasure
	var stale [][]byte
	prefix := appendPrefix(nil, s.number, kindErase)
	err := s.db.scan(s.db.p, prefix, func(key, value []byte) (bool, error) {
		seq, _ := uintOfKey(prefix, key)
		d := decodeRecord(value)
		x := erasure{key: fileKey{s.number, d.Uvarint()}, seq: seq, time: int64(d.Uvarint()), off: int64(d.Uvarint()), size: int(d.Uvarint())}
		x.format = wideFormat
		if len(d.Rest) > 0 { // there was one format at first
			x.format = format(d.Uvarint())
		}
		if d.Bad || x.size < x.format.least() || x.size > maxRecord || x.format > compactFormat {
			return false, base.Corruptf("erasure of message %d does not decode", seq)
		}
		if known[x.key.id] {
			todo = append(todo, x)
		} else {
			stale = append(stale, x.dbKey())
		}
		return true, nil
	})
	for _, key := range stale {
		err = errors.Join(err, s.db.p.Delete(key, pebble.NoSync))
	}
	if err != nil {
		return fmt.Errorf("looking for erasures: %w", err)
	}
	return s.db.erase(todo)
}
