package jetstream

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"weir/internal/apierr"
	"weir/internal/router"
	"weir/internal/stream"
	"weir/internal/wire"
)

// fastSuffix ends the reply subjects of fast batches (ADR-50):
// <prefix>.<id>.<flow>.<gap ok or fail>.<sequence>.<operation>.$FI
var fastSuffix = []byte(".$FI")

const (
	// defaultFlow is that of a reply subject without a sensible one.
	defaultFlow = 10
	// sharedFlow is what all fast publishers of a stream have together.
	sharedFlow = 500
)

// fastPart is a message's part in a fast batch, and the most messages for which its
// publisher wants one acknowledgement.
type fastPart struct {
	stream.FastPart
	maxFlow uint64
}

// fastFlow is how often a fast batch is acknowledged. It lives with the leader; the
// batch's positions are the stream's (see stream.FastPart), so another leader begins
// with slow acknowledgements and goes on.
type fastFlow struct {
	max     uint64
	flow    uint64 // messages for one acknowledgement
	acked   uint64 // the batch's sequence in the last one
	touched time.Time
}

// parseFast reads a reply subject that ends with fastSuffix.
func parseFast(reply []byte) (p fastPart, ok bool) {
	rest := reply[:len(reply)-len(fastSuffix)]
	var tokens [5][]byte // operation, sequence, gap, flow, id
	for i := range tokens {
		dot := bytes.LastIndexByte(rest, '.')
		if dot < 0 {
			return p, false
		}
		tokens[i], rest = rest[dot+1:], rest[:dot]
	}
	op, err := strconv.ParseUint(string(tokens[0]), 10, 8)
	seq, seqErr := strconv.ParseUint(string(tokens[1]), 10, 64)
	gap := string(tokens[2])
	if err != nil || seqErr != nil || op > uint64(stream.FastPing) || seq == 0 || seq == math.MaxUint64 || gap != "ok" && gap != "fail" {
		return p, false
	}
	p.FastPart = stream.FastPart{ID: string(tokens[4]), Seq: seq, Op: stream.FastOp(op), GapOK: gap == "ok"}
	flow, err := strconv.ParseUint(string(tokens[3]), 10, 64)
	if err != nil || flow == 0 {
		flow = defaultFlow
	}
	p.maxFlow = min(flow, math.MaxUint16)
	first := p.Op == stream.FastStart || p.Op == stream.FastCommit || p.Op == stream.FastPing
	return p, p.ID != "" && (seq == 1 && first || seq > 1 && p.Op != stream.FastStart)
}

// ReplyTail is the end of a reply subject that says a message's place in a fast
// batch, with the dot before it; nil for other subjects.
func ReplyTail(reply []byte) []byte {
	if !bytes.HasSuffix(reply, fastSuffix) {
		return nil
	}
	at := len(reply) - len(fastSuffix)
	for range 5 {
		if at = bytes.LastIndexByte(reply[:at], '.'); at < 0 {
			return nil
		}
	}
	return reply[at:]
}

// takeFast takes a part of a fast batch.
func (in *ingest) takeFast(m *router.Msg) {
	part, ok := parseFast(m.Reply)
	in.mu.Lock()
	if !in.active {
		in.mu.Unlock()
		return
	}
	answer := in.takePartLocked(m, &part, ok)
	wake := in.wakeLocked()
	in.mu.Unlock()
	if answer != nil { // before that of the message itself
		in.s.reply(string(m.Reply), answer)
	}
	if wake {
		in.s.node.flushSoon(in.s)
	}
}

// takePartLocked gathers a part and returns what its publisher hears at once, if
// anything. A part that there is no room for is lost, which the next one brings to light.
func (in *ingest) takePartLocked(m *router.Msg, part *fastPart, valid bool) []byte {
	begins := part.Op == stream.FastStart && in.flows[part.ID] == nil
	e := in.refusePartLocked(m, part, valid)
	if e == nil && begins && !in.admitFastLocked() {
		e = apierr.JSBatchPublishTooManyInflight
	}
	if e == nil {
		plain := *m
		plain.Header = wire.DelHeader(m.Header, headerAPILevel)
		e = in.gatherLocked(&plain, part, nil)
	}
	switch {
	case e != nil && (in.rules.NoAck || e == apierr.JSStreamTooManyRequests && part.Seq > 1):
		return nil
	case e != nil:
		return in.s.publishError(e, 0)
	}
	if !begins {
		return nil
	}
	f := in.openFlowLocked(part, 0)
	if in.rules.NoAck {
		return nil
	}
	return flowAck(f)
}

// refusePartLocked evaluates what can be told without the stream's messages.
func (in *ingest) refusePartLocked(m *router.Msg, part *fastPart, valid bool) *apierr.Error {
	if e := in.checkSizeLocked(m); e != nil {
		return e
	}
	switch {
	case !in.rules.AllowBatched:
		return apierr.JSBatchPublishDisabledErr
	case !valid:
		return apierr.JSBatchPublishInvalidPatternErr
	case len(part.ID) > maxBatchID:
		return apierr.JSBatchPublishInvalidBatchIDErr
	case asksTooMuch(m.Header):
		end := fastPart{FastPart: stream.FastPart{ID: part.ID, Seq: part.Seq, Op: stream.FastAbandon}}
		in.gatherLocked(&router.Msg{Subject: m.Subject}, &end, nil)
		return apierr.JSRequiredApiLevelErr
	}
	return nil
}

