package jetstream

import (
	"bytes"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/machine"
	"weir/internal/router"
	"weir/internal/wire"
)

// Bounds of one publish command and of what waits to become one.
const (
	maxBatchBytes    = 1 << 20
	maxBatchMsgs     = 2000
	maxInflight      = 4        // publish commands proposed and not yet applied
	maxInflightBytes = 24 << 20 // of more than one of them; less than what a group takes
)

// refusable are those who are told that b was not taken. Who publishes a fast batch
// hears of the gap.
func (b *batch) refusable() (replies []string) {
	for i, reply := range b.replies {
		if b.kind != machine.KindFastPublish || b.parts[i].ID == "" {
			replies = append(replies, reply)
		}
	}
	return replies
}

// ingest gathers published messages into commands while this replica leads.
//
// A command goes out when nothing is under way, or when it is full; messages
// that arrive meanwhile share the next one. So one publisher pays one round
// trip per message and many share it.
type ingest struct {
	s *Stream

	mu       sync.Mutex
	active   bool
	over     bool             // never active again
	rules    api.StreamConfig // as applied
	subs     []*router.Sub
	open     *batch   // being filled; nil when empty
	full     []*batch // to be proposed, in order
	inflight []*batch // proposed and not yet applied, in order
	bytes    int      // in open and full
	messages int      // the same
	queued   bool     // a flush is due
	nextSeq  uint64   // request numbers
	spare    []*batch

	staged map[string]*staged   // atomic batches that are open
	flows  map[string]*fastFlow // fast ones
}

// batch is one publish command and whom to answer.
type batch struct {
	kind    machine.Kind // KindPublish, KindFastPublish or KindBatch
	first   uint64       // request number of the first message
	cmd     []byte       // its messages
	replies []string     // "" for a publisher that wants no answer
	size    int          // its part of ingest.bytes

	traced []*tracedMessage
	parts  []fastPart // by message, of KindFastPublish
	id     string     // of the atomic batch, of KindBatch
	count  int        // its messages
}

// messages is how many messages are in b.
func (b *batch) messages() int {
	if b.kind == machine.KindBatch {
		return b.count
	}
	return len(b.replies)
}

// command is the command that b proposes.
func (b *batch) command(o machine.Origin, now int64, timeout time.Duration) []byte {
	cmd := make([]byte, 0, len(b.cmd)+50)
	switch b.kind {
	case machine.KindBatch:
		cmd = machine.AppendBatch(cmd, o, now)
	case machine.KindFastPublish:
		cmd = machine.AppendFastPublish(cmd, o, now, int64(timeout))
	default:
		cmd = machine.AppendPublish(cmd, o, now)
	}
	return append(cmd, b.cmd...)
}

func (in *ingest) init(s *Stream) {
	in.s = s
	in.nextSeq = firstRequest()
	in.staged, in.flows = make(map[string]*staged), make(map[string]*fastFlow)
}

// start begins to take messages on the stream's subjects.
func (in *ingest) start() error {
	cfg := in.s.appliedConfig()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.over {
		return nil
	}
	in.active, in.rules = true, cfg
	return in.subscribeLocked(cfg.Subjects)
}

// subscribeLocked makes the subscriptions those of subjects, adding before it removes.
func (in *ingest) subscribeLocked(subjects []string) error {
	old := in.subs
	kept := map[string]*router.Sub{}
	for _, sub := range old {
		kept[sub.Subject] = sub
	}
	in.subs = in.subs[:0:0]
	for _, subj := range subjects {
		if sub := kept[subj]; sub != nil {
			delete(kept, subj)
			in.subs = append(in.subs, sub)
			continue
		}
		sub, err := in.s.node.cfg.Router.Subscribe(in.s.acc, subj, "", in.take, router.SubOptions{Traces: true})
		if err != nil {
			for _, sub := range kept { // not lost: a later attempt may drop them
				in.subs = append(in.subs, sub)
			}
			return err
		}
		in.subs = append(in.subs, sub)
	}
	for _, sub := range kept {
		in.s.node.cfg.Router.Unsubscribe(sub)
	}
	return nil
}

// stop ends taking messages. What was not proposed is dropped: its publishers get
// no answer and try again with the new leader.
func (in *ingest) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopLocked()
}

// end is stop for good.
func (in *ingest) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over = true
	in.stopLocked()
}

func (in *ingest) stopLocked() {
	for _, sub := range in.subs {
		in.s.node.cfg.Router.Unsubscribe(sub)
	}
	in.active, in.subs = false, nil
	in.s.await(-in.bytes)
	in.open, in.full, in.bytes, in.messages = nil, nil, 0, 0
	in.unstageAllLocked()
	in.closeAllFlowsLocked()
}

