package stream

import (
	"encoding/binary"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"

	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/msg"
)

// FastOp is what a message does in a fast batch (ADR-50).
type FastOp byte

// The operations of fast batches. FastAbandon is not one of clients: it ends a batch of which the leader refused a message.
const (
	FastStart FastOp = iota
	FastAppend
	FastCommit // stores the message and ends the batch
	FastClose  // ends the batch
	FastPing
	FastAbandon
)

// FastPart is a message's place in a fast batch.
type FastPart struct {
	ID string
	// Seq numbers the messages of a batch from 1. A ping has that of the last message sent.
	Seq uint64
	Op  FastOp
	// GapOK: the batch goes on without the messages that are missing, and without those that are refused.
	GapOK bool
}

// FastResult is what came of a part of a fast batch.
type FastResult struct {
	// Published is of the part's message. Seq and Err are zero where none was to be stored.
	Published
	// Unknown: there is no such batch; Err says why.
	Unknown bool
	// Gap is the batch's sequence that was due where At came; 0: the right one came.
	Gap, At uint64
	// Ended: the batch is over. It had Count messages, of which Last (in the stream) was the last to be stored.
	Ended       bool
	Count, Last uint64
}

// fastBatches are the fast batches that are open. They are replicated, so that a batch goes on under another leader, and a message
// behind one that was refused is not stored for being under way already.
type fastBatches struct {
	open  map[string]*fastBatch
	dirty map[string]struct{}
}

type fastBatch struct {
	last   uint64 // the batch's sequence up to which messages were dealt with
	stored uint64 // the stream's sequence of its last message, 0 while it has none
	time   int64  // of its last message or ping, unix ns
}

func (f *fastBatches) load(store Store) error {
	f.open, f.dirty = map[string]*fastBatch{}, map[string]struct{}{}
	var bad error
	err := store.ScanKeys([]byte{keyFastBatch}, func(key, value []byte) bool {
		d := base.Decoder{Rest: value}
		b := &fastBatch{last: d.Uvarint(), stored: d.Uvarint(), time: d.Varint()}
		if d.Bad {
			bad = base.Corruptf("fast batch %q has a value of %d bytes", key[1:], len(value))
			return false
		}
		f.open[string(key[1:])] = b
		return true
	})
	if err != nil {
		return err
	}
	return bad
}

func (f *fastBatches) flush(store Store) error {
	for _, id := range slices.Sorted(maps.Keys(f.dirty)) {
		key := append([]byte{keyFastBatch}, id...)
		b := f.open[id]
		if b == nil {
			if err := store.Unset(key); err != nil {
				return err
			}
			continue
		}
		value := binary.AppendUvarint(binary.AppendUvarint(nil, b.last), b.stored)
		if err := store.Set(key, binary.AppendVarint(value, b.time)); err != nil {
			return err
		}
	}
	clear(f.dirty)
	return nil
}

func (f *fastBatches) hash(h hash.Hash) {
	for _, id := range slices.Sorted(maps.Keys(f.open)) {
		fmt.Fprintln(h, id, *f.open[id])
	}
}

func (f *fastBatches) drop(id string) {
	if f.open[id] != nil {
		delete(f.open, id)
		f.dirty[id] = struct{}{}
	}
}

// dropIdle forgets the batches that had no message since a time (unix ns).
func (f *fastBatches) dropIdle(since int64) {
	for id, b := range f.open {
		if b.time <= since {
			f.drop(id)
		}
	}
}

func (f *fastBatches) dropAll() {
	for id := range f.open {
		f.drop(id)
	}
}

// PublishFast takes a part of a fast batch at now (unix ns). A batch that had none for timeout (ns) is forgotten. stored is filled
// for a message that was stored. The strings of part are borrowed.
func (s *Stream) PublishFast(now, timeout int64, part *FastPart, p *Pub, stored *msg.Message) (FastResult, error) {
	if !s.cfg.AllowBatched {
		return noFastBatch(apierr.JSBatchPublishDisabledErr), nil
	}
	b, known := s.fast.open[part.ID]
	if known && b.time <= now-timeout {
		s.fast.drop(part.ID)
		known = false
	}
	if part.Op == FastAbandon {
		s.fast.drop(part.ID)
		return FastResult{}, nil
	}
	if !known {
		if part.Seq != 1 || part.Op != FastStart && part.Op != FastCommit {
			return noFastBatch(apierr.JSBatchPublishUnknownBatchIDErr), nil
		}
		s.fast.dropIdle(now - timeout)
		b = &fastBatch{}
		s.fast.open[strings.Clone(part.ID)] = b
	}
	b.time = max(b.time, now)
	s.fast.dirty[strings.Clone(part.ID)] = struct{}{}
	r, err := s.takePart(b, now, part, p, stored)
	if r.Ended {
		r.Last = b.stored
		s.fast.drop(part.ID)
	}
	return r, err
}

func noFastBatch(e *apierr.Error) FastResult {
	return FastResult{Published: Published{Err: e}, Unknown: true}
}

// takePart deals with a part of a batch that is open.
func (s *Stream) takePart(b *fastBatch, now int64, part *FastPart, p *Pub, stored *msg.Message) (r FastResult, err error) {
	at := part.Seq
	if part.Op == FastPing {
		at++
	}
	due := b.last + 1
	if at > due || at < due && part.Op != FastPing {
		r.Gap, r.At = due, at
		if at < due || !part.GapOK {
			r.Ended, r.Count = true, b.last
			return r, nil
		}
		b.last = at - 1
	}
	switch part.Op {
	case FastPing:
		return r, nil
	case FastClose:
		r.Ended, r.Count = true, at-1
		return r, nil
	}
	b.last = at
	r.Published, err = s.publish(now, p, stored, inFastBatch)
	switch {
	case err != nil:
		return r, err
	case r.Err != nil:
		r.Ended, r.Count = part.Op == FastCommit || !part.GapOK, at-1
	default:
		if !r.Duplicate {
			b.stored = r.Seq
		}
		r.Ended, r.Count = part.Op == FastCommit, at
	}
	return r, nil
}
