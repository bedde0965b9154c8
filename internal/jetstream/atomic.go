package jetstream

import (
	"bytes"
	"strconv"
	"time"

	"weir/internal/apierr"
	"weir/internal/machine"
	"weir/internal/router"
	"weir/internal/stream"
	"weir/internal/wire"
)

// Bounds of atomic batches beside those of BatchLimits. A batch is one entry of
// the log, so it has to fit beside what else is under way.
const (
	maxAtomicBytes = 16 << 20  // of one batch
	maxStagedBytes = 256 << 20 // of all that a node stages
	maxBatchID     = 64
)

// The headers of atomic batches (ADR-50).
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	headerAPILevel    = "Nats-Required-Api-Level"
)

var (
	batchIDBytes  = []byte(headerBatchID)
	apiLevelBytes = []byte(headerAPILevel)
)

// Reasons for which a batch is abandoned, as advisories give them.
const (
	abandonedTimeout     = "timeout"
	abandonedLarge       = "large"
	abandonedIncomplete  = "incomplete"
	abandonedUnsupported = "unsupported"
)

// staged is an atomic batch whose commit has not come. It lives in the leader's
// memory only: the log sees whole batches, so what a leader that goes has staged is
// gone, and the next one refuses the rest of it as incomplete.
type staged struct {
	msgs    []byte // by machine.AppendMessage
	count   int
	last    stream.Pub // the last message, which points into msgs
	touched time.Time
}

func (b *staged) add(m *router.Msg, now time.Time) {
	hdr := wire.DelHeader(m.Header, headerAPILevel) // which was looked at
	b.msgs = machine.AppendMessage(b.msgs, m.Subject, hdr, m.Payload)
	data := b.msgs[len(b.msgs)-len(m.Payload):]
	header := b.msgs[len(b.msgs)-len(m.Payload)-len(hdr):][:len(hdr)]
	b.last = stream.Pub{Subject: string(m.Subject), Header: header, Data: data}
	b.count++
	b.touched = now
}

// markLast says in the last message's header that it ends the batch.
func (b *staged) markLast() {
	last := b.last
	encoded := machine.AppendMessage(nil, last.Subject, last.Header, last.Data)
	header := wire.SetHeader(last.Header, headerBatchCommit, "1")
	b.msgs = machine.AppendMessage(b.msgs[:len(b.msgs)-len(encoded):len(b.msgs)-len(encoded)], last.Subject, header, last.Data)
}

// batchStep is what a message of an atomic batch asks for.
type batchStep struct {
	id      string
	seq     int
	badSeq  bool // absent or no number
	commit  bool
	close   bool // commits without this message
	badEnd  bool // Nats-Batch-Commit has another value
	tooHigh bool // an API level that this version does not have
}

// parseBatchStep reads the headers of a batch; ok is false for a message of none.
func parseBatchStep(header []byte) (h batchStep, ok bool) {
	if !bytes.Contains(header, batchIDBytes) {
		return h, false
	}
	id, _ := wire.GetHeader(header, headerBatchID)
	if len(id) == 0 {
		return h, false
	}
	h.id = string(id)
	seq, _ := wire.GetHeader(header, headerBatchSeq)
	n, err := strconv.ParseUint(string(seq), 10, 32)
	h.seq, h.badSeq = int(n), err != nil
	if end, ok := wire.GetHeader(header, headerBatchCommit); ok {
		h.close = string(end) == "eob"
		h.commit = h.close || string(end) == "1"
		h.badEnd = !h.commit
	}
	h.tooHigh = asksTooMuch(header)
	return h, true
}

// asksTooMuch tells whether a message wants a higher API level than this version's.
func asksTooMuch(header []byte) bool {
	if !bytes.Contains(header, apiLevelBytes) {
		return false
	}
	value, ok := wire.GetHeader(header, headerAPILevel)
	level, err := strconv.Atoi(string(value))
	return ok && (err != nil || level > APILevel)
}

// staging is what became of a message of a batch.
type staging struct {
	err *apierr.Error
	// abandoned is why the batch is no more, if an advisory tells of it.
	abandoned string
	committed bool // the answer comes when the batch was applied
}

// takeAtomic stages a message of an atomic batch, or commits the batch; false for
// other messages.
func (in *ingest) takeAtomic(m *router.Msg) bool {
	h, ok := parseBatchStep(m.Header)
	if !ok {
		return false
	}
	in.mu.Lock()
	if !in.active || !in.rules.AllowAtomic { // then it is refused at apply
		in.mu.Unlock()
		return false
	}
	v := in.stageLocked(&h, m)
	wake := v.committed && in.wakeLocked()
	noAck := in.rules.NoAck
	in.mu.Unlock()
	if wake {
		in.s.node.flushSoon(in.s)
	}
	if v.abandoned != "" {
		in.s.node.cfg.Events.BatchAbandoned(in.s, h.id, v.abandoned)
	}
	switch {
	case v.committed || noAck || len(m.Reply) == 0:
	case v.err != nil:
		in.s.reply(string(m.Reply), in.s.publishError(v.err, 0))
	default:
		in.s.reply(string(m.Reply), nil)
	}
	return true
}

