package msgstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"weir/internal/base"
)

// An image is a stream of frames: kind (byte), length (uint32), payload, CRC32C
// of all that (uint32), little endian. The header comes first, then keys, then
// records in the order of their sequences, then the end with the counts.
const (
	imageVersion = byte(compactFormat) // and of the records; those of the first are read too

	frameHeader  = 'H' // version, then the store's meta
	frameKeys    = 'K' // key and value, each with its length before it, repeated
	frameRecords = 'M' // whole records
	frameEnd     = 'E' // number of keys, number of records

	frameTarget = 128 << 10 // bytes after which a frame is ended
	frameMax    = 2 * maxRecord
)

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// frameWriter writes frames; the first error stays.
type frameWriter struct {
	w   *bufio.Writer
	buf []byte
	n   int64
	err error
}

func (f *frameWriter) begin(kind byte) {
	f.buf = append(f.buf[:0], kind, 0, 0, 0, 0)
}

// next ends the frame if it is large and begins another; false after an error.
func (f *frameWriter) next(kind byte) bool {
	if len(f.buf) >= frameTarget {
		f.end()
		f.begin(kind)
	}
	return f.err == nil
}

func (f *frameWriter) end() {
	binary.LittleEndian.PutUint32(f.buf[1:], uint32(len(f.buf)-5))
	f.buf = binary.LittleEndian.AppendUint32(f.buf, crc32.Checksum(f.buf, castagnoli))
	if f.err == nil {
		var n int
		n, f.err = f.w.Write(f.buf)
		f.n += int64(n)
	}
}

// readFrame reads one frame into buf, which it may grow.
func readFrame(r io.Reader, buf []byte) (kind byte, payload, grown []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, buf, fmt.Errorf("reading image: %w", err)
	}
	n := int(binary.LittleEndian.Uint32(head[1:]))
	if n > frameMax {
		return 0, nil, buf, base.Corruptf("image has a frame of %d bytes", n)
	}
	buf = append(buf[:0], head[:]...)
	w := bytes.NewBuffer(buf)
	if _, err := io.CopyN(w, r, int64(n)+4); err != nil {
		return 0, nil, buf, fmt.Errorf("reading image: %w", err)
	}
	buf = w.Bytes()
	body := buf[:5+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(buf[5+n:]) {
		return 0, nil, buf, base.Corruptf("frame %q of image: checksum differs", head[0])
	}
	return head[0], body[5:], buf, nil
}
