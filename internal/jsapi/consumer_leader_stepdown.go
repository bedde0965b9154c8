package jsapi

import (
	"slices"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/machine"
)

// consumerStepdown answers $JS.API.CONSUMER.LEADER.STEPDOWN.<stream>.<consumer> on
// the stream's leader: another member, the preferred one if named, runs the
// consumer from now on.
func (c *call) consumerStepdown() {
	st := c.replica()
	if st == nil {
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
	if alone(st) {
		c.ok()
		return
	}
	wish, err := c.decodeStepdown()
	if err != nil {
		c.fail(err)
		return
	}
	a.Runner, err = c.nextRunner(st, a.Runner, wish)
	switch {
	case err != nil:
		c.fail(err)
	case a.Runner == 0:
		c.ok()
	default:
		list := machine.Runners{a}
		st.Relieve(list, func() { c.propose(st, list, func(r machine.Reply) { c.done(r.Err) }) })
	}
}

// nextRunner is another member that is online, the one that is wished for if any; 0
// when there is no other.
func (c *call) nextRunner(st *jetstream.Stream, now base.ReplicaID, wish *api.Placement) (base.ReplicaID, *apierr.Error) {
	voters, _ := st.Members()
	var leader base.NodeID
	var members []base.NodeID
	var others []base.Replica
	for _, r := range voters {
		members = append(members, r.Node)
		if r.ID == now {
			leader = r.Node
		} else if c.svc.node.Linked(r.Node) {
			others = append(others, r)
		}
	}
	node, err := c.heir(wish, leader, members)
	switch {
	case err != nil:
		return 0, err
	case node != 0:
		others = slices.DeleteFunc(others, func(r base.Replica) bool { return r.Node != node })
		if len(others) == 0 {
			return 0, apierr.JSClusterNoPeersErrF("no replacement peer connected")
		}
	case len(others) == 0:
		return 0, nil
	}
	return anyOf(others).ID, nil
}
