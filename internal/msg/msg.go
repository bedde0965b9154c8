// Package msg says what a message of a stream is, and what it counts for, to the stream state machine and the message store. Its bytes
// in a segment are those of package msgstore.
package msg

// Message is one message of a stream.
type Message struct {
	Seq     uint64 // sequence in its stream, from 1
	Time    int64  // when the leader took it, unix ns
	Subject string // literal
	Header  []byte // block with "NATS/1.0\r\n…\r\n\r\n"; nil without
	Data    []byte
}

// Info is what is known of a message without reading its payload.
type Info struct {
	Seq     uint64
	Time    int64  // unix ns
	Subject string // literal
	Size    int    // bytes it counts for in State.Bytes
}

// State sums up a store's messages. An empty store has FirstSeq = LastSeq+1 (or 0 when nothing was ever stored).
type State struct {
	Msgs        uint64
	Bytes       uint64
	FirstSeq    uint64 // of the first message that is there
	LastSeq     uint64 // last sequence given, whether or not the message is still there
	FirstTime   int64  // unix ns; 0 when there is no message
	LastTime    int64  // unix ns of the last message given a sequence; 0 when there was none
	NumSubjects int    // distinct subjects among the messages
	NumDeleted  int    // sequences between FirstSeq and LastSeq without a message
}

// Size is what a message counts for in State.Bytes, given the lengths of its parts.
func Size(memory bool, subject, header, data int) int {
	switch {
	case memory:
		return subject + header + data + 16
	case header > 0:
		return 22 + subject + 4 + header + data + 8
	}
	return 22 + subject + data + 8
}
