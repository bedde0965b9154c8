package msgstore

import (
	"errors"

	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

var errRecordCut = base.Corruptf("record is cut")

// Reader is the read side of a store: what the last Commit left. Safe for
// concurrent use. Reads of messages that are deleted meanwhile may still find
// them.
type Reader struct{ s *Store }

// Reader returns the read side.
func (s *Store) Reader() Reader { return Reader{s} }

// view locks the store for reading; the caller unlocks s.mu.
func (r Reader) view() (view, error) {
	s := r.s
	if s.closed.Load() {
		return view{}, ErrClosed
	}
	if err := s.loadArea(); err != nil {
		return view{}, err
	}
	s.mu.RLock()
	return s.readView(), nil
}

// State sums up the committed messages.
func (r Reader) State() msg.State {
	r.s.mu.RLock()
	defer r.s.mu.RUnlock()
	return withDeleted(r.s.committed.state)
}

// Applied is the index that the committed state stands at.
func (r Reader) Applied() uint64 { return r.s.Applied() }

// Info describes the message under seq; false when there is none.
func (r Reader) Info(seq uint64) (info msg.Info, ok bool, err error) {
	v, err := r.view()
	if err != nil {
		return info, false, err
	}
	defer r.s.mu.RUnlock()
	at, ok, err := v.find(seq)
	if err != nil || !ok {
		return info, false, err
	}
	return v.info(at)
}

// Load reads the message under seq; false when there is none. Header and Data of
// m point into buf, if it is large enough, or are fresh. A subject equal to the
// one that m has is not allocated again.
func (r Reader) Load(seq uint64, m *msg.Message, buf []byte) (bool, error) {
	return r.load(m, buf, func(v view) (place, bool, error) { return v.find(seq) })
}

// load reads the message that locate finds. The file is read without the lock;
// what then looks damaged may have been erased meanwhile, so it is located again.
func (r Reader) load(m *msg.Message, buf []byte, locate func(view) (place, bool, error)) (bool, error) {
	defer r.s.db.tables.trim()
	for {
		v, err := r.view()
		if err != nil {
			return false, err
		}
		at, ok, err := locate(v)
		if err != nil || !ok {
			r.s.mu.RUnlock()
			return false, err
		}
		b, err := r.record(v, at, buf)
		if err == nil {
			err = r.s.decode(b, at, m)
		}
		if err == nil || !base.IsCorrupt(err) || r.stillAt(at) {
			return err == nil, err
		}
	}
}

// record reads the bytes of a record into buf, if it is large enough, and unlocks the
// store.
func (r Reader) record(v view, at place, buf []byte) ([]byte, error) {
	slot := r.s.db.ahead.slot(v.number, at.seg)
	if held := slot.held(at); held != nil {
		r.s.mu.RUnlock()
		b := sized(buf, at.size)
		copy(b, held)
		return b, nil
	}
	h, err := v.handleFor(at)
	end := v.committedEnd(at.seg)
	r.s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	defer r.s.releaseHandle(h)
	b := sized(buf, at.size)
	return b, r.s.readRecord(slot, h, at, end, b)
}

// stillAt tells whether the message is still where it was found.
func (r Reader) stillAt(at place) bool {
	v, err := r.view()
	if err != nil {
		return true
	}
	defer r.s.mu.RUnlock()
	now, ok, err := v.find(at.seq)
	return err != nil || ok && now.seg == at.seg && now.pos == at.pos
}

// NumPending counts the messages from a sequence on whose subject the filter
// matches. Without a filter it costs next to nothing; with literal subjects, a
// step for every 4096 sequences that lie above from; with wildcards, that for
// every subject that matches.
func (r Reader) NumPending(from uint64, f subject.Filter) (n uint64, err error) {
	if f.All() {
		defer r.s.db.tables.trim()
		v, err := r.view()
		if err != nil {
			return 0, err
		}
		defer r.s.mu.RUnlock()
		if from > v.last {
			return 0, nil
		}
		return v.countAll(from)
	}
	v, done, err := r.scanView(f)
	if err != nil {
		return 0, err
	}
	err = v.subjects(f, func(subj string, total subjectTotal, open []uint64) (bool, error) {
		k, err := v.countFrom(subj, total, open, from)
		n += k
		return true, err
	})
	return n, errors.Join(err, done())
}

// FirstFor is the first message of a literal subject from a sequence on.
func (r Reader) FirstFor(literal string, from uint64) (uint64, bool, error) {
	v, err := r.view()
	if err != nil {
		return 0, false, err
	}
	defer r.s.mu.RUnlock()
	return v.firstFor(literal, from)
}

// LastFor is the last message of a literal subject.
func (r Reader) LastFor(literal string) (uint64, bool, error) {
	v, err := r.view()
	if err != nil {
		return 0, false, err
	}
	defer r.s.mu.RUnlock()
	return v.lastFor(literal, v.last)
}

// LoadLast reads the last message of a literal subject; see Load.
func (r Reader) LoadLast(literal string, m *msg.Message, buf []byte) (bool, error) {
	return r.load(m, buf, func(v view) (place, bool, error) {
		seq, ok, err := v.lastFor(literal, v.last)
		if err != nil || !ok {
			return place{}, false, err
		}
		return v.find(seq)
	})
}

// CountFor counts the messages of a literal subject.
func (r Reader) CountFor(literal string) (uint64, error) {
	return r.NumPending(0, subject.NewFilter(literal))
}

// LastMatching is the last message up to a sequence whose subject the filter
// matches.
func (r Reader) LastMatching(f subject.Filter, upTo uint64) (uint64, bool, error) {
	defer r.s.db.tables.trim()
	v, err := r.view()
	if err != nil {
		return 0, false, err
	}
	last, ok, more, err := v.lastNear(f, upTo)
	r.s.mu.RUnlock()
	if !more {
		return last, ok, err
	}
	v, done, err := r.scanView(f)
	if err != nil {
		return 0, false, err
	}
	last, ok, err = v.lastIndexed(f, upTo)
	return last, ok, errors.Join(err, done())
}

// AllLast visits the last message up to a sequence of every subject that the
// filter matches, until visit returns false. With upTo = math.MaxUint64 it is the
// last of all. visit must not call the store.
func (r Reader) AllLast(f subject.Filter, upTo uint64, visit func(subj string, seq uint64) bool) error {
	v, done, err := r.scanView(f)
	if err != nil {
		return err
	}
	err = v.subjects(f, func(subj string, total subjectTotal, open []uint64) (bool, error) {
		seq, ok, err := v.lastOf(subj, total, open, min(upTo, v.last))
		if err != nil || !ok {
			return true, err
		}
		return visit(subj, seq), nil
	})
	return errors.Join(err, done())
}

// Subjects visits the subjects that the filter matches with the number of their
// messages, until visit returns false. visit must not call the store.
func (r Reader) Subjects(f subject.Filter, visit func(subj string, count uint64) bool) error {
	v, done, err := r.scanView(f)
	if err != nil {
		return err
	}
	err = v.subjects(f, func(subj string, total subjectTotal, open []uint64) (bool, error) {
		return visit(subj, total.count+uint64(len(open))), nil
	})
	return errors.Join(err, done())
}

// SeqAtTime is the first sequence whose message was stored at or after t (unix
// ns); LastSeq+1 when there is none.
func (r Reader) SeqAtTime(t int64) (uint64, error) {
	defer r.s.db.tables.trim()
	v, err := r.view()
	if err != nil {
		return 0, err
	}
	defer r.s.mu.RUnlock()
	return v.seqAtTime(t)
}

// Get returns a copy of the committed value of key; false when it is not set.
func (r Reader) Get(key []byte) ([]byte, bool, error) {
	r.s.mu.RLock()
	number := r.s.number
	r.s.mu.RUnlock()
	value, err := r.s.db.get(append(appendPrefix(nil, number, kindUser), key...))
	return value, value != nil, err
}

// ScanKeys visits the committed keys that start with prefix in their order, until
// visit returns false. What visit gets is valid only during the call.
func (r Reader) ScanKeys(prefix []byte, visit func(key, value []byte) bool) error {
	r.s.mu.RLock()
	number := r.s.number
	r.s.mu.RUnlock()
	return r.s.db.scanUser(r.s.db.p, number, prefix, visit)
}
