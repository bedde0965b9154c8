package raftlog

import (
	"errors"
	"fmt"
	"io"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"weir/internal/base"
)

// readRuns reads the entries [lo, hi) from the files, or the first of them up to
// maxSize, at least one.
func (g *Group) readRuns(runs []run, lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	r := entryReader{key: g.key, next: lo, maxSize: maxSize}
	for i, from := range runs {
		end := hi
		if i+1 < len(runs) {
			end = min(hi, runs[i+1].first)
		}
		if err := r.read(from, end); err != nil {
			return nil, fmt.Errorf("read entry %d of %s/%s from %s: %w",
				r.next, g.key.group, g.key.replica, from.seg.path, err)
		}
		if r.full {
			break
		}
	}
	return r.entries, nil
}

// entryReader collects the entries of one replica.
type entryReader struct {
	key     groupKey
	entries []*pb.Entry
	// next is the index of the next entry.
	next          uint64
	size, maxSize uint64
	full          bool
	window        window
}

// read collects the entries up to end, which stand in one run, until full.
func (r *entryReader) read(from run, end uint64) error {
	r.window = window{seg: from.seg, p: r.window.p[:0]}
	for at := from.at; r.next < end && !r.full; {
		h, err := r.header(at)
		if err != nil {
			return err
		}
		at = h.at + h.size()
		if h.kind != kindBatch || h.key != r.key {
			continue
		}
		body := make([]byte, h.bodyLen)
		if err := r.window.copy(body, h.at+headerSize); err != nil {
			return err
		}
		if !h.matches(body) {
			return base.Corruptf("record at offset %d has a wrong checksum", h.at)
		}
		c, err := decodeBatch(body)
		if err != nil {
			return err
		}
		if err := r.collect(&c, end); err != nil {
			return err
		}
	}
	return nil
}

// header finds the record at at, or the next one if that is damaged: it may be
// another group's.
func (r *entryReader) header(at int64) (header, error) {
	for ; ; at += recordAlign {
		p, err := r.window.at(at, headerSize)
		if errors.Is(err, io.EOF) {
			return header{}, base.Corruptf("no record holds it")
		}
		if err != nil {
			return header{}, err
		}
		if h, ok := parseHeader(p, r.window.seg.stamp, at); ok {
			return h, nil
		}
	}
}

// storedEntry is an entry together with the values that it points to.
type storedEntry struct {
	entry       pb.Entry
	term, index uint64
	typ         pb.EntryType
}

// collect takes the entries of one record from next on and before end.
func (r *entryReader) collect(c *contents, end uint64) error {
	if !c.has(partEntries) || c.last() < r.next {
		return nil
	}
	if c.first > r.next {
		return base.Corruptf("entry %d stands where it should", c.first)
	}
	stored := make([]storedEntry, 0, min(c.last()+1, end)-r.next)
	r.entries = slices.Grow(r.entries, cap(stored))
	c.visitEntries(func(index, term uint64, typ pb.EntryType, data []byte) bool {
		if index < r.next {
			return true
		}
		if r.full = index < end && len(r.entries) > 0 && r.size+entrySize(len(data)) > r.maxSize; r.full || index >= end {
			return false
		}
		stored = append(stored, storedEntry{term: term, index: index, typ: typ})
		s := &stored[len(stored)-1]
		s.entry.Term, s.entry.Index, s.entry.Type = &s.term, &s.index, &s.typ
		if len(data) > 0 {
			s.entry.Data = data
		}
		r.entries = append(r.entries, &s.entry)
		r.size += entrySize(len(data))
		r.next++
		return true
	})
	return nil
}

// window is a stretch of a file in memory.
type window struct {
	seg *segment
	off int64
	p   []byte
}

const windowSize = 64 << 10

// at returns n bytes from off, valid until the next call; io.EOF if the file
// ends before.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off < w.off || off+int64(n) > w.off+int64(len(w.p)) {
		p := slices.Grow(w.p[:0], max(n, windowSize))[:max(n, windowSize)]
		got, err := w.seg.file.ReadAt(p, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		w.off, w.p = off, p[:got]
		if got < n {
			return nil, io.EOF
		}
	}
	return w.p[off-w.off:][:n], nil
}

// copy fills dst from off; a file that ends before is corruption.
func (w *window) copy(dst []byte, off int64) error {
	if off >= w.off && off+int64(len(dst)) <= w.off+int64(len(w.p)) {
		copy(dst, w.p[off-w.off:])
		return nil
	}
	n, err := w.seg.file.ReadAt(dst, off)
	if n == len(dst) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return base.Corruptf("file ends within a record at offset %d", off)
	}
	return err
}
