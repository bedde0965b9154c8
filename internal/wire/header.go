package wire

import (
	"bytes"
	"strconv"
)

// A header block is
//
//	NATS/1.0[ code[ text]]\r\n
//	key: value\r\n
//	…
//	\r\n
//
// and is worked on as bytes: keys keep their case and their order, and may
// occur more than once.
const headerVersion = "NATS/1.0"

// emptyHeader is a block without any header.
const emptyHeader = headerVersion + lineEnd + lineEnd

// GetHeader returns the first value of key, spelled exactly so, without the
// spaces around it. The value is a part of hdr.
func GetHeader(hdr []byte, key string) (value []byte, ok bool) {
	VisitHeaders(hdr, func(k, v []byte) bool {
		if string(k) == key {
			value, ok = v, true
		}
		return !ok
	})
	return value, ok
}

// VisitHeaders visits the headers of a block in order until visit returns
// false. The slices are parts of hdr.
func VisitHeaders(hdr []byte, visit func(key, value []byte) bool) {
	_, rest := cutLine(hdr)
	for len(rest) > 0 {
		var line []byte
		line, rest = cutLine(rest)
		key, value, ok := bytes.Cut(line, []byte{':'})
		if ok && !visit(key, bytes.TrimSpace(value)) {
			return
		}
	}
}

// AppendHeader returns a new block: hdr, which may be nil, with one more header
// at the end. key and value must not contain line ends.
func AppendHeader(hdr []byte, key, value string) []byte {
	if len(hdr) == 0 {
		hdr = []byte(emptyHeader)
	}
	block := make([]byte, 0, len(hdr)+len(key)+len(value)+len(": \r\n"))
	block = append(block, bytes.TrimSuffix(hdr, []byte(lineEnd))...)
	block = appendHeaderLine(block, key, value)
	return append(block, lineEnd...)
}

// SetHeader returns a new block in which key occurs once, at the end.
func SetHeader(hdr []byte, key, value string) []byte {
	return AppendHeader(DelHeader(hdr, key), key, value)
}

// DelHeader returns a new block without key, nil if nothing is left. A block
// that does not have key comes back as it is.
func DelHeader(hdr []byte, key string) []byte {
	if _, ok := GetHeader(hdr, key); !ok {
		return hdr
	}
	block := make([]byte, 0, len(hdr))
	for first, rest := true, hdr; len(rest) > 0; first = false {
		line, tail := cutLine(rest)
		k, _, ok := bytes.Cut(line, []byte{':'})
		if first || !ok || string(k) != key {
			block = append(block, rest[:len(rest)-len(tail)]...)
		}
		rest = tail
	}
	if string(block) == emptyHeader {
		return nil
	}
	return block
}

// HeaderBlock makes a block of pairs of keys and values.
func HeaderBlock(pairs ...string) []byte { return statusBlock(headerVersion, pairs) }

// StatusBlock makes a block with a status; text may be empty.
func StatusBlock(code int, text string, pairs ...string) []byte {
	first := headerVersion + " " + strconv.Itoa(code)
	if text != "" {
		first += " " + text
	}
	return statusBlock(first, pairs)
}

func statusBlock(first string, pairs []string) []byte {
	block := append([]byte(first), lineEnd...)
	for i := 0; i+1 < len(pairs); i += 2 {
		block = appendHeaderLine(block, pairs[i], pairs[i+1])
	}
	return append(block, lineEnd...)
}

// Status returns the status of a block; ok is false if it has none.
func Status(hdr []byte) (code int, text string, ok bool) {
	line, _ := cutLine(hdr)
	rest, found := bytes.CutPrefix(line, []byte(headerVersion+" "))
	if !found {
		return 0, "", false
	}
	digits, description, _ := bytes.Cut(bytes.TrimSpace(rest), []byte{' '})
	code = number(digits)
	if code < 0 {
		return 0, "", false
	}
	return code, string(description), true
}

func appendHeaderLine(dst []byte, key, value string) []byte {
	dst = append(dst, key...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, lineEnd...)
}

// cutLine splits off the first line, without its end.
func cutLine(s []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(s, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest
}
