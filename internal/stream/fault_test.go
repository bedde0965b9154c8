package stream

import (
	"errors"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/stream/storetest"
	"weir/internal/subject"
)

var errDisk = errors.New("disk on fire")

// failingStore fails at its nth call, and is good otherwise.
type failingStore struct {
	*storetest.Store
	n int
}

func (s *failingStore) fails() error {
	if s.n--; s.n == 0 {
		return errDisk
	}
	return nil
}

func (s *failingStore) Append(m *msg.Message) error {
	return errors.Join(s.fails(), s.Store.Append(m))
}

func (s *failingStore) Delete(seq uint64, erase bool) (msg.Info, bool, error) {
	if err := s.fails(); err != nil {
		return msg.Info{}, false, err
	}
	return s.Store.Delete(seq, erase)
}

func (s *failingStore) DeleteOf(_ string, seq uint64) (msg.Info, bool, error) {
	return s.Delete(seq, false)
}

func (s *failingStore) Purge(below uint64, most int) (uint64, bool, error) {
	if err := s.fails(); err != nil {
		return 0, false, err
	}
	return s.Store.Purge(below, most)
}

func (s *failingStore) PurgeMatching(pattern, from string, below, keep uint64, most int, removed func(msg.Info)) (string, error) {
	next, err := s.Store.PurgeMatching(pattern, from, below, keep, most, removed)
	return next, errors.Join(s.fails(), err)
}

func (s *failingStore) Info(seq uint64) (msg.Info, bool, error) {
	if err := s.fails(); err != nil {
		return msg.Info{}, false, err
	}
	return s.Store.Info(seq)
}

func (s *failingStore) NextInfo(from uint64) (msg.Info, bool, error) {
	if err := s.fails(); err != nil {
		return msg.Info{}, false, err
	}
	return s.Store.NextInfo(from)
}

func (s *failingStore) Load(seq uint64, m *msg.Message, buf []byte) (bool, error) {
	if err := s.fails(); err != nil {
		return false, err
	}
	return s.Store.Load(seq, m, buf)
}

func (s *failingStore) found(seq uint64, ok bool, err error) (uint64, bool, error) {
	if err := s.fails(); err != nil {
		return 0, false, err
	}
	return seq, ok, err
}

func (s *failingStore) FirstFor(literal string) (uint64, bool, error) {
	return s.found(s.Store.FirstFor(literal))
}

func (s *failingStore) LastFor(literal string) (uint64, bool, error) {
	return s.found(s.Store.LastFor(literal))
}

func (s *failingStore) LastMatching(f subject.Filter, upTo uint64) (uint64, bool, error) {
	return s.found(s.Store.LastMatching(f, upTo))
}

func (s *failingStore) NthLast(f subject.Filter, upTo, n uint64) (uint64, bool, error) {
	return s.found(s.Store.NthLast(f, upTo, n))
}

func (s *failingStore) CountFor(literal string) (uint64, error) {
	n, err := s.Store.CountFor(literal)
	return n, errors.Join(s.fails(), err)
}

func (s *failingStore) Set(key, value []byte) error {
	return errors.Join(s.fails(), s.Store.Set(key, value))
}

func (s *failingStore) Unset(key []byte) error { return errors.Join(s.fails(), s.Store.Unset(key)) }

func (s *failingStore) Get(key []byte) ([]byte, bool, error) {
	if err := s.fails(); err != nil {
		return nil, false, err
	}
	return s.Store.Get(key)
}

func (s *failingStore) ScanKeys(prefix []byte, visit func(key, value []byte) bool) error {
	if err := s.fails(); err != nil {
		return err
	}
	return s.Store.ScanKeys(prefix, visit)
}

// history is a list of what is asked of a stream; do ends with the first error.
type history struct {
	t     testing.TB
	store Store
	s     *Stream
	now   int64
	err   error
}

func (h *history) do(ask func() error) {
	if h.err == nil {
		h.err = ask()
	}
	if h.err == nil {
		h.err = h.s.Flush()
	}
}

func (h *history) publish(literal string, headers ...string) {
	h.do(func() error {
		p, err := h.s.Publish(h.now, &Pub{Subject: literal, Header: block(headers)}, &msg.Message{})
		h.wantTaken(err, p.Err)
		return err
	})
}

