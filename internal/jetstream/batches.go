package jetstream

import (
	"cmp"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// BatchLimits bound the batches that are open at once; 0 is the default.
type BatchLimits struct {
	// PerStream and Total (on this server) count for atomic batches and for fast
	// ones; the defaults are 50 and 1000, and 1000 and 50000.
	PerStream, Total int
	Messages         int           // in an atomic batch: 1000
	Timeout          time.Duration // after which an idle batch is abandoned: 10 s
}

func (l *BatchLimits) atomic() (perStream, total int) {
	return cmp.Or(l.PerStream, 50), cmp.Or(l.Total, 1000)
}

func (l *BatchLimits) fast() (perStream, total int) {
	return cmp.Or(l.PerStream, 1000), cmp.Or(l.Total, 50_000)
}

func (l *BatchLimits) messages() int { return cmp.Or(l.Messages, 1000) }

func (l *BatchLimits) timeout() time.Duration { return cmp.Or(l.Timeout, 10*time.Second) }

// BacklogLimits bound what was published to a stream and waits on its leader to be
// proposed; 0 is the default.
type BacklogLimits struct {
	Messages int // unlimited
	Bytes    int // 128 MiB
}

func (l *BacklogLimits) messages() int { return cmp.Or(l.Messages, math.MaxInt) }

func (l *BacklogLimits) bytes() int { return cmp.Or(l.Bytes, 128<<20) }

// openBatches counts the batches that are open on a node, and knows their streams.
type openBatches struct {
	atomic, fast atomic.Int64
	bytes        atomic.Int64 // staged

	mu      sync.Mutex
	streams map[*Stream]struct{} // that have batches, or had some
}

// open counts one more atomic batch, of a stream; false when that were more than total.
func (o *openBatches) open(s *Stream, total int) bool {
	if o.atomic.Add(1) > int64(total) {
		o.atomic.Add(-1)
		return false
	}
	o.watch(s)
	return true
}

func (o *openBatches) closed(size int) {
	o.atomic.Add(-1)
	o.bytes.Add(-int64(size))
}

// watch has a stream's batches dropped when they fall idle.
func (o *openBatches) watch(s *Stream) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.streams == nil {
		o.streams = make(map[*Stream]struct{})
	}
	o.streams[s] = struct{}{}
}

// dropIdle abandons the batches that had no message for too long.
func (o *openBatches) dropIdle(now time.Time) {
	o.mu.Lock()
	watched := o.streams
	o.streams = nil
	o.mu.Unlock()
	for s := range watched {
		if s.ingest.dropIdle(now) {
			o.watch(s)
		}
	}
}

// OpenBatches counts the atomic batches that are staged here.
func (n *Node) OpenBatches() int64 { return n.batches.atomic.Load() }
