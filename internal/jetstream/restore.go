package jetstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/backup"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/meta"
	"weir/internal/msg"
)

// A restore: the meta group assigns the stream, marked as being restored, so that
// its name is taken and nobody sees it. The leader of its group makes it, loading,
// and hands it to who receives the backup (Events.RestoreReady), on its own node.
// That one has LoadBackup propose what comes, and ends with EndRestore: the mark
// goes, or the stream does. What a leader finds half loaded without a receiver is
// dropped: the receiver went with a leadership that was lost, and its client
// begins again.

// reconcileRestore is reconcile for a stream that is being restored.
func (s *Stream) reconcileRestore(ctx context.Context, a *meta.Assignment) (done bool, err error) {
	var exists, loading bool
	s.View(func(m *machine.Machine) { exists, loading = m.Exists(), m.Exists() && m.Stream().Loading() })
	switch {
	case s.receiving.Load():
		return true, nil
	case exists && !loading:
		return false, s.proposeEnd(ctx, true)
	case exists:
		return false, s.proposeEnd(ctx, false)
	}
	waiting := s.node.watching.takeOrigins(s.id, a.Revision, s.node.cfg.Clock.Now())
	if len(waiting) == 0 {
		return false, s.proposeEnd(ctx, false)
	}
	s.receiving.Store(true)
	r, err := s.Propose(ctx, &machine.Init{Config: *a.Config, Created: a.Created, Loading: true})
	if err == nil && r.Err != nil {
		err = r.Err
	}
	if err != nil {
		s.receiving.Store(false)
		return false, err
	}
	s.node.cfg.Events.RestoreReady(s, waiting[0].origin)
	return true, nil
}

func (s *Stream) proposeEnd(ctx context.Context, kept bool) error {
	r, err := s.node.ProposeMeta(ctx, &meta.RestoreEnded{Group: s.id, Kept: kept})
	if err == nil && r.Err != nil {
		err = r.Err
	}
	return err
}

// EndRestore ends a restore that RestoreReady began here. Kept, the stream is
// shown: it is open for business when EndRestore returns without an error. Else it
// is dropped, now or by the next leader.
func (s *Stream) EndRestore(ctx context.Context, kept bool) error {
	err := s.proposeEnd(ctx, kept)
	for kept && err != nil && ctx.Err() == nil && s.node.streamByGroup(s.id) == s && s.node.pause(membershipPause) {
		err = s.proposeEnd(ctx, kept)
	}
	s.receiving.Store(false)
	s.node.reconcile(s)
	if err != nil || !kept {
		return err
	}
	for !s.openAfterRestore() {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case s.node.streamByGroup(s.id) != s:
			return errDeleted
		case !s.Leads():
			return nil // another leader opens it
		case !s.node.pause(openPoll):
			return context.Cause(s.node.ctx)
		}
	}
	return nil
}

var errDeleted = errors.New("the stream was deleted")

const openPoll = 5 * time.Millisecond

func (s *Stream) openAfterRestore() bool {
	s.ingest.mu.Lock()
	active := s.ingest.active
	s.ingest.mu.Unlock()
	return active && !s.Assignment().Restoring
}

// Bounds of the commands that put a backup into a stream.
const (
	maxLoading     = 4 // commands proposed and not yet applied
	maxLoadPending = 4096
)

// LoadBackup puts what an archive holds into the stream, up to its end. limits are
// those of the account's consumers.
func (s *Stream) LoadBackup(ctx context.Context, in *backup.Reader, limits consumer.Limits) error {
	state, err := in.State()
	if err != nil {
		return err
	}
	l := &loader{s: s, ctx: ctx, slots: make(chan struct{}, maxLoading)}
	for {
		c, err := in.Consumer()
		if err != nil {
			return err
		}
		if c == nil {
			break
		}
		if err := l.consumer(c, state.LastSeq, limits); err != nil {
			return err
		}
	}
	if err := l.messages(in); err != nil {
		return err
	}
	if err := l.wait(); err != nil {
		return err
	}
	if err := l.propose("end", &machine.LoadEnd{Last: state.LastSeq}); err != nil {
		return err
	}
	return l.wait()
}

