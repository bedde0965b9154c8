package msgstore

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"weir/internal/base"
	"weir/internal/msg"
)

// records are messages and their bytes in segments, which are read for ever.
var records = []struct {
	format format
	bytes  string
	msg    msg.Message
}{
	{compactFormat, "\x13~\xc8\xe7L\xbbq\x9a\x01\x00\xb4\x93v\xe2\xfa\x18\x01\x06\x05s.ahello", msg.Message{Seq: 1, Time: 1_800_000_000_000_000_001, Subject: "s.a", Data: []byte("hello")}},
	{compactFormat, "\xff-ý{\x14Z\xdb\xff\xff\xff\xff\xff\xff\xff\xff\xac\x02\a\x12\x12\x00\x00\x00s.bNATS/1.0\r\nA: b\r\n\r\n", msg.Message{Seq: 300, Time: -1, Subject: "s.b", Header: []byte("NATS/1.0\r\nA: b\r\n\r\n")}},
	{wideFormat, "}\xd3\xe8c\xb1\xfa\xf6A:\x00\x00\x00\x12\x00\x00\x00,\x01\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x03\x00\x01\x00s.bNATS/1.0\r\nA: b\r\n\r\nx", msg.Message{Seq: 300, Time: -1, Subject: "s.b", Header: []byte("NATS/1.0\r\nA: b\r\n\r\n"), Data: []byte("x")}},
}

func TestRecordsAreKept(t *testing.T) {
	for i, k := range records {
		if got := string(formats[k.format](nil, &k.msg)); got != k.bytes {
			t.Errorf("record %d is written as\n%q\nand was\n%q", i, got, k.bytes)
		}
		r, need, err := parseHead(k.format, []byte(k.bytes))
		if err != nil || need > 0 {
			t.Fatalf("record %d: %d bytes needed, %v", i, need, err)
		}
		var m msg.Message
		if err := r.message(&m); err != nil {
			t.Fatal(err)
		}
		if m.Seq != k.msg.Seq || m.Time != k.msg.Time || m.Subject != k.msg.Subject || !bytes.Equal(m.Header, k.msg.Header) || !bytes.Equal(m.Data, k.msg.Data) {
			t.Errorf("record %d is read as %+v", i, m)
		}
	}
}

// FuzzRecord reads any bytes as a record, with checksums as they are and with right ones: they are one, too few, or damaged.
func FuzzRecord(f *testing.F) {
	for _, k := range records {
		f.Add(byte(k.format), []byte(k.bytes))
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		of := wideFormat + format(kind%2)
		r := readRecord(t, of, b)
		if r.bodyAt < 8 || r.bodyAt > len(b) {
			return
		}
		if r.size >= r.bodyAt && r.size <= len(b) {
			binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[r.bodyAt:r.size], castagnoli))
		}
		binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:r.bodyAt], castagnoli))
		readRecord(t, of, b)
	})
}

func readRecord(t *testing.T, of format, b []byte) record {
	r, need, err := parseHead(of, b)
	switch {
	case err != nil && !base.IsCorrupt(err):
		t.Fatal(err)
	case err == nil && need > 0 && need <= len(b):
		t.Fatalf("%d bytes are needed, and there are %d", need, len(b))
	case err != nil || need > 0 || r.size > len(b):
		return r
	}
	var m msg.Message
	if err := r.message(&m); err != nil {
		if !base.IsCorrupt(err) {
			t.Fatal(err)
		}
		return r
	}
	if got := len(m.Header) + len(m.Data); got != r.size-r.bodyAt || m.Subject != r.subject() {
		t.Fatalf("%d bytes of %d", got, r.size-r.bodyAt)
	}
	return r
}
