package jetstream

import (
	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/msgstore"
	"weir/internal/subject"
)

// readStore is the read side of the store as runners want it. Damage that they come
// upon ends the replica.
type readStore struct {
	msgstore.Reader
	s *Stream
}

func (r readStore) Load(seq uint64, m *msg.Message, buf []byte) (bool, error) {
	ok, err := r.Reader.Load(seq, m, buf)
	r.s.noteDamage(err)
	return ok, err
}

func (r readStore) Next(from uint64, f subject.Filter, m *msg.Message, buf []byte) (bool, error) {
	ok, err := r.Reader.Next(from, f, m, buf)
	r.s.noteDamage(err)
	return ok, err
}

func (r readStore) LastOfSubject(literal string, upTo uint64) (uint64, error) {
	seq, _, err := r.LastMatching(subject.NewFilter(literal), upTo)
	r.s.noteDamage(err)
	return seq, err
}

// noteDamage stops the replica if an error says that what it holds is damaged and
// others hold the same, so that they go on and fill a fresh one. The only replica
// goes on with what can be read.
func (s *Stream) noteDamage(err error) {
	if err == nil || !base.IsCorrupt(err) || len(s.Assignment().Replicas) < 2 {
		return
	}
	if s.node.ctx.Err() != nil || !s.damaged.CompareAndSwap(false, true) {
		return
	}
	s.node.spawn(func() {
		if closed := s.node.host.Close(s.id); closed != nil {
			s.node.cfg.Logger.Errorf("Close the group of stream %s > %s: %v", s.account, s.name, closed)
		}
		s.Stopped(err)
	})
}