// wantTaken wants nothing to be refused that did not fail.
func (h *history) wantTaken(err error, refused *apierr.Error) {
	if err == nil && refused != nil {
		h.t.Fatal(refused)
	}
}

func block(headers []string) []byte {
	if headers == nil {
		return nil
	}
	b := []byte(emptyHeader)
	for i := 0; i < len(headers); i += 2 {
		b = appendHeader(b, headers[i], headers[i+1])
	}
	return b
}

func (h *history) update(cfg api.StreamConfig) {
	h.do(func() error {
		cfg, refused := CheckUpdate(h.s.Config(), cfg, Limits{}, false)
		h.wantTaken(nil, refused)
		return h.s.Update(cfg, h.now)
	})
}

func (h *history) purge(r PurgeRequest) {
	h.do(func() error {
		_, _, refused, err := h.s.Purge(r)
		h.wantTaken(err, refused)
		return err
	})
}

func (h *history) pass(d time.Duration) {
	h.now += int64(d)
	for range 3 {
		h.do(func() error { return h.s.Sweep(func(Swept) {}) })
		h.do(func() error { return h.s.Fire(h.now, nil, func(*msg.Message, uint64) {}) })
		h.do(func() error { return h.s.Expire(h.now, func(*msg.Message) {}) })
	}
}

func (h *history) reopen() {
	if h.err == nil {
		h.s, _, h.err = Open(h.store)
	}
	if h.err == nil {
		h.s.StepMost = 2
	}
}

// everyKind does a bit of all that a stream does.
func (h *history) everyKind() {
	h.fill()
	h.empty()
}

// fill has the stream keep something of every kind.
func (h *history) fill() {
	cfg := api.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowMsgSchedules: true, AllowMsgTTL: true, AllowRollup: true, AllowAtomic: true,
		AllowBatched: true, MaxAge: time.Hour, SubjectDeleteMarkerTTL: time.Minute, Duplicates: time.Minute, RePublish: &api.RePublish{Source: ">", Destination: "r.>"}}
	checked, refused := Check(cfg, Limits{}, false)
	h.wantTaken(nil, refused)
	h.reopen()
	h.do(func() error { return h.s.Init(checked, h.now) })
	for _, s := range []string{"s.a", "s.b", "s.a", "s.a", "s.c", "s.c"} {
		h.publish(s)
	}
	h.publish("s.a", headerMsgID, "one", headerExpectedSubjectSeq, "4")
	h.publish("s.a", headerExpectedSubjectSeq, "6", headerExpectedSubject, "s.c")
	h.publish("s.ttl", headerTTL, "1s")
	h.publish("s.ever", headerTTL, "never")
	h.publish("s.every", headerSchedule, "@every 1s", headerScheduleTarget, "s.t", headerScheduleSource, "s.a", headerScheduleRollup, "sub")
	h.publish("s.zoned", headerSchedule, "@hourly", headerScheduleTarget, "s.t", ScheduleZoneHeader, "Europe/Berlin")
	h.publish("s.gone", headerSchedule, "@daily", headerScheduleTarget, "s.t")
	h.publish("s.end", headerScheduler, "s.gone", headerScheduleNext, "purge")
	h.publish("s.at", headerSchedule, "@at 2000-01-01T00:00:00Z", headerScheduleTarget, "s.t")
	h.reopen()
	h.batches()
}

// empty takes it all away.
func (h *history) empty() {
	h.pass(2 * time.Second)
	h.publish("s.a", headerRollup, "sub")
	h.purge(PurgeRequest{Filter: "s.*", Keep: 3, Proposer: 1})
	h.pass(time.Second)
	h.purge(PurgeRequest{Filter: "s.c", Proposer: 1})
	h.publish("s.b")
	h.publish("s.b")
	if h.err != nil {
		return
	}
	cfg := *h.s.Config()
	cfg.MaxMsgsPer, cfg.MaxMsgs = 1, 50
	h.update(cfg)
	h.reopen()
	h.publish("s.b")
	h.pass(2 * time.Minute)
	cfg.MaxMsgs = 1
	h.update(cfg)
	h.publish("s.again", headerRollup, "all")
	h.pass(2 * time.Hour)
	h.reopen()
}

