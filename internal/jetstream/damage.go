package jetstream

import (
	"io"
	"slices"

	"weir/internal/base"
	"weir/internal/msg"
	"weir/internal/msgstore"
	"weir/internal/rafthost"
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
	r.s.NoteDamage(err)
	return ok, err
}

func (r readStore) Next(from uint64, f subject.Filter, m *msg.Message, buf []byte) (bool, error) {
	ok, err := r.Reader.Next(from, f, m, buf)
	r.s.NoteDamage(err)
	return ok, err
}

func (r readStore) LastOfSubject(literal string, upTo uint64) (uint64, error) {
	seq, _, err := r.LastMatching(subject.NewFilter(literal), upTo)
	r.s.NoteDamage(err)
	return seq, err
}

// readSnapshot is an image on its way to another replica. A replica that meets
// damage in it can not fill the other one, so it makes way for one that can.
type readSnapshot struct {
	rafthost.Snapshot
	s *Stream
}

func (r readSnapshot) WriteTo(w io.Writer) (int64, error) {
	n, err := r.Snapshot.WriteTo(w)
	r.s.NoteDamage(err)
	if base.IsCorrupt(err) && !r.s.canSpare() {
		status := r.s.group.Status()
		handOver(r.s.group, &status, r.s.Assignment().Replicas, r.s.replica)
	}
	return n, err
}

// canSpare tells whether the group has a majority of voters without this replica:
// linked, not failed, and not about to be replaced themselves.
func (s *Stream) canSpare() bool {
	voters, wanted := s.members.Load().voters, s.Assignment().Replicas
	others := 0
	for _, r := range voters {
		if r.ID == s.replica || !s.node.linked(r.Node) || !slices.Contains(wanted, r) {
			continue
		}
		if fit, _ := s.node.fit(s.id, r); fit {
			others++
		}
	}
	return others > len(voters)/2
}

// NoteDamage stops the replica if an error says that what it holds is damaged and
// the group can spare it, so that the others go on and fill a fresh one. Any other
// replica goes on with what can be read. Whoever reads the store and meets an error
// calls it.
func (s *Stream) NoteDamage(err error) {
	if err == nil || !base.IsCorrupt(err) || !s.canSpare() {
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
