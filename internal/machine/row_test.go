package machine

import (
	"fmt"
	"slices"
	"testing"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
)

// The tests here show the rows of docs/clustered-consumers.md that need no server.

func TestRow48_PurgeRecord(t *testing.T) {
	roundTrip(t, &Purge{Filter: "s.*", Below: 1<<64 - 1, Keep: 7, UpTo: 1 << 63})
	m, _ := sample(t, api.LimitsRetention)
	before := m.store.State()
	// Messages published after the purge was taken stay.
	publish := AppendMessage(AppendPublish(nil, Origin{1, 5}, 2), "s.late", nil, []byte("x"))
	var out Effects
	for i, cmd := range [][]byte{publish, Append(nil, Origin{1, 6}, &Purge{UpTo: before.LastSeq})} {
		if err := m.Apply(uint64(20+i), cmd, &out); err != nil {
			t.Fatal(err)
		}
	}
	if after := m.store.State(); after.Msgs != 1 || after.FirstSeq != before.LastSeq+1 || out.Replies[0].Purged != before.Msgs {
		t.Errorf("%+v became %+v, %d purged", before, after, out.Replies[0].Purged)
	}
}

func TestRow49_BadPurgeRecord(t *testing.T) {
	cutIsRefused(t, &Purge{Filter: "s.*", Below: 1<<64 - 1, Keep: 7, UpTo: 1 << 63})
}

