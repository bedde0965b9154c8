package rafthost

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"weir/internal/base"
	"weir/internal/raftlog"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

func (h *Host) handleSnapBegin(from base.NodeID, id base.GroupID, to base.ReplicaID, d *decoder) {
	s := &stream{streamKey: streamKey{peer: from, id: d.uvarint()}, wake: make(chan struct{}, 1)}
	s.remote = base.ReplicaID(d.uvarint())
	s.term = d.uvarint()
	s.image = decodeImage(d)
	g := h.group(id)
	if d.err != nil || g == nil || g.replica != to {
		return // the chunks that follow are answered with failure
	}
	s.group = g
	if !s.image.members.has(to) {
		return
	}
	if s.image.index <= g.applied.Load() {
		// The leader does not know how far we are; Raft's answer tells it.
		g.control(func() { g.stepSnapshot(s) })
		return
	}
	if !h.streams.add(s, h.o.MaxSnapshots) {
		// The group's earlier one may be from a leader of the past.
		h.streams.abort(func(o *stream) bool { return !o.outgoing && o.group == g }, errSnapReplaced)
		return
	}
	g.enqueueApply(applyTask{call: func() error { return g.beginRestore(s) }})
	g.mu.Lock()
	err := g.err
	g.mu.Unlock()
	if err != nil {
		h.streams.end(g, err)
	}
}

func (h *Host) handleSnapChunk(from base.NodeID, d *decoder) {
	id, number, last := d.uvarint(), d.uvarint(), d.byte() != 0
	var sum uint32
	for i := range 4 {
		sum |= uint32(d.byte()) << (8 * i)
	}
	data := d.bytes()
	if d.err != nil {
		return
	}
	s := h.streams.get(streamKey{from, id, false})
	if s == nil {
		h.peers.now(from, recordSnapAck, func(b []byte) []byte { return appendSnapAck(append(b, 0, 0), id, 0, snapFailed) })
		return
	}
	s.mu.Lock()
	again := number < s.next
	if number == s.next && !s.last && s.next-s.taken < snapWindow && s.err == nil {
		if crc32.Checksum(data, castagnoli) != sum {
			s.err = base.Corruptf("chunk %d of a snapshot came damaged", number)
		}
		s.chunks = append(s.chunks, append([]byte(nil), data...))
		s.next++
		s.last = last
	}
	s.mu.Unlock()
	s.signal()
	if again {
		s.ack(snapProgress)
	}
}

func appendSnapAck(b []byte, id, taken uint64, status snapStatus) []byte {
	b = binary.AppendUvarint(b, id)
	b = binary.AppendUvarint(b, taken)
	return append(b, byte(status))
}

func (s *stream) ack(status snapStatus) {
	s.mu.Lock()
	taken := s.taken
	s.mu.Unlock()
	s.send(recordSnapAck, func(b []byte) []byte { return append(binary.AppendUvarint(b, taken), byte(status)) })
}

// beginRestore runs on the apply worker and suspends applying for the group.
func (g *Group) beginRestore(s *stream) error {
	if s.image.index <= g.applied.Load() {
		g.h.streams.remove(s)
		s.ack(snapFailed)
		return nil
	}
	g.mu.Lock()
	g.holds++
	g.streaming++
	g.mu.Unlock()
	go func() {
		err := g.restore(s)
		status := snapDone
		if err != nil {
			status = snapFailed
			g.h.o.Logger.Warnf("snapshot of %v from node %v: %v", g.id, s.peer, err)
		} else {
			g.h.o.Logger.Noticef("replica %v of %v caught up by snapshot at %d from node %v", g.replica, g.id, s.image.index, s.peer)
		}
		g.h.streams.remove(s)
		s.ack(status)
		g.mu.Lock()
		g.holds--
		g.mu.Unlock()
		g.streamDone()
	}()
	return nil
}

