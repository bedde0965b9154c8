package consumer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"weir/internal/base"
)

// Operations of a delta, first byte of each.
const (
	opDeliver   = 1 // time, consumer seq, sequences
	opRedeliver = 2 // time, consumer seq, n × (sequence, deliveries)
	opAck       = 3 // sequences
	opAckAll    = 4 // sequence
	opTerm      = 5 // sequences
	opTouch     = 6 // sequence, time
	opSkip      = 7 // sequence
	opExceeded  = 8 // sequences
	opPin       = 9 // time, group, pin
)

// maxRun bounds the sequences of one operation, so that a damaged one can not keep a replica busy. Longer lists take more
// than one.
const maxRun = 1 << 20

// Ops is the work of a consumer's runner in the order in which it happened, encoded to be replicated. The zero value is
// empty; Reset makes it so again and keeps the memory.
type Ops struct {
	buf []byte
}

// Reset empties o.
func (o *Ops) Reset() { o.buf = o.buf[:0] }

// Bytes is the encoded form, valid until the next change.
func (o *Ops) Bytes() []byte { return o.buf }

func (o *Ops) begin(op byte) { o.buf = append(o.buf, op) }

// Deliver notes first deliveries at a time (unix ns). seqs are stream sequences in rising order; the first got consumer
// sequence consumerSeq, and each one more.
func (o *Ops) Deliver(time int64, consumerSeq uint64, seqs []uint64) {
	o.begin(opDeliver)
	o.buf = binary.AppendVarint(o.buf, time)
	o.buf = binary.AppendUvarint(o.buf, consumerSeq)
	o.appendSeqs(seqs)
}

// Redelivery is one message delivered again.
type Redelivery struct {
	Seq        uint64
	Deliveries uint32 // with this one, so at least 2
}

// Redeliver notes repeated deliveries; consumer sequences as in Deliver.
func (o *Ops) Redeliver(time int64, consumerSeq uint64, msgs []Redelivery) {
	o.begin(opRedeliver)
	o.buf = binary.AppendVarint(o.buf, time)
	o.buf = binary.AppendUvarint(o.buf, consumerSeq)
	o.buf = binary.AppendUvarint(o.buf, uint64(len(msgs)))
	for _, m := range msgs {
		o.buf = binary.AppendUvarint(o.buf, m.Seq)
		o.buf = binary.AppendUvarint(o.buf, uint64(m.Deliveries))
	}
}

// Ack notes acks of single messages, in any order.
func (o *Ops) Ack(seqs ...uint64) {
	o.begin(opAck)
	o.appendSeqs(seqs)
}

// AckAll notes an ack of a message and all before it.
func (o *Ops) AckAll(seq uint64) {
	o.begin(opAckAll)
	o.buf = binary.AppendUvarint(o.buf, seq)
}

// Term notes messages that shall not be delivered again.
func (o *Ops) Term(seqs ...uint64) {
	o.begin(opTerm)
	o.appendSeqs(seqs)
}

// Touch moves the time (unix ns) from which a pending message's ack wait counts: now for an in-progress ack, earlier or
// later for a nak, so that time + ack wait is when it is due.
func (o *Ops) Touch(seq uint64, time int64) {
	o.begin(opTouch)
	o.buf = binary.AppendUvarint(o.buf, seq)
	o.buf = binary.AppendVarint(o.buf, time)
}

// Skip notes that up to a sequence there is nothing more for the consumer.
func (o *Ops) Skip(seq uint64) {
	o.begin(opSkip)
	o.buf = binary.AppendUvarint(o.buf, seq)
}

// Exceeded notes messages that have reached max_deliver: they stop being pending, without an ack.
func (o *Ops) Exceeded(seqs ...uint64) {
	o.begin(opExceeded)
	o.appendSeqs(seqs)
}

