package raftlog

import (
	"weir/internal/base"
)

// replicaState is what the scan knows of one replica, besides what it has put
// into its Group.
type replicaState struct {
	g *Group
	// seq, epoch and file are those of the last record heard of.
	seq, epoch, file uint64
	// anchored says that the Group holds all there is. If it does not, it holds
	// what came since the records are without gaps again, and why tells what was
	// missed; an anchor may still show that nothing of that matters.
	anchored bool
	why      error
	// broken is set by a record that says so, dead by a tombstone.
	broken, dead bool
}

// damaged returns what is wrong at the end of the scan, or nil.
func (st *replicaState) damaged() error {
	switch g := st.g; {
	case !st.anchored:
		return st.why
	case g.hard.commit > g.last:
		return base.Corruptf("commit index %d is beyond the last index %d", g.hard.commit, g.last)
	}
	return nil
}

// lose forgets everything: records of the replica are missing.
func (st *replicaState) lose(why error) {
	st.anchored, st.why = false, why
	st.g.hard, st.g.conf = hardState{}, nil
	st.restart(position{})
}

// restart lets the log begin behind p, without entries.
func (st *replicaState) restart(p position) {
	g := st.g
	old := g.pinnedLocked()
	g.base, g.writtenBase, g.written = p, p, p
	g.last, g.stable = p.index, p.index
	g.terms, g.runs = nil, nil
	g.repinLocked(old)
}

// apply takes the replica's next record; c is nil for a tombstone.
func (st *replicaState) apply(seg *segment, h *header, c *contents) {
	if h.seq == 1 {
		st.restart(position{})
		st.anchored, st.dead, st.broken = true, false, false
		st.g.anchor, st.g.anchorNeeds = seg, nil
	} else if h.seq != st.seq+1 {
		if st.seq == 0 {
			st.lose(base.Corruptf("the records before %d are missing", h.seq))
		} else {
			st.lose(base.Corruptf("record %d follows record %d", h.seq, st.seq))
		}
		st.dead = false
	}
	st.seq, st.epoch, st.file = h.seq, h.epoch, seg.number
	if c == nil {
		st.dead = true
		st.restart(position{})
		return
	}
	st.dead = false
	if c.has(partDamaged) {
		st.broken = true
		st.lose(base.Corruptf("damage was found in a file that is gone"))
	}
	st.applyBatch(seg, h, c)
	if c.has(partAnchor) && !st.broken {
		st.applyAnchor(seg, c.anchor)
	}
}

func (st *replicaState) applyBatch(seg *segment, h *header, c *contents) {
	g := st.g
	w := writtenBatch{hasHard: c.has(partHard), hard: c.hard, hasSnapshot: c.has(partSnapshot), snapshot: c.snapshot}
	if c.has(partConf) {
		w.conf = append([]byte(nil), c.conf...)
	}
	if w.hasSnapshot {
		st.restart(c.snapshot)
		g.snapshots++
	}
	if c.has(partEntries) {
		st.makeRoom(c.first)
		c.visitTerms(g.appendTermLocked)
		w.first, w.last = c.first, position{c.last(), g.termLocked(c.last())}
	}
	g.wroteLocked(seg, h.at, &w)
}

// makeRoom prepares the log for entries from first on.
func (st *replicaState) makeRoom(first uint64) {
	g := st.g
	if first > g.last+1 || first <= g.base.index || !st.anchored && g.last == 0 {
		if st.anchored {
			st.lose(base.Corruptf("entries from %d do not follow (%d, %d]", first, g.base.index, g.last))
		}
		st.restart(position{index: first - 1})
	}
	if first <= g.last {
		g.truncateLocked(first)
	}
}

// applyAnchor checks the state against the anchor, or becomes anchored if
// everything that is needed is there.
func (st *replicaState) applyAnchor(seg *segment, a anchor) {
	g := st.g
	complete := g.last == a.last.index && g.termLocked(g.last) == a.last.term && g.base.index <= a.base.index
	switch {
	case a.base == a.last:
		st.restart(a.base)
	case !complete && st.anchored:
		st.lose(base.Corruptf("log (%d, %d] differs from its anchor (%d, %d]",
			g.base.index, g.last, a.base.index, a.last.index))
		return
	case !complete:
		return
	default:
		g.compactLocked(a.base)
	}
	st.anchored, st.why = true, nil
	g.anchor, g.anchorNeeds = seg, g.pinnedLocked()
}
