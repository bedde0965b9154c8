package stream

import (
	"strconv"
	"strings"
	"time"

	"weir/internal/api"
	"weir/internal/msg"
)

// InitLoading makes a stream that is to be filled from a backup: Load each message, then EndLoad. Nothing else is done with
// it before.
func (s *Stream) InitLoading(cfg api.StreamConfig, created int64) error {
	s.loading = true
	first := cfg
	first.FirstSeq = 0 // the backup says where it begins
	if err := s.Init(first, created); err != nil {
		return err
	}
	if err := s.setConfig(cfg); err != nil {
		return err
	}
	return s.saveHeader()
}

// Loading tells that the stream is being filled from a backup.
func (s *Stream) Loading() bool { return s.loading }

// Load stores a message of a backup, at now (unix ns), under the sequence and time that it had. Nothing is checked again, and
// interest and rollups had their effect before; limits hold, as they may be lower than they were. A sequence that is not
// above the last one is passed over.
func (s *Stream) Load(now int64, m *msg.Message) error {
	if m.Seq <= s.store.State().LastSeq || !storable(m.Subject) {
		return nil
	}
	d := &s.directives
	d.parse(m.Header)
	if err := s.loadDirectives(now, d, m); err != nil {
		return err
	}
	if err := s.unplanLast(m.Subject); err != nil {
		return err
	}
	if err := s.store.Append(m); err != nil {
		return err
	}
	if s.cfg.AllowMsgSchedules && d.schedule.pattern != "" {
		if err := s.resume(&d.schedule, now, m); err != nil {
			return err
		}
	}
	s.age(m)
	if s.cfg.Sealed {
		return nil
	}
	return s.enforce(m.Subject)
}

// loadDirectives remembers what a stream remembers of a message beside it.
func (s *Stream) loadDirectives(now int64, d *directives, m *msg.Message) error {
	if _, known := s.dedupe.lookup(d.msgID); !known && d.msgID != "" && m.Time > now-int64(s.cfg.Duplicates) {
		if err := s.addDedupeID(d.msgID, m.Seq, m.Time); err != nil {
			return err
		}
	}
	if d.msgID != s.lastMsgID {
		s.lastMsgID, s.lastMsgIDDirty = strings.Clone(d.msgID), true
	}
	if key, identity, seq, ok := s.sourceOf(d.streamSource); ok && (seq > s.origins.last[key] || identity != s.origins.identity[key]) {
		s.origins.last[key], s.origins.identity[key] = seq, identity
		s.origins.dirty[key] = struct{}{}
	}
	if ttl, ok := parseTTL(d.ttl); ok && (s.cfg.AllowMsgTTL || s.cfg.SubjectDeleteMarkerTTL > 0) {
		return s.addTTL(m.Seq, m.Time, ttl)
	}
	return nil
}

// resume plans the next message of a schedule. What it missed since the backup is left out, but for a schedule of one message.
func (s *Stream) resume(d *scheduling, now int64, m *msg.Message) error {
	if d.zoned() {
		return s.planZoned(m.Seq, &Zoned{Zone: strings.Clone(d.zone), Pattern: strings.Clone(d.pattern), since: now})
	}
	table, ok := parseTimetable(d.pattern)
	if !ok {
		return nil
	}
	due, ok := table.nextBehind(time.Unix(0, m.Time).UTC(), time.Unix(0, now).UTC())
	if !ok {
		return nil
	}
	return s.plan(m.Seq, dueTime(due))
}

// sourceOf reads a Nats-Stream-Source header: "origin sequence filter destination subject identity", or in older messages
// only the first two or five. ok is false if it does not tell which of the configured sources it speaks of.
func (s *Stream) sourceOf(header string) (key, identity string, seq uint64, ok bool) {
	f := strings.Split(header, " ")
	if len(f) < 2 || len(s.cfg.Sources) == 0 {
		return "", "", 0, false
	}
	seq, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return "", "", 0, false
	}
	if len(f) > 5 {
		identity = strings.Clone(f[5])
	}
	for _, src := range s.cfg.Sources {
		if !speaksOf(f, src) {
			continue
		}
		if ok {
			return "", "", 0, false
		}
		key, ok = sourceKey(src), true
	}
	return key, identity, seq, ok
}

// speaksOf tells whether the fields of a Nats-Stream-Source header are those of a source.
func speaksOf(f []string, src *api.StreamSource) bool {
	origin, copied := SourceHeader(src)
	return f[0] == origin && (len(f) < 4 || f[2]+" "+f[3] == copied)
}

// EndLoad ends the filling; last is the last sequence that the stream had given. A mirror goes on behind it. What is
// sourced goes on behind what was copied, whatever the identity of the origin: one that was restored, too, has a new one.
func (s *Stream) EndLoad(last uint64) error {
	s.loading = false
	for origin := range s.origins.identity {
		s.origins.dirty[origin] = struct{}{}
	}
	clear(s.origins.identity)
	if last > s.store.State().LastSeq {
		s.store.SetLast(last, 0)
	}
	if m := s.cfg.Mirror; m != nil {
		key := sourceKey(m)
		s.origins.last[key] = s.store.State().LastSeq
		s.origins.dirty[key] = struct{}{}
	}
	s.restartAging()
	return s.saveHeader()
}
