// Package machine joins a stream and its consumers into the state machine of the stream's Raft group. Apply is a function of
// the store's contents and the command: no clock, no randomness, no goroutine. It takes no locks; who reads on another
// goroutine keeps Apply out meanwhile.
package machine

import (
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"slices"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/msg"
	"weir/internal/stream"
	"weir/internal/subject"
)

// Machine is the state of one stream's group.
type Machine struct {
	self   base.ReplicaID
	store  stream.Store
	stream *stream.Stream
	exists bool

	byName map[string]*consumer.Consumer
	byID   map[uint64]*consumer.Consumer
	// index has every consumer under each of its filters, ">" when it has none.
	index   subject.Index[*consumer.Consumer]
	spans   *consumer.Spans
	counted int // consumers that count for max_consumers
	direct  int // consumers that mirrors and sources made
	// touched has the consumers that Flush has to be called for, some perhaps twice.
	touched []*consumer.Consumer

	// release is the removal of messages that nobody needs that is under way; nil when there is none.
	release *release

	message msg.Message // the one being published
	out     *Effects    // of the entry being applied
	// failed is the first error of the store within a callback.
	failed error
}

// New loads what stands in the store. self is this replica: only its own requests get results.
func New(store stream.Store, self base.ReplicaID) (*Machine, error) {
	m := &Machine{self: self, store: store, byName: map[string]*consumer.Consumer{}, byID: map[uint64]*consumer.Consumer{},
		spans: consumer.NewSpans()}
	s, ok, err := stream.Open(store)
	if err != nil {
		return nil, fmt.Errorf("loading stream: %w", err)
	}
	m.stream, m.exists = s, ok
	s.Interested, s.Removed, s.Purged = m.index.HasInterest, m.removed, m.purged
	consumers, err := consumer.Load(store, m.spans)
	if err != nil {
		return nil, fmt.Errorf("loading consumers: %w", err)
	}
	for _, c := range consumers {
		m.link(c)
	}
	if err := m.loadRelease(); err != nil {
		return nil, fmt.Errorf("loading stream: %w", err)
	}
	return m, nil
}

// Exists tells whether the stream was made.
func (m *Machine) Exists() bool { return m.exists }

// Stream is the stream; read it while Apply is kept out.
func (m *Machine) Stream() *stream.Stream { return m.stream }

// Consumer finds a consumer by name; nil when there is none.
func (m *Machine) Consumer(name string) *consumer.Consumer { return m.byName[name] }

// ConsumerByID finds a consumer by its ID; nil when there is none.
func (m *Machine) ConsumerByID(id uint64) *consumer.Consumer { return m.byID[id] }

// NumConsumers counts the consumers.
func (m *Machine) NumConsumers() int { return len(m.byID) }

// NumListed counts the consumers but those that mirrors and sources made.
func (m *Machine) NumListed() int { return len(m.byID) - m.direct }

// Consumers visits all consumers, in no order.
func (m *Machine) Consumers() iter.Seq[*consumer.Consumer] { return maps.Values(m.byID) }

// NextExpiry is when an Expire command is due (unix ns); 0 is never.
func (m *Machine) NextExpiry() int64 {
	if !m.exists {
		return 0
	}
	if m.release != nil {
		return stream.Now
	}
	return m.stream.NextExpiry()
}

// Hash sums up the state beside the store's messages. It is equal on replicas that applied the same entries.
func (m *Machine) Hash() uint64 {
	h := fnv.New64a()
	fmt.Fprintln(h, m.exists, m.stream.Hash())
	if m.release != nil {
		fmt.Fprintln(h, *m.release)
	}
	for _, id := range slices.Sorted(maps.Keys(m.byID)) {
		fmt.Fprintln(h, id, m.byID[id].Hash())
	}
	return h.Sum64()
}

