package msgstore

import (
	"errors"

	"weir/internal/msg"
	"weir/internal/subject"
)

// A search for a message that a filter matches reads on from where it is, for
// matches are mostly near. When it has read this many others it asks the index.
const (
	literalBudget  = 64
	wildcardBudget = 2048
	readWindow     = 32 << 10
)

// Next reads the first message from a sequence on whose subject the filter
// matches; false when there is none. See Load for m and buf; a buf of 64 KiB or
// more makes searches faster.
func (r Reader) Next(from uint64, f subject.Filter, m *msg.Message, buf []byte) (bool, error) {
	if f.All() {
		return r.load(m, buf, func(v view) (place, bool, error) { return v.nextLive(from) })
	}
	budget := wildcardBudget
	if literals(f) {
		budget = literalBudget
	}
	for window := 4 << 10; budget > 0; window = min(2*window, readWindow) {
		found, next, n, err := r.search(from, f, window)
		if err != nil || next == 0 {
			return false, err
		}
		if found {
			ok, err := r.Load(next, m, buf)
			if ok || err != nil {
				return ok, err
			}
			next++ // deleted meanwhile
		}
		from = next
		budget -= n
	}
	for {
		seq, found, err := r.firstMatching(f, from)
		if err != nil || !found {
			return false, err
		}
		if ok, err := r.Load(seq, m, buf); ok || err != nil {
			return ok, err
		}
		from = seq + 1 // deleted meanwhile
	}
}

func literals(f subject.Filter) bool {
	for _, s := range f.Subjects() {
		if subject.HasWildcard(s) {
			return false
		}
	}
	return true
}

// search reads the records of up to about window bytes from a sequence on.
// found: next is the first that matches. Otherwise next is where to go on, 0 when
// there is nothing more. n is the number of records looked at.
func (r Reader) search(from uint64, f subject.Filter, window int) (found bool, next uint64, n int, err error) {
	v, err := r.view()
	if err != nil {
		return false, 0, 0, err
	}
	defer r.s.mu.RUnlock()
	at, ok, err := v.nextLive(from)
	if err != nil || !ok {
		return false, 0, 0, err
	}
	t := at.seg.tab.Load()
	end := t.seek(at.seg.base, v.last+1) // records behind may not be in the file yet
	h, buf, err := r.window(v, at, min(window, int(int64(t.offs[end])-at.off)))
	if err != nil {
		return false, 0, 0, err
	}
	defer r.s.releaseHandle(h)
	start := at.off
	for pos := at.pos; pos < end; pos = t.nextLive(pos + 1) {
		at = placeAt(at.seg, t, pos)
		off := at.off - start
		rec, need, err := parseHead(at.seg.format, buf[min(off, int64(len(buf))):])
		if err == nil && need > 0 {
			if n > 0 {
				return false, at.seq, n, nil
			}
			rec, err = r.s.readHead(h, at)
		}
		if err != nil {
			return false, 0, n, r.s.damaged(at, err)
		}
		n++
		if f.Match(rec.subject()) {
			return true, at.seq, n, nil
		}
	}
	return false, at.seq + 1, n, nil
}

// window returns up to size bytes from a record on, read-only. The file is nil, and
// the first record whole, if they were there already.
func (r Reader) window(v view, at place, size int) (*handle, []byte, error) {
	slot := r.s.db.ahead.slot(v.number, at.seg)
	if held := slot.held(at); held != nil {
		return nil, held[:min(max(size, at.size), len(held))], nil
	}
	h, err := v.handleFor(at)
	if err != nil {
		return nil, nil, err
	}
	buf := make([]byte, size)
	if err := r.s.db.files.read(h, buf, at.off); err != nil {
		r.s.releaseHandle(h)
		return nil, nil, err
	}
	if slot.note(at) && size >= at.size {
		slot.piece.Store(&piece{at.seg, at.off, buf})
	}
	return h, buf, nil
}

// firstMatching asks the index for the first message from a sequence on that the
// filter matches.
func (r Reader) firstMatching(f subject.Filter, from uint64) (first uint64, ok bool, err error) {
	v, done, err := r.scanView(f)
	if err != nil {
		return 0, false, err
	}
	err = v.subjects(f, func(subj string, total subjectTotal, open []uint64) (bool, error) {
		if len(open) == 0 && total.last < from || total.count > 0 && ok && total.first >= first {
			return true, nil
		}
		seq, found, err := v.firstOf(subj, total, open, from)
		if found && (!ok || seq < first) {
			first, ok = seq, true
		}
		return true, err
	})
	return first, ok, errors.Join(err, done())
}

// lastNear is the last message up to a sequence that the filter matches, if it is
// among the few before. more tells whether it may be further down.
func (v view) lastNear(f subject.Filter, upTo uint64) (last uint64, ok, more bool, err error) {
	if f.All() {
		at, ok, err := v.prevLive(upTo)
		return at.seq, ok, false, err
	}
	return v.nthLastNear(f, upTo, 1, literalBudget)
}

// lastIndexed asks the index for the last message up to a sequence that the filter
// matches.
func (v view) lastIndexed(f subject.Filter, upTo uint64) (last uint64, ok bool, err error) {
	err = v.subjects(f, func(subj string, total subjectTotal, open []uint64) (bool, error) {
		if ok && len(open) == 0 && total.last <= last {
			return true, nil
		}
		seq, found, err := v.lastOf(subj, total, open, upTo)
		if found && (!ok || seq > last) {
			last, ok = seq, true
		}
		return true, err
	})
	return last, ok, err
}
