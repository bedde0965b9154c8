package msgstore

// seqRange is a range of sequences; both bounds are in it.
type seqRange struct{ first, last uint64 }

// Deleted visits the ranges of sequences between FirstSeq and LastSeq that have
// no message, ascending, until visit returns false. Both bounds are in the range.
// It goes segment by segment and holds the lock for one at a time.
func (r Reader) Deleted(visit func(first, last uint64) bool) error {
	defer r.s.db.tables.trim()
	var open seqRange // not visited yet, as the next segment may go on with it
	for next := uint64(0); ; {
		gaps, end, err := r.gapsFrom(next)
		if err != nil {
			return err
		}
		for _, gap := range gaps {
			if open.last > 0 && open.last+1 == gap.first {
				open.last = gap.last
				continue
			}
			if open.last > 0 && !visit(open.first, open.last) {
				return nil
			}
			open = gap
		}
		if end == 0 {
			if open.last > 0 {
				visit(open.first, open.last)
			}
			return nil
		}
		next = end + 1
	}
}

// gapsFrom lists the ranges without a message from a sequence up to end, which is
// the end of a segment; 0 when it is the last sequence.
func (r Reader) gapsFrom(next uint64) (gaps []seqRange, end uint64, err error) {
	v, err := r.view()
	if err != nil {
		return nil, 0, err
	}
	defer r.s.mu.RUnlock()
	next = max(next, v.first, 1)
	if next > v.last {
		return nil, 0, nil
	}
	i := v.s.segmentFor(next)
	if i == len(v.s.segs) || v.s.segs[i].base > v.last {
		return []seqRange{{next, v.last}}, 0, nil
	}
	g := v.s.segs[i]
	if g.last < v.last {
		end = g.last
	}
	t, err := v.s.loadTable(g)
	if err != nil {
		return nil, 0, err
	}
	last := min(g.last, v.last)
	if t.seqs == nil && g.dead == 0 { // nothing is missing in between
		if next < g.base {
			gaps = append(gaps, seqRange{next, g.base - 1})
		}
		return gaps, end, nil
	}
	for pos := t.nextLive(t.seek(g.base, next)); pos < t.len(); pos = t.nextLive(pos + 1) {
		seq := t.seq(g.base, pos)
		if seq > last {
			break
		}
		if seq > next {
			gaps = append(gaps, seqRange{next, seq - 1})
		}
		next = seq + 1
	}
	if next <= last {
		gaps = append(gaps, seqRange{next, last})
	}
	return gaps, end, nil
}
