package raftlog

import (
	"errors"
	"fmt"
)

// spare keeps one file ready for when the present one is full. A goroutine
// makes it, at most one at a time. All methods run on the writer goroutine.
type spare struct {
	ready *segment
	// making is not nil while the goroutine is at work; it delivers one result.
	making chan spareResult
	// free are files that nothing needs any more, oldest first, to be recycled in
	// that order.
	free []string
	// retryAt is the offset in the present file at which to try again after an
	// error.
	retryAt int64
}

type spareResult struct {
	seg *segment
	err error
}

// maxFree bounds the files that wait to be recycled; others are deleted.
const maxFree = 2

// poll takes a result if there is one, and starts the making of the next file
// if there is none.
func (s *spare) poll(w *writer) {
	if s.making != nil {
		select {
		case r := <-s.making:
			s.receive(w, r)
		default:
			return
		}
	}
	if s.ready == nil && w.off >= s.retryAt && w.l.err == nil {
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
		s.retryAt = w.off + max(w.seg.size/16, 1)
		return
	}
	w.l.spaceErr.Store(nil)
	s.ready, s.retryAt = r.seg, 0
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
	s.ready, s.retryAt = nil, 0
	return next, nil
}

// release takes over a file that nothing needs any more.
func (s *spare) release(w *writer, path string) error {
	s.retryAt = 0
	s.free = append(s.free, path)
	if len(s.free) <= maxFree || s.making != nil {
		return nil
	}
	path, s.free = s.free[0], s.free[1:]
	return w.maker.deleteFree(path)
}

// drop deletes the files that wait to be recycled; those behind one that is being
// recycled wait for another time.
func (s *spare) drop(w *writer) (err error) {
	if s.making != nil {
		return nil
	}
	for len(s.free) > 0 && err == nil {
		err = w.maker.deleteFree(s.free[0])
		s.free = s.free[1:]
	}
	return err
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
