package jsapi

import (
	"math"
	"slices"
	"strconv"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/msg"
	"weir/internal/subject"
)

// Bounds of one batched direct get.
const (
	maxBatchBytes = 32 << 20 // without max_bytes in the request
	maxMultiLast  = 1024     // subjects
)

// directBatch answers a direct get with batch: that many messages from a start
// on, then status 204. At least one is sent, however small max_bytes; none of a
// batch below 0.
func (c *call) directBatch(st *jetstream.Stream, req *api.StreamMsgGetRequest) {
	read, filter := st.Store().Reader(), filterOf(req)
	from, err := startOf(st, req)
	if err != nil {
		c.directFailed(st, err)
		return
	}
	var pending uint64
	if req.NextFor == "" || subject.Valid(req.NextFor) { // no message has another
		pending, err = read.NumPending(from, filter)
	}
	if err != nil {
		c.directFailed(st, err)
		return
	}
	if pending == 0 && req.Batch > 0 {
		c.status(404, "Message Not Found")
		return
	}
	b := batch{call: c, st: st, req: req, place: batchPlace{pending: pending}}
	for req.Batch > 0 && b.more() {
		var m msg.Message
		ok, err := read.Next(from, filter, &m, nil)
		if err != nil {
			c.directFailed(st, err)
			return
		}
		if !ok {
			b.place.pending = 0
			break
		}
		b.send(&m)
		from = m.Seq + 1
	}
	b.end(0)
}

// directLast answers a direct get with multi_last: the last message of each
// subject, as of a sequence or time, in the order of their sequences.
func (c *call) directLast(st *jetstream.Stream, req *api.StreamMsgGetRequest) {
	if req.UpToSeq > 0 && req.UpToTime != nil || req.LastFor != "" || req.NextFor != "" {
		c.status(408, "Bad Request")
		return
	}
	req.MultiFor = slices.DeleteFunc(req.MultiFor, func(s string) bool { return !subject.Valid(s) })
	if len(req.MultiFor) == 0 {
		c.status(404, "No Results")
		return
	}
	seqs, upTo, err := lastOfEach(st, req)
	switch {
	case err != nil:
		c.directFailed(st, err)
		return
	case len(seqs) == 0:
		c.status(404, "No Results")
		return
	case len(seqs) > maxMultiLast:
		c.status(413, "Too Many Results")
		return
	}
	seqs = slices.DeleteFunc(seqs, func(seq uint64) bool { return seq < req.Seq })
	b := batch{call: c, st: st, req: req, place: batchPlace{pending: uint64(len(seqs))}}
	for _, seq := range seqs {
		if !b.more() {
			break
		}
		var m msg.Message
		ok, err := st.Store().Reader().Load(seq, &m, nil)
		if err != nil {
			c.directFailed(st, err)
			return
		}
		if !ok { // deleted meanwhile
			b.place.pending--
			continue
		}
		b.send(&m)
	}
	b.end(upTo)
}

// lastOfEach lists the sequences that a multi_last request is about, and the one
// up to which it looked. It stops when there are too many.
func lastOfEach(st *jetstream.Stream, req *api.StreamMsgGetRequest) (seqs []uint64, upTo uint64, err error) {
	read := st.Store().Reader()
	upTo = read.State().LastSeq
	if req.UpToSeq > 0 {
		upTo = min(upTo, req.UpToSeq)
	}
	if req.UpToTime != nil {
		next, err := read.SeqAtTime(base.UnixNano(*req.UpToTime))
		if err != nil || next <= 1 {
			return nil, 0, err
		}
		upTo = min(upTo, next-1)
	}
	err = read.AllLast(subject.NewFilter(req.MultiFor...), upTo, func(_ string, seq uint64) bool {
		seqs = append(seqs, seq)
		return len(seqs) <= maxMultiLast
	})
	slices.Sort(seqs)
	return seqs, upTo, err
}

// batch is an answer of several messages under way.
type batch struct {
	call  *call
	st    *jetstream.Stream
	req   *api.StreamMsgGetRequest
	place batchPlace
	sent  int
	bytes int
}

// more tells whether another message is wanted and fits.
func (b *batch) more() bool {
	wanted, limit := b.req.Batch, b.req.MaxBytes
	if wanted <= 0 {
		wanted = math.MaxInt
	}
	if limit == 0 {
		limit = maxBatchBytes
	}
	return b.place.pending > 0 && b.sent < wanted && (b.sent == 0 || b.bytes < limit)
}

func (b *batch) send(m *msg.Message) {
	b.place.pending--
	b.call.sendDirect(b.st, b.req, m, &b.place)
	b.place.last = m.Seq
	b.sent++
	b.bytes += len(m.Subject) + len(m.Header) + len(m.Data)
}

// end tells the client that the batch is complete. upTo is 0 unless it matters.
func (b *batch) end(upTo uint64) {
	pairs := b.place.headers()
	if upTo > 0 {
		pairs = append(pairs, "Nats-UpTo-Sequence", strconv.FormatUint(upTo, 10))
	}
	b.call.status(204, "EOB", pairs...)
}