// loader proposes a backup, several commands at once.
type loader struct {
	s     *Stream
	ctx   context.Context
	slots chan struct{}

	mu  sync.Mutex
	err error // the first
}

// propose proposes one command when there is a slot; what becomes of it is told
// by failed. over is called when it is applied or never will be.
func (l *loader) propose(what string, c machine.Command, over ...func()) error {
	end := func() {
		for _, f := range over {
			f()
		}
	}
	select {
	case l.slots <- struct{}{}:
	case <-l.ctx.Done():
		end()
		return context.Cause(l.ctx)
	}
	if err := l.failed(); err != nil {
		end()
		<-l.slots
		return err
	}
	done := func(r machine.Reply, err error) {
		end()
		if err == nil && r.Err != nil {
			err = fmt.Errorf("%s: %w", what, r.Err)
		}
		l.fail(err)
		<-l.slots
	}
	err := l.s.ProposeFunc(c, done)
	for isOverloaded(err) && l.ctx.Err() == nil && l.s.node.pause(overloadPause) {
		err = l.s.ProposeFunc(c, done)
	}
	if err != nil {
		end()
		l.fail(err)
		<-l.slots
	}
	return l.failed()
}

// overloadPause is how long a backup waits when its group has too much to do.
const overloadPause = 20 * time.Millisecond

func (l *loader) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

func (l *loader) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// wait waits until everything is applied.
func (l *loader) wait() error {
	for range cap(l.slots) {
		select {
		case l.slots <- struct{}{}:
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
	for range cap(l.slots) {
		<-l.slots
	}
	return l.failed()
}

// consumer proposes a consumer with what waits for its acks. last is the last
// sequence of the backup.
func (l *loader) consumer(c *backup.Consumer, last uint64, limits consumer.Limits) error {
	st := &c.State
	cmd := &machine.LoadConsumer{
		Time: l.s.node.cfg.Clock.Now().UnixNano(), Config: c.Config, Limits: limits,
		Delivered: consumer.Pair(st.Delivered), AckFloor: consumer.Pair(st.AckFloor),
	}
	if c.Config.DeliverPolicy == api.DeliverLastPerSubject && st.Delivered.Consumer == 0 {
		cmd.LastPerSubject = last // as if it were made now
	}
	if err := l.propose(fmt.Sprintf("consumer %q", c.Config.Name), cmd); err != nil {
		return err
	}
	for _, seqs := range slices.Collect(slices.Chunk(slices.Sorted(maps.Keys(st.Pending)), maxLoadPending)) {
		part := &machine.LoadPending{Consumer: c.Config.Name}
		for _, seq := range seqs {
			p := st.Pending[seq]
			part.Pending = append(part.Pending, consumer.Pending{
				Seq: seq, ConsumerSeq: p.Sequence, Time: p.Timestamp,
				Deliveries: uint32(min(st.Redelivered[seq], math.MaxUint32-1)) + 1,
			})
		}
		if err := l.propose(fmt.Sprintf("consumer %q", c.Config.Name), part); err != nil {
			return err
		}
	}
	return nil
}

// messages proposes the messages up to the end of the archive.
func (l *loader) messages(in *backup.Reader) error {
	var m msg.Message
	var body []byte
	flush := func() error {
		if e := l.s.checkRoom(0, 0, len(body)); e != nil {
			return e
		}
		cmd := &machine.Load{Time: l.s.node.cfg.Clock.Now().UnixNano(), Body: body}
		size := len(body)
		l.s.await(size)
		body = nil
		return l.propose("messages", cmd, func() { l.s.await(-size) })
	}
	count := 0
	for {
		ok, err := in.Message(&m)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		body = machine.AppendCopied(body, m.Seq, m.Time, m.Subject, m.Header, m.Data)
		if count++; len(body) < maxBatchBytes && count < maxBatchMsgs {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		count = 0
	}
	if len(body) == 0 {
		return nil
	}
	return flush()
}
