package msgstore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"

	"weir/internal/base"
	"weir/internal/msg"
)

// resetThreshold is the number of messages from which a purge of everything
// drops the index by ranges instead of message by message.
const resetThreshold = 1000

// Store holds the messages and the replicated keys of one replica of a group.
//
// It has two sides. The methods of Store itself are the apply side: they are
// called by one goroutine at a time, the one that applies the group's log, and
// see every change at once. Reader is the read side: safe for concurrent use, it
// sees what was committed by the last Commit and nothing of what came after.
//
// Appended records are buffered and visible in the shared tables at once; readers
// are kept from them by the committed LastSeq. Deletes are kept in pending, and
// Commit carries them out. So a message that replaces another one and the removal
// of that one become visible together.
type Store struct {
	db *DB
	id StoreID

	// mu guards what both sides use. The apply goroutine is the only one to change
	// it, but for the background rewriting of segments.
	mu         sync.RWMutex
	lookup     lookup
	life       uint32 // of the index, see totalKey; apply side only
	closed     atomic.Bool
	areaLoaded atomic.Bool   // core.open has been rebuilt
	fileID     atomic.Uint64 // of the newest segment; never lowered while the store is open
	core
}

// core is all of a store that a restore replaces.
type core struct {
	number uint32

	// Guarded by mu.
	committed meta
	segs      []*segment // ascending by base; the last is the tail
	open      *openArea  // the part of the subject index that is not in Pebble
	settled   msg.State  // at the last Tidy
	calm      bool       // it was the same at the one before

	// Apply side only.
	cur      meta
	area     *openArea // open, or its successor since a reset
	sealing  []*entry  // subjects with sequences below sealTo that are to be sealed
	sealTo   uint64    // the area's base when all of them are
	tail     *segment  // nil: the next message starts a segment
	buf      []byte    // records of the tail that are not in its file yet
	bufStart int64     // offset of buf in the file of the tail
	pending  map[uint64]pendingDelete
	runs     []run               // of subjects that lost all their messages since the last Commit
	reset    uint64              // all below was purged since the last Commit; 0: nothing was
	written  []*entry            // with totals written since the last Commit
	touched  []*segment          // descriptors to write at the next Commit
	keys     map[string]keyValue // changes of user keys since the last Commit
	firstMsg msg.Info            // of cur.state.FirstSeq, if its Seq says so
	scratch  []byte
	// newlyDead is the bytes of records that died since the janitor was last asked
	// to look.
	newlyDead int64
	staged    bool  // being filled by a restore
	err       error // a Commit failed half-way: the store is of no use
}

type pendingDelete struct {
	entry *entry
	time  int64
	erase bool
}

type keyValue struct {
	value   []byte
	present bool
}

