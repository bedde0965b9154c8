package msgstore

import (
	"bytes"
	"strings"
	"testing"

	"weir/internal/base"
	"weir/internal/msg"
)

var formats = map[format]func([]byte, *msg.Message) []byte{wideFormat: appendWide, compactFormat: appendRecord}

// sizedMessages have every combination of lengths at which a field gets longer.
func sizedMessages(visit func(m *msg.Message)) {
	for _, seq := range []uint64{1, 127, 128, 1 << 21, 1<<64 - 1} {
		for _, subject := range []int{1, 63, 64, 300, maxSubject} {
			for _, header := range []int{0, 12, 200} {
				for _, data := range []int{0, 1, 115, 116, 126, 127, 128, 16382, 16383, 16384, 70000} {
					m := &msg.Message{Seq: seq, Time: -7, Subject: strings.Repeat("s", subject), Data: bytes.Repeat([]byte("d"), data)}
					if header > 0 {
						m.Header = bytes.Repeat([]byte("h"), header)
					}
					visit(m)
				}
			}
		}
	}
}

// TestRecord decodes messages of all sizes, whole and cut.
func TestRecord(t *testing.T) {
	for f, encode := range formats {
		sizedMessages(func(m *msg.Message) {
			b := encode([]byte("before"), m)[len("before"):]
			if f == compactFormat && len(b) != recordSize(m) {
				t.Fatalf("message %d has a record of %d bytes, not %d", m.Seq, len(b), recordSize(m))
			}
			r, need, err := parseHead(f, append(b, "after"...))
			if err != nil || need != 0 || r.size != len(b) || r.renewedIs(t) != string(appendRecord(nil, m)) {
				t.Fatalf("format %d, message %d with %d, %d and %d bytes: %+v %d %v", f, m.Seq, len(m.Subject), len(m.Header), len(m.Data), r.size, need, err)
			}
			info, want := r.info(false), messageSize(false, len(m.Subject), len(m.Header), len(m.Data))
			if info.Seq != m.Seq || info.Time != m.Time || info.Subject != m.Subject || info.Size != want {
				t.Fatalf("format %d, message %d: %+v", f, m.Seq, info)
			}
			for n := 0; n < r.bodyAt; n += 1 + n/50 {
				if _, need, err := parseHead(f, b[:n]); err != nil || need <= n || need > max(len(b), compactLeast) {
					t.Fatalf("format %d, %d of %d bytes: %d are needed, %v", f, n, len(b), need, err)
				}
			}
		})
	}
}

func (r *record) renewedIs(t *testing.T) string {
	t.Helper()
	fresh, err := r.renewed()
	if err != nil {
		t.Fatal(err)
	}
	return string(fresh.bytes())
}

// TestRecordDamaged changes every byte of records.
func TestRecordDamaged(t *testing.T) {
	m := &msg.Message{Seq: 300, Time: 1 << 60, Subject: "a.b.c", Header: []byte("NATS/1.0\r\n\r\n"), Data: []byte("data")}
	for f, encode := range formats {
		whole := encode(nil, m)
		for i := range whole {
			for _, change := range []byte{1, 0x80, 0xff} {
				b := bytes.Clone(whole)
				b[i] ^= change
				r, need, err := parseHead(f, b)
				if err == nil && need == 0 && r.size <= len(b) {
					err = r.checkBody()
				}
				if need <= len(b) && !base.IsCorrupt(err) {
					t.Errorf("format %d, byte %d changed: %d bytes needed, %v", f, i, need, err)
				}
			}
		}
	}
}

// TestBlank erases messages of all sizes: what is there instead is as long.
func TestBlank(t *testing.T) {
	for f, encode := range formats {
		sizedMessages(func(m *msg.Message) {
			size := len(encode(nil, m))
			b := erasure{seq: m.Seq, time: m.Time, size: size, format: f}.blank()
			r, need, err := parseHead(f, b)
			if err != nil || need != 0 || r.size != size || len(b) != size || r.seq != m.Seq || r.time != m.Time || r.checkBody() != nil {
				t.Fatalf("format %d, message %d of %d bytes: %+v %d %v", f, m.Seq, size, r, need, err)
			}
			if bytes.ContainsAny(r.body(), "hd") || strings.Contains(r.subject(), "s") {
				t.Fatalf("format %d, message %d: something is left of it", f, m.Seq)
			}
		})
	}
}