func (h *history) batches() {
	pubs := []Pub{{Subject: "s.x", Header: block([]string{headerMsgID, "two"})},
		{Subject: "s.y", Header: block([]string{headerSchedule, "@daily", headerScheduleTarget, "s.t"})}}
	h.do(func() error {
		p, err := h.s.PublishBatch(h.now, pubs, &msg.Message{}, func(uint64) {})
		h.wantTaken(err, p.Err)
		return err
	})
	for i, op := range []FastOp{FastStart, FastCommit, FastStart} {
		h.do(func() error {
			_, err := h.s.PublishFast(h.now, second, &FastPart{ID: "f", Seq: uint64(i%2 + 1), Op: op}, &Pub{Subject: "s.f"}, &msg.Message{})
			return err
		})
	}
}

// TestStoreErrorsAreTold has each call of the store fail in turn: whatever was asked of the stream says so.
func TestStoreErrorsAreTold(t *testing.T) {
	for n := 1; ; n++ {
		store := &failingStore{storetest.New(), n}
		h := &history{t: t, store: store, now: 1_800_000_000 * second}
		h.everyKind()
		if store.n > 0 {
			t.Logf("%d calls", n-1)
			return
		}
		if !errors.Is(h.err, errDisk) {
			t.Fatalf("call %d fails, and what was told is: %v", n, h.err)
		}
	}
}

// filled is a store with something of every kind.
func filled(t testing.TB) *storetest.Store {
	store := storetest.New()
	h := &history{t: t, store: store, now: 1_800_000_000 * second}
	h.fill()
	if h.err != nil {
		t.Fatal(h.err)
	}
	return store
}

// TestDamagedKeysAreNoticed opens streams of which one key is not as it was written.
func TestDamagedKeysAreNoticed(t *testing.T) {
	sound := filled(t)
	for _, damaged := range []struct{ key, value string }{
		{"s", ""}, {"s", "\x09{}"}, {"s", "\x01{"}, {"s", "\x01" + `{"config":{"subject_transform":{"src":"a","dest":"b.{{wildcard(9)}}"}}}`},
		{"dx", ""}, {"dx", "\x01"}, {"dx", "\xff"},
		{"t", ""}, {"t\xff234567", ""},
		{"o", ""}, {"oorigin", "\xff"},
		{"a", ""},
		{"b", "12345678"}, {"b\x00\x00\x00\x00\x00\x00\x00\x01", "1"},
		{"z", "\x01zone\x00pattern"}, {"z12345678", "\x01zone"}, {"z12345678", ""},
		{"w", "{}"}, {"w12345678", "{"},
		{"fbatch", "\x01"}, {"fbatch", ""},
	} {
		store := sound.Clone()
		if err := store.Set([]byte(damaged.key), []byte(damaged.value)); err != nil {
			t.Fatal(err)
		}
		s, _, err := Open(store)
		if err == nil {
			err = s.unplanBelow(1000)
		}
		if err == nil {
			err = s.expireTTLs(1_900_000_000*second, func(*msg.Message) {})
		}
		if !base.IsCorrupt(err) {
			t.Errorf("%q = %q: %v", damaged.key, damaged.value, err)
		}
	}
}

// FuzzOpen changes a key of a stream: it is loaded, or found to be damaged.
func FuzzOpen(f *testing.F) {
	sound := filled(f)
	f.Add([]byte("s"), []byte{headerFormat})
	f.Add([]byte{keyZoned, 0, 0, 0, 0, 0, 0, 0, 9}, []byte("\x02Europe/Berlin\x00@hourly"))
	f.Add([]byte{keySweep, 0, 0, 0, 0, 0, 0, 0, 1}, []byte(`{"below":5}`))
	f.Add([]byte("fbatch"), []byte{1, 2, 3})
	f.Add([]byte("oorigin"), []byte("\x05identity"))
	if err := sound.ScanKeys(nil, func(key, value []byte) bool {
		f.Add(key, value)
		return true
	}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		store := sound.Clone()
		if err := store.Set(key, value); err != nil {
			t.Fatal(err)
		}
		s, ok, err := Open(store)
		if err != nil {
			if !base.IsCorrupt(err) {
				t.Fatal(err)
			}
			return
		}
		if !ok {
			return
		}
		s.Hash()
		s.NextExpiry()
		if err := s.unplanBelow(1000); err != nil && !base.IsCorrupt(err) {
			t.Fatal(err)
		}
	})
}
