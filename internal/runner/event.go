package runner

// EventKind names an advisory or metric about a consumer.
type EventKind byte

// The kinds of Event.
const (
	EventNak           EventKind = 1
	EventTerminated    EventKind = 2
	EventMaxDeliveries EventKind = 3
	EventAckSample     EventKind = 4
	EventPinned        EventKind = 5 // Group, PinID
	EventUnpinned      EventKind = 6 // Group, Reason
)

// Event is something that happened to a delivered message or to a priority group
// and that the outside is told of. The environment dresses it as the document of
// the schemas.
type Event struct {
	Kind             EventKind
	Stream, Consumer uint64 // sequences
	Deliveries       uint64
	Delay            int64 // ns from delivery to ack
	Reason           string
	Group, PinID     string
}