// stageLocked evaluates what can be told without the stream's messages, in the
// order of the established server. All else is evaluated at apply.
func (in *ingest) stageLocked(h *batchStep, m *router.Msg) staging {
	limits := &in.s.node.cfg.Batches
	if e := in.checkSizeLocked(m); e != nil {
		return staging{err: e}
	}
	b := in.staged[h.id]
	switch {
	case len(h.id) > maxBatchID:
		return staging{err: apierr.JSAtomicPublishInvalidBatchIDErr}
	case h.badSeq:
		return staging{err: apierr.JSAtomicPublishMissingSeqErr}
	case h.seq > limits.messages() && (b == nil || h.seq == b.count+1) && !(h.close && h.seq == limits.messages()+1):
		return in.tooLargeLocked(h.id, limits.messages())
	case b == nil && h.seq != 1:
		return staging{err: apierr.JSAtomicPublishIncompleteBatchErr}
	case h.badEnd:
		in.unstageLocked(h.id)
		return staging{err: apierr.JSAtomicPublishInvalidBatchCommitErr}
	case h.tooHigh:
		in.unstageLocked(h.id)
		return staging{err: apierr.JSRequiredApiLevelErr, abandoned: abandonedUnsupported}
	}
	switch {
	case b == nil && h.close || b != nil && h.seq != b.count+1:
		in.unstageLocked(h.id)
		return staging{err: apierr.JSAtomicPublishIncompleteBatchErr, abandoned: abandonedIncomplete}
	case b == nil && !in.admitLocked(limits):
		return staging{err: apierr.JSAtomicPublishTooManyInflight}
	case b == nil:
		b = &staged{}
		in.staged[h.id] = b
	}
	if !h.close {
		if e := in.addLocked(h.id, b, m); e != nil {
			return *e
		}
	}
	if !h.commit {
		return staging{}
	}
	in.unstageLocked(h.id)
	return in.commitLocked(h, b, string(m.Reply))
}

// addLocked adds a message to a batch, which is dropped if it takes too much.
func (in *ingest) addLocked(id string, b *staged, m *router.Msg) *staging {
	before := len(b.msgs)
	b.add(m, in.s.node.cfg.Clock.Now())
	over := in.s.node.batches.bytes.Add(int64(len(b.msgs)-before)) > maxStagedBytes
	switch {
	case len(b.msgs) > maxAtomicBytes && b.count > 1:
		v := in.tooLargeLocked(id, maxAtomicBytes)
		return &v
	case over: // then others are staged as well, as no message is that large
		in.unstageLocked(id)
		return &staging{err: apierr.JSStreamTooManyRequests, abandoned: abandonedLarge}
	}
	return nil
}

// tooLargeLocked refuses a batch that has too many messages, or bytes.
func (in *ingest) tooLargeLocked(id string, limit int) staging {
	v := staging{err: apierr.JSAtomicPublishTooLargeBatchErrF(limit)}
	if in.staged[id] != nil {
		v.abandoned = abandonedLarge
		in.unstageLocked(id)
	}
	return v
}

// admitLocked tells whether one more atomic batch may be open, and counts it then.
func (in *ingest) admitLocked(limits *BatchLimits) bool {
	perStream, total := limits.atomic()
	return len(in.staged) < perStream && in.s.node.batches.open(in.s, total)
}

// commitLocked queues a whole batch as a command of its own.
func (in *ingest) commitLocked(h *batchStep, b *staged, reply string) staging {
	if h.close {
		b.markLast()
	}
	if !in.hasRoomLocked(b.count, len(b.msgs)) {
		return staging{err: apierr.JSStreamTooManyRequests}
	}
	if e := in.s.checkRoom(0, 0, len(b.msgs)); e != nil {
		return staging{err: e}
	}
	in.closeOpenLocked()
	in.bytes += len(b.msgs)
	in.messages += b.count
	in.s.await(len(b.msgs))
	in.full = append(in.full, &batch{
		kind: machine.KindBatch, cmd: b.msgs, replies: []string{reply}, size: len(b.msgs), id: h.id, count: b.count,
	})
	return staging{committed: true}
}

// unstageLocked forgets a batch.
func (in *ingest) unstageLocked(id string) {
	if b := in.staged[id]; b != nil {
		delete(in.staged, id)
		in.s.node.batches.closed(len(b.msgs))
	}
}

func (in *ingest) unstageAllLocked() {
	for id := range in.staged {
		in.unstageLocked(id)
	}
}

// dropIdle abandons batches that had no message for too long, and tells whether
// there are others.
func (in *ingest) dropIdle(now time.Time) (more bool) {
	since := now.Add(-in.s.node.cfg.Batches.timeout())
	in.mu.Lock()
	var late []string
	for id, b := range in.staged {
		if !b.touched.After(since) {
			in.unstageLocked(id)
			late = append(late, id)
		}
	}
	in.dropIdleFlowsLocked(since)
	more = len(in.staged)+len(in.flows) > 0
	in.mu.Unlock()
	for _, id := range late {
		in.s.node.cfg.Events.BatchAbandoned(in.s, id, abandonedTimeout)
	}
	return more
}

// checkSizeLocked refuses what no stream of this configuration stores, so that it
// is not staged.
func (in *ingest) checkSizeLocked(m *router.Msg) *apierr.Error {
	c := &in.rules
	switch {
	case c.Sealed:
		return apierr.JSStreamSealedErr
	case c.MaxMsgSize >= 0 && len(m.Header)+len(m.Payload) > int(c.MaxMsgSize):
		return apierr.JSStreamMessageExceedsMaximumErr
	case len(m.Header) > stream.MaxHeaderSize:
		return apierr.JSStreamHeaderExceedsMaximumErr
	}
	return nil
}
