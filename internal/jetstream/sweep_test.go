package jetstream

import (
	"fmt"
	"testing"

	"weir/internal/api"
	"weir/internal/machine"
)

// TestPurgeGoesOnUnderAnotherLeader moves leadership while a purge takes its steps:
// the new leader goes on, and the node that was asked answers with the count of all.
func TestPurgeGoesOnUnderAnotherLeader(t *testing.T) {
	c := startCluster(t, 3)
	c.createStream(streamConfig("A", api.FileStorage, 3), c.live()...)
	first := c.leader("A").stream("A")
	const messages = 400
	cmd := machine.AppendPublish(nil, machine.Origin{}, 1)
	for i := range messages {
		cmd = machine.AppendMessage(cmd, fmt.Sprintf("A.%d", i%7), nil, []byte("x"))
	}
	if err := first.Group().Propose(cmd); err != nil {
		t.Fatal(err)
	}
	c.until("all have the messages", func() bool {
		for h := range c.eachLive() {
			if h.stream("A").Store().Reader().State().Msgs != messages {
				return false
			}
		}
		return true
	})
	for h := range c.eachLive() {
		h.stream("A").View(func(m *machine.Machine) { m.Stream().StepMost = 3 })
	}
	answers := make(chan machine.Reply, 1)
	err := first.ProposeFunc(&machine.Purge{Filter: "A.>", UpTo: messages}, func(r machine.Reply, err error) {
		if err != nil {
			t.Errorf("purge: %v", err)
		}
		answers <- r
	})
	if err != nil {
		t.Fatal(err)
	}
	left := func() uint64 { return first.Store().Reader().State().Msgs }
	c.until("the purge has begun", func() bool { return left() < messages })
	voters, _ := first.Members()
	for _, v := range voters {
		if v.ID != first.Replica() {
			if err := first.Group().TransferLeader(v.ID); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	c.until("somebody else leads", func() bool { h := c.leader("A"); return h != nil && h.stream("A") != first })
	if left() == 0 {
		t.Log("the purge was over before")
	}
	if r := <-answers; r.Purged != messages || r.Err != nil || left() != 0 {
		t.Errorf("answer %+v, %d left", r, left())
	}
	for h := range c.eachLive() {
		c.until("nothing is left anywhere", func() bool { return h.stream("A").Store().Reader().State().Msgs == 0 })
	}
}
