// Package wire is the server's side of the NATS client protocol: the parser of
// what clients send, the encoders of what they get, header blocks, and the INFO
// and CONNECT documents. It knows no sockets.
package wire

import (
	"bytes"
	"math"
)

// The faults of a peer's protocol, as the established server words them.
const (
	FaultUnknownOperation = "Unknown Protocol Operation"
	FaultParser           = "Parser Error"
	FaultMaxPayload       = "Maximum Payload Violation"
	FaultMaxControlLine   = "maximum control line exceeded"
)

const (
	lineEnd               = "\r\n"
	longestOperation      = len("CONNECT ")
	defaultMaxControlLine = 4096
	maxArguments          = 4 // of any operation
	// payloadAtOnce is how much of an announced payload is reserved before it
	// arrives; payloadKept is how much is kept for the next message.
	payloadAtOnce = 64 << 10
	payloadKept   = 64 << 10
)

// ProtocolError is a fault after which nothing more can be parsed. Text is what
// is sent to the peer in -ERR before the connection is closed.
type ProtocolError struct {
	Text   string
	Detail string // for the log: the beginning of what could not be parsed
}

func (e *ProtocolError) Error() string {
	if e.Detail == "" {
		return e.Text
	}
	return e.Text + ": " + e.Detail
}

// Limits bound what a peer may send.
type Limits struct {
	MaxControlLine int // bytes of an operation's line; 0 is 4096
	MaxPayload     int // bytes of header and payload together; 0 or less is no limit
}

// Msg is one message, as of PUB, HPUB, MSG or HMSG. Header is the whole block from
// "NATS/1.0" to the empty line, nil without one; Reply is nil without one.
type Msg struct {
	Subject, Reply, Header, Payload []byte
	// To is the subject whose subscribers get the message when that is not
	// Subject: a stored message keeps its subject on the way to an inbox. Empty in
	// what a client sends.
	To []byte
}

// Route is the subject that receivers are matched by.
func (m *Msg) Route() []byte {
	if len(m.To) > 0 {
		return m.To
	}
	return m.Subject
}

// Handler takes the operations in the order in which they arrive. Slices are
// valid only during the call. An error ends the parsing and is returned by
// Parse as it is.
type Handler interface {
	Connect(json []byte) error
	Info(json []byte) error
	Pub(m *Msg) error
	Sub(subject, queue, sid []byte) error
	Unsub(sid []byte, max int) error // max is 0 without one
	Ping() error
	Pong() error
	OK() error
	Err(text []byte) error // without its quotes
}

// Parser splits a byte stream into operations. It keeps what is incomplete
// between calls: an operation's line in line, or a message whose line has been
// parsed (want > 0) in args and payload. An operation that arrives whole is
// handed over as slices of the read buffer without a copy or an allocation.
type Parser struct {
	limits Limits
	line   []byte
	// want is the length of the message's header and payload with the line end
	// behind it, zero outside of a message.
	want      int
	headerLen int
	msg       Msg
	args      []byte // backs msg.Subject and msg.Reply between calls
	payload   []byte
}

// NewParser returns a parser at the beginning of a stream.
func NewParser(limits Limits) *Parser {
	p := new(Parser)
	p.SetLimits(limits)
	return p
}

// SetLimits replaces the limits for the operations that follow.
func (p *Parser) SetLimits(limits Limits) {
	if limits.MaxControlLine <= 0 {
		limits.MaxControlLine = defaultMaxControlLine
	}
	if limits.MaxPayload <= 0 {
		limits.MaxPayload = math.MaxInt32
	}
	p.limits = limits
}

// Parse handles every operation that buf completes. buf may be reused after the
// call. A fault of the peer is a *ProtocolError, after which the parser must
// not be used again.
func (p *Parser) Parse(buf []byte, h Handler) error {
	for len(buf) > 0 {
		var err error
		if p.want > 0 {
			buf, err = p.parsePayload(buf, h)
		} else {
			buf, err = p.parseLine(buf, h)
		}
		if err != nil {
			return err
		}
	}
	if p.want > 0 {
		p.keepArguments()
	}
	return nil
}

// parseLine handles the first line of buf, or keeps it if it has no end.
func (p *Parser) parseLine(buf []byte, h Handler) (rest []byte, err error) {
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		p.line = append(p.line, buf...)
		return nil, p.checkPartialLine(p.line)
	}
	line, rest := buf[:end], buf[end+1:]
	if len(p.line) > 0 {
		p.line = append(p.line, line...)
		line = p.line
		p.line = p.line[:0]
	}
	line = trimReturn(line)
	if len(line) > p.limits.MaxControlLine+longestOperation {
		return nil, p.checkPartialLine(line)
	}
	return rest, p.operation(line, h)
}

// checkPartialLine refuses early what can not become an operation, so that a
// peer that speaks something else does not wait for an answer.
func (p *Parser) checkPartialLine(line []byte) error {
	line = trimReturn(line)
	if !beginsOperation(line) {
		return fault(FaultUnknownOperation, line)
	}
	if len(line) > p.limits.MaxControlLine+longestOperation {
		return fault(FaultMaxControlLine, line)
	}
	return nil
}

// parsePayload completes a message with what buf has, or keeps all of it.
func (p *Parser) parsePayload(buf []byte, h Handler) (rest []byte, err error) {
	missing := p.want - len(p.payload)
	if len(buf) < missing {
		if p.payload == nil {
			p.payload = make([]byte, 0, min(p.want, payloadAtOnce))
		}
		p.payload = append(p.payload, buf...)
		return nil, nil
	}
	body := buf[:missing]
	if len(p.payload) > 0 {
		p.payload = append(p.payload, body...)
		body = p.payload
	}
	if string(body[p.want-len(lineEnd):]) != lineEnd {
		return nil, fault(FaultUnknownOperation, body[p.want-len(lineEnd):])
	}
	body = body[:p.want-len(lineEnd)]
	if p.headerLen > 0 {
		p.msg.Header = body[:p.headerLen:p.headerLen]
	}
	p.msg.Payload = body[p.headerLen:]
	err = h.Pub(&p.msg)
	p.want, p.headerLen, p.msg = 0, 0, Msg{}
	if cap(p.payload) > payloadKept {
		p.payload = nil
	}
	p.payload = p.payload[:0]
	return buf[missing:], err
}

// keepArguments copies what points into the read buffer; doing it again changes
// nothing.
func (p *Parser) keepArguments() {
	subject, reply := len(p.msg.Subject), len(p.msg.Reply)
	kept := append(p.args[:0], p.msg.Subject...)
	kept = append(kept, p.msg.Reply...)
	p.args = kept
	p.msg.Subject = kept[:subject:subject]
	if reply > 0 {
		p.msg.Reply = kept[subject : subject+reply : subject+reply]
	}
}

func fault(text string, at []byte) error {
	const shown = 32
	return &ProtocolError{Text: text, Detail: quote(at[:min(len(at), shown)])}
}
