package base

import (
	"encoding/binary"
	"math"
	"testing"
)

func TestDecoder(t *testing.T) {
	body := []byte{7}
	body = binary.AppendUvarint(body, math.MaxUint64)
	body = binary.AppendVarint(body, math.MinInt64)
	body = append(binary.AppendUvarint(body, 3), "one"...)
	body = append(body, "two"...)

	d := Decoder{Rest: body}
	if b := d.Byte(); b != 7 {
		t.Errorf("byte %d", b)
	}
	if v := d.Uvarint(); v != math.MaxUint64 {
		t.Errorf("uvarint %d", v)
	}
	if v := d.Varint(); v != math.MinInt64 {
		t.Errorf("varint %d", v)
	}
	if b := d.Block(); string(b) != "one" || cap(b) != 3 {
		t.Errorf("block %q with room for %d", b, cap(b))
	}
	if b := d.Bytes(3); string(b) != "two" || !d.Done() {
		t.Errorf("bytes %q, done %v", b, d.Done())
	}
}

// Every cut of a body is noticed, and what comes after the cut is zero.
func TestDecoderCut(t *testing.T) {
	body := binary.AppendUvarint([]byte{1}, 1<<40)
	body = append(binary.AppendUvarint(body, 4), "four"...)
	for n := range body {
		d := Decoder{Rest: body[:n]}
		d.Byte()
		d.Uvarint()
		if b := d.Block(); b != nil {
			t.Errorf("cut to %d: block %q", n, b)
		}
		if !d.Bad || d.Done() || d.Byte() != 0 || d.Varint() != 0 {
			t.Errorf("cut to %d: %+v", n, d)
		}
	}
}