// Apply does one command, the entry at index, and notes in out what it did. An error says that this replica can not go on:
// the command is not one, or the store failed.
func (m *Machine) Apply(index uint64, cmd []byte, out *Effects) error {
	out.Reset()
	m.out = out
	kind, origin, body, err := decodeHeader(cmd)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	a := applier{Machine: m, index: index, origin: origin, mine: origin.Proposer == m.self}
	if m.exists == (kind == KindInit) || m.exists && m.stream.Loading() != loads(kind) {
		a.untimely(kind)
		return nil
	}
	if err := a.apply(kind, body); err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	if err := m.flush(); err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	return nil
}

// untimely answers a command that is not for the stream as it stands, and leaves it out. Two leaders in a row may both propose an Init: the
// first counts, and the second is content. To other commands the stream is not there: before Init, and while a backup is put in; nor is it
// to Load… commands at other times.
func (a *applier) untimely(k Kind) {
	if k == KindInit {
		a.reply(Reply{})
		return
	}
	a.reply(Reply{Err: apierr.JSStreamNotFoundErr})
}

// flush writes the keys that the entry changed.
func (m *Machine) flush() error {
	if m.failed != nil {
		return m.failed
	}
	if err := m.stream.Flush(); err != nil {
		return err
	}
	for _, c := range m.touched {
		if m.byID[c.ID] != c {
			continue // removed since
		}
		if err := c.Flush(m.store); err != nil {
			return err
		}
	}
	clear(m.touched)
	m.touched = m.touched[:0]
	return nil
}

func (m *Machine) touch(c *consumer.Consumer) { m.touched = append(m.touched, c) }

// applier is the machine while it applies one entry.
type applier struct {
	*Machine
	index  uint64
	origin Origin
	mine   bool           // this replica proposed the entry
	from   consumerStream // of the delta being applied
}

func (a *applier) apply(kind Kind, body []byte) error {
	switch kind {
	case KindPublish:
		return a.publish(body)
	case KindDeltas:
		return a.deltas(body)
	case KindRunners:
		return a.runners(body)
	case KindExpire:
		return a.expire(body)
	case KindInit:
		return run(body, a.init)
	case KindUpdate:
		return run(body, a.update)
	case KindCopy:
		return a.copy(body)
	case KindMeet:
		return run(body, a.meet)
	case KindBatch:
		return a.batch(body)
	case KindFastPublish:
		return a.fastPublish(body)
	case KindPurge:
		return run(body, a.purge)
	case KindDeleteMsg:
		return run(body, a.deleteMsg)
	case KindConsumerCreate:
		return run(body, a.consumerCreate)
	case KindConsumerDelete:
		return run(body, a.consumerDelete)
	case KindConsumerPause:
		return run(body, a.consumerPause)
	case KindConsumerReset:
		return run(body, a.consumerReset)
	case KindLoad:
		return a.load(body)
	case KindLoadConsumer:
		return run(body, a.loadConsumer)
	case KindLoadPending:
		return a.loadPending(body)
	case KindLoadEnd:
		return run(body, a.loadEnd)
	}
	return fmt.Errorf("%w: unknown kind %d", errCommand, kind)
}

// run decodes a JSON body and applies it.
func run[T any](body []byte, apply func(*T) error) error {
	c, err := decodeJSON[T](body)
	if err != nil {
		return err
	}
	return apply(c)
}

// reply answers the command's proposer.
func (a *applier) reply(r Reply) {
	if a.mine {
		r.Request = a.origin.Seq
		a.out.Replies = append(a.out.Replies, r)
	}
}

func (a *applier) publish(body []byte) error {
	r := base.Decoder{Rest: body}
	now := r.Varint()
	for request := a.origin.Seq; len(r.Rest) > 0 && !r.Bad; request++ {
		p := decodePub(&r)
		if r.Bad {
			break
		}
		result, err := a.stream.Publish(now, &p, &a.message)
		if err != nil {
			return err
		}
		if result.Stored {
			a.stored(result.Previous)
		}
		if a.mine {
			a.out.Published = append(a.out.Published, Published{Request: request, Published: result})
		}
	}
	if r.Bad {
		return fmt.Errorf("publish: %w", errCommand)
	}
	return nil
}

