package rafthost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"weir/internal/base"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// imageName is what an image made now would be called, if one may be made.
func (g *Group) imageName() (image, bool) {
	if !g.h.streams.room(g.h.o.MaxSnapshots) {
		return image{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := image{g.applied.Load(), g.appliedTerm, g.members}
	return i, i.index > bootstrapIndex && i.term != 0
}

// sendSnapshot takes Raft's request to bring a follower up to date by an image.
// The image is made on the apply worker, at an index at or beyond the one asked
// for, and streamed by a goroutine of its own.
func (g *Group) sendSnapshot(m *pb.Message) {
	to := base.ReplicaID(m.GetTo())
	s := &stream{
		streamKey: streamKey{peer: g.members.nodes[to], outgoing: true},
		group:     g, remote: to, term: m.GetTerm(),
		image: image{index: m.GetSnapshot().GetMetadata().GetIndex()},
		wake:  make(chan struct{}, 1),
	}
	if s.peer == 0 || g.h.nodeDown(s.peer) || !g.h.streams.add(s, g.h.o.MaxSnapshots) {
		g.node.rn.ReportSnapshot(uint64(to), raft.SnapshotFailure)
		return
	}
	g.enqueueApply(applyTask{call: func() error { return g.makeImage(s) }})
}

// makeImage runs on the apply worker.
func (g *Group) makeImage(s *stream) error {
	snap, err := g.machine.Snapshot()
	if err != nil {
		g.finishSend(s, fmt.Errorf("make an image: %w", err))
		if base.IsCorrupt(err) {
			return err
		}
		return nil
	}
	g.mu.Lock()
	i := image{g.applied.Load(), g.appliedTerm, g.members}
	g.streaming++
	g.mu.Unlock()
	base.Assert(snap.Index() == i.index, "image of %v at %d, machine at %d", g.id, snap.Index(), i.index)
	g.h.streams.mu.Lock()
	s.image = i
	g.h.streams.mu.Unlock()
	go func() {
		err := s.write(snap)
		if cerr := snap.Close(); err == nil {
			err = cerr
		}
		if errors.Is(err, errPeerRefused) {
			s.pause(snapRefusedPause)
		}
		g.finishSend(s, err)
		g.streamDone()
	}()
	return nil
}

func (g *Group) streamDone() {
	g.mu.Lock()
	g.streaming--
	g.scheduleApplyLocked()
	g.cond.Broadcast()
	g.mu.Unlock()
}

func (g *Group) finishSend(s *stream, err error) {
	g.h.streams.remove(s)
	status := raft.SnapshotFinish
	if err != nil {
		status = raft.SnapshotFailure
		g.h.o.Logger.Warnf("snapshot of %v to replica %v on node %v: %v", g.id, s.remote, s.peer, err)
	}
	g.control(func() { g.node.rn.ReportSnapshot(uint64(s.remote), status) })
}

// pause waits for d, or less if the stream is aborted.
func (s *stream) pause(d time.Duration) {
	expired := make(chan struct{})
	t := s.group.h.o.Clock.AfterFunc(d, func() { close(expired) })
	defer t.Stop()
	for s.failed() == nil {
		select {
		case <-s.wake:
		case <-expired:
			return
		}
	}
}

// write streams the image and waits for the receiver's verdict.
func (s *stream) write(snap Snapshot) error {
	s.send(recordSnapBegin, func(b []byte) []byte {
		b = binary.AppendUvarint(b, uint64(s.group.replica))
		b = binary.AppendUvarint(b, s.term)
		return s.image.append(b)
	})
	w := &chunkWriter{s: s}
	if _, err := snap.WriteTo(w); err != nil {
		return err
	}
	if err := w.cut(true); err != nil {
		return err
	}
	return w.await(func() bool { return s.status == snapDone })
}

// chunkWriter cuts what is written into chunks.
type chunkWriter struct {
	s    *stream
	buf  []byte
	next uint64 // number of the next chunk
	// unacked are the chunks beyond what the receiver consumed, oldest first.
	unacked []sentChunk
}

type sentChunk struct {
	number uint64
	last   bool
	data   []byte
}

func (w *chunkWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if w.buf == nil {
			w.buf = make([]byte, 0, snapChunkBytes)
		}
		k := min(len(p), snapChunkBytes-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
		if len(w.buf) == snapChunkBytes {
			if err := w.cut(false); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// cut sends the chunk that was being filled, when the window allows.
func (w *chunkWriter) cut(last bool) error {
	if err := w.await(func() bool { return w.next-w.s.acked < snapWindow }); err != nil {
		return err
	}
	c := sentChunk{w.next, last, w.buf}
	w.next++
	w.buf = nil
	w.unacked = append(w.unacked, c)
	w.transmit(c)
	return nil
}

func (w *chunkWriter) transmit(c sentChunk) {
	w.s.send(recordSnapChunk, func(b []byte) []byte {
		b = binary.AppendUvarint(b, c.number)
		b = append(b, boolByte(c.last))
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(c.data, castagnoli))
		return appendBytes(b, c.data)
	})
}

// await waits until cond (under the stream's lock) holds, sending again what
// stays unconfirmed.
func (w *chunkWriter) await(cond func() bool) error {
	s, clock := w.s, w.s.group.h.o.Clock
	expired := make(chan struct{}, 1)
	arm := func() base.Timer {
		return clock.AfterFunc(snapResend, func() {
			select {
			case expired <- struct{}{}:
			default:
			}
		})
	}
	t := arm()
	defer func() { t.Stop() }()
	silent := clock.Now()
	for {
		s.mu.Lock()
		err, done := s.err, cond()
		if s.status == snapFailed && err == nil {
			err = errPeerRefused
		}
		if s.heard {
			s.heard, silent = false, clock.Now()
		}
		acked := s.acked
		s.mu.Unlock()
		if err != nil || done {
			return err
		}
		for len(w.unacked) > 1 && w.unacked[0].number < acked {
			w.unacked = w.unacked[1:]
		}
		select {
		case <-s.wake:
		case <-expired:
			if clock.Now().Sub(silent) >= s.group.h.o.SnapshotTimeout {
				return errSnapTimeout
			}
			for _, c := range w.unacked {
				w.transmit(c)
			}
			t = arm()
		}
	}
}
