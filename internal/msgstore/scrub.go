package msgstore

import (
	"encoding/binary"

	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

// Scrub reads everything that the stores hold and checks it: the checksums of
// messages and of the index, and that both say the same. found is told of each
// damage, which is all that it returns no error for. It counts the stores and the
// messages that are whole.
func (db *DB) Scrub(found func(error)) (stores int, msgs uint64, err error) {
	note := func(err error) error {
		if base.IsCorrupt(err) {
			found(err)
			return nil
		}
		return err
	}
	for _, id := range db.Stores() {
		s, err := db.Store(id.Group, id.Replica)
		if err != nil {
			if err = note(err); err != nil {
				return stores, msgs, err
			}
			continue
		}
		stores++
		n, err := s.scrubMessages(note)
		msgs += n
		if err == nil {
			err = note(s.scrubIndex())
		}
		if err != nil {
			return stores, msgs, err
		}
	}
	return stores, msgs, nil
}

// scrubMessages reads every message and counts those that are whole.
func (s *Store) scrubMessages(note func(error) error) (n uint64, err error) {
	var m msg.Message
	buf := make([]byte, 64<<10)
	for _, g := range s.segs {
		t, err := s.loadTable(g)
		if err != nil {
			if err = note(err); err != nil {
				return n, err
			}
			continue
		}
		for pos := t.nextLive(0); pos < t.len(); pos = t.nextLive(pos + 1) {
			_, err := s.Load(t.seq(g.base, pos), &m, buf)
			if err == nil {
				n++
			} else if err = note(err); err != nil {
				return n, err
			}
		}
		s.db.tables.trim()
	}
	return n, nil
}

// scrubIndex reads what the index has of the store and compares its sums with the
// state.
func (s *Store) scrubIndex() error {
	prefix := binary.BigEndian.AppendUint32(nil, s.number)
	if err := s.db.scan(s.db.p, prefix, func(_, _ []byte) (bool, error) { return true, nil }); err != nil {
		return err
	}
	st := s.Reader().State()
	subjects, msgs := 0, uint64(0)
	err := s.Reader().Subjects(subject.Filter{}, func(_ string, count uint64) bool {
		subjects++
		msgs += count
		return true
	})
	if err == nil && (subjects != st.NumSubjects || msgs != st.Msgs) {
		err = base.Corruptf("store %s: the index has %d messages of %d subjects, the state says %d of %d",
			s.id, msgs, subjects, st.Msgs, st.NumSubjects)
	}
	return err
}
