package rafthost

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"sync"
	"time"

	"weir/internal/base"
)

// An image travels in chunks over the same frames as everything else:
//
//	begin  stream, leader replica, Raft term, image          sender → receiver
//	chunk  stream, number, flags, CRC32C, bytes              sender → receiver
//	ack    stream, chunks consumed, status                   receiver → sender
//
// At most snapWindow chunks are on their way beyond what the receiver's machine
// has consumed. Who hears nothing sends the unconfirmed chunks again; the answer,
// even one without progress, proves that the receiver is alive. A chunk of an
// unknown stream is answered with failure. The sender tells Raft the outcome,
// which tries again after the next heartbeat.
const (
	snapChunkBytes = 128 << 10
	snapWindow     = 8
	snapResend     = 500 * time.Millisecond
	// snapRefusedPause keeps a sender's slot for a while after a refusal (the
	// receiver has its hands full): each attempt costs an image.
	snapRefusedPause = 300 * time.Millisecond
)

type snapStatus byte

const (
	snapProgress snapStatus = 0
	snapDone     snapStatus = 1
	snapFailed   snapStatus = 2
)

var (
	errPeerDown     = errors.New("the peer's node is down")
	errPeerRefused  = errors.New("the peer failed or refused the snapshot")
	errSnapTimeout  = errors.New("no progress of the snapshot")
	errSnapReplaced = errors.New("another snapshot began")
	castagnoli      = crc32.MakeTable(crc32.Castagnoli)
)

// streamKey: stream ids are chosen by the sender.
type streamKey struct {
	peer     base.NodeID
	id       uint64
	outgoing bool
}

// stream is one image on its way.
type stream struct {
	streamKey
	group *Group
	// remote is the replica at the other end.
	remote base.ReplicaID
	term   uint64 // Raft term of the leader
	image  image

	// wake has room for one token: something below changed.
	wake chan struct{}

	mu  sync.Mutex
	err error // aborted
	// Outgoing: chunks that the receiver has consumed, whether it was heard from
	// since last looked, and how it ended.
	acked  uint64
	heard  bool
	status snapStatus
	// Incoming: chunks received and not consumed, the number of the next to come,
	// and whether the last has come.
	chunks [][]byte
	next   uint64
	last   bool
	taken  uint64
}

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *stream) abort(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.signal()
}

// streams are all streams of a host.
type streams struct {
	mu     sync.Mutex
	byKey  map[streamKey]*stream
	lastID uint64
}

func (t *streams) init() { t.byKey = map[streamKey]*stream{} }

// add registers s unless there are max of its direction already or one of its
// group (to the same peer, if outgoing).
func (t *streams) add(s *stream, max int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for k, o := range t.byKey {
		if k.outgoing != s.outgoing {
			continue
		}
		n++
		if o.group == s.group && (!s.outgoing || o.peer == s.peer) {
			return false
		}
	}
	if n >= max {
		return false
	}
	if s.outgoing {
		t.lastID++
		s.id = t.lastID
	}
	t.byKey[s.streamKey] = s
	return true
}

func (t *streams) room(max int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for k := range t.byKey {
		if k.outgoing {
			n++
		}
	}
	return n < max
}

func (t *streams) get(k streamKey) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byKey[k]
}

func (t *streams) remove(s *stream) {
	t.mu.Lock()
	delete(t.byKey, s.streamKey)
	t.mu.Unlock()
}

func (t *streams) abort(which func(*stream) bool, err error) {
	t.mu.Lock()
	var hit []*stream
	for _, s := range t.byKey {
		if which(s) {
			hit = append(hit, s)
		}
	}
	t.mu.Unlock()
	for _, s := range hit {
		s.abort(err)
	}
}

// end aborts the streams of a group that has ended. One whose restore did not begin
// will not any more: left behind, it would have its sender believe that somebody is
// still at work.
func (t *streams) end(g *Group, err error) {
	t.abort(func(s *stream) bool { return s.group == g }, err)
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.byKey, func(_ streamKey, s *stream) bool { return s.group == g && !s.outgoing })
}

// oldest is the lowest index of the images that the group is sending: the log
// behind them is needed by the receivers.
func (t *streams) oldest(g *Group) (index uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, s := range t.byKey {
		if k.outgoing && s.group == g && (!ok || s.image.index < index) {
			index, ok = s.image.index, true
		}
	}
	return index, ok
}

// count returns the numbers of images being sent and received.
func (t *streams) count() (out, in int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.byKey {
		if k.outgoing {
			out++
		} else {
			in++
		}
	}
	return out, in
}

func (s *stream) send(kind recordKind, fill func([]byte) []byte) bool {
	return s.group.h.peers.now(s.peer, kind, func(b []byte) []byte {
		b = binary.AppendUvarint(b, uint64(s.group.id))
		b = binary.AppendUvarint(b, uint64(s.remote))
		b = binary.AppendUvarint(b, s.id)
		return fill(b)
	})
}

func (h *Host) handleSnapAck(from base.NodeID, d *decoder) {
	id, acked, status := d.uvarint(), d.uvarint(), snapStatus(d.byte())
	s := h.streams.get(streamKey{from, id, true})
	if d.err != nil || s == nil {
		return
	}
	s.mu.Lock()
	s.acked = max(s.acked, acked)
	s.heard = true
	if s.status == snapProgress {
		s.status = status
	}
	s.mu.Unlock()
	s.signal()
}
