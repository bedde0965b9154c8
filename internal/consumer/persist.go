package consumer

import (
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/subject"
)

// Keys is the replicated key space.
type Keys interface {
	Set(key, value []byte) error
	Unset(key []byte) error
	Scanner
}

// Scanner reads the replicated key space.
type Scanner interface {
	ScanKeys(prefix []byte, visit func(key, value []byte) bool) error
}

// First bytes of the keys of consumers; the consumer's ID (8 bytes, big endian) follows.
const (
	keyConfig  = 'c' // configFormat, JSON of definition
	keyState   = 'h' // stateFormat, varints of state
	keyPending = 'p' // + base of the chunk (8 bytes) → appendChunk
	keyAbandon = 'g' // as keyPending, of messages that were given up and are kept
)

const (
	configFormat = 1
	stateFormat  = 1 // ends before the pin
	pinnedFormat = 2 // has one
)

type definition struct {
	Config         api.ConsumerConfig `json:"config"`
	Created        int64              `json:"created"`
	LastPerSubject uint64             `json:"last_per_subject,omitempty"`
	GivenBefore    uint64             `json:"given_before,omitempty"`
}

func (c *Consumer) key(kind byte) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 17), kind), c.ID)
}

// SaveConfig writes what changes only by the API.
func (c *Consumer) SaveConfig(keys Keys) error {
	doc, err := json.Marshal(definition{*c.Config, c.Created.UnixNano(), c.LastPerSubject, c.GivenBefore})
	if err != nil {
		return err
	}
	return keys.Set(c.key(keyConfig), append([]byte{configFormat}, doc...))
}

// Flush writes what changed since the last Flush.
func (c *Consumer) Flush(keys Keys) error {
	err := c.flushSet(keys, keyPending, &c.pending)
	if err == nil && c.abandoned != nil {
		if err = c.flushSet(keys, keyAbandon, c.abandoned); c.abandoned.n == 0 {
			c.abandoned = nil
		}
	}
	if err != nil || !c.headerDirty {
		return err
	}
	c.headerDirty = false
	return keys.Set(c.key(keyState), c.state.encode())
}

func (c *Consumer) flushSet(keys Keys, kind byte, set *pendingSet) error {
	return set.flush(func(b uint64, entries []Pending) error {
		key := binary.BigEndian.AppendUint64(c.key(kind), b)
		if entries == nil {
			return keys.Unset(key)
		}
		return keys.Set(key, appendChunk(nil, b, entries))
	})
}

// eraseSet removes the keys of a set.
func (c *Consumer) eraseSet(keys Keys, kind byte, set *pendingSet) error {
	if err := c.flushSet(keys, kind, set); err != nil {
		return err
	}
	for _, chunk := range set.chunks {
		set.shared.drop(chunk.base)
		if err := keys.Unset(binary.BigEndian.AppendUint64(c.key(kind), chunk.base)); err != nil {
			return err
		}
	}
	return nil
}

// Erase removes every key of the consumer.
func (c *Consumer) Erase(keys Keys) error {
	if err := c.eraseSet(keys, keyPending, &c.pending); err != nil {
		return err
	}
	if c.abandoned != nil {
		if err := c.eraseSet(keys, keyAbandon, c.abandoned); err != nil {
			return err
		}
	}
	if err := keys.Unset(c.key(keyState)); err != nil {
		return err
	}
	return keys.Unset(c.key(keyConfig))
}

func (s *state) encode() []byte {
	if s.Pin == nil {
		return s.append([]byte{stateFormat})
	}
	return s.append([]byte{pinnedFormat})
}

func (s *state) append(dst []byte) []byte {
	for _, v := range []uint64{s.Delivered.Consumer, s.Delivered.Stream, s.AckFloor.Consumer, s.AckFloor.Stream,
		s.Skipped, uint64(s.Runner), s.Epoch, s.Ticket} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = binary.AppendVarint(dst, s.LastDelivered)
	dst = binary.AppendVarint(dst, s.LastAcked)
	if p := s.Pin; p != nil {
		dst = appendString(appendString(dst, p.Group), p.ID)
		dst = binary.AppendVarint(dst, p.Since)
	}
	return dst
}

func decodeState(value []byte) (s state, ok bool) {
	r := base.Decoder{Rest: value}
	format := r.Byte()
	if format != stateFormat && format != pinnedFormat {
		return s, false
	}
	s.Delivered = Pair{r.Uvarint(), r.Uvarint()}
	s.AckFloor = Pair{r.Uvarint(), r.Uvarint()}
	s.Skipped = r.Uvarint()
	s.Runner = base.ReplicaID(r.Uvarint())
	s.Epoch, s.Ticket = r.Uvarint(), r.Uvarint()
	s.LastDelivered, s.LastAcked = r.Varint(), r.Varint()
	if format == pinnedFormat {
		s.Pin = &Pin{string(r.Block()), string(r.Block()), r.Varint()}
	}
	return s, r.Done()
}

