package jetstream

import (
	"io"

	"weir/internal/api"
	"weir/internal/backup"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/msgstore"
)

// Backup is a stream as one applied entry left it, on its way into an archive.
// Writes go on beside it.
type Backup struct {
	Config api.StreamConfig
	State  api.StreamState

	image *msgstore.Image
	now   int64
}

// TakeBackup takes an image of the stream; the caller closes it. What was acknowledged
// before is in it, which needs a majority, and what runners on this node have done.
func (s *Stream) TakeBackup() (*Backup, error) {
	s.syncRunners()
	if err := s.Confirm(); err != nil {
		return nil, err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	image, err := s.store.Snapshot()
	if err != nil {
		return nil, err
	}
	b := &Backup{image: image, now: s.node.cfg.Clock.Now().UnixNano()}
	s.View(func(m *machine.Machine) {
		b.Config = *m.Stream().Config()
		b.State = streamState(image.State())
		b.State.Consumers = m.NumListed()
	})
	return b, nil
}

// syncRunners waits until what the consumers' runners on this node have done is
// replicated, as far as they have anything under way.
func (s *Stream) syncRunners() {
	var names []string
	s.View(func(m *machine.Machine) {
		for c := range m.Consumers() {
			if c.Runner == s.replica && c.Acks() {
				names = append(names, c.Name)
			}
		}
	})
	if len(names) > maxSyncs {
		return
	}
	for _, name := range names {
		s.SyncConsumer(name)
	}
}

// maxSyncs is the number of consumers above which a backup takes them as they
// stand.
const maxSyncs = 1000

// WriteTo writes the archive, with the consumers if they are wanted.
func (b *Backup) WriteTo(w io.Writer, withConsumers bool) error {
	out := backup.NewWriter(w, b.now)
	var list []*consumer.Consumer
	if withConsumers {
		var err error
		if list, err = b.consumers(); err != nil {
			return err
		}
	}
	state := b.State
	state.Consumers = len(list)
	if err := out.State(&state); err != nil {
		return err
	}
	for _, c := range list {
		if err := out.Consumer(backupOf(c)); err != nil {
			return err
		}
	}
	if err := b.image.Messages(out.Message); err != nil {
		return err
	}
	return out.Close()
}

// consumers are those of the image but for the ones that other streams made for
// themselves.
func (b *Backup) consumers() (list []*consumer.Consumer, err error) {
	all, err := consumer.Load(b.image, consumer.NewSpans())
	for _, c := range all {
		if !c.Config.Direct && !c.Config.Sourcing {
			list = append(list, c)
		}
	}
	return list, err
}

// Close gives up the image.
func (b *Backup) Close() error { return b.image.Close() }

func backupOf(c *consumer.Consumer) *backup.Consumer {
	out := &backup.Consumer{Config: *c.Config, State: backup.ConsumerState{
		Delivered: backup.Position{Consumer: c.Delivered.Consumer, Stream: c.Delivered.Stream},
		AckFloor:  backup.Position{Consumer: c.AckFloor.Consumer, Stream: c.AckFloor.Stream},
	}}
	c.AscendPending(0, func(p consumer.Pending) bool {
		if out.State.Pending == nil {
			out.State.Pending = make(map[uint64]backup.Pending, c.NumAckPending())
		}
		out.State.Pending[p.Seq] = backup.Pending{Sequence: p.ConsumerSeq, Timestamp: p.Time}
		if p.Deliveries > 1 {
			if out.State.Redelivered == nil {
				out.State.Redelivered = make(map[uint64]uint64)
			}
			out.State.Redelivered[p.Seq] = uint64(p.Deliveries) - 1
		}
		return true
	})
	return out
}
