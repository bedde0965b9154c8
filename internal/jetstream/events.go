package jetstream

import (
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/runner"
)

// Events hears of what clients and advisories are told. Calls come from apply
// workers, runners and reconcilers: they must not block. Consumers passed may be
// read during the call only.
type Events interface {
	// StreamReady: this node leads a stream that was created or updated at the
	// request of origin, which waits for its answer.
	StreamReady(s *Stream, origin meta.Origin, created bool)
	// StreamFailed: the only replica of a stream could not be opened on this node, so
	// that what origin asked for can not be done. A stream that was to be created is gone.
	StreamFailed(a *meta.Assignment, origin meta.Origin, created bool, why error)
	// RestoreReady: this node leads a stream that origin wants to put a backup into.
	// Who takes it on receives it, and ends with s.EndRestore.
	RestoreReady(s *Stream, origin meta.Origin)
	// StreamLeader: this node was elected leader of a stream's group.
	StreamLeader(s *Stream)
	// QuorumLost: the group of a stream that has a replica here can not elect a
	// leader. It is told again while that lasts.
	QuorumLost(s *Stream)
	// OutOfSpace: the replica of a stream here has stopped, as the disk is full.
	OutOfSpace(s *Stream)
	// MetaLeader: this node was elected leader of the meta group.
	MetaLeader()
	// ConsumerChanged is called on every replica; the leader is the one to speak.
	ConsumerChanged(s *Stream, c *consumer.Consumer, change machine.Change)
	// BatchAbandoned: an atomic batch was dropped, for the reason that the advisory
	// gives.
	BatchAbandoned(s *Stream, id, reason string)
	// RunnerEvent: something happened to a message of a consumer that runs here.
	RunnerEvent(s *Stream, consumer string, e runner.Event)
}

type noEvents struct{}

func (noEvents) StreamReady(*Stream, meta.Origin, bool)                      {}
func (noEvents) StreamFailed(*meta.Assignment, meta.Origin, bool, error)     {}
func (noEvents) RestoreReady(*Stream, meta.Origin)                           {}
func (noEvents) StreamLeader(*Stream)                                        {}
func (noEvents) QuorumLost(*Stream)                                          {}
func (noEvents) OutOfSpace(*Stream)                                          {}
func (noEvents) MetaLeader()                                                 {}
func (noEvents) ConsumerChanged(*Stream, *consumer.Consumer, machine.Change) {}
func (noEvents) BatchAbandoned(*Stream, string, string)                      {}
func (noEvents) RunnerEvent(*Stream, string, runner.Event)                   {}

// SetEvents sets who hears of events. Call it before Start.
func (n *Node) SetEvents(e Events) { n.cfg.Events = e }

func (n *Node) leaderElected(s *Stream) {
	s.ingest.abandon()
	s.deltas.propose() // what came in since the election
	n.cfg.Events.StreamLeader(s)
	n.resumeBalance()
}

func (n *Node) consumerEvent(s *Stream, c machine.ConsumerChange) {
	n.cfg.Events.ConsumerChanged(s, c.Consumer, c.Change)
}