// load reads the store's records from Pebble.
func (s *Store) load(number uint32) error {
	m, found, err := s.db.loadMeta(number)
	if err != nil {
		return err
	}
	s.init(number, m)
	if !found {
		s.areaLoaded.Store(true)
		return s.dropOrphanFiles()
	}
	prefix := appendPrefix(nil, number, kindSegment)
	err = s.db.scan(s.db.p, prefix, func(key, value []byte) (bool, error) {
		id, ok := uintOfKey(prefix, key)
		if !ok {
			return false, base.Corruptf("segment record with a key of %d bytes", len(key))
		}
		g, err := decodeSegment(id, value)
		s.segs = append(s.segs, g)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(s.segs, func(a, b *segment) int { return cmp.Compare(a.base, b.base) })
	if len(s.segs) > 0 {
		s.tail = s.segs[len(s.segs)-1]
		s.bufStart = s.tail.size
		for _, g := range s.segs {
			s.fileID.Store(max(s.fileID.Load(), g.id))
		}
	}
	if err := s.check(); err != nil {
		return err
	}
	if err := s.dropOrphanFiles(); err != nil {
		return err
	}
	return s.redoErasures()
}

func (s *Store) init(number uint32, m meta) {
	s.number, s.committed, s.cur = number, m, m
	s.open = newOpenArea(m.openBase)
	s.area = s.open
	s.pending = map[uint64]pendingDelete{}
	s.keys = map[string]keyValue{}
	s.newlyDead = s.db.opts.SegmentSize // of an earlier life
}

// check compares what was persisted in different records.
func (s *Store) check() error {
	live := 0
	for i, g := range s.segs {
		live += g.live()
		if i > 0 && s.segs[i-1].last >= g.base {
			return base.Corruptf("segments %d and %d overlap", s.segs[i-1].id, g.id)
		}
	}
	if st := s.committed.state; uint64(live) != st.Msgs {
		return base.Corruptf("segments have %d messages, the state says %d", live, st.Msgs)
	}
	return nil
}

// dropOrphanFiles removes files that no descriptor names.
func (s *Store) dropOrphanFiles() error {
	fs := s.db.opts.FS
	names, err := fs.List(s.db.files.storeDir(s.number))
	if oserror.IsNotExist(err) {
		return nil // no message was ever stored
	}
	if err != nil {
		return fmt.Errorf("listing segments: %w", err)
	}
	known := map[string]bool{}
	for _, g := range s.segs {
		known[fs.PathBase(s.db.files.path(s.file(g)))] = true
	}
	for _, name := range names {
		if known[name] {
			continue
		}
		if err := fs.Remove(fs.PathJoin(s.db.files.storeDir(s.number), name)); err != nil {
			return fmt.Errorf("removing orphaned segment: %w", err)
		}
	}
	return nil
}

func (s *Store) file(g *segment) fileKey { return fileKey{s.number, g.id} }

func (s *Store) close() error {
	s.closed.Store(true)
	return s.lookup.close()
}

// usable tells whether the apply side may go on.
func (s *Store) usable() error {
	switch {
	case s.err != nil:
		return s.err
	case s.closed.Load():
		return ErrClosed
	}
	return s.loadArea()
}

// ID names the store.
func (s *Store) ID() StoreID { return s.id }

// State is the state as the apply side sees it.
func (s *Store) State() msg.State { return withDeleted(s.cur.state) }

// Applied is the index given to the last Commit.
func (s *Store) Applied() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.committed.applied
}

// Append stores m under m.Seq, which is above State().LastSeq. Sequences that
// are left out count as deleted. What m points to is copied.
func (s *Store) Append(m *msg.Message) error {
	if err := s.usable(); err != nil {
		return err
	}
	base.Assert(m.Seq > s.cur.state.LastSeq, "message %d after %d", m.Seq, s.cur.state.LastSeq)
	n := recordSize(m)
	if n > maxRecord || len(m.Subject) > maxSubject {
		return fmt.Errorf("message of %d bytes with a subject of %d is too large to store", n, len(m.Subject))
	}
	e, err := s.entry(m.Subject)
	if err != nil {
		return err
	}
	if err := s.makeRoom(m, n); err != nil {
		return err
	}
	first := s.live(e) == 0
	s.mu.Lock()
	g := s.tail
	t, err := s.loadTable(g)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	t.push(g.base, m.Seq, n, len(m.Header) > 0)
	g.last, g.lastTime = m.Seq, m.Time
	g.size += int64(n)
	g.count++
	e.open = append(e.open, m.Seq)
	s.touchLocked(g)
	s.mu.Unlock()
	s.buf = appendRecord(s.buf, m)

	st := &s.cur.state
	if st.Msgs == 0 {
		st.FirstSeq, st.FirstTime = m.Seq, m.Time
	}
	if first {
		st.NumSubjects++
	}
	st.Msgs++
	st.Bytes += uint64(messageSize(s.db.opts.Memory, len(m.Subject), len(m.Header), len(m.Data)))
	st.LastSeq, st.LastTime = m.Seq, m.Time
	return nil
}

// touchLocked has the descriptor of g written at the next Commit.
func (s *Store) touchLocked(g *segment) {
	if !g.dirty {
		g.dirty = true
		s.touched = append(s.touched, g)
	}
}

// makeRoom sees to it that the tail can take a record of n bytes.
func (s *Store) makeRoom(m *msg.Message, n int) error {
	if g := s.tail; g != nil {
		t, err := s.loadTable(g)
		if err != nil {
			return err
		}
		if g.format == compactFormat && g.size+int64(n) <= s.db.opts.SegmentSize && t.fits(g, m.Seq, n) {
			return nil
		}
		if err := s.completeTail(g, t); err != nil {
			return err
		}
	}
	g := &segment{id: s.nextFile(), base: m.Seq, last: m.Seq, firstTime: m.Time, size: segmentHead, format: compactFormat}
	g.tab.Store(newTable())
	h, err := s.createFile(s.file(g))
	if err != nil {
		return err
	}
	s.db.files.release(h)
	s.mu.Lock()
	s.segs = append(s.segs, g)
	s.mu.Unlock()
	s.tail, s.bufStart = g, segmentHead
	return nil
}

// completeTail writes what is missing in the file of the tail, which gets no more
// records.
func (s *Store) completeTail(g *segment, t *table) error {
	if err := s.writeBuffer(); err != nil {
		return err
	}
	h, err := s.db.files.acquire(s.file(g))
	if err != nil {
		return err
	}
	defer s.db.files.release(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writeTable(h, g, t); err != nil {
		return err
	}
	s.touchLocked(g)
	s.db.tables.add(s, g, t)
	return nil
}

// nextFile hands out the id of a new segment.
func (s *Store) nextFile() uint64 { return s.fileID.Add(1) }

// createFile makes a segment file without records; the caller releases it.
func (s *Store) createFile(key fileKey) (*handle, error) {
	h, err := s.db.files.create(key)
	if err != nil {
		return nil, err
	}
	var head [segmentHead]byte
	copy(head[:], segmentMagic)
	if err := s.db.files.writeTo(h, head[:], 0); err != nil {
		s.db.files.release(h)
		return nil, err
	}
	return h, nil
}

// writeBuffer puts the buffered records into the tail's file.
func (s *Store) writeBuffer() error {
	if len(s.buf) == 0 {
		return nil
	}
	if err := s.db.files.write(s.file(s.tail), s.buf, s.bufStart); err != nil {
		s.err = err
		return err
	}
	s.bufStart += int64(len(s.buf))
	if cap(s.buf) > 4<<20 {
		s.buf = nil
	}
	s.buf = s.buf[:0]
	return nil
}

// Delete removes one message and describes it; false when there is none under
// seq. With erase its bytes are overwritten once the removal is durable.
func (s *Store) Delete(seq uint64, erase bool) (msg.Info, bool, error) {
	info, ok, err := s.Info(seq)
	if err != nil || !ok {
		return info, false, err
	}
	return info, true, s.delete(info, erase)
}

// DeleteOf is Delete for a message of a known subject. It reads nothing if the table
// of the message's segment is in memory, so that info has no Time.
func (s *Store) DeleteOf(literal string, seq uint64) (msg.Info, bool, error) {
	if err := s.usable(); err != nil {
		return msg.Info{}, false, err
	}
	e, err := s.entry(literal)
	if err != nil {
		return msg.Info{}, false, err
	}
	return s.deleteOf(e, seq)
}

func (s *Store) deleteOf(e *entry, seq uint64) (msg.Info, bool, error) {
	info, ok, err := s.infoOf(e, seq)
	if err != nil || !ok {
		return msg.Info{}, false, err
	}
	return info, true, s.deleteFrom(e, info, false)
}

// infoOf describes a message of a known subject, as far as the table of its segment
// tells if it is in memory.
func (s *Store) infoOf(e *entry, seq uint64) (msg.Info, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.applyView()
	at, ok, err := v.find(seq)
	if err != nil || !ok {
		return msg.Info{}, false, err
	}
	t := at.seg.tab.Load()
	if t == nil || t.hdrs == nil || at.seg.format != compactFormat {
		return v.info(at)
	}
	header := 0
	if t.header(at.pos) {
		header = 1 // messageSize wants the sum of all parts
	}
	body, ok := bodyLen(at.size - compactHead(seq, len(e.subject), header > 0))
	base.Assert(ok, "message %d of %q has a record of %d bytes", seq, e.subject, at.size)
	return msg.Info{Seq: seq, Subject: e.subject, Size: messageSize(s.db.opts.Memory, len(e.subject), header, body-header)}, true, nil
}

// delete notes that a message is to go.
func (s *Store) delete(info msg.Info, erase bool) error {
	e, err := s.entry(info.Subject)
	if err != nil {
		return err
	}
	return s.deleteFrom(e, info, erase)
}

func (s *Store) deleteFrom(e *entry, info msg.Info, erase bool) error {
	seq := info.Seq
	s.pending[seq] = pendingDelete{entry: e, time: info.Time, erase: erase}
	e.removed++
	st := &s.cur.state
	if s.live(e) == 0 {
		st.NumSubjects--
	}
	st.Msgs--
	st.Bytes -= uint64(info.Size)
	if seq == st.FirstSeq {
		return s.advanceFirst(seq + 1)
	}
	return nil
}

// advanceFirst makes the first message from seq on the first.
func (s *Store) advanceFirst(seq uint64) error {
	st := &s.cur.state
	if st.Msgs == 0 {
		st.FirstSeq, st.FirstTime = st.LastSeq+1, 0
		return nil
	}
	info, ok, err := s.NextInfo(seq)
	if err != nil {
		return err
	}
	base.Assert(ok, "no message from %d on, but %d in the state", seq, st.Msgs)
	st.FirstSeq, st.FirstTime = info.Seq, info.Time
	s.firstMsg = info
	return nil
}

// Purge removes the messages with a sequence less than below, up to most of them
// unless that is all there are, and counts them. done: none is left.
func (s *Store) Purge(below uint64, most int) (msgs uint64, done bool, err error) {
	if err := s.usable(); err != nil {
		return 0, false, err
	}
	if st := s.cur.state; below > st.LastSeq && st.Msgs > resetThreshold {
		s.resetAll()
		return st.Msgs, true, nil
	}
	for s.cur.state.Msgs > 0 && s.cur.state.FirstSeq < below {
		if msgs == uint64(most) {
			return msgs, false, nil
		}
		_, ok, err := s.Delete(s.cur.state.FirstSeq, false)
		if err != nil {
			return msgs, false, err
		}
		base.Assert(ok, "first message %d is missing", s.cur.state.FirstSeq)
		msgs++
	}
	return msgs, true, nil
}

// resetAll removes every message. The shared structures stay as they are for the
// readers until Commit.
func (s *Store) resetAll() {
	st := &s.cur.state
	s.reset = st.LastSeq + 1
	s.cur.openBase = s.reset
	s.area = newOpenArea(s.reset)
	clear(s.pending)
	s.runs = nil
	s.tail, s.buf = nil, s.buf[:0]
	st.Msgs, st.Bytes, st.NumSubjects = 0, 0, 0
	st.FirstSeq, st.FirstTime = s.reset, 0
}

// SetLast raises State().LastSeq to seq without a message; a lower seq changes
// nothing. time (unix ns) is that of a message that came and was not kept, 0 for
// none.
func (s *Store) SetLast(seq uint64, time int64) {
	st := &s.cur.state
	if seq <= st.LastSeq {
		return
	}
	st.LastSeq = seq
	if time != 0 {
		st.LastTime = time
	}
	if st.Msgs == 0 {
		st.FirstSeq = seq + 1
	}
}

// Set gives a replicated key a value. Key and value are copied.
func (s *Store) Set(key, value []byte) error {
	s.keys[string(key)] = keyValue{value: append([]byte{}, value...), present: true}
	return s.err
}

// Unset removes a replicated key.
func (s *Store) Unset(key []byte) error {
	s.keys[string(key)] = keyValue{}
	return s.err
}

// Get returns a copy of the value of key; false when it is not set.
func (s *Store) Get(key []byte) ([]byte, bool, error) {
	if kv, ok := s.keys[string(key)]; ok {
		return append([]byte{}, kv.value...), kv.present, nil
	}
	value, err := s.db.get(append(appendPrefix(nil, s.number, kindUser), key...))
	return value, value != nil, err
}

// ScanKeys visits the keys that start with prefix in their order, until visit
// returns false. What visit gets is valid only during the call; visit must not
// change keys.
func (s *Store) ScanKeys(prefix []byte, visit func(key, value []byte) bool) error {
	var changed []string
	for key := range s.keys {
		if len(key) >= len(prefix) && key[:len(prefix)] == string(prefix) {
			changed = append(changed, key)
		}
	}
	slices.Sort(changed)
	stopped := false
	// upTo visits the changed keys below key; all when there is no bound.
	upTo := func(key string, bound bool) bool {
		for len(changed) > 0 && (!bound || changed[0] < key) {
			kv := s.keys[changed[0]]
			if kv.present && !visit([]byte(changed[0]), kv.value) {
				stopped = true
				return false
			}
			changed = changed[1:]
		}
		return true
	}
	err := s.db.scanUser(s.db.p, s.number, prefix, func(key, value []byte) bool {
		if !upTo(string(key), true) {
			return false
		}
		if _, ok := s.keys[string(key)]; ok {
			return true // its turn comes as a changed key
		}
		stopped = !visit(key, value)
		return !stopped
	})
	if err == nil && !stopped {
		upTo("", false)
	}
	return err
}

// scanUser visits the committed user keys of a store.
func (db *DB) scanUser(r pebble.Reader, number uint32, prefix []byte, visit func(key, value []byte) bool) error {
	start := appendPrefix(nil, number, kindUser)
	skip := len(start)
	return db.scan(r, append(start, prefix...), func(key, value []byte) (bool, error) {
		return visit(key[skip:], value), nil
	})
}

// writeKeys moves the changed keys into the batch.
func (s *Store) writeKeys(b *pebble.Batch) (err error) {
	for _, key := range slices.Sorted(maps.Keys(s.keys)) {
		s.scratch = append(appendPrefix(s.scratch[:0], s.number, kindUser), key...)
		if kv := s.keys[key]; kv.present {
			err = b.Set(s.scratch, kv.value, nil)
		} else {
			err = b.Delete(s.scratch, nil)
		}
		if err != nil {
			return err
		}
	}
	clear(s.keys)
	return nil
}
