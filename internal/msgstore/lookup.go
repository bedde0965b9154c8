package msgstore

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// recentMax is the number of totals in memory from which the index is flushed.
const recentMax = 256 << 10

// recent has the totals that were written since the index was last flushed, over
// all stores. With it, a total can be looked up without the memtables of the index,
// whose search costs several times what it costs to ask the filters of all tables.
type recent struct {
	mu       sync.Mutex
	totals   map[totalKey]subjectTotal // zero: removed
	flushing map[totalKey]subjectTotal // the same, of the flush that is under way
	flushed  <-chan struct{}           // closed when that is done; nil when there is none
	begun    uint64                    // flushes begun that set totals aside
	done     uint64                    // of them done
}

// totalKey names the total of a subject in one life of a store's index, which ends
// with a purge of everything.
type totalKey struct {
	store   uint32
	life    uint32
	subject string
}

// add notes totals that have been committed to the index.
func (r *recent) add(s *Store, written []*entry) (full bool) {
	if len(written) == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.totals == nil {
		r.totals = map[totalKey]subjectTotal{}
	}
	r.pollLocked()
	for _, e := range written {
		key := totalKey{s.number, s.life, e.subject}
		if e.inRun { // the lookups see ranges in the memtables
			e.inRun = false
			if !r.hasLocked(key) {
				continue
			}
		}
		r.totals[key] = e.total
	}
	return len(r.totals) >= recentMax && r.flushed == nil
}

func (r *recent) hasLocked(key totalKey) bool {
	_, written := r.totals[key]
	_, flushing := r.flushing[key]
	return written || flushing
}

// get finds a total. done is the number of flushes that an iterator must have
// seen to have what is not found.
func (r *recent) get(key totalKey) (t subjectTotal, ok bool, done uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pollLocked()
	if t, ok = r.totals[key]; !ok {
		t, ok = r.flushing[key]
	}
	return t, ok, r.done
}

func (r *recent) pollLocked() {
	select {
	case <-r.flushed:
		r.flushing, r.flushed, r.done = nil, nil, r.begun
	default:
	}
}

// next is the flush that will have all that is committed now.
func (r *recent) next() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun + 1
}

// flushIndex begins a flush of the index, and returns a channel that is closed
// when all that was committed before is durable.
func (db *DB) flushIndex() (<-chan struct{}, error) {
	r := &db.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pollLocked()
	done, err := db.p.AsyncFlush()
	if err == nil && r.flushed == nil {
		r.flushing, r.totals, r.flushed = r.totals, nil, done
		r.begun++
	}
	return done, err
}

// lookup reads the totals of subjects for the apply side, most of which, in a
// stream of ever new subjects, are not there. An iterator of its own makes that
// several times cheaper than DB.Get, which has to be set up anew each time and
// does not ask the filters of the last level.
//
// The iterator sees what was flushed when it was opened. What came later is in
// recent or in the memory of the store: the total of a subject changes only while
// the subject has an entry there, and whatever drops entries closes the iterator.
type lookup struct {
	mu sync.Mutex
	it *pebble.Iterator
	// done is the number of flushes when the iterator was opened. all: it sees what
	// is not flushed too.
	done uint64
	all  bool
	// unflushed is the flush up to which the range deletions of purges may not be in
	// the tables.
	unflushed uint64
}

func (l *lookup) total(s *Store, subj string) (t subjectTotal, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok, done := s.db.recent.get(totalKey{s.number, s.life, subj})
	if ok {
		return t, nil
	}
	if err := l.open(s, done); err != nil {
		return t, err
	}
	s.scratch = appendSubjectKey(s.scratch[:0], s.number, kindTotal, subj)
	if !l.it.SeekPrefixGE(s.scratch) {
		if err := l.it.Error(); err != nil {
			return t, indexError("reading subject", err)
		}
		return t, nil
	}
	value, err := l.it.ValueAndErr()
	if err != nil {
		return t, indexError("reading subject", err)
	}
	return decodeTotal(value)
}

// open makes sure of an iterator that has seen the given flushes.
func (l *lookup) open(s *Store, done uint64) (err error) {
	all := done < l.unflushed
	if l.it != nil && l.done >= done && l.all == all {
		return nil
	}
	if err := l.closeLocked(); err != nil {
		return err
	}
	prefix := appendPrefix(nil, s.number, kindTotal)
	l.it, err = s.db.p.NewIter(&pebble.IterOptions{
		LowerBound: prefix, UpperBound: upperBound(prefix), UseL6Filters: true, OnlyReadGuaranteedDurable: !all,
	})
	if err != nil {
		return indexError("reading subject", err)
	}
	l.done, l.all = done, all
	return nil
}

// close lets go of the iterator, which keeps old files of the index on the disk.
func (l *lookup) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closeLocked()
}

func (l *lookup) closeLocked() (err error) {
	if l.it != nil {
		err = errors.Join(err, l.it.Close())
		l.it = nil
	}
	return err
}
