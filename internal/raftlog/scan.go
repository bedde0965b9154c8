package raftlog

import (
	"encoding/binary"
	"fmt"
	"math"

	"weir/internal/base"
)

// scanner reads the files of a log in order; doc.go has the rules. It holds back
// what follows damage within an epoch ("limbo") until a later epoch proves that
// this epoch had reached the disk. What is in limbo at the end is a torn tail.
type scanner struct {
	log    *Log
	states map[groupKey]*replicaState
	// firstFile and firstEpoch are the first that were seen, epoch is that of the
	// last record taken. accounted is the last epoch that was seen or that a hole
	// accounts for.
	firstFile, firstEpoch, epoch, accounted uint64
	// seg and end are where the last record taken ends.
	seg *segment
	end int64
	// low is the number of the oldest file that is needed.
	low uint64

	limbo limbo
	holes []hole
	// lostFiles are the files since the last record of which nothing can be read.
	lostFiles hole
}

// limbo is what follows damage in an epoch that may be the last.
type limbo struct {
	// epoch is zero if there is none.
	epoch uint64
	// seg and at are where the damage begins.
	seg   *segment
	at    int64
	items []limboItem
}

// limboItem is a record, a damaged record (body nil), or a hole (header zero).
type limboItem struct {
	header header
	body   []byte
}

// hole is a stretch of which nothing could be read: records of the epochs from
// next to last, in the files firstFile to lastFile, may be lost. Directories
// of the epochs or of the files tell whose.
type hole struct {
	next, last          uint64
	firstFile, lastFile uint64
}

// scanFile reads one file; data is all of it.
func (s *scanner) scanFile(seg *segment, data []byte) error {
	at := int64(dataStart)
	for at < int64(len(data)) {
		h, ok := parseHeader(data[at:], seg.stamp, at)
		intact := ok
		if !ok {
			h, ok = parseFlippedHeader(data[at:], seg.stamp, at)
		}
		if !ok || h.epoch < s.now() {
			if h, ok = s.resync(seg, data, at+recordAlign); !ok {
				return nil
			}
			if err := s.takeHole(seg, at, &h); err != nil {
				return err
			}
			at = h.at
			continue
		}
		body, good := h.bodyOf(data[at:])
		if !intact || !good {
			body = nil
		}
		if err := s.take(seg, h, body); err != nil {
			return err
		}
		at += h.size()
	}
	return nil
}

// now is the epoch that the scan has come to.
func (s *scanner) now() uint64 { return max(s.epoch, s.limbo.epoch) }

// resync finds the next intact record from at on that is not older than what was
// read: an older one is the rest of a torn tail that was cut.
func (s *scanner) resync(seg *segment, data []byte, at int64) (header, bool) {
	for ; at+headerSize <= int64(len(data)); at += recordAlign {
		if binary.LittleEndian.Uint64(data[at+8:]) != seg.stamp {
			continue
		}
		h, ok := parseHeader(data[at:], seg.stamp, at)
		if !ok || h.epoch < s.now() {
			continue
		}
		if _, ok := h.bodyOf(data[at:]); ok {
			return h, true
		}
	}
	return header{}, false
}

// takeHole notes that nothing can be read from at up to the record h.
func (s *scanner) takeHole(seg *segment, at int64, h *header) error {
	now := s.now()
	if h.epoch > now {
		if err := s.prove(h.epoch); err != nil {
			return err
		}
		first := s.firstEpoch == 0 || h.epoch == s.accounted+1
		if !first || h.epochStart != at {
			// Something in front of h's epoch is gone, too.
			s.addHole(now, h.epoch-1, seg.number, seg.number)
		}
		if h.epochStart == h.at {
			return nil
		}
		at = max(at, h.epochStart)
	}
	s.enterLimbo(seg, at, h.epoch)
	s.limbo.items = append(s.limbo.items, limboItem{})
	return nil
}

// lostFile notes that a file is missing or that nothing in it can be read.
func (s *scanner) lostFile(number uint64) {
	if s.lostFiles.firstFile == 0 {
		s.lostFiles.firstFile = number
	}
	s.lostFiles.lastFile = number
}

func (s *scanner) addHole(first, last, firstFile, lastFile uint64) {
	s.accounted = max(s.accounted, last)
	s.holes = append(s.holes, hole{next: max(first, 1), last: last, firstFile: firstFile, lastFile: lastFile})
}

// account notes that the scan has come to that epoch, and a hole if epochs were
// skipped.
func (s *scanner) account(epoch uint64) {
	if s.firstEpoch == 0 {
		s.firstEpoch, s.accounted = epoch, epoch
	}
	if epoch > s.accounted+1 {
		first, last := s.lostFiles.firstFile, s.lostFiles.lastFile
		if first == 0 {
			first, last = s.seg.number, s.seg.number
		}
		s.addHole(s.accounted, epoch-1, first, last)
	}
	s.accounted = max(s.accounted, epoch)
	s.lostFiles = hole{}
}

