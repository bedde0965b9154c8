// Package stream is the state machine of a stream: what a publish, a purge, a config change or the passing of time does to
// its messages. It is a function of the store's contents and the commands; a timestamp is an argument.
package stream

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/subject"
)

// First bytes of the keys that a stream sets. The keys of consumers begin with others.
const (
	keyHeader    = 's' // headerFormat, JSON of header
	keyDedupe    = 'd' // + id → uvarint sequence, varint time
	keyLastID    = 'l' // id of the last message stored, if it had one
	keyExpiry    = 't' // + expiry (unix ns, 8 bytes big endian) + sequence (8 bytes) → nothing
	keyForever   = 'v' // + sequence (8 bytes): the message never expires
	keyOrigin    = 'o' // + origin → uvarint sequence up to which it was copied, identity of the origin
	keyPlan      = 'a' // + time at which a schedule is due (unix ns, 8 bytes) + sequence of its message (8 bytes) → nothing
	keyDue       = 'b' // + sequence of a message that holds a schedule (8 bytes) → when it is due (8 bytes)
	keyZoned     = 'z' // + sequence of such a message (8 bytes) → varint time after which it is due next, zone, 0, pattern
	keySweep     = 'w' // + number (8 bytes) → JSON of sweep
	keyFastBatch = 'f' // + id → uvarint last sequence, uvarint stream sequence, varint time
)

const headerFormat = 1

// Stream is one stream's state. It belongs to the goroutine that applies entries; readers hold a lock of the caller's.
type Stream struct {
	store     Store
	cfg       api.StreamConfig
	created   int64 // unix ns
	transform *subject.Transform

	dedupe  dedupeIDs
	origins origins
	fast    fastBatches
	sweeps  []*sweep // under way, oldest first
	// lastMsgID is the message id of the last message stored, "" when it had none.
	lastMsgID      string
	lastMsgIDDirty bool
	// nextTTL is not after the first expiry among the messages with a TTL of their own; 0 when there is none.
	nextTTL int64
	// nextAge is not after the time when max_age ends for a message; 0 when no message ages.
	nextAge int64
	// scheduled: there are schedules in force. nextSchedule is when the first is due (unix ns).
	scheduled    bool
	nextSchedule int64
	// planShrank: nextSchedule may be early, until the end of the entry. One entry may end many schedules, so they are not read each time.
	planShrank bool
	zoned      map[uint64]*Zoned // by sequence
	// spared: the messages up to this sequence that are still there never expire.
	spared uint64

	// loading: a backup is being put in; see InitLoading.
	loading bool

	// StepMost bounds the messages that one entry removes, so that none takes long to apply. It is a part of the state machine:
	// only tests change it.
	StepMost int

	// Interested says whether a consumer wants a subject. It is asked only under interest retention; nil is nobody.
	Interested func(literal string) bool

	// Removed is called for each message that goes other than by Release; its subject is the store's. Purged is called when
	// all messages below a sequence have gone at once. Both may be nil.
	Removed func(info msg.Info)
	Purged  func(first uint64)

	directives directives
	keyBuf     []byte
	valueBuf   []byte
}

type header struct {
	Config  api.StreamConfig `json:"config"`
	Created int64            `json:"created"`
	Loading bool             `json:"loading,omitempty"`
}

// Open loads the stream that stands in store. ok is false when none does: the next call must be Init.
func Open(store Store) (s *Stream, ok bool, err error) {
	s = &Stream{store: store, dedupe: dedupeIDs{seqs: map[string]uint64{}}, zoned: map[uint64]*Zoned{}, StepMost: stepMost}
	if err := s.origins.load(store); err != nil {
		return nil, false, err
	}
	if err := s.fast.load(store); err != nil {
		return nil, false, err
	}
	if err := s.loadSweeps(); err != nil {
		return nil, false, err
	}
	value, ok, err := store.Get([]byte{keyHeader})
	if err != nil || !ok {
		return s, false, err
	}
	if len(value) == 0 || value[0] != headerFormat {
		return nil, false, base.Corruptf("stream header of unknown format")
	}
	var h header
	if err := json.Unmarshal(value[1:], &h); err != nil {
		return nil, false, base.Corruptf("stream header: %w", err)
	}
	s.created, s.loading = h.Created, h.Loading
	if err := s.setConfig(h.Config); err != nil {
		return nil, false, base.Corruptf("stream header: %w", err)
	}
	if err := s.dedupe.load(store); err != nil {
		return nil, false, err
	}
	id, _, err := store.Get([]byte{keyLastID})
	if err != nil {
		return nil, false, err
	}
	s.lastMsgID = string(id)
	s.restartAging()
	if err := s.loadSchedules(); err != nil {
		return nil, false, err
	}
	return s, true, s.findNextTTL()
}

