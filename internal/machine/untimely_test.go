package machine

import (
	"testing"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/stream/storetest"
)

// TestUntimelyCommands: two leaders in a row may both make the stream, and a
// command before that finds nothing. Neither stops the replica.
func TestUntimelyCommands(t *testing.T) {
	m, err := New(storetest.New(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var out Effects
	apply := func(index uint64, c Command) Reply {
		t.Helper()
		if err := m.Apply(index, Append(nil, Origin{1, index}, c), &out); err != nil {
			t.Fatal(err)
		}
		if len(out.Replies) != 1 || out.Replies[0].Request != index {
			t.Fatalf("entry %d: replies %+v", index, out.Replies)
		}
		return out.Replies[0]
	}
	if r := apply(1, &Purge{}); r.Err != apierr.JSStreamNotFoundErr {
		t.Errorf("purge before there is a stream: %v", r.Err)
	}
	cfg := api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: api.LimitsRetention, MaxMsgSize: -1, MaxMsgs: -1, MaxBytes: -1}
	if r := apply(2, &Init{Config: cfg, Created: 1}); r.Err != nil || !out.StreamChanged {
		t.Errorf("first init: %v, changed %t", r.Err, out.StreamChanged)
	}
	hash := m.Hash()
	cfg.MaxMsgs = 1
	if r := apply(3, &Init{Config: cfg, Created: 2}); r.Err != nil || out.StreamChanged {
		t.Errorf("second init: %v, changed %t", r.Err, out.StreamChanged)
	}
	if m.Hash() != hash || m.Stream().Config().MaxMsgs != -1 {
		t.Error("the second init counted")
	}
}
