package msgstore

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// lookup reads the totals of subjects for the apply side, most of which, in a
// stream of ever new subjects, are not there. An iterator of its own makes that
// several times cheaper than DB.Get, which has to be set up anew each time and
// does not ask the filters of the last level.
//
// The iterator sees the index as it was when it was opened. That is enough: the
// total of a subject changes only while the subject has an entry in memory, and
// whatever drops entries closes the iterator.
type lookup struct {
	mu sync.Mutex
	it *pebble.Iterator
}

func (l *lookup) total(db *DB, key []byte, number uint32) (t subjectTotal, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.it == nil {
		prefix := appendPrefix(nil, number, kindTotal)
		l.it, err = db.p.NewIter(&pebble.IterOptions{
			LowerBound: prefix, UpperBound: upperBound(prefix), UseL6Filters: true,
		})
		if err != nil {
			return t, indexError("reading subject", err)
		}
	}
	if !l.it.SeekPrefixGE(key) {
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

// close lets go of the iterator, which keeps old files of the index on the disk.
func (l *lookup) close() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.it != nil {
		err = errors.Join(err, l.it.Close())
		l.it = nil
	}
	return err
}