// take handles the next record; body is nil if it is damaged.
func (s *scanner) take(seg *segment, h header, body []byte) error {
	if err := s.prove(h.epoch); err != nil {
		return err
	}
	s.account(h.epoch)
	if body == nil {
		s.enterLimbo(seg, h.at, h.epoch)
	}
	if s.limbo.epoch != 0 {
		s.limbo.items = append(s.limbo.items, limboItem{h, body})
		return nil
	}
	return s.apply(seg, &h, body)
}

func (s *scanner) enterLimbo(seg *segment, at int64, epoch uint64) {
	if s.limbo.epoch == 0 {
		s.limbo = limbo{epoch: epoch, seg: seg, at: at}
	}
	base.Assert(s.limbo.epoch == epoch && s.limbo.seg == seg,
		"damage of epoch %d in limbo of epoch %d", epoch, s.limbo.epoch)
}

// prove says that a record of epoch was written: if that is behind the one in
// limbo, what is in limbo had reached the disk.
func (s *scanner) prove(epoch uint64) error {
	l := s.limbo
	if l.epoch == 0 || epoch <= l.epoch {
		return nil
	}
	s.limbo = limbo{}
	for _, item := range l.items {
		switch h := item.header; {
		case h.kind == 0:
			s.addHole(l.epoch, l.epoch, l.seg.number, l.seg.number)
		case item.body == nil:
			s.lose(l.seg, &h)
		default:
			if err := s.apply(l.seg, &h, item.body); err != nil {
				return err
			}
		}
	}
	s.epoch = l.epoch
	return nil
}

// lose takes a damaged record.
func (s *scanner) lose(seg *segment, h *header) {
	s.log.opts.Logger.Errorf("raft log %s: record %d of %s/%s at offset %d is damaged",
		seg.path, h.seq, h.key.group, h.key.replica, h.at)
	s.epoch, s.seg, s.end = h.epoch, seg, h.at+h.size()
	if h.kind == kindMark {
		return
	}
	st := s.state(h.key)
	st.lose(base.Corruptf("record %d at offset %d of %s is damaged", h.seq, h.at, seg.path))
	st.seq, st.epoch, st.file, st.dead = h.seq, h.epoch, seg.number, false
}

func (s *scanner) state(key groupKey) *replicaState {
	st := s.states[key]
	if st == nil {
		st = &replicaState{g: &Group{log: s.log, key: key}}
		s.states[key] = st
	}
	return st
}

// apply takes an intact record. An error means that this program cannot read it.
func (s *scanner) apply(seg *segment, h *header, body []byte) error {
	s.epoch, s.seg, s.end = h.epoch, seg, h.at+h.size()
	switch h.kind {
	case kindMark:
		m, err := decodeMark(body)
		if err != nil {
			return fmt.Errorf("%s, offset %d: %w", seg.path, h.at, err)
		}
		s.applyMark(&m)
	case kindTombstone:
		s.state(h.key).apply(seg, h, nil)
	default:
		c, err := decodeBatch(body)
		if err != nil {
			return fmt.Errorf("%s, offset %d: %w", seg.path, h.at, err)
		}
		s.state(h.key).apply(seg, h, &c)
	}
	return nil
}

// applyMark compares a directory with what was found, and closes the holes that
// it explains.
func (s *scanner) applyMark(m *mark) {
	s.low = max(s.low, m.low)
	if m.closes == 0 || m.sealed != 0 && m.sealed < s.firstFile || m.sealed == 0 && m.from < s.firstEpoch {
		// It describes what was recycled since.
		return
	}
	for _, e := range m.directory {
		st := s.state(e.key)
		if st.seq < e.seq {
			st.lose(base.Corruptf("records %d to %d are missing", st.seq+1, e.seq))
			st.seq, st.dead = e.seq, false
		}
	}
	left := s.holes[:0]
	for _, h := range s.holes {
		if m.from <= h.next && h.next <= m.closes {
			h.next = m.closes + 1
		}
		if m.sealed == h.firstFile {
			h.firstFile++
		}
		if h.next <= h.last && h.firstFile <= h.lastFile {
			left = append(left, h)
		}
	}
	s.holes = left
}

// finish says what is damaged, after the last file.
func (s *scanner) finish() {
	if s.lostFiles.firstFile != 0 {
		s.addHole(s.accounted, math.MaxUint64, s.lostFiles.firstFile, s.lostFiles.lastFile)
	}
	missing := s.low > 0 && s.firstFile > s.low
	s.log.lostUnknown = missing || len(s.holes) > 0
	for _, st := range s.states {
		for _, h := range s.holes {
			if !st.dead && st.anchored && st.epoch <= h.last {
				st.lose(base.Corruptf("records of epochs up to %d cannot be read, nobody knows whose", h.last))
			}
		}
	}
}