// Load reads all consumers that stand in keys, in order of ID. spans is the stream's.
func Load(keys Scanner, spans *Spans) ([]*Consumer, error) {
	l := loader{spans: spans, byID: map[uint64]*Consumer{}}
	for _, step := range []struct {
		kind byte
		read func(c *Consumer, rest, value []byte) error
	}{{keyConfig, nil}, {keyState, l.state}, {keyPending, l.pending}, {keyAbandon, l.abandoned}} {
		var bad error
		err := keys.ScanKeys([]byte{step.kind}, func(key, value []byte) bool {
			bad = l.one(key, value, step.read)
			return bad == nil
		})
		if err == nil {
			err = bad
		}
		if err != nil {
			return nil, err
		}
	}
	return l.list, nil
}

type loader struct {
	spans *Spans
	list  []*Consumer
	byID  map[uint64]*Consumer
}

func (l *loader) one(key, value []byte, read func(*Consumer, []byte, []byte) error) error {
	if len(key) < 9 {
		return base.Corruptf("consumer key %q", key)
	}
	id := binary.BigEndian.Uint64(key[1:])
	if read == nil {
		return l.config(id, value)
	}
	c := l.byID[id]
	if c == nil {
		return base.Corruptf("key %q is of no consumer", key)
	}
	return read(c, key[9:], value)
}

func (l *loader) config(id uint64, value []byte) error {
	if len(value) == 0 || value[0] != configFormat {
		return base.Corruptf("consumer %d: configuration of unknown format", id)
	}
	var d definition
	if err := json.Unmarshal(value[1:], &d); err != nil {
		return base.Corruptf("consumer %d: configuration: %w", id, err)
	}
	for _, f := range d.Config.Filters() {
		if !subject.Valid(f) {
			return base.Corruptf("consumer %d: filter %q", id, f)
		}
	}
	c := &Consumer{ID: id, Created: time.Unix(0, d.Created).UTC(), LastPerSubject: d.LastPerSubject, GivenBefore: d.GivenBefore,
		pending: pendingSet{shared: l.spans}}
	d.Config.Metadata = shareMetadata(d.Config.Metadata)
	c.setConfig(d.Config)
	l.list = append(l.list, c)
	l.byID[id] = c
	return nil
}

func (l *loader) state(c *Consumer, _, value []byte) error {
	s, ok := decodeState(value)
	if !ok {
		return base.Corruptf("consumer %d: state of %d bytes", c.ID, len(value))
	}
	c.state = s
	return nil
}

func (l *loader) pending(c *Consumer, rest, value []byte) error {
	ch, err := l.chunk(c, &c.pending, rest, value)
	if err != nil {
		return err
	}
	for _, p := range ch.entries {
		if p.Deliveries > 1 {
			c.redelivered++
		}
	}
	return nil
}

func (l *loader) abandoned(c *Consumer, rest, value []byte) error {
	if c.abandoned == nil {
		c.abandoned = &pendingSet{shared: l.spans}
	}
	_, err := l.chunk(c, c.abandoned, rest, value)
	return err
}

func (l *loader) chunk(c *Consumer, set *pendingSet, rest, value []byte) (*chunk, error) {
	if len(rest) != 8 {
		return nil, base.Corruptf("consumer %d: key of a pending chunk", c.ID)
	}
	ch, err := decodeChunk(binary.BigEndian.Uint64(rest), value)
	if err != nil {
		return nil, base.Corruptf("consumer %d: %w", c.ID, err)
	}
	set.chunks = append(set.chunks, ch)
	l.spans.add(ch.base)
	set.n += len(ch.entries)
	return ch, nil
}

// Hash sums up the state.
func (c *Consumer) Hash() uint64 {
	h := fnv.New64a()
	doc, err := json.Marshal(definition{*c.Config, c.Created.UnixNano(), c.LastPerSubject, c.GivenBefore})
	base.Assert(err == nil, "consumer %q can not be encoded: %v", c.Name, err)
	h.Write(doc)
	buf := c.state.append(nil)
	add := func(p Pending) bool {
		buf = appendChunk(buf, chunkBase(p.Seq), []Pending{p})
		return true
	}
	c.pending.ascend(0, add)
	if c.abandoned != nil && c.abandoned.n > 0 {
		buf = append(buf, keyAbandon)
		c.abandoned.ascend(0, add)
	}
	h.Write(buf)
	return h.Sum64()
}
