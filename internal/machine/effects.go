package machine

import (
	"weir/internal/apierr"
	"weir/internal/consumer"
	"weir/internal/msg"
	"weir/internal/stream"
)

// Effects is what an entry did, for those who live on this node. Slices are reused by the next Apply into the same Effects;
// messages in Stored share memory with the entry.
type Effects struct {
	// Published has one result per message of a publish that this replica proposed.
	Published []Published
	// Replies answers the other requests that this replica proposed.
	Replies []Reply
	// Stored has the messages that came into the stream, in order, delete markers included.
	Stored []msg.Message
	// Previous has, for each of Stored that was published, the sequence before it on its subject. It is filled only for a
	// stream that republishes; markers come last in Stored and have none.
	Previous []uint64
	// Deltas says what became of runners' work.
	Deltas []DeltaResult
	// Consumers has the consumers that were made, changed or removed.
	Consumers []ConsumerChange
	// StreamChanged: the stream was made or its configuration changed.
	StreamChanged bool
	// Trimmed: many messages may have been removed other than by an ack, so that consumers lost pending ones.
	Trimmed bool
	// Unfinished has the requests of this replica, by Origin.Seq, that later entries go on with.
	Unfinished []uint64
	// Expired: the entry was an Expire.
	Expired bool
	// Lost has the pending messages of consumers that were removed one by one.
	Lost []Lost
}

// Reset empties e and keeps its memory.
func (e *Effects) Reset() {
	*e = Effects{Published: e.Published[:0], Replies: e.Replies[:0], Stored: e.Stored[:0], Previous: e.Previous[:0], Deltas: e.Deltas[:0],
		Consumers: e.Consumers[:0], Lost: e.Lost[:0], Unfinished: e.Unfinished[:0]}
}

// Lost is a message that a consumer waits for no longer, because it was removed.
type Lost struct {
	Consumer *consumer.Consumer
	Seq      uint64
}

// Published answers one message of a publish, or an atomic batch.
type Published struct {
	Request uint64 // Origin.Seq + the message's place in its command
	stream.Published
	// Fast is what became of a part of a fast batch; nil for other messages.
	Fast *stream.FastResult
}

// Reply answers a request that was not a publish.
type Reply struct {
	Request uint64 // Origin.Seq
	Err     *apierr.Error
	// Purged counts the messages that a purge removed.
	Purged uint64
	// Consumer is the one that the request was about; read it under the lock that keeps Apply out.
	Consumer *consumer.Consumer
	// Made: the consumer did not exist before.
	Made bool
	// Start is the sequence with which a reset consumer goes on.
	Start uint64
}

// DeltaResult is what became of a delta.
type DeltaResult struct {
	Consumer *consumer.Consumer // nil: it is gone
	ID       uint64
	Epoch    uint64
	Ticket   uint64
	Verdict  consumer.Verdict
}

// Change is what happened to a consumer.
type Change byte

const (
	ConsumerMade Change = iota
	ConsumerUpdated
	ConsumerDeleted
	ConsumerPaused    // or resumed
	ConsumerRestarted // by a reset
	RunnerChanged
)

// ConsumerChange is a change of one consumer.
type ConsumerChange struct {
	Change   Change
	Consumer *consumer.Consumer
}
