package jsapi

import (
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/machine"
)

// consumerStepdown answers $JS.API.CONSUMER.LEADER.STEPDOWN.<stream>.<consumer> on
// the stream's leader: another member, the preferred one if named, runs the
// consumer from now on.
func (c *call) consumerStepdown() {
	preferred, err := c.decodeStepdown()
	if err != nil {
		c.fail(err)
		return
	}
	st := c.svc.node.Stream(c.Account, c.stream())
	if st == nil {
		c.svc.held.add(c.Request)
		return
	}
	var a machine.Appointment
	found := false
	st.View(func(m *machine.Machine) {
		if x := m.Consumer(c.consumer()); x != nil {
			found = true
			a = machine.Appointment{Consumer: x.ID, Epoch: x.Epoch, Runner: x.Runner}
		}
	})
	if !found {
		c.fail(apierr.JSConsumerNotFoundErr)
		return
	}
	a.Runner, err = c.nextRunner(st, a.Runner, preferred)
	switch {
	case err != nil:
		c.fail(err)
	case a.Runner == 0:
		c.ok()
	default:
		c.propose(st, machine.Runners{a}, func(r machine.Reply) { c.done(r.Err) })
	}
}

// nextRunner is another member that is online, the one on a server if it is
// named; 0 when there is no other.
func (c *call) nextRunner(st *jetstream.Stream, now base.ReplicaID, preferred string) (base.ReplicaID, *apierr.Error) {
	voters, _ := st.Members()
	var others []base.ReplicaID
	for _, r := range voters {
		if !c.svc.node.Linked(r.Node) {
			continue
		}
		if preferred != "" && c.svc.node.NodeName(r.Node) == preferred {
			return r.ID, nil
		}
		if r.ID != now {
			others = append(others, r.ID)
		}
	}
	switch {
	case preferred != "":
		return 0, apierr.JSClusterNoPeersErrF("no suitable peers for placement, peer not found: " + preferred)
	case len(others) == 0:
		return 0, nil
	}
	return others[int(randomName(1)[0])%len(others)], nil
}
