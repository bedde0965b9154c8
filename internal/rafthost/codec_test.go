package rafthost

import (
	"bytes"
	"encoding/binary"
	"testing"

	"weir/internal/base"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func sampleMessages() []*pb.Message {
	return []*pb.Message{
		{Type: pb.MsgHeartbeat.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(3)), Commit: new(uint64(9)), Context: []byte("ctx")},
		{Type: pb.MsgAppResp.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(3)), Index: new(uint64(8)), Reject: new(true), RejectHint: new(uint64(7)), LogTerm: new(uint64(2))},
		{Type: pb.MsgApp.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(3)), Index: new(uint64(8)), LogTerm: new(uint64(3)), Commit: new(uint64(8)), Entries: []*pb.Entry{
			{Term: new(uint64(3)), Index: new(uint64(9)), Type: pb.EntryNormal.Enum(), Data: []byte("hello")},
			{Term: new(uint64(3)), Index: new(uint64(10)), Type: pb.EntryNormal.Enum()},
			{Term: new(uint64(1 << 60)), Index: new(uint64(11)), Type: pb.EntryConfChangeV2.Enum(), Data: bytes.Repeat([]byte{7}, 1000)},
		}},
	}
}

func frameOf(ms ...*pb.Message) []byte {
	var frame []byte
	for i, m := range ms {
		frame = appendRecord(frame, recordMessage, func(b []byte) []byte { return appendMessage(b, base.GroupID(i), m) })
	}
	return frame
}

func decodeAll(frame []byte) (out []*pb.Message, err error) {
	err = decodeFrame(frame, func(kind recordKind, g base.GroupID, to base.ReplicaID, d *decoder) {
		switch kind {
		case recordMessage:
			if m := decodeMessage(d, uint64(to)); d.err == nil {
				out = append(out, m)
			}
		case recordSnapBegin:
			decodeImage(d)
		}
	})
	return out, err
}

func TestFrameRoundTrip(t *testing.T) {
	want := sampleMessages()
	frame := frameOf(want...)
	got, err := decodeAll(frame)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	clear(frame) // the decoded must not depend on it
	for i := range want {
		// Absent and zero fields are the same to Raft.
		w, g := fill(want[i]), fill(got[i])
		if !proto.Equal(w, g) {
			t.Errorf("message %d:\n%v\n%v", i, w, g)
		}
	}
}

func fill(m *pb.Message) *pb.Message {
	f, err := decodeAll(frameOf(m))
	if err != nil {
		panic(err)
	}
	return f[0]
}

func TestFrameFaults(t *testing.T) {
	frame := frameOf(sampleMessages()...)
	for cut := range frame {
		if got, err := decodeAll(frame[:cut]); err == nil && len(got) == len(sampleMessages()) {
			t.Errorf("cut at %d: decodes whole", cut)
		}
	}
	if _, err := decodeAll(append([]byte{frameVersion + 1}, frame[1:]...)); !base.IsCorrupt(err) {
		t.Errorf("other version: %v", err)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(frameOf(sampleMessages()...))
	m := initialMembers(replicas(7, 1, 2, 3))
	f.Add(appendRecord(nil, recordSnapBegin, func(b []byte) []byte {
		i := image{5, 2, m}
		return i.append(binary.AppendUvarint(binary.AppendUvarint(b, 7), 72))
	}))
	f.Fuzz(func(t *testing.T, frame []byte) {
		got, err := decodeAll(frame)
		if err != nil || len(got) == 0 {
			return
		}
		again, err := decodeAll(frameOf(got...))
		if err != nil || len(again) != len(got) {
			t.Fatalf("%d of %d messages decode again: %v", len(again), len(got), err)
		}
		for i := range got {
			if !proto.Equal(got[i], again[i]) {
				t.Errorf("message %d:\n%v\n%v", i, got[i], again[i])
			}
		}
	})
}

func TestStoredRoundTrip(t *testing.T) {
	m := initialMembers(replicas(7, 3, 1, 2))
	if a, b := (stored{members: m}).encode(), (stored{members: initialMembers(replicas(7, 1, 2, 3))}).encode(); !bytes.Equal(a, b) {
		t.Error("the order of the initial members shows")
	}
	state := &pb.ConfState{Voters: []uint64{71, 72}, VotersOutgoing: []uint64{71, 73}, LearnersNext: []uint64{73}, Learners: []uint64{74}, AutoLeave: new(true)}
	m = m.changed(20, state, []base.Replica{replica(7, 4)})
	s, err := decodeStored(stored{members: m, restoring: &image{9, 4, m}}.encode())
	if err != nil || s.restoring == nil || s.restoring.index != 9 || s.restoring.term != 4 {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, got := range []*members{s.members, s.restoring.members} {
		if got.index != 20 || !proto.Equal(got.state, state) || len(got.nodes) != 4 || got.nodes[74] != 4 {
			t.Errorf("%+v", got)
		}
	}
	enc := stored{members: m, restoring: &image{9, 4, m}}.encode()
	for cut := range enc {
		if _, err := decodeStored(enc[:cut]); !base.IsCorrupt(err) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

// FuzzStored reads any bytes as what the host keeps beside the log, and as the context of
// a change of members.
func FuzzStored(f *testing.F) {
	m := initialMembers(replicas(7, 3, 1, 2))
	f.Add(stored{members: m}.encode())
	f.Add(stored{members: m, restoring: &image{5, 2, m}}.encode())
	f.Add(changeContext{token: 5, added: replicas(7, 4)}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeStored(b); err == nil {
			if again, err := decodeStored(s.encode()); err != nil || !bytes.Equal(again.encode(), s.encode()) {
				t.Fatalf("%+v became %+v: %v", s, again, err)
			}
		}
		if c, err := decodeChangeContext(b); err == nil && len(b) > 0 {
			if again, err := decodeChangeContext(c.encode()); err != nil || again.token != c.token || len(again.added) != len(c.added) {
				t.Fatalf("%+v became %+v: %v", c, again, err)
			}
		}
	})
}