// configChanged follows a change of the stream's configuration. Clients may know of
// it already and have begun batches, which go on unless their kind is not allowed.
func (in *ingest) configChanged() {
	cfg := in.s.appliedConfig()
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.active {
		return
	}
	in.rules = cfg
	if !cfg.AllowAtomic {
		in.unstageAllLocked()
	}
	if !cfg.AllowBatched {
		in.closeAllFlowsLocked()
	}
	if err := in.subscribeLocked(cfg.Subjects); err != nil {
		in.s.node.cfg.Logger.Errorf("Subscribe to the subjects of stream %s: %v", in.s.name, err)
	}
}

// take is the handler of the stream's subscriptions.
func (in *ingest) take(_ *router.Sub, from router.Source, m *router.Msg) {
	_, crossed := wire.GetHeader(m.Header, router.RequestInfoHeader) // it came out of another account
	if crossed || router.HasTrace(m.Header) {
		plain := *m
		plain.Header = wire.DelHeader(router.WithoutTrace(m.Header), router.RequestInfoHeader)
		m = &plain
	}
	if t := from.Trace(); t != nil {
		in.takeTraced(t, m)
		return
	}
	in.takeOne(m, nil)
}

// takeOne takes a message; trace is nil for one that is not traced.
func (in *ingest) takeOne(m *router.Msg, trace *tracedMessage) {
	m = withKnownZone(m)
	switch {
	case bytes.HasSuffix(m.Reply, fastSuffix):
		in.takeFast(m)
		trace.stored(true)
	case in.takeAtomic(m):
		trace.stored(true)
	default:
		in.takePlain(m, trace)
	}
}

// takePlain takes a message that is a part of no batch.
func (in *ingest) takePlain(m *router.Msg, trace *tracedMessage) {
	in.mu.Lock()
	if !in.active {
		in.mu.Unlock()
		trace.failed(errNotLed)
		return
	}
	if e := in.gatherLocked(m, nil, trace); e != nil {
		noAck := in.rules.NoAck
		in.mu.Unlock()
		in.tellRefused(string(m.Reply), e, noAck)
		trace.failed(e)
		return
	}
	wake := in.wakeLocked()
	in.mu.Unlock()
	if wake {
		in.s.node.flushSoon(in.s)
	}
}

// tellRefused answers a message that was not taken.
func (in *ingest) tellRefused(reply string, e *apierr.Error, noAck bool) {
	switch {
	case e == apierr.JSStreamTooManyRequests:
		in.s.refuse(reply, e)
	case reply != "" && !noAck:
		in.s.reply(reply, in.s.publishError(e, 0))
	}
}

// gatherLocked adds a message to the command that is being filled, or tells why
// there is no room for it. part is nil for a message of no fast batch, trace for one
// that is not traced.
func (in *ingest) gatherLocked(m *router.Msg, part *fastPart, trace *tracedMessage) *apierr.Error {
	size := len(m.Subject) + len(m.Header) + len(m.Payload) + 8
	if !in.hasRoomLocked(1, size) {
		return apierr.JSStreamTooManyRequests
	}
	if e := in.s.checkRoom(len(m.Subject), len(m.Header), len(m.Payload)); e != nil {
		return e
	}
	in.bytes += size
	in.messages++
	in.s.await(size)
	if part != nil && in.open != nil && in.open.kind != machine.KindFastPublish {
		in.closeOpenLocked()
	}
	b := in.open
	if b == nil {
		b = in.newBatchLocked()
		if part != nil {
			b.kind = machine.KindFastPublish
		}
	}
	b.size += size
	if b.kind == machine.KindFastPublish {
		if part == nil {
			part = &fastPart{}
		}
		b.cmd = machine.AppendPart(b.cmd, part.FastPart)
		b.parts = append(b.parts, *part)
	}
	if trace != nil {
		trace.at = len(b.replies)
		b.traced = append(b.traced, trace)
	}
	b.cmd = machine.AppendMessage(b.cmd, m.Subject, m.Header, m.Payload)
	b.replies = append(b.replies, string(m.Reply))
	if len(b.cmd) >= maxBatchBytes || len(b.replies) >= maxBatchMsgs {
		in.closeOpenLocked()
	}
	return nil
}

// hasRoomLocked tells whether so much more may wait to be proposed; what comes alone
// always may. Beyond it, publishers get error 10167.
func (in *ingest) hasRoomLocked(messages, bytes int) bool {
	limits := &in.s.node.cfg.Backlog
	return in.messages == 0 || in.messages+messages <= limits.messages() && in.bytes+bytes <= limits.bytes()
}

// closeOpenLocked lets nothing more into the command that is being filled.
func (in *ingest) closeOpenLocked() {
	if in.open != nil {
		in.full = append(in.full, in.open)
		in.open = nil
	}
}

