package stream

import (
	"weir/internal/msg"
	"weir/internal/subject"
)

// Store is where a stream keeps its messages and the state machine its keys. It is called only while an entry is applied;
// every call sees all changes made before it, committed or not. What is passed in is borrowed: the store copies what it
// keeps. An error is one of the disk, or corruption, and stops the replica.
type Store interface {
	// Append stores a message under m.Seq, which is above State().LastSeq. Sequences left out count as deleted.
	Append(m *msg.Message) error
	// Delete removes one message; false when there is none under seq. With erase its bytes are overwritten.
	Delete(seq uint64, erase bool) (msg.Info, bool, error)
	// DeleteOf is Delete for a message of a known subject, and cheaper. The Info may have no Time.
	DeleteOf(literal string, seq uint64) (msg.Info, bool, error)
	// Purge removes the messages with a sequence less than below, up to most of them unless that is all there are. done: none
	// is left.
	Purge(below uint64, most int) (msgs uint64, done bool, err error)
	// PurgeMatching removes the messages with a sequence less than below whose subject the pattern matches ("" is all), but for
	// the newest keep of each subject. removed is told of each, subject by subject in alphabetical order. It begins with the
	// subject from and ends after most messages; next is where to go on, "" when nothing is left.
	PurgeMatching(pattern, from string, below, keep uint64, most int, removed func(msg.Info)) (next string, err error)
	// SetLast raises State().LastSeq to seq without a message. time (unix ns) is that of a message that was not kept; 0 for none.
	SetLast(seq uint64, time int64)
	State() msg.State

	// Info describes the message under seq; false when there is none.
	Info(seq uint64) (msg.Info, bool, error)
	// NextInfo describes the first message with a sequence of at least from.
	NextInfo(from uint64) (msg.Info, bool, error)
	// Load reads a message. The slices of m may point into buf, if it is large enough, or be fresh.
	Load(seq uint64, m *msg.Message, buf []byte) (bool, error)
	// FirstFor, LastFor and CountFor are about the messages of one literal subject.
	FirstFor(literal string) (uint64, bool, error)
	LastFor(literal string) (uint64, bool, error)
	CountFor(literal string) (uint64, error)
	// LastMatching is the highest sequence up to upTo whose subject the filter matches.
	LastMatching(f subject.Filter, upTo uint64) (uint64, bool, error)
	// NthLast is the message up to upTo that the filter matches with n-1 newer ones; false when there are fewer than n.
	NthLast(f subject.Filter, upTo, n uint64) (uint64, bool, error)
	// SeqAtTime is the first sequence whose message was stored at or after t (unix ns), LastSeq+1 when there is none.
	SeqAtTime(t int64) (uint64, error)

	// Set, Unset, Get and ScanKeys are the replicated keys. ScanKeys visits in key order until visit returns false.
	Set(key, value []byte) error
	Unset(key []byte) error
	Get(key []byte) ([]byte, bool, error)
	ScanKeys(prefix []byte, visit func(key, value []byte) bool) error
}
