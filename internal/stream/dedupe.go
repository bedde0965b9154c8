package stream

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"weir/internal/base"
)

// dedupeIDs remembers the message ids of the duplicate window. Memory and keys hold the same ids: an id leaves both when a
// command says that its window is over.
type dedupeIDs struct {
	seqs map[string]uint64 // id → sequence of the message that had it
	// order has the ids by age, oldest at head. An id stands in it once.
	order []dedupeID
	head  int
}

type dedupeID struct {
	id   string
	time int64 // unix ns of the command that stored the message
}

func dedupeKey(dst []byte, id string) []byte { return append(append(dst[:0], keyDedupe), id...) }

func (d *dedupeIDs) load(store Store) error {
	d.seqs = map[string]uint64{}
	var bad error
	err := store.ScanKeys([]byte{keyDedupe}, func(key, value []byte) bool {
		seq, n := binary.Uvarint(value)
		time, k := binary.Varint(value[max(n, 0):])
		if n <= 0 || k <= 0 {
			bad = base.Corruptf("message id %q has a value of %d bytes", key[1:], len(value))
			return false
		}
		id := string(key[1:])
		d.seqs[id] = seq
		d.order = append(d.order, dedupeID{id, time})
		return true
	})
	if err != nil || bad != nil {
		return cmp.Or(err, bad)
	}
	slices.SortFunc(d.order, func(a, b dedupeID) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(d.seqs[a.id], d.seqs[b.id]), cmp.Compare(a.id, b.id))
	})
	return nil
}

func (d *dedupeIDs) lookup(id string) (uint64, bool) {
	seq, ok := d.seqs[id]
	return seq, ok
}

// add remembers id, which is not known yet. The time given is never before that of an earlier add.
func (s *Stream) addDedupeID(id string, seq uint64, now int64) error {
	d := &s.dedupe
	if d.head < len(d.order) {
		now = max(now, d.order[len(d.order)-1].time)
	}
	id = strings.Clone(id)
	d.seqs[id] = seq
	d.order = append(d.order, dedupeID{id, now})
	s.keyBuf = dedupeKey(s.keyBuf, id)
	s.valueBuf = binary.AppendVarint(binary.AppendUvarint(s.valueBuf[:0], seq), now)
	return s.store.Set(s.keyBuf, s.valueBuf)
}

// forgetDedupeIDs drops the ids whose window is over at now.
func (s *Stream) forgetDedupeIDs(now int64) error {
	d := &s.dedupe
	for d.head < len(d.order) && d.order[d.head].time <= now-int64(s.cfg.Duplicates) {
		id := d.order[d.head].id
		d.order[d.head] = dedupeID{}
		d.head++
		delete(d.seqs, id)
		s.keyBuf = dedupeKey(s.keyBuf, id)
		if err := s.store.Unset(s.keyBuf); err != nil {
			return err
		}
	}
	if d.head > 1024 && d.head > len(d.order)/2 {
		d.order = append(d.order[:0], d.order[d.head:]...)
		d.head = 0
	}
	return nil
}

// forgetAllDedupeIDs empties the window.
func (s *Stream) forgetAllDedupeIDs() error {
	for _, e := range s.dedupe.order[s.dedupe.head:] {
		s.keyBuf = dedupeKey(s.keyBuf, e.id)
		if err := s.store.Unset(s.keyBuf); err != nil {
			return err
		}
	}
	s.dedupe = dedupeIDs{seqs: map[string]uint64{}}
	return nil
}
