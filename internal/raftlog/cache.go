package raftlog

// The writer keeps the groups that have entries in memory in a list by their
// last append. When all tails together are too large, the group that was idle
// longest loses its written entries first.

// touch moves g to the front of the list.
func (w *writer) touch(g *Group) {
	if w.newest == g {
		return
	}
	w.unlink(g)
	g.older = w.newest
	if w.newest != nil {
		w.newest.newer = g
	}
	w.newest = g
	if w.oldest == nil {
		w.oldest = g
	}
}

func (w *writer) unlink(g *Group) {
	if w.newest == g {
		w.newest = g.older
	}
	if w.oldest == g {
		w.oldest = g.newer
	}
	if g.newer != nil {
		g.newer.older = g.older
	}
	if g.older != nil {
		g.older.newer = g.newer
	}
	g.newer, g.older = nil, nil
}

// evict brings the tails in memory back within their bound.
func (w *writer) evict() {
	for w.l.cached.Load() > w.l.opts.CacheBytes && w.oldest != nil {
		g := w.oldest
		g.mu.Lock()
		g.evictLocked(0)
		g.mu.Unlock()
		w.unlink(g)
	}
}