// Init makes the stream. cfg has passed Check.
func (s *Stream) Init(cfg api.StreamConfig, created int64) error {
	base.Assert(s.created == 0, "stream %q made twice", cfg.Name)
	s.created = created
	if err := s.setConfig(cfg); err != nil {
		return err
	}
	if cfg.FirstSeq > 1 {
		s.store.SetLast(cfg.FirstSeq-1, 0)
	}
	return s.saveHeader()
}

func (s *Stream) setConfig(cfg api.StreamConfig) error {
	s.cfg, s.transform = cfg, nil
	if t := cfg.SubjectTransform; t != nil {
		transform, err := subject.NewTransform(t.Source, t.Destination)
		if err != nil {
			return err
		}
		s.transform = transform
	}
	return nil
}

func (s *Stream) restartAging() {
	s.nextAge, s.spared = s.store.State().FirstTime+int64(s.cfg.MaxAge), 0
}

func (s *Stream) saveHeader() error {
	doc, err := json.Marshal(header{s.cfg, s.created, s.loading})
	if err != nil {
		return err
	}
	return s.store.Set([]byte{keyHeader}, append([]byte{headerFormat}, doc...))
}

// Config is the configuration as applied; read-only.
func (s *Stream) Config() *api.StreamConfig { return &s.cfg }

// Created is when the stream was made.
func (s *Stream) Created() time.Time { return time.Unix(0, s.created).UTC() }

// Update puts cfg, which has passed CheckUpdate, in force: what is over the new limits goes.
func (s *Stream) Update(cfg api.StreamConfig, now int64) error {
	old := s.cfg
	if err := s.setConfig(cfg); err != nil {
		return err
	}
	s.restartAging()
	if err := s.saveHeader(); err != nil {
		return err
	}
	if !cfg.AllowBatched {
		s.fast.dropAll()
	}
	if cfg.Duplicates == 0 {
		if err := s.forgetAllDedupeIDs(); err != nil {
			return err
		}
	} else if err := s.forgetDedupeIDs(now); err != nil {
		return err
	}
	if err := s.heedFrom(&old, &cfg); err != nil {
		return err
	}
	if cfg.MaxMsgsPer > 0 && (old.MaxMsgsPer <= 0 || cfg.MaxMsgsPer < old.MaxMsgsPer) {
		if err := s.enforcePerSubjectEverywhere(); err != nil {
			return err
		}
	}
	return s.enforceLimits()
}

// Flush writes what changes with nearly every message. It is due at the end of an entry.
func (s *Stream) Flush() error {
	if err := s.origins.flush(s.store); err != nil {
		return err
	}
	if err := s.fast.flush(s.store); err != nil {
		return err
	}
	if s.planShrank {
		if err := s.findNextSchedule(); err != nil {
			return err
		}
	}
	if !s.lastMsgIDDirty {
		return nil
	}
	s.lastMsgIDDirty = false
	return s.store.Set([]byte{keyLastID}, []byte(s.lastMsgID))
}

// Hash sums up the state that the stream keeps beside its store.
func (s *Stream) Hash() uint64 {
	h := fnv.New64a()
	doc, err := json.Marshal(header{s.cfg, s.created, s.loading})
	base.Assert(err == nil, "stream header can not be encoded: %v", err)
	h.Write(doc)
	h.Write([]byte(s.lastMsgID))
	fmt.Fprint(h, s.scheduled, s.nextSchedule)
	for _, z := range s.ZonedDue(math.MaxInt64) {
		fmt.Fprint(h, z)
	}
	for _, origin := range slices.Sorted(maps.Keys(s.origins.last)) {
		s.valueBuf = appendUint64(append(s.valueBuf[:0], origin...), s.origins.last[origin])
		h.Write(append(s.valueBuf, s.origins.identity[origin]...))
	}
	for _, e := range s.dedupe.order[s.dedupe.head:] {
		s.valueBuf = appendUint64(appendUint64(append(s.valueBuf[:0], e.id...), uint64(e.time)), s.dedupe.seqs[e.id])
		h.Write(s.valueBuf)
	}
	s.fast.hash(h)
	s.hashSweeps(h)
	return h.Sum64()
}

// checkOpen is the error of an operation on a sealed stream.
func (s *Stream) checkOpen() *apierr.Error {
	if s.cfg.Sealed {
		return apierr.JSStreamSealedErr
	}
	return nil
}
