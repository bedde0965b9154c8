package jetstream

import (
	"context"

	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/meta"
)

// keep follows a change of a consumer of a memory stream.
func (s *Stream) keep(c machine.ConsumerChange) {
	switch {
	case !s.memory || c.Change == machine.RunnerChanged:
	case c.Change == machine.ConsumerDeleted:
		s.node.kept.drop(s.id, c.Consumer.Name)
	default:
		s.node.kept.put(s.id, c.Consumer)
	}
}

// keepAll keeps the consumers that the stream has, and no others; not while it is
// being filled, when they are yet to come.
func (s *Stream) keepAll() {
	if !s.memory {
		return
	}
	s.View(func(m *machine.Machine) {
		if m.Exists() && !m.Stream().Loading() {
			s.node.kept.replace(s.id, m)
		}
	})
}

// revive makes a memory stream that lost everything, with the consumers that this
// node has kept. They go through the log as a backup's do, so nobody sees the stream
// before it has them, and another leader goes on where this one ended.
func (s *Stream) revive(ctx context.Context, a *meta.Assignment, exists bool) error {
	list := s.node.kept.of(s.id)
	if !exists {
		s.node.cfg.Logger.Noticef("JetStream memory stream %s > %s lost its messages and comes back with %d consumers", s.account, s.name, len(list))
		if err := s.demand(ctx, &machine.Init{Config: *a.Config, Created: a.Created, Loading: true}); err != nil {
			return err
		}
	}
	last := max(a.Config.FirstSeq, 1) - 1
	for _, c := range list {
		if s.hasConsumer(c.Config.Name) {
			continue
		}
		r, err := s.Propose(ctx, &machine.LoadConsumer{
			Time: c.Created, Config: c.Config,
			Delivered: consumer.Pair{Stream: last}, AckFloor: consumer.Pair{Stream: last},
		})
		if err != nil {
			return err
		}
		if r.Err != nil {
			s.node.cfg.Logger.Warnf("JetStream consumer %q of memory stream %s > %s does not come back: %v", c.Config.Name, s.account, s.name, r.Err)
		}
	}
	return s.demand(ctx, &machine.LoadEnd{Last: last})
}

// demand proposes what must not be refused.
func (s *Stream) demand(ctx context.Context, c machine.Command) error {
	r, err := s.Propose(ctx, c)
	if err == nil && r.Err != nil {
		err = r.Err
	}
	return err
}
