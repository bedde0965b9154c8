package machine

import (
	"testing"

	"weir/internal/api"
	"weir/internal/msg"
	"weir/internal/stream/storetest"
)

// nopStore is a store that only counts.
type nopStore struct {
	*storetest.Store
	state msg.State
}

func (s *nopStore) Append(m *msg.Message) error {
	s.state.LastSeq = m.Seq
	s.state.Msgs++
	return nil
}

func (s *nopStore) State() msg.State { return s.state }

func BenchmarkApplyPublish(b *testing.B) {
	const batch = 100
	m, err := New(&nopStore{Store: storetest.New()}, 1)
	if err != nil {
		b.Fatal(err)
	}
	var out Effects
	cfg := api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: api.LimitsRetention, MaxMsgSize: -1, MaxMsgs: -1, MaxBytes: -1}
	if err := m.Apply(1, Append(nil, Origin{1, 1}, &Init{Config: cfg}), &out); err != nil {
		b.Fatal(err)
	}
	cmd := AppendPublish(nil, Origin{1, 2}, 1)
	for range batch {
		cmd = AppendMessage(cmd, "s.orders.eu", nil, make([]byte, 128))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := m.Apply(uint64(i+2), cmd, &out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "msg/s")
}
