package machine

import (
	"encoding/binary"
	"fmt"

	"weir/internal/base"
	"weir/internal/stream"
)

// AppendBatch begins a command of the messages of an atomic batch taken at now (unix ns). AppendMessage adds each; at least one.
// The command has one answer.
func AppendBatch(dst []byte, o Origin, now int64) []byte {
	return binary.AppendVarint(appendHeader(dst, KindBatch, o), now)
}

// AppendFastPublish begins a publish command some of whose messages are parts of fast batches. AppendPart comes before each
// AppendMessage; at least one. timeout (ns) is how long a batch without messages is remembered.
func AppendFastPublish(dst []byte, o Origin, now, timeout int64) []byte {
	return binary.AppendVarint(binary.AppendVarint(appendHeader(dst, KindFastPublish, o), now), timeout)
}

// AppendPart says of which fast batch the next message is a part; no ID is a message of none.
func AppendPart(dst []byte, p stream.FastPart) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(p.ID)))
	if p.ID == "" {
		return dst
	}
	dst = binary.AppendUvarint(append(dst, p.ID...), p.Seq)
	flags := byte(p.Op) << 1
	if p.GapOK {
		flags |= 1
	}
	return append(dst, flags)
}

// decodePart takes a place in a fast batch off the front of r.
func decodePart(r *base.Decoder) (p stream.FastPart) {
	id := r.Block()
	if len(id) == 0 {
		return p
	}
	p = stream.FastPart{ID: base.View(id), Seq: r.Uvarint()}
	flags := r.Byte()
	p.Op, p.GapOK = stream.FastOp(flags>>1), flags&1 == 1
	if p.Op > stream.FastAbandon {
		r.Fail()
	}
	return p
}

func (a *applier) batch(body []byte) error {
	r := base.Decoder{Rest: body}
	now := r.Varint()
	var pubs []stream.Pub
	for len(r.Rest) > 0 {
		pubs = append(pubs, decodePub(&r))
	}
	if r.Bad {
		return fmt.Errorf("batch: %w", errCommand)
	}
	result, err := a.stream.PublishBatch(now, pubs, &a.message, a.stored)
	if err != nil {
		return err
	}
	if a.mine {
		a.out.Published = append(a.out.Published, Published{Request: a.origin.Seq, Published: result})
	}
	return nil
}

func (a *applier) fastPublish(body []byte) error {
	r := base.Decoder{Rest: body}
	now, timeout := r.Varint(), r.Varint()
	for request := a.origin.Seq; len(r.Rest) > 0; request++ {
		part := decodePart(&r)
		p := decodePub(&r)
		if r.Bad {
			break
		}
		var result stream.FastResult
		var err error
		if part.ID == "" {
			result.Published, err = a.stream.Publish(now, &p, &a.message)
		} else {
			result, err = a.stream.PublishFast(now, timeout, &part, &p, &a.message)
		}
		if err != nil {
			return err
		}
		if result.Stored {
			a.stored(result.Previous)
		}
		if a.mine {
			a.out.Published = append(a.out.Published, Published{Request: request, Published: result.Published, Fast: fastResult(&part, &result)})
		}
	}
	if r.Bad {
		return fmt.Errorf("fast publish: %w", errCommand)
	}
	return nil
}

// fastResult is what the answer to a part needs beside what a message's does; nil for a message that is a part of no batch.
func fastResult(part *stream.FastPart, r *stream.FastResult) *stream.FastResult {
	if part.ID == "" {
		return nil
	}
	kept := *r
	return &kept
}