// stored notes the message that came into the stream; previous is the sequence before it on its subject.
func (a *applier) stored(previous uint64) {
	a.out.Stored = append(a.out.Stored, a.message)
	if a.stream.Config().RePublish != nil {
		a.out.Previous = append(a.out.Previous, previous)
	}
}

func (a *applier) expire(body []byte) error {
	r := base.Decoder{Rest: body}
	now := r.Varint()
	var zoned []stream.ZonedNext
	for len(r.Rest) > 0 && !r.Bad {
		zoned = append(zoned, stream.ZonedNext{Seq: r.Uvarint(), Due: r.Varint(), Offset: int(r.Varint())})
	}
	if r.Bad {
		return fmt.Errorf("expire: %w", errCommand)
	}
	a.out.Trimmed, a.out.Expired = true, true
	if err := a.sweep(); err != nil {
		return err
	}
	if err := a.goOnReleasing(); err != nil {
		return err
	}
	if err := a.stream.Fire(now, zoned, func(m *msg.Message, previous uint64) {
		a.message = *m
		a.stored(previous)
	}); err != nil {
		return err
	}
	return a.stream.Expire(now, func(marker *msg.Message) { a.out.Stored = append(a.out.Stored, *marker) })
}

func (a *applier) init(c *Init) error {
	a.Machine.exists = true
	a.out.StreamChanged = true
	a.reply(Reply{})
	if c.Loading {
		return a.stream.InitLoading(c.Config, c.Created)
	}
	return a.stream.Init(c.Config, c.Created)
}

func (a *applier) update(c *Update) error {
	before := a.stream.Config().Retention
	if a.turnsFromLimits(&c.Config) && !a.covers(c.Keep) {
		a.reply(Reply{Err: apierr.JSStreamUpdateErrF("a mirror or source has just begun to read the stream")}) // its leader tries again
		return nil
	}
	if err := a.stream.Update(c.Config, c.Time); err != nil {
		return err
	}
	a.out.StreamChanged, a.out.Trimmed = true, true
	a.reply(Reply{})
	if c.Config.Retention == before {
		return nil
	}
	if err := a.suitCopiers(c); err != nil {
		return err
	}
	if c.Config.Retention == api.InterestRetention {
		return a.releaseUnwanted(subject.Filter{}, 0)
	}
	return nil
}

func (a *applier) purge(c *Purge) error {
	n, done, refused, err := a.stream.Purge(stream.PurgeRequest{
		Filter: c.Filter, Below: c.Below, Keep: c.Keep, UpTo: c.UpTo, Proposer: uint64(a.origin.Proposer), Request: a.origin.Seq,
	})
	if err != nil {
		return err
	}
	a.out.Trimmed = n > 0
	if done {
		a.reply(Reply{Purged: n, Err: refused})
	} else if a.mine {
		a.out.Unfinished = append(a.out.Unfinished, a.origin.Seq)
	}
	return nil
}

// sweep goes on with what was begun, and answers the purges that are done.
func (a *applier) sweep() error {
	return a.stream.Sweep(func(p stream.Swept) {
		switch {
		case p.Proposer != uint64(a.self):
		case p.Done:
			a.out.Replies = append(a.out.Replies, Reply{Request: p.Request, Purged: p.Removed})
		default:
			a.out.Unfinished = append(a.out.Unfinished, p.Request)
		}
	})
}

func (a *applier) deleteMsg(c *DeleteMsg) error {
	refused, err := a.stream.DeleteMsg(c.Seq, c.NoErase)
	a.reply(Reply{Err: refused})
	a.out.Trimmed = refused == nil
	return err
}
