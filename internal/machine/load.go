package machine

import (
	"encoding/binary"
	"fmt"

	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/msg"
)

// loads tells whether a kind of command is for a stream that is being filled from a backup.
func loads(k Kind) bool {
	return k == KindLoad || k == KindLoadConsumer || k == KindLoadPending || k == KindLoadEnd
}

func (a *applier) load(body []byte) error {
	r := base.Decoder{Rest: body}
	now := r.Varint()
	for len(r.Rest) > 0 && !r.Bad {
		c := decodeCopied(&r)
		if r.Bad {
			break
		}
		m := msg.Message{Seq: c.Seq, Time: c.Time, Subject: c.Subject, Header: c.Header, Data: c.Data}
		if err := a.stream.Load(now, &m); err != nil {
			return err
		}
	}
	if r.Bad {
		return fmt.Errorf("load: %w", errCommand)
	}
	a.reply(Reply{})
	return nil
}

// loadConsumer makes a consumer where the backup had it.
func (a *applier) loadConsumer(cmd *LoadConsumer) error {
	cfg, refused := consumer.Check(cmd.Config, a.stream.Config(), cmd.Limits, false)
	switch limit := a.maxConsumers(cmd.Limits); {
	case refused != nil:
	case a.byName[cfg.Name] != nil:
		refused = apierr.JSConsumerAlreadyExists
	case limit > 0 && counts(&cfg) && a.counted >= limit:
		refused = apierr.JSMaximumConsumersLimitErr
	default:
		refused = a.checkWorkQueue(&cfg, nil)
	}
	if refused != nil {
		a.reply(Reply{Err: refused})
		return nil
	}
	c := consumer.New(a.index, cfg, cmd.Time, 1, a.spans)
	c.LastPerSubject, c.GivenBefore = cmd.LastPerSubject, a.store.State().LastSeq
	c.Resume(cmd.Delivered, cmd.AckFloor)
	a.link(c)
	a.touch(c)
	a.changed(ConsumerMade, c)
	a.reply(Reply{Consumer: c, Made: true})
	return c.SaveConfig(a.store)
}

// append encodes the body: the consumer's name, then each message.
func (c *LoadPending) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.Consumer)))
	dst = append(dst, c.Consumer...)
	for _, p := range c.Pending {
		dst = binary.AppendUvarint(dst, p.Seq)
		dst = binary.AppendUvarint(dst, p.ConsumerSeq)
		dst = binary.AppendVarint(dst, p.Time)
		dst = binary.AppendUvarint(dst, uint64(p.Deliveries))
	}
	return dst
}

func (a *applier) loadPending(body []byte) error {
	r := base.Decoder{Rest: body}
	c := a.byName[string(r.Block())]
	for len(r.Rest) > 0 && !r.Bad {
		p := consumer.Pending{Seq: r.Uvarint(), ConsumerSeq: r.Uvarint(), Time: r.Varint(), Deliveries: uint32(r.Uvarint())}
		if !r.Bad && c != nil {
			c.ResumePending(p)
		}
	}
	if r.Bad {
		return fmt.Errorf("load pending: %w", errCommand)
	}
	if c == nil {
		a.reply(Reply{Err: apierr.JSConsumerNotFoundErr})
		return nil
	}
	a.touch(c)
	a.reply(Reply{Consumer: c})
	return nil
}

// loadEnd opens the stream. What consumers wait for that was not in the backup is waited for no longer.
func (a *applier) loadEnd(cmd *LoadEnd) error {
	if err := a.stream.EndLoad(cmd.Last); err != nil {
		return err
	}
	for _, c := range a.byID {
		var gone []uint64
		var failed error
		c.AscendPending(0, func(p consumer.Pending) bool {
			_, ok, err := a.store.Info(p.Seq)
			if !ok && err == nil {
				gone = append(gone, p.Seq)
			}
			failed = err
			return err == nil
		})
		if failed != nil {
			return failed
		}
		for _, seq := range gone {
			c.Removed(seq)
			a.touch(c)
		}
	}
	a.out.StreamChanged, a.out.Trimmed = true, true
	a.reply(Reply{})
	return nil
}
