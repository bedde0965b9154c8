// Package storetest has a stream store in memory that is simple enough to be right, as the model in tests.
package storetest

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sort"
	"strings"

	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

// Store implements stream.Store.
type Store struct {
	Memory bool // counts sizes as memory storage does
	msgs   []*msg.Message
	bytes  uint64
	last   uint64
	lastAt int64
	keys   map[string][]byte
}

// New returns an empty store.
func New() *Store { return &Store{keys: map[string][]byte{}} }

// Clone copies the store.
func (s *Store) Clone() *Store {
	c := *s
	c.msgs = slices.Clone(s.msgs)
	c.keys = map[string][]byte{}
	for k, v := range s.keys {
		c.keys[k] = v
	}
	return &c
}

func (s *Store) size(m *msg.Message) int {
	return msg.Size(s.Memory, len(m.Subject), len(m.Header), len(m.Data))
}

func (s *Store) info(m *msg.Message) msg.Info {
	return msg.Info{Seq: m.Seq, Time: m.Time, Subject: m.Subject, Size: s.size(m)}
}

// find is the position of the first message with a sequence of at least seq.
func (s *Store) find(seq uint64) int {
	return sort.Search(len(s.msgs), func(i int) bool { return s.msgs[i].Seq >= seq })
}

// Append implements stream.Store.
func (s *Store) Append(m *msg.Message) error {
	base.Assert(m.Seq > s.last, "append of %d after %d", m.Seq, s.last)
	c := &msg.Message{Seq: m.Seq, Time: m.Time, Subject: strings.Clone(m.Subject), Header: bytes.Clone(m.Header), Data: bytes.Clone(m.Data)}
	s.msgs = append(s.msgs, c)
	s.bytes += uint64(s.size(c))
	s.last, s.lastAt = m.Seq, m.Time
	return nil
}

// Delete implements stream.Store.
func (s *Store) Delete(seq uint64, _ bool) (msg.Info, bool, error) {
	i := s.find(seq)
	if i == len(s.msgs) || s.msgs[i].Seq != seq {
		return msg.Info{}, false, nil
	}
	info := s.info(s.msgs[i])
	s.bytes -= uint64(info.Size)
	s.msgs = slices.Delete(s.msgs, i, i+1)
	return info, true, nil
}

// DeleteOf implements stream.Store.
func (s *Store) DeleteOf(_ string, seq uint64) (msg.Info, bool, error) { return s.Delete(seq, false) }

// Purge implements stream.Store.
func (s *Store) Purge(below uint64, most int) (uint64, bool, error) {
	i := s.find(below)
	if below <= s.last || i <= 1000 {
		i = min(i, most)
	}
	for _, m := range s.msgs[:i] {
		s.bytes -= uint64(s.size(m))
	}
	s.msgs = slices.Delete(s.msgs, 0, i)
	return uint64(i), s.find(below) == 0, nil
}

// PurgeMatching implements stream.Store.
func (s *Store) PurgeMatching(pattern, from string, below, keep uint64, most int, removed func(msg.Info)) (next string, err error) {
	bySubject := map[string][]uint64{}
	for _, m := range s.msgs {
		if m.Subject >= from && (pattern == "" || subject.Match(m.Subject, pattern)) {
			bySubject[m.Subject] = append(bySubject[m.Subject], m.Seq)
		}
	}
	for _, subj := range slices.Sorted(maps.Keys(bySubject)) {
		seqs := bySubject[subj]
		for i, seq := range seqs {
			if seq >= below || uint64(len(seqs)-i) <= keep {
				break
			}
			if most == 0 {
				return subj, nil
			}
			info, _, _ := s.Delete(seq, false)
			removed(info)
			most--
		}
	}
	return "", nil
}

// SetLast implements stream.Store.
func (s *Store) SetLast(seq uint64, time int64) {
	if seq > s.last && time != 0 {
		s.lastAt = time
	}
	s.last = max(s.last, seq)
}

// State implements stream.Store.
func (s *Store) State() msg.State {
	st := msg.State{Msgs: uint64(len(s.msgs)), Bytes: s.bytes, LastSeq: s.last, FirstSeq: s.last + 1, LastTime: s.lastAt}
	if s.last == 0 {
		st.FirstSeq = 0
	}
	if len(s.msgs) == 0 {
		return st
	}
	st.FirstSeq, st.FirstTime = s.msgs[0].Seq, s.msgs[0].Time
	st.NumDeleted = int(st.LastSeq-st.FirstSeq+1) - len(s.msgs)
	return st
}