// restore gives the machine the image and then Raft the news. The intent is
// durable before the machine switches (see stored).
func (g *Group) restore(s *stream) error {
	g.mu.Lock()
	m := g.members
	g.mu.Unlock()
	if err := g.storeMembers(stored{members: m, restoring: &s.image}); err != nil {
		g.fail(err)
		return err
	}
	if err := g.machine.Restore(s.image.index, &chunkReader{s: s}); err != nil {
		if base.IsCorrupt(err) && s.failed() == nil {
			g.fail(fmt.Errorf("restore an image: %w", err))
		}
		return err
	}
	g.apply.term = s.image.term
	g.batchApplied(s.image.index)
	if err := g.tellRaft(s); err != nil {
		g.fail(err)
		return err
	}
	return nil
}

// tellRaft lets Raft take the image up while applying is still suspended, so that
// no membership change of the past gets between.
func (g *Group) tellRaft(s *stream) (err error) {
	w := &worker{h: g.h}
	defer w.flush()
	g.raftMu.Lock()
	defer g.raftMu.Unlock()
	defer g.recovered(&err)
	g.stepSnapshot(s)
	return g.drain(w)
}

func (s *stream) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// stepSnapshot tells Raft that the state stands at the image or beyond. In
// whatever term Raft is by now, the image is of committed entries: it is passed on
// as if the present leader had sent it. Where the log has it all, Raft answers how
// far it is and leaves the log alone.
func (g *Group) stepSnapshot(s *stream) {
	g.wake()
	st := g.node.rn.BasicStatus()
	if st.RaftState == raft.StateLeader {
		return // its log has it all
	}
	from, term := uint64(s.remote), s.term
	if term < st.GetTerm() {
		term = st.GetTerm()
		if st.Lead != raft.None {
			from = st.Lead
		}
	}
	g.node.incoming = &s.image
	_ = g.node.rn.Step(&pb.Message{
		Type: pb.MsgSnap.Enum(), To: new(uint64(g.replica)), From: &from, Term: &term, Snapshot: s.image.snapshot(),
	})
	if term != s.term && st.Lead == raft.None {
		_ = g.node.rn.ForgetLeader()
	}
}

// snapshotAccepted: Raft's log restarts after the image.
func (g *Group) snapshotAccepted(s *pb.Snapshot, b *raftlog.Batch) {
	i := g.node.incoming
	base.Assert(i != nil && i.index == s.GetMetadata().GetIndex(), "%v: Raft accepts an image that was not received", g.id)
	g.node.incoming = nil
	b.Snapshot = i.mark()
	g.setMembers(i.members)
	g.enqueueApply(applyTask{call: func() error {
		g.machine.MembersChange(i.members.voters(), i.members.learners())
		return nil
	}})
}

// chunkReader is the machine's view of an incoming stream.
type chunkReader struct {
	s   *stream
	cur []byte
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.cur) == 0 {
		if err := r.nextChunk(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.cur)
	r.cur = r.cur[n:]
	return n, nil
}

// nextChunk waits for a chunk. A sender that falls silent is given up.
func (r *chunkReader) nextChunk() error {
	s, clock := r.s, r.s.group.h.o.Clock
	expired := make(chan struct{})
	t := clock.AfterFunc(s.group.h.o.SnapshotTimeout, func() { close(expired) })
	defer t.Stop()
	for {
		s.mu.Lock()
		err := s.err
		ended := s.last && len(s.chunks) == 0
		got := err == nil && len(s.chunks) > 0
		if got {
			r.cur = s.chunks[0]
			s.chunks = s.chunks[1:]
			s.taken++
		}
		s.mu.Unlock()
		switch {
		case err != nil:
			return err
		case got:
			s.ack(snapProgress)
			if len(r.cur) == 0 {
				continue // an empty last chunk
			}
			return nil
		case ended:
			return io.EOF
		}
		select {
		case <-s.wake:
		case <-expired:
			return errSnapTimeout
		}
	}
}