// wakeLocked tells whether the caller has to ask for a flush.
func (in *ingest) wakeLocked() bool {
	waits := in.open != nil || len(in.full) > 0
	wake := waits && !in.queued && len(in.inflight) < maxInflight
	in.queued = in.queued || wake
	return wake
}

func (in *ingest) newBatchLocked() *batch {
	var b *batch
	if n := len(in.spare); n > 0 {
		b, in.spare = in.spare[n-1], in.spare[:n-1]
	} else {
		b = new(batch)
	}
	in.open = b
	*b = batch{kind: machine.KindPublish, cmd: b.cmd[:0], replies: b.replies[:0], parts: b.parts[:0]}
	return b
}

// flush proposes what has been gathered, within the bound of what is under way.
// Without a leader the publishers of what can not be proposed hear nothing and
// try again; an overload is told.
func (in *ingest) flush() {
	// Not under the lock: a reply may be to a subject of this very stream.
	for _, reply := range in.propose() {
		in.s.refuse(reply, apierr.JSStreamTooManyRequests)
	}
}

// propose is flush but for telling those whose messages were refused.
func (in *ingest) propose() (refused []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.queued = false
	for len(in.inflight) < maxInflight && !in.fillsUpLocked() {
		b := in.nextLocked()
		if b == nil {
			break
		}
		b.first = in.nextSeq
		in.nextSeq += uint64(len(b.replies))
		cmd := b.command(machine.Origin{Proposer: in.s.replica, Seq: b.first}, in.s.node.cfg.Clock.Now().UnixNano(), in.s.node.cfg.Batches.timeout())
		if err := in.s.group.Propose(cmd); err != nil {
			if isOverloaded(err) {
				refused = append(refused, b.refusable()...)
			}
			in.s.await(-b.size)
			in.recycleLocked(b)
			continue
		}
		in.inflight = append(in.inflight, b)
	}
	return refused
}

// fillsUpLocked tells whether the next command has to wait, as it is too large to be
// under way together with those that are.
func (in *ingest) fillsUpLocked() bool {
	if len(in.full) == 0 || len(in.inflight) == 0 {
		return false
	}
	size := len(in.full[0].cmd)
	for _, b := range in.inflight {
		size += len(b.cmd)
	}
	return size > maxInflightBytes
}

// nextLocked takes the next batch to propose.
func (in *ingest) nextLocked() *batch {
	var b *batch
	switch {
	case len(in.full) > 0:
		b = in.full[0]
		in.full[0] = nil
		in.full = in.full[1:]
	case in.open != nil:
		b, in.open = in.open, nil
	default:
		return nil
	}
	in.bytes -= b.size
	in.messages -= b.messages()
	return b
}

func (in *ingest) recycleLocked(b *batch) {
	if len(in.spare) < maxInflight && cap(b.cmd) <= 2*maxBatchBytes {
		clear(b.replies)
		clear(b.parts)
		b.replies = b.replies[:0]
		in.spare = append(in.spare, b)
	}
}

// answer sends the publishers of applied commands their acks.
func (in *ingest) answer(results []machine.Published) {
	var out router.Batch
	for len(results) > 0 {
		b := in.applied(results[0].Request)
		if b == nil {
			results = results[1:]
			continue
		}
		n := min(len(b.replies), len(results))
		for i := range n {
			in.answerOne(b, i, &results[i], &out)
		}
		b.tellTraces(results[:n])
		results = results[n:]
		in.mu.Lock()
		in.recycleLocked(b)
		in.mu.Unlock()
	}
	out.Flush()
	in.more()
}

// answerOne answers the i-th message of b, or b as a whole.
func (in *ingest) answerOne(b *batch, i int, p *machine.Published, out *router.Batch) {
	switch {
	case b.kind == machine.KindBatch:
		in.s.ackBatch(b.replies[i], b, p, out)
	case p.Fast != nil:
		in.answerFast(b.replies[i], &b.parts[i], p.Fast, out)
	default:
		in.s.ackPublish(b.replies[i], p, out)
	}
}

// applied finds and removes the batch that begins with a request number. Batches
// before it were lost with an earlier leadership.
func (in *ingest) applied(first uint64) *batch {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, x := range in.inflight {
		if x.first == first {
			in.inflight = append(in.inflight[:0], in.inflight[i+1:]...)
			in.s.await(-x.size)
			return x
		}
		if x.first > first {
			break
		}
	}
	return nil
}

// more asks for a flush if something waits.
func (in *ingest) more() {
	in.mu.Lock()
	wake := in.wakeLocked()
	in.mu.Unlock()
	if wake {
		in.s.node.flushSoon(in.s)
	}
}

// abandon forgets commands of an earlier term that were never applied.
func (in *ingest) abandon() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, b := range in.inflight {
		in.s.await(-b.size)
	}
	in.inflight = nil
}