// admitFastLocked tells whether one more fast batch may be open.
func (in *ingest) admitFastLocked() bool {
	limits := &in.s.node.cfg.Batches
	perStream, total := limits.fast()
	if len(in.flows) >= perStream {
		in.dropIdleFlowsLocked(in.s.node.cfg.Clock.Now().Add(-limits.timeout()))
	}
	return len(in.flows) < perStream && in.s.node.batches.fast.Load() < int64(total)
}

// openFlowLocked begins to acknowledge a batch, of which acked is the last sequence
// that was. The first publisher of a stream may go fast at once.
func (in *ingest) openFlowLocked(part *fastPart, acked uint64) *fastFlow {
	f := &fastFlow{max: part.maxFlow, flow: 1, acked: acked, touched: in.s.node.cfg.Clock.Now()}
	if len(in.flows) == 0 {
		f.flow = min(f.max, sharedFlow)
	}
	in.flows[part.ID] = f
	in.s.node.batches.fast.Add(1)
	in.s.node.batches.watch(in.s)
	return f
}

func (in *ingest) closeFlowLocked(id string) {
	if in.flows[id] != nil {
		delete(in.flows, id)
		in.s.node.batches.fast.Add(-1)
	}
}

func (in *ingest) closeAllFlowsLocked() {
	for id := range in.flows {
		in.closeFlowLocked(id)
	}
}

// dropIdleFlowsLocked forgets the batches that had no message since a time, as the
// stream does.
func (in *ingest) dropIdleFlowsLocked(since time.Time) {
	for id, f := range in.flows {
		if !f.touched.After(since) {
			in.closeFlowLocked(id)
		}
	}
}

// adjust gives each of the publishers its share of the flow: it doubles or halves
// until it is there.
func (f *fastFlow) adjust(publishers int) {
	share := min(f.max, max(1, sharedFlow/uint64(publishers)))
	if f.flow < share {
		f.flow = min(2*f.flow, share)
	} else {
		f.flow = max(f.flow/2, share)
	}
}

// answerFast tells the publisher of a part that was applied what it has to know.
func (in *ingest) answerFast(reply string, part *fastPart, r *stream.FastResult, out *router.Batch) {
	if reply == "" || part.Op == stream.FastAbandon {
		return
	}
	for _, body := range in.fastAnswers(part, r) {
		in.s.node.cfg.Router.Publish(in.s.acc, router.Internal.InBatch(out), &router.Msg{Subject: []byte(reply), Payload: body})
	}
}

// fastAnswers are the answers to a part, in their order: a gap, an error or an
// acknowledgement, and the PubAck when the batch is over.
func (in *ingest) fastAnswers(part *fastPart, r *stream.FastResult) (answers [][]byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if r.Gap > 0 {
		answers = append(answers, flowGap(r.Gap, r.At))
	}
	switch {
	case r.Unknown && in.rules.NoAck:
		in.closeFlowLocked(part.ID)
		return answers
	case r.Err != nil && (r.Unknown || r.Ended && r.Count == 0 && !part.GapOK):
		in.closeFlowLocked(part.ID)
		return append(answers, in.s.publishError(r.Err, 0))
	case r.Err != nil:
		answers = append(answers, flowError(part.Seq, r.Err))
	case !r.Ended && (!in.rules.NoAck || part.Op == stream.FastPing):
		if ack := in.acknowledgeLocked(part, r); ack != nil {
			answers = append(answers, ack)
		}
	}
	if r.Ended {
		in.closeFlowLocked(part.ID)
		answers = append(answers, in.s.batchAck(r.Last, part.ID, r.Count))
	}
	return answers
}

// acknowledgeLocked is the acknowledgement that is due with a part, if one is.
func (in *ingest) acknowledgeLocked(part *fastPart, r *stream.FastResult) []byte {
	f := in.flows[part.ID]
	switch {
	case f != nil:
	case part.Op == stream.FastPing:
		f = in.openFlowLocked(part, part.Seq)
	default:
		f = in.openFlowLocked(part, part.Seq-1)
		f.flow = 1
	}
	f.touched = in.s.node.cfg.Clock.Now()
	ping := part.Op == stream.FastPing
	if part.Seq >= f.acked+f.flow && (ping || r.Seq > 0) {
		f.acked += (part.Seq - f.acked) / f.flow * f.flow
		f.adjust(len(in.flows))
		return flowAck(f)
	}
	if ping {
		return flowAck(f)
	}
	return nil
}

func flowAck(f *fastFlow) []byte {
	b := strconv.AppendUint([]byte(`{"type":"ack","seq":`), f.acked, 10)
	return append(strconv.AppendUint(append(b, `,"msgs":`...), f.flow, 10), '}')
}

func flowGap(due, at uint64) []byte {
	b := strconv.AppendUint([]byte(`{"type":"gap","last_seq":`), due, 10)
	return append(strconv.AppendUint(append(b, `,"seq":`...), at, 10), '}')
}

func flowError(seq uint64, e *apierr.Error) []byte {
	body, err := json.Marshal(struct {
		Type  string        `json:"type"`
		Seq   uint64        `json:"seq"`
		Error *apierr.Error `json:"error"`
	}{"err", seq, e})
	if err != nil {
		return nil
	}
	return body
}
