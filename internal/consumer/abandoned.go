package consumer

// A message that reached max_deliver is waited for no longer, but under interest and workqueue retention it stays in the stream
// for this consumer: it was not acked, and who looks after such messages finds it there. A late ack ends that.

// Abandoned tells whether a message was given up and is kept.
func (c *Consumer) Abandoned(seq uint64) bool {
	return c.abandoned != nil && c.abandoned.get(seq) != nil
}

// Hold is the lowest sequence that the consumer may keep in the stream.
func (c *Consumer) Hold() uint64 {
	if c.abandoned != nil {
		if p := c.abandoned.first(); p != nil {
			return min(p.Seq, c.AckFloor.Stream+1)
		}
	}
	return c.AckFloor.Stream + 1
}

// KeepAbandoned lets go of the abandoned messages for which f is false.
func (c *Consumer) KeepAbandoned(f func(seq uint64) (bool, error)) error {
	if c.abandoned == nil {
		return nil
	}
	var drop []uint64
	var failed error
	c.abandoned.ascend(0, func(p Pending) bool {
		keep, err := f(p.Seq)
		if failed = err; !keep && err == nil {
			drop = append(drop, p.Seq)
		}
		return err == nil
	})
	for _, seq := range drop {
		(*opApplier)(c).forgetAbandoned(seq)
	}
	return failed
}

func (a *opApplier) abandon(p Pending) {
	if a.abandoned == nil {
		a.abandoned = &pendingSet{shared: a.pending.shared}
	}
	a.abandoned.put(p)
}

func (a *opApplier) forgetAbandoned(seq uint64) (was bool) {
	if a.abandoned != nil {
		_, was = a.abandoned.remove(seq)
	}
	return was
}

// endAbandoned forgets the messages with a sequence less than below; true when there was one.
func (a *opApplier) endAbandoned(below uint64, visit func(seq uint64)) (any bool) {
	if a.abandoned != nil {
		a.abandoned.removeBelow(below, func(p Pending) {
			any = true
			visit(p.Seq)
		})
	}
	return any
}
