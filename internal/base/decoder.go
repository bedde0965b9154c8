package base

import "encoding/binary"

// Decoder takes fields off the front of an encoded body. After the first field
// that does not fit, Bad is set, Rest is empty and every further field is zero,
// so that a caller checks once, at the end.
type Decoder struct {
	Rest []byte
	Bad  bool
}

// Fail marks the body as bad, for a field that fits and makes no sense.
func (d *Decoder) Fail() { d.Bad, d.Rest = true, nil }

// Done tells that the body was read to its end without a fault.
func (d *Decoder) Done() bool { return !d.Bad && len(d.Rest) == 0 }

// Byte takes one byte.
func (d *Decoder) Byte() byte {
	if len(d.Rest) == 0 {
		d.Fail()
		return 0
	}
	b := d.Rest[0]
	d.Rest = d.Rest[1:]
	return b
}

// Uvarint takes an unsigned integer of variable length.
func (d *Decoder) Uvarint() uint64 {
	v, n := binary.Uvarint(d.Rest)
	if n <= 0 {
		d.Fail()
		return 0
	}
	d.Rest = d.Rest[n:]
	return v
}

// Varint takes a signed integer of variable length.
func (d *Decoder) Varint() int64 {
	v, n := binary.Varint(d.Rest)
	if n <= 0 {
		d.Fail()
		return 0
	}
	d.Rest = d.Rest[n:]
	return v
}

// Bytes takes n bytes. They are a part of the body.
func (d *Decoder) Bytes(n uint64) []byte {
	if n > uint64(len(d.Rest)) {
		d.Fail()
		return nil
	}
	b := d.Rest[:n:n]
	d.Rest = d.Rest[n:]
	return b
}

// Block takes bytes that follow their length. They are a part of the body.
func (d *Decoder) Block() []byte { return d.Bytes(d.Uvarint()) }
