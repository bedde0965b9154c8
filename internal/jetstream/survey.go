package jetstream

import (
	"context"
	"errors"
	"io"
	"sync"

	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/runner"
)

// errSurveyed is the state of a replica that stopped to say what it has.
var errSurveyed = errors.New("stopped until it is known what is left of the stream on other servers")

// remains stops the replica r for good, unless the survey is dropped, and tells where
// its log ends.
func (n *Node) remains(a *meta.Assignment, r base.Replica) (answer meta.ReplicaRemains, err error) {
	if s := n.streamByGroup(a.Group); s != nil && s.replica != r.ID {
		n.removeStream(s)
	} else if s != nil {
		n.stopForSurvey(s)
	}
	log := n.log(true).Group(a.Group, r.ID)
	last, err := log.LastIndex()
	if err != nil {
		return answer, err
	}
	answer = meta.ReplicaRemains{Group: a.Group, Since: a.Survey.Since, Remains: meta.Remains{Replica: r.ID, Index: last}}
	if last > 0 {
		answer.Term, err = log.Term(last)
	}
	return answer, err
}

// stopForSurvey ends a replica's part in its group. Store and log stay as they are.
func (n *Node) stopForSurvey(s *Stream) {
	if s.Failure() != nil {
		return
	}
	s.failure.Store(&errSurveyed)
	s.close(runner.CloseLeadership)
	if err := n.host.Close(s.id); err != nil {
		n.cfg.Logger.Debugf("Close the group of stream %s > %s: %v", s.account, s.name, err)
	}
	s.over()
}

// headless tells whether a memory group can have no leader any more, by the members that
// this replica knows, although the meta group does not know it. One that is behind what the
// meta group knows has nothing to say.
func (s *Stream) headless() bool {
	a := s.Assignment()
	return s.memory && a.Survey == nil && s.lead.Load().Leader == 0 && s.Failure() == nil && s.group.Applied() >= a.MembersIndex &&
		!s.group.CanDecide(func(id base.ReplicaID) bool { return !a.IsGone(id) })
}

// askSurvey has it found out what is left of a group.
func (n *Node) askSurvey(s *Stream) {
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, proposalTimeout)
		defer cancel()
		a := s.Assignment()
		_, err := n.ProposeMeta(ctx, &meta.SurveyAsked{Group: s.id, By: s.replica, Revision: a.Revision})
		if err != nil {
			n.cfg.Logger.Debugf("Ask what is left of stream %s > %s: %v", s.account, s.name, err)
		}
	})
}

// begins tells whether a group that goes on after a survey begins with the replica r.
func begins(a *meta.Assignment, r base.Replica) bool { return a.Seed != nil && a.IsInitial(r.ID) }

// seedGone tells whether a group begins with a replica here of which nothing is left, as
// the process has restarted since.
func (n *Node) seedGone(a *meta.Assignment, r base.Replica) bool {
	if s := n.streamByGroup(a.Group); !begins(a, r) || s != nil && (s.replica == r.ID || s.replica == a.Seed.Replica) {
		return false
	}
	last, err := n.log(true).Group(a.Group, r.ID).LastIndex()
	return err == nil && last == 0
}

// bequeath gives what a replica stopped by a survey has to the one that the group goes
// on with. For as long as it takes the node holds it twice.
func (n *Node) bequeath(s *Stream, r base.Replica) error {
	image, err := s.store.Snapshot()
	if err != nil {
		return err
	}
	defer image.Close()
	heir, err := n.db(true).Store(s.id, r.ID)
	if err != nil {
		return err
	}
	out, in := io.Pipe()
	var writer sync.WaitGroup
	writer.Go(func() {
		_, err := image.WriteTo(in)
		in.CloseWithError(err)
	})
	err = heir.Restore(out)
	out.CloseWithError(err)
	writer.Wait()
	if err != nil {
		return err
	}
	n.cfg.Logger.Noticef("JetStream memory stream %s > %s goes on with what this server has of it: others lost theirs", s.account, s.name)
	return n.host.Inherit(s.id, s.replica, r, image.Index())
}
