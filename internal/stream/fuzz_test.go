package stream

import (
	"testing"
	"time"

	"weir/internal/wire"
)

// FuzzTimetable reads any text as a schedule: what is one has times that go forward.
func FuzzTimetable(f *testing.F) {
	for _, s := range []string{"@at 2026-01-01T00:00:00Z", "@every 90m", "0 30 14 * * *", "@daily", "*/99999999 0 0 30 2 *", "CRON_TZ=UTC 0 0 0 * * *", "@every 999999h"} {
		f.Add(s, int64(1_700_000_000_000_000_000))
	}
	f.Fuzz(func(t *testing.T, pattern string, now int64) {
		table, ok := parseTimetable(pattern)
		if !ok {
			return
		}
		at := time.Unix(0, now).UTC()
		next, ok := table.next(at)
		if ok && !table.once() && !next.After(at) {
			t.Fatalf("%q: %v follows %v", pattern, next, at)
		}
		if next, ok := table.nextBehind(at.Add(-time.Hour), at); ok && !table.once() && !next.After(at) {
			t.Fatalf("%q: %v is due at %v", pattern, next, at)
		}
		if dueTime(next) < 1 {
			t.Fatalf("%q is due at %d", pattern, dueTime(next))
		}
	})
}

// FuzzDirectives reads any header block.
func FuzzDirectives(f *testing.F) {
	f.Add([]byte("NATS/1.0\r\nNats-TTL: 1s\r\nNats-Expected-Last-Sequence: 7\r\n\r\n"))
	f.Add(wire.HeaderBlock(headerRollup, "ALL"))
	f.Add([]byte("NATS/1.0\r\nNats-\r\nNats-Schedule:@at \r\nNats-Msg-Id:"))
	f.Fuzz(func(t *testing.T, block []byte) {
		var d directives
		d.parse(block)
		if ttl, ok := parseTTL(d.ttl); ok && ttl != neverExpires && ttl < time.Second {
			t.Fatalf("a message lives for %v", ttl)
		}
		if d.badExpectedLastSeq && d.expectedLastSeq != 0 && d.expectedLastSeq != 1<<64-1 {
			t.Fatalf("sequence %d is no number", d.expectedLastSeq)
		}
		headerValue(block, headerTTL)
	})
}
