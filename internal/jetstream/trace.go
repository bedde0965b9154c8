package jetstream

import (
	"errors"

	"weir/internal/machine"
	"weir/internal/router"
	"weir/internal/subject"
)

// tracedMessage is a message whose way is traced, and what the stream has to say of it.
// A nil one is that of a message that is not traced.
//
// Of a message in an atomic or fast batch the trace says that the stream took it, and
// not what became of the batch. One that is only traced is not judged at all, since that
// is done when a message is applied.
type tracedMessage struct {
	at      int    // its place in its publish command
	subject string // as the stream stores it
	trace   *router.StreamTrace
}

var (
	errNotLed    = errors.New("the stream has no leader here any more")
	errDuplicate = errors.New("msgid is duplicate")
)

// takeTraced takes a message that is traced.
func (in *ingest) takeTraced(t *router.Trace, m *router.Msg) {
	trace := &tracedMessage{subject: in.s.subjectWithin(m), trace: t.Stream(in.s.name)}
	if t.Only() {
		trace.stored(true)
		return
	}
	in.takeOne(m, trace)
}

func (t *tracedMessage) stored(interest bool) {
	if t != nil {
		t.trace.Stored(t.subject, interest)
	}
}

func (t *tracedMessage) failed(why error) {
	if t != nil {
		t.trace.Failed(why.Error())
	}
}

// tellTraces says what became of the traced messages of a command that was applied.
func (b *batch) tellTraces(results []machine.Published) {
	for _, t := range b.traced {
		if t.at >= len(results) {
			continue
		}
		switch p := &results[t.at]; {
		case p.Err != nil:
			t.failed(p.Err)
		case p.Duplicate:
			t.failed(errDuplicate)
		default:
			t.stored(p.Stored)
		}
	}
	b.traced = nil
}

// subjectWithin is the subject that the stream stores a message under.
func (s *Stream) subjectWithin(m *router.Msg) string {
	literal := string(m.Subject)
	t := s.appliedConfig().SubjectTransform
	if t == nil {
		return literal
	}
	transform, err := subject.NewTransform(t.Source, t.Destination)
	if err != nil { // it was checked when the stream was made
		return literal
	}
	if to, ok := transform.Apply(literal); ok {
		return to
	}
	return literal
}
