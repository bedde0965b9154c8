package router

// Flusher is something that queues bytes and writes them later.
type Flusher interface {
	// Flush starts writing what is queued, without waiting for it. The
	// channel is nil, or closes when a congested receiver has caught up: a
	// hint for the publisher to slow down.
	Flush() (congested <-chan struct{})
}

// Batch collects the receivers that one publishing goroutine touched, so that
// each is woken once per read of the publisher's socket instead of once per
// message. It belongs to one goroutine. Receivers keep a Mark to enter the list
// once; the generation makes marks of an earlier flush stale without visiting
// them.
type Batch struct {
	touched    []Flusher
	generation uint64
}

// maxTouched bounds the list; a longer one is flushed early.
const maxTouched = 4096

// Mark is a receiver's memory of the batch it is registered with. The receiver
// guards it with its own lock.
type Mark struct {
	batch      *Batch
	generation uint64
}

// Touch registers f to be flushed with the batch, unless its mark says that it
// already is.
func (b *Batch) Touch(mark *Mark, f Flusher) {
	if mark.batch == b && mark.generation == b.generation {
		return
	}
	mark.batch, mark.generation = b, b.generation
	b.touched = append(b.touched, f)
}

// Full tells that so many receivers are registered that it is time to flush.
func (b *Batch) Full() bool { return len(b.touched) >= maxTouched }

// Flush flushes every registered receiver and empties the batch. The channel is
// that of a congested receiver, if there is any.
func (b *Batch) Flush() (congested <-chan struct{}) {
	b.generation++
	for i, f := range b.touched {
		if c := f.Flush(); c != nil {
			congested = c
		}
		b.touched[i] = nil
	}
	b.touched = b.touched[:0]
	return congested
}
