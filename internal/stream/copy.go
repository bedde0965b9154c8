package stream

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/msg"
)

// Copied is a message that a mirror or a sourcing stream takes over from an origin. Subject and headers are as they are to
// be stored. It is borrowed.
type Copied struct {
	Pub
	Seq  uint64 // in the origin
	Time int64  // when the origin stored it, unix ns
}

// origins remembers how far each origin was copied, and which stream it was.
type origins struct {
	last     map[string]uint64 // origin → sequence of its last message that was dealt with
	identity map[string]string // origin → its identity, if it tells
	dirty    map[string]struct{}
}

func (o *origins) load(store Store) error {
	o.last, o.identity, o.dirty = map[string]uint64{}, map[string]string{}, map[string]struct{}{}
	var bad error
	err := store.ScanKeys([]byte{keyOrigin}, func(key, value []byte) bool {
		seq, n := binary.Uvarint(value)
		if n <= 0 {
			bad = base.Corruptf("position in origin %q has a value of %d bytes", key[1:], len(value))
			return false
		}
		origin := string(key[1:])
		o.last[origin] = seq
		if n < len(value) {
			o.identity[origin] = string(value[n:])
		}
		return true
	})
	if err != nil {
		return err
	}
	return bad
}

func (o *origins) flush(store Store) error {
	for _, origin := range slices.Sorted(maps.Keys(o.dirty)) {
		key := append([]byte{keyOrigin}, origin...)
		value := append(binary.AppendUvarint(nil, o.last[origin]), o.identity[origin]...)
		if err := store.Set(key, value); err != nil {
			return err
		}
	}
	clear(o.dirty)
	return nil
}

// Identity tells the stream from every other one that has or had its name.
func (s *Stream) Identity() string { return base.ShortName(fmt.Sprint(s.cfg.Name, "\x00", s.created)) }

// OriginIdentity is the identity of an origin as of the last Meet, "" if none is known. origin is what was passed to Copy.
func (s *Stream) OriginIdentity(origin string) string { return s.origins.identity[origin] }

// Meet notes the identity of an origin. If it was another one before, a new stream has the origin's name, and what is sourced begins with
// its first message. A mirror, whose sequences are the origin's, can only go on.
func (s *Stream) Meet(origin, identity string) {
	known := s.origins.identity[origin]
	if known == identity {
		return
	}
	last := s.origins.last[origin]
	if known != "" && s.cfg.Mirror == nil {
		last = 0
	}
	s.origins.last[origin], s.origins.identity[origin] = last, identity
	s.origins.dirty[origin] = struct{}{}
}

// SkipTo has a mirror go on behind a sequence of its origin, which has nothing any more up to there that is to be copied.
func (s *Stream) SkipTo(origin string, seq uint64) {
	if s.cfg.Mirror == nil || seq <= s.store.State().LastSeq {
		return
	}
	s.store.SetLast(seq, 0)
	s.origins.last[origin] = seq
	s.origins.dirty[origin] = struct{}{}
}

// CopiedUpTo is the origin's sequence up to which its messages were copied, 0 for none. origin is what was passed to Copy.
func (s *Stream) CopiedUpTo(origin string) uint64 { return s.origins.last[origin] }

// Copy stores a message of an origin, at now (unix ns). A message that was dealt with before is passed over, so a copier may
// begin with any one it is unsure of. A mirror keeps sequence and time. What the stream refuses for good is passed over
// too; an Err says that there is no room now, and that the message has to be offered again.
func (s *Stream) Copy(origin string, now int64, c *Copied, stored *msg.Message) (p Published, err error) {
	switch {
	case c.Seq <= s.origins.last[origin]:
		return Published{}, nil
	case s.cfg.Mirror != nil:
		p, err = s.copyToMirror(c, stored)
	case len(s.cfg.Sources) > 0:
		p, err = s.publish(now, &c.Pub, stored, copied)
	}
	if err != nil || p.Err != nil && s.cfg.Discard == api.DiscardNew && p.Err.ErrCode == apierr.JSStreamStoreFailedF("").ErrCode {
		return p, err
	}
	p.Err = nil
	s.origins.last[origin] = c.Seq
	s.origins.dirty[origin] = struct{}{}
	return p, nil
}

func (s *Stream) copyToMirror(c *Copied, stored *msg.Message) (Published, error) {
	if c.Seq <= s.store.State().LastSeq || !storable(c.Subject) || s.cfg.Sealed {
		return Published{}, nil
	}
	d := &s.directives
	d.parse(c.Header)
	d.forCopy(&s.cfg)
	*stored = msg.Message{Seq: c.Seq, Time: c.Time, Subject: s.subjectOf(c.Subject), Header: c.Header, Data: c.Data}
	if e, err := s.checkRoom(stored); e != nil || err != nil {
		return Published{Err: e}, err
	}
	return s.keep(d, stored)
}

// forCopy takes away what a message asked of the stream that it was published to.
func (d *directives) forCopy(cfg *api.StreamConfig) {
	kept := directives{msgID: d.msgID, copied: true}
	if cfg.AllowMsgCounter {
		kept.incr = d.incr
	}
	if ttl, ok := parseTTL(d.ttl); ok && ttl != 0 && cfg.AllowMsgTTL {
		kept.ttl = d.ttl
	}
	if cfg.AllowRollup && !cfg.DenyPurge && (d.rollup == rollupSubject || d.rollup == rollupAll) {
		kept.rollup = d.rollup
	}
	*d = kept
}
