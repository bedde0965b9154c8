package raftlog

import (
	"errors"
	"fmt"
)

// spare keeps one file ready for when the present one is full, from a part of that
// on. A goroutine makes it, at most one at a time. All methods run on the writer goroutine.
type spare struct {
	ready *segment
	// making is not nil while the goroutine is at work; it delivers one result.
	making chan spareResult
	// free are files that nothing needs any more, oldest first, to be recycled in
	// that order.
	free []string
	// startAt is the offset in the present file from which the next is made.
	startAt int64
}

type spareResult struct {
	seg *segment
	err error
}

// maxFree bounds the files that wait to be recycled; others are deleted.
const maxFree = 2

// spareParts says when the next file is made: when the present one has one part in so
// many. The others are time enough, and a log that is little used has no such file.
const spareParts = 4

// poll takes a result if there is one, and starts the making of the next file
// if there is none and it is time.
func (s *spare) poll(w *writer) {
	if s.making != nil {
		select {
		case r := <-s.making:
			s.receive(w, r)
		default:
			return
		}
	}
	if s.ready == nil && w.off >= s.startAt && w.l.err == nil {
		s.start(w)
	}
}

func (s *spare) start(w *writer) {
	recycle := ""
	if len(s.free) > 0 {
		recycle, s.free = s.free[0], s.free[1:]
	}
	result := make(chan spareResult, 1)
	s.making = result
	m, number := w.maker, w.next
	go func() {
		seg, err := m.make(number, recycle)
		result <- spareResult{seg, err}
	}()
}

func (s *spare) receive(w *writer, r spareResult) {
	s.making = nil
	if r.err != nil {
		if w.l.SpaceErr() == nil {
			w.l.opts.Logger.Warnf("next raft log file cannot be made: %v", r.err)
		}
		w.l.spaceErr.Store(&r.err)
		s.startAt = w.off + max(w.seg.size/16, 1)
		return
	}
	w.l.spaceErr.Store(nil)
	s.ready = r.seg
	w.next++
}

// take returns the next file, waiting for it if needed.
func (s *spare) take(w *writer) (*segment, error) {
	for try := 0; s.ready == nil; try++ {
		if s.making == nil {
			if try > 1 {
				return nil, fmt.Errorf("raft log needs a file: %w", w.l.SpaceErr())
			}
			s.start(w)
		}
		s.receive(w, <-s.making)
	}
	next := s.ready
	s.ready, s.startAt = nil, next.size/spareParts
	return next, nil
}

// release takes over a file that nothing needs any more.
func (s *spare) release(w *writer, path string) error {
	s.startAt = min(s.startAt, w.seg.size/spareParts)
	s.free = append(s.free, path)
	if len(s.free) <= maxFree || s.making != nil {
		return nil
	}
	path, s.free = s.free[0], s.free[1:]
	return w.maker.deleteFree(path)
}

// drop deletes the files that wait to be recycled; those behind one that is being
// recycled wait for another time. With all, it deletes the file that is ready too,
// unless it will be needed soon.
func (s *spare) drop(w *writer, all bool) (err error) {
	if s.making != nil {
		return nil
	}
	for len(s.free) > 0 && err == nil {
		err = w.maker.deleteFree(s.free[0])
		s.free = s.free[1:]
	}
	last := w.seg.size - w.seg.size/spareParts
	if !all || s.ready == nil || w.off >= last || err != nil {
		return err
	}
	ready := s.ready
	s.ready, s.startAt = nil, min(w.off+w.seg.size/spareParts, last)
	w.next = ready.number
	return errors.Join(ready.file.Close(), w.maker.deleteFree(ready.path))
}

// close waits for the goroutine and closes the file that is ready.
func (s *spare) close(w *writer) error {
	var errs []error
	if s.making != nil {
		r := <-s.making
		s.making = nil
		if r.err != nil {
			w.l.opts.Logger.Warnf("next raft log file cannot be made: %v", r.err)
		}
		s.ready = r.seg
	}
	if s.ready != nil {
		errs = append(errs, s.ready.file.Close())
	}
	return errors.Join(errs...)
}