// NumSubjects counts the distinct subjects.
func (s *Store) NumSubjects() int {
	subjects := map[string]bool{}
	for _, m := range s.msgs {
		subjects[m.Subject] = true
	}
	return len(subjects)
}

// Info implements stream.Store.
func (s *Store) Info(seq uint64) (msg.Info, bool, error) {
	info, ok, err := s.NextInfo(seq)
	return info, ok && info.Seq == seq, err
}

// NextInfo implements stream.Store.
func (s *Store) NextInfo(from uint64) (msg.Info, bool, error) {
	i := s.find(from)
	if i == len(s.msgs) {
		return msg.Info{}, false, nil
	}
	return s.info(s.msgs[i]), true, nil
}

// Load implements stream.Store.
func (s *Store) Load(seq uint64, m *msg.Message, _ []byte) (bool, error) {
	i := s.find(seq)
	if i == len(s.msgs) || s.msgs[i].Seq != seq {
		return false, nil
	}
	*m = *s.msgs[i]
	return true, nil
}

// FirstFor implements stream.Store.
func (s *Store) FirstFor(literal string) (uint64, bool, error) {
	for _, m := range s.msgs {
		if m.Subject == literal {
			return m.Seq, true, nil
		}
	}
	return 0, false, nil
}

// LastFor implements stream.Store.
func (s *Store) LastFor(literal string) (uint64, bool, error) {
	for _, m := range slices.Backward(s.msgs) {
		if m.Subject == literal {
			return m.Seq, true, nil
		}
	}
	return 0, false, nil
}

// CountFor implements stream.Store.
func (s *Store) CountFor(literal string) (n uint64, err error) {
	for _, m := range s.msgs {
		if m.Subject == literal {
			n++
		}
	}
	return n, nil
}

// LastMatching implements stream.Store.
func (s *Store) LastMatching(f subject.Filter, upTo uint64) (uint64, bool, error) {
	for _, m := range slices.Backward(s.msgs) {
		if m.Seq <= upTo && f.Match(m.Subject) {
			return m.Seq, true, nil
		}
	}
	return 0, false, nil
}

// NthLast implements stream.Store.
func (s *Store) NthLast(f subject.Filter, upTo, n uint64) (uint64, bool, error) {
	for _, m := range slices.Backward(s.msgs) {
		if m.Seq > upTo || !f.Match(m.Subject) {
			continue
		}
		if n--; n == 0 {
			return m.Seq, true, nil
		}
	}
	return 0, false, nil
}

// SeqAtTime implements stream.Store.
func (s *Store) SeqAtTime(t int64) (uint64, error) {
	for _, m := range s.msgs {
		if m.Time >= t {
			return m.Seq, nil
		}
	}
	return s.last + 1, nil
}

// Set implements stream.Store.
func (s *Store) Set(key, value []byte) error {
	s.keys[string(key)] = bytes.Clone(value)
	return nil
}

// Unset implements stream.Store.
func (s *Store) Unset(key []byte) error {
	delete(s.keys, string(key))
	return nil
}

// Get implements stream.Store.
func (s *Store) Get(key []byte) ([]byte, bool, error) {
	value, ok := s.keys[string(key)]
	return value, ok, nil
}

// ScanKeys implements stream.Store.
func (s *Store) ScanKeys(prefix []byte, visit func(key, value []byte) bool) error {
	var keys []string
	for k := range s.keys {
		if strings.HasPrefix(k, string(prefix)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if !visit([]byte(k), s.keys[k]) {
			break
		}
	}
	return nil
}

// Messages lists what is stored, for transcripts; read-only.
func (s *Store) Messages() []*msg.Message { return s.msgs }

// Hash sums up messages and keys.
func (s *Store) Hash() uint64 {
	h := fnv.New64a()
	for _, m := range s.msgs {
		fmt.Fprintf(h, "%d %d %q %q %q\n", m.Seq, m.Time, m.Subject, m.Header, m.Data)
	}
	err := s.ScanKeys(nil, func(key, value []byte) bool {
		fmt.Fprintf(h, "%q=%q\n", key, value)
		return true
	})
	base.Assert(err == nil, "the model does not fail")
	fmt.Fprintf(h, "last %d", s.last)
	return h.Sum64()
}
