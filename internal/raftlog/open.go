package raftlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"weir/internal/base"
)

// Open opens the log in a directory, which it makes if needed. What an
// interrupted write left behind is cut off. Damage does not fail it: Groups
// tells which replicas are hit. Errors: ErrInUse, those of the file system, and
// files that this version cannot read.
func Open(opts Options) (*Log, error) {
	opts = opts.withDefaults()
	fs := opts.FS
	if err := fs.MkdirAll(opts.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("create raft log directory: %w", err)
	}
	if err := syncDir(fs, fs.PathDir(opts.Dir)); err != nil {
		return nil, err
	}
	lock, err := fs.Lock(fs.PathJoin(opts.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInUse, opts.Dir, err)
	}
	l := &Log{
		opts: opts, fs: fs, lock: lock,
		wake: make(chan struct{}, 1), failed: make(chan struct{}), stopped: make(chan struct{}),
		groups: map[groupKey]*Group{}, removed: map[groupKey]struct{}{},
	}
	l.room.L = &l.mu
	w, err := l.recover()
	if err == nil {
		if err = w.openLog(); err != nil {
			err = errors.Join(err, w.spare.close(w))
		}
	}
	if err != nil {
		for _, s := range l.segments {
			err = errors.Join(err, s.file.Close())
		}
		return nil, errors.Join(fmt.Errorf("open raft log %s: %w", opts.Dir, err), lock.Close())
	}
	go w.run()
	return l, nil
}

// recover reads all files and returns the writer that goes on behind them.
func (l *Log) recover() (*writer, error) {
	w := &writer{
		l: l, low: 1, next: 1,
		maker: maker{fs: l.fs, dir: l.opts.Dir, size: l.opts.SegmentSize, stamp: l.opts.Stamp},
	}
	numbers, err := l.listFiles()
	if err != nil {
		return nil, err
	}
	s := &scanner{log: l, states: map[groupKey]*replicaState{}}
	for i, number := range numbers {
		for lost := w.next; i > 0 && lost < number; lost++ {
			s.lostFile(lost)
		}
		w.next = number + 1
		if i == 0 {
			s.firstFile = number
		}
		if err := l.readFile(s, number); err != nil {
			return nil, err
		}
	}
	s.finish()
	return w, w.start(s)
}

// listFiles returns the numbers of the log files in order, and removes a file
// that was never finished.
func (l *Log) listFiles() ([]uint64, error) {
	names, err := l.fs.List(l.opts.Dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			numbers = append(numbers, n)
		} else if name == temporaryName {
			if err := l.fs.Remove(l.fs.PathJoin(l.opts.Dir, name)); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// readFile opens a file, adds it to the segments and scans it.
func (l *Log) readFile(s *scanner, number uint64) error {
	seg, err := openSegment(l.fs, l.opts.Dir, number)
	if base.IsCorrupt(err) {
		l.opts.Logger.Errorf("raft log: %v", err)
		s.lostFile(number)
		return nil
	}
	if err != nil {
		return err
	}
	l.segments = append(l.segments, seg)
	data := make([]byte, seg.size)
	if n, err := seg.file.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", seg.path, err)
	} else if data = data[:n]; n < dataStart {
		return nil
	}
	return s.scanFile(seg, data)
}

// start takes over what the scan found: the files, the groups and the position
// to go on from.
func (w *writer) start(s *scanner) error {
	w.seg, w.off = s.seg, s.end
	w.epoch, w.closedFrom = s.epoch+1, s.epoch
	if lim := s.limbo; lim.epoch != 0 {
		w.l.opts.Logger.Noticef("raft log %s: cut a torn tail at offset %d", lim.seg.path, lim.at)
		w.seg, w.off = lim.seg, lim.at
		w.epoch = max(w.epoch, lim.epoch+1)
	}
	w.low = max(w.low, s.low)
	if err := w.sortFiles(); err != nil {
		return err
	}
	w.spare.startAt = w.seg.size / spareParts
	w.takeGroups(s)
	return nil
}

// sortFiles keeps the files that are in use, and the one behind them as the
// spare. The others are free.
func (w *writer) sortFiles() error {
	l := w.l
	if w.seg == nil {
		// No record at all: begin with the first file that is there, or make one.
		if len(l.segments) == 0 {
			seg, err := w.maker.make(w.next, "")
			if err != nil {
				return err
			}
			l.segments = []*segment{seg}
			w.next++
		}
		w.seg, w.off = l.segments[0], dataStart
	}
	all := l.segments
	l.segments = nil
	for i, s := range all {
		switch {
		case s.number >= w.low && s.number <= w.seg.number:
			l.segments = append(l.segments, s)
		case s.number > w.seg.number && w.spare.ready == nil:
			w.spare.ready = s
		default:
			if err := errors.Join(s.file.Close(), w.spare.release(w, s.path)); err != nil {
				l.segments = append(l.segments, all[i+1:]...)
				return err
			}
		}
	}
	return nil
}

// takeGroups makes the groups found those of the log. A damaged one is anchored
// in the oldest file, so that its damage is repeated before that is recycled.
func (w *writer) takeGroups(s *scanner) {
	for key, st := range s.states {
		g := st.g
		g.seq, g.epoch, g.file = st.seq, st.epoch, st.file
		switch err := st.damaged(); {
		case st.dead:
			g.err = ErrRemoved
			w.l.removed[key] = struct{}{}
		case err != nil:
			st.lose(err)
			g.err, g.anchor = err, w.l.segments[0]
			w.l.opts.Logger.Errorf("raft log of %s/%s is damaged: %v", key.group, key.replica, err)
			fallthrough
		default:
			w.l.groups[key] = g
		}
		if st.epoch == w.closedFrom && st.seq > 0 {
			w.closed = append(w.closed, g)
		}
		if st.file == w.seg.number {
			w.file = append(w.file, g)
		}
	}
	byKey := func(a, b *Group) int {
		return cmp.Or(cmp.Compare(a.key.group, b.key.group), cmp.Compare(a.key.replica, b.key.replica))
	}
	slices.SortFunc(w.closed, byKey)
	slices.SortFunc(w.file, byKey)
}

// openLog makes durable what was read, which a killed process may have left
// unsynced, and writes the mark that begins a new epoch: what lies behind it from a
// torn epoch can never be taken for a record again.
func (w *writer) openLog() error {
	if err := w.seg.file.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", w.seg.path, err)
	}
	w.sync = true
	if err := w.reserve(0); err != nil {
		return err
	}
	if w.flush(); w.l.err != nil {
		return w.l.err
	}
	w.l.reclaim.Store(true)
	return nil
}