func TestRow51_MessageDeleteRecord(t *testing.T) {
	roundTrip(t, &DeleteMsg{Seq: 1<<64 - 1, NoErase: true})
	m, _ := sample(t, api.LimitsRetention)
	for i, want := range []uint16{0, 10043} {
		var out Effects
		if err := m.Apply(uint64(20+i), Append(nil, Origin{1, 9}, &DeleteMsg{Seq: 2}), &out); err != nil {
			t.Fatal(err)
		}
		if err := out.Replies[0].Err; want == 0 && err != nil || want != 0 && (err == nil || err.ErrCode != want) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestRow52_BadMessageDeleteRecord(t *testing.T) {
	cutIsRefused(t, &DeleteMsg{Seq: 1<<64 - 1, NoErase: true})
}

// roundTrip wants a command to be read as it was written.
func roundTrip[T any, C interface {
	*T
	Command
}](t *testing.T, c C) {
	t.Helper()
	cmd := Append(nil, Origin{base.ReplicaID(1 << 60), 1<<64 - 1}, c)
	kind, origin, body, err := decodeHeader(cmd)
	if err != nil || kind != c.kind() || origin != (Origin{1 << 60, 1<<64 - 1}) {
		t.Fatalf("%v %v %v", kind, origin, err)
	}
	got, err := decodeJSON[T](body)
	if err != nil || fmt.Sprint(*got) != fmt.Sprint(*c) {
		t.Fatalf("%+v, %v", got, err)
	}
}

// cutIsRefused wants an entry that ends too early to be an error.
func cutIsRefused(t *testing.T, c Command) {
	t.Helper()
	cmd := Append(nil, Origin{base.ReplicaID(1 << 60), 1<<64 - 1}, c)
	for n := range cmd {
		m, _ := sample(t, api.LimitsRetention)
		if err := m.Apply(20, cmd[:n], &Effects{}); err == nil {
			t.Errorf("%q is accepted", cmd[:n])
		}
	}
}

// TestRow11_KindsApplyInOrder: what a runner did is replicated as deltas, which
// apply in their order or not at all.
func TestRow11_KindsApplyInOrder(t *testing.T) {
	m, _ := sample(t, api.LimitsRetention)
	c := m.Consumer("d")
	delta := func(epoch, ticket uint64, fill func(*consumer.Ops)) []byte {
		var ops consumer.Ops
		fill(&ops)
		return Append(nil, Origin{1, 9}, &Deltas{Time: 5, List: []Delta{{Consumer: c.ID, Epoch: epoch, Ticket: ticket, Ops: ops.Bytes()}}})
	}
	deliver := delta(c.Epoch, 1, func(o *consumer.Ops) { o.Deliver(5, 1, []uint64{1, 3}) })
	ack := delta(c.Epoch, 2, func(o *consumer.Ops) { o.Ack(1) })
	var out Effects
	for i, step := range []struct {
		cmd     []byte
		want    consumer.Verdict
		pending int
	}{
		{delta(c.Epoch+1, 1, func(o *consumer.Ops) { o.Deliver(5, 1, []uint64{1}) }), consumer.Stale, 0},
		{deliver, consumer.Applied, 2},
		{deliver, consumer.Repeated, 2}, // sent again: counted once
		{ack, consumer.Applied, 1},
		{Append(nil, Origin{1, 9}, Runners{{c.ID, c.Epoch, 5}}), consumer.Applied, 1},
		{delta(c.Epoch, 3, func(o *consumer.Ops) { o.Ack(3) }), consumer.Stale, 1}, // of the runner before
	} {
		if err := m.Apply(uint64(20+i), step.cmd, &out); err != nil {
			t.Fatal(err)
		}
		if len(out.Deltas) > 0 && out.Deltas[0].Verdict != step.want || c.NumAckPending() != step.pending {
			t.Errorf("step %d: %+v, %d pending", i, out.Deltas, c.NumAckPending())
		}
	}
	if err := m.Apply(40, []byte{commandVersion, 99, 1, 1}, &out); err == nil {
		t.Error("an unknown kind is applied")
	}
}

// An ack that a client of a deleted consumer sends late is no proof of what the next one of its name delivered.
func TestConsumerOfAUsedName(t *testing.T) {
	m, _ := sample(t, api.LimitsRetention)
	last := m.store.State().LastSeq
	cfg := *m.Consumer("d").Config
	for i, cmd := range []Command{&ConsumerDelete{Name: "d"}, &ConsumerCreate{Time: 1, Runner: 5, Config: cfg}} {
		var out Effects
		if err := m.Apply(uint64(20+i), Append(nil, Origin{1, 9}, cmd), &out); err != nil || out.Replies[0].Err != nil {
			t.Fatal(err, out.Replies)
		}
	}
	if c := m.Consumer("d"); last == 0 || c.GivenBefore != last {
		t.Errorf("given up to %d before, want %d", c.GivenBefore, last)
	}
}

func TestRow13_AckRecord(t *testing.T) {
	var ops consumer.Ops
	ops.Ack(1, 1<<64-2)
	deltaRecord(t, &ops)
}

func TestRow14_DeliveryRecord(t *testing.T) {
	var ops consumer.Ops
	ops.Deliver(-1<<63, 1<<63, []uint64{1, 1<<64 - 2})
	ops.Redeliver(1<<63-1, 1<<64-1, []consumer.Redelivery{{Seq: 1<<64 - 1, Deliveries: 1<<32 - 1}})
	deltaRecord(t, &ops)
}

// deltaRecord wants a delta to be read as it was written, and what is cut to be an error.
func deltaRecord(t *testing.T, ops *consumer.Ops) {
	t.Helper()
	in := Delta{Consumer: 1<<64 - 1, Epoch: 1<<64 - 1, Ticket: 1<<64 - 1, Ops: ops.Bytes()}
	buf := AppendDelta(nil, in)
	out, rest, err := DecodeDelta(buf)
	if err != nil || len(rest) != 0 || out.Consumer != in.Consumer || out.Epoch != in.Epoch || out.Ticket != in.Ticket || !slices.Equal(out.Ops, in.Ops) {
		t.Errorf("%+v, %d left, %v", out, len(rest), err)
	}
	for n := range buf {
		if _, _, err := DecodeDelta(buf[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes, it is accepted", n, len(buf))
		}
	}
}
