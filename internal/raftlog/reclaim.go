package raftlog

import "fmt"

// trim gives back what a log that is little used does not need: files that wait to be
// used again and, but for one, those that no group has entries in. A log that is not
// used at all does not need the next file either.
func (w *writer) trim() {
	if w.l.SpaceErr() != nil { // there may be room by now
		w.spare.startAt = min(w.spare.startAt, w.off)
		w.spare.poll(w)
	}
	was := w.trimmed
	w.trimmed = written{w.seg.number, w.off}
	if was.file != w.trimmed.file {
		return
	}
	w.reclaimFiles(1)
	if w.l.err != nil {
		return
	}
	if err := w.spare.drop(w, was == w.trimmed); err != nil {
		w.l.opts.Logger.Warnf("raft log file that is not needed: %v", err)
	}
}

// reclaimFiles recycles the oldest files as long as there are more than keep and no
// group has entries in them. Replicas that are
// anchored there, or whose anchor counts on entries there, get a new anchor
// first.
func (w *writer) reclaimFiles(keep int) {
	for len(w.l.segments) > keep && w.l.err == nil {
		oldest := w.l.segments[0]
		if oldest == w.seg || oldest.pins.Load() > 0 || oldest.readers.Load() > 0 {
			return
		}
		if err := w.reclaimFile(oldest); err != nil {
			w.fail(err)
			return
		}
	}
}

func (w *writer) reclaimFile(oldest *segment) error {
	for _, g := range w.l.allGroups() {
		if g.anchor == oldest || g.anchorNeeds == oldest {
			if err := w.moveAnchor(g); err != nil {
				return err
			}
		}
	}
	// The mark stands behind the anchors and is durable with them: then the file
	// is not needed any more.
	if err := w.reserve(markBound(0)); err != nil {
		return err
	}
	w.low = oldest.number + 1
	begin := w.begin()
	w.buf = appendMark(w.buf, &mark{low: w.low}, nil)
	w.end(begin, kindMark, nil)
	w.sync = true
	if w.flush(); w.l.err != nil {
		return w.l.err
	}
	w.l.segmentsMu.Lock()
	w.l.segments = w.l.segments[1:]
	w.l.segmentsMu.Unlock()
	if err := oldest.file.Close(); err != nil {
		return fmt.Errorf("close log file: %w", err)
	}
	return w.spare.release(w, oldest.path)
}

// moveAnchor repeats what the files hold of g in the present file.
func (w *writer) moveAnchor(g *Group) error {
	g.mu.Lock()
	hard, conf, a, err := g.hard, g.conf, anchor{g.writtenBase, g.written}, g.err
	needs := g.pinnedLocked()
	g.mu.Unlock()
	if err := w.reserve(128 + len(conf)); err != nil {
		return err
	}
	// Nothing of g is gathered, so that what holds in the files holds here.
	begin := w.begin()
	switch {
	case err == ErrRemoved:
		// Its tombstone is in the queue.
		w.end(begin, kindTombstone, g)
	case err != nil:
		w.buf = append(w.buf, partDamaged)
		w.end(begin, kindBatch, g)
	default:
		w.buf = appendAnchor(w.buf, hard, conf, a)
		w.end(begin, kindBatch, g)
	}
	g.anchor, g.anchorNeeds = w.seg, needs
	if len(w.buf) >= maxWrite {
		w.sync = true
		w.flush()
	}
	return w.l.err
}
