package jetstream

import (
	"encoding/json"
	"errors"
	"strconv"

	"weir/internal/apierr"
	"weir/internal/machine"
	"weir/internal/rafthost"
	"weir/internal/router"
	"weir/internal/stream"
	"weir/internal/wire"
)

// APILevel is the JetStream API level of this version (ADR-44).
const APILevel = 5

func isOverloaded(err error) bool { return errors.Is(err, rafthost.ErrOverloaded) }

// ackPublish answers the publisher of a message that was applied.
func (s *Stream) ackPublish(reply string, p *machine.Published, out *router.Batch) {
	if reply == "" || s.Assignment().Config.NoAck {
		return
	}
	var body []byte
	if p.Err != nil {
		body = s.publishError(p.Err, p.Seq)
	} else {
		body = s.publishAck(p)
	}
	s.node.cfg.Router.Publish(s.acc, router.Internal.InBatch(out), &router.Msg{Subject: []byte(reply), Payload: body})
}

// reply sends an answer to a publisher.
func (s *Stream) reply(to string, body []byte) {
	s.node.publish(s.acc, &router.Msg{Subject: []byte(to), Payload: body})
}

// ackBatch answers the publisher of an atomic batch that was applied.
func (s *Stream) ackBatch(reply string, b *batch, p *machine.Published, out *router.Batch) {
	if reply == "" || s.Assignment().Config.NoAck {
		return
	}
	body := s.publishError(p.Err, 0)
	if p.Err == nil {
		body = s.batchAck(p.Seq, b.id, uint64(b.count))
	}
	s.node.cfg.Router.Publish(s.acc, router.Internal.InBatch(out), &router.Msg{Subject: []byte(reply), Payload: body})
}

// batchAck encodes the PubAck of a batch.
func (s *Stream) batchAck(seq uint64, id string, count uint64) []byte {
	b := s.publishAck(&machine.Published{Published: stream.Published{Seq: seq}})
	b = append(b[:len(b)-1], `,"batch":`...)
	b = appendJSON(b, id)
	b = append(b, `,"count":`...)
	return append(strconv.AppendUint(b, count, 10), '}')
}

// appendJSON appends a string as JSON.
func appendJSON(b []byte, text string) []byte {
	doc, err := json.Marshal(text)
	if err != nil {
		return append(b, `""`...)
	}
	return append(b, doc...)
}

// ackHead is what a PubAck of a stream begins with, up to the sequence.
func ackHead(name string) []byte {
	return append(appendJSON([]byte(`{"stream":`), name), `,"seq":`...)
}

// publishAck encodes a PubAck.
func (s *Stream) publishAck(p *machine.Published) []byte {
	b := append(make([]byte, 0, 96), s.ackHead...)
	b = strconv.AppendUint(b, p.Seq, 10)
	if s.node.cfg.Domain != "" {
		b = append(b, `,"domain":`...)
		b = appendJSON(b, s.node.cfg.Domain)
	}
	if p.Duplicate {
		b = append(b, `,"duplicate":true`...)
	}
	if p.Counter != "" {
		b = append(b, `,"val":`...)
		b = strconv.AppendQuote(b, p.Counter)
	}
	return append(b, '}')
}

// publishError encodes a PubAck that carries an error.
func (s *Stream) publishError(e *apierr.Error, seq uint64) []byte {
	body, err := json.Marshal(struct {
		Error  *apierr.Error `json:"error"`
		Stream string        `json:"stream"`
		Seq    uint64        `json:"seq"`
	}{e, s.name, seq})
	if err != nil {
		return nil
	}
	return body
}

// refuse tells a publisher that its message was not taken.
func (s *Stream) refuse(reply string, e *apierr.Error) {
	if reply == "" {
		return
	}
	s.node.publish(s.acc, &router.Msg{
		Subject: []byte(reply), Header: wire.StatusBlock(429, "Too Many Requests"), Payload: s.publishError(e, 0),
	})
}