// Pin notes that since a time (unix ns) the client with a pin is the one of a priority group that gets messages; an empty
// pin: nobody is.
func (o *Ops) Pin(time int64, group, id string) {
	o.begin(opPin)
	o.buf = binary.AppendVarint(o.buf, time)
	o.buf = appendString(o.buf, group)
	o.buf = appendString(o.buf, id)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendSeqs writes runs of neighbouring sequences: their number, then per run the distance from the sequence expected
// after the run before (signed) and its length.
func (o *Ops) appendSeqs(seqs []uint64) {
	base.Assert(len(seqs) <= maxRun, "%d sequences in one operation", len(seqs))
	runs := 0
	for i := range seqs {
		if i == 0 || seqs[i] != seqs[i-1]+1 {
			runs++
		}
	}
	o.buf = binary.AppendUvarint(o.buf, uint64(runs))
	next := uint64(0)
	for len(seqs) > 0 {
		n := 1
		for n < len(seqs) && seqs[n] == seqs[n-1]+1 {
			n++
		}
		o.buf = binary.AppendVarint(o.buf, int64(seqs[0]-next))
		o.buf = binary.AppendUvarint(o.buf, uint64(n))
		next = seqs[n-1] + 1
		seqs = seqs[n:]
	}
}

var errOps = errors.New("consumer operations can not be read")

// opVisitor is what decoded operations are done to.
type opVisitor interface {
	deliver(time int64, consumerSeq, seq uint64)
	redeliver(time int64, consumerSeq, seq uint64, deliveries uint32)
	ack(seq uint64)
	ackAll(seq uint64)
	touch(seq uint64, time int64)
	skip(seq uint64)
	exceeded(seq uint64)
	pin(time int64, group, id string)
}

// decodeOps calls v for each operation in buf. It checks nothing ahead: use CheckOps before.
func decodeOps(buf []byte, v opVisitor) error {
	r := base.Decoder{Rest: buf}
	for len(r.Rest) > 0 && !r.Bad {
		switch op := r.Byte(); op {
		case opDeliver:
			time, consumerSeq := r.Varint(), r.Uvarint()
			decodeSeqs(&r, func(seq uint64) {
				v.deliver(time, consumerSeq, seq)
				consumerSeq++
			})
		case opRedeliver:
			time, consumerSeq := r.Varint(), r.Uvarint()
			for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
				seq, deliveries := r.Uvarint(), r.Uvarint()
				if !r.Bad {
					v.redeliver(time, consumerSeq, seq, uint32(deliveries))
				}
				consumerSeq++
			}
		case opAck, opTerm:
			decodeSeqs(&r, v.ack)
		case opExceeded:
			decodeSeqs(&r, v.exceeded)
		case opAckAll:
			if seq := r.Uvarint(); !r.Bad {
				v.ackAll(seq)
			}
		case opTouch:
			if seq, time := r.Uvarint(), r.Varint(); !r.Bad {
				v.touch(seq, time)
			}
		case opSkip:
			if seq := r.Uvarint(); !r.Bad {
				v.skip(seq)
			}
		case opPin:
			time, group, id := r.Varint(), r.Block(), r.Block()
			if !r.Bad {
				v.pin(time, string(group), string(id))
			}
		default:
			return fmt.Errorf("%w: unknown operation %d", errOps, op)
		}
	}
	if r.Bad {
		return errOps
	}
	return nil
}

// decodeSeqs reads what appendSeqs wrote.
func decodeSeqs(r *base.Decoder, visit func(uint64)) {
	next, total := uint64(0), uint64(0)
	for runs := r.Uvarint(); runs > 0 && !r.Bad; runs-- {
		first := next + uint64(r.Varint())
		n := r.Uvarint()
		total += n
		if n > maxRun || total > maxRun || first+n < first {
			r.Fail()
		}
		if r.Bad {
			return
		}
		for seq := first; seq < first+n; seq++ {
			visit(seq)
		}
		next = first + n
	}
}

// CheckOps tells whether buf holds operations that can be applied, before any of them is.
func CheckOps(buf []byte) error { return decodeOps(buf, nopVisitor{}) }

// AcksIn calls visit for each message that buf acknowledges or terminates. It fails as CheckOps does.
func AcksIn(buf []byte, visit func(seq uint64)) error {
	return decodeOps(buf, ackVisitor{visit: visit})
}

type ackVisitor struct {
	nopVisitor
	visit func(seq uint64)
}

func (v ackVisitor) ack(seq uint64)    { v.visit(seq) }
func (v ackVisitor) ackAll(seq uint64) { v.visit(seq) }

type nopVisitor struct{}

func (nopVisitor) deliver(int64, uint64, uint64)           {}
func (nopVisitor) redeliver(int64, uint64, uint64, uint32) {}
func (nopVisitor) ack(uint64)                              {}
func (nopVisitor) ackAll(uint64)                           {}
func (nopVisitor) touch(uint64, int64)                     {}
func (nopVisitor) skip(uint64)                             {}
func (nopVisitor) exceeded(uint64)                         {}
func (nopVisitor) pin(int64, string, string)               {}
